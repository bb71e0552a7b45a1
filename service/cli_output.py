"""Where the answer of a command goes, and in what format: what `--format`, `--out` and `--json` say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from twinlens.engine.errors import InvalidValue
from twinlens.service.output import Format

FormatOption = Annotated[Format | None, typer.Option("--format", help="json, csv or parquet.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="File to write; standard output if not given.")]


def format_of(format: Format | None, out: Path | None, *, json: bool) -> Format | None:
    """What to write: --json and --format say it, else the ending of the file, else nothing (a table)."""
    if json or format is not None:
        return Format.JSON if json else format
    if out is None:
        return None
    ending = out.suffix.lower().lstrip(".")
    return Format(ending) if ending in list(Format) else Format.JSON


@contextmanager
def opened_output(out: Path | None, kind: Format) -> Iterator[BinaryIO]:
    """The file to write, or standard output.

    Raises:
        InvalidValue: it cannot be written, or Parquet would go to a terminal.
    """
    if out is not None:
        try:
            with open(out, "wb") as file:
                yield file
        except OSError as error:
            raise InvalidValue(f"{out} cannot be written: {error.strerror}") from error
        return
    if kind is Format.PARQUET and sys.stdout.isatty():
        raise InvalidValue("Parquet is not for a terminal: give a file with --out")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def report_errors(path: Path) -> Iterator[None]:
    """Say which report cannot be written.

    Raises:
        InvalidValue: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InvalidValue(f"the report {path} cannot be written: {error.strerror}") from error
