"""`export --as`: options, and what is said of what was written."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.engine.errors import InvalidValue
from twinlens.service import console, output

if TYPE_CHECKING:
    from twinlens.engine.dataset import Dataset


class Layout(StrEnum):
    """What `--as` takes."""

    TEXT = "text"
    COCO = "coco"
    FIFTYONE = "fiftyone"
    WEBDATASET = "webdataset"
    METADATA = "metadata"


LayoutOption = Annotated[
    Layout | None, typer.Option("--as", help="text, coco, fiftyone, webdataset or metadata, into --to.")
]
ToOption = Annotated[Path | None, typer.Option("--to", help="Folder to write, with --as.")]
PlanOption = Annotated[
    Path | None, typer.Option("--plan", help="Plan of `curate`, JSON or CSV; without it all images are kept.")
]
CocoOption = Annotated[
    Path | None, typer.Option("--coco", help="COCO annotations to write without the removed images.")
]
NullOption = Annotated[bool, typer.Option("--null", help="End paths with NUL, for `xargs -0`; --as text.")]


def refuse_table_options(*given: object) -> None:
    """Refuse the options of tables beside `--as`.

    Raises:
        InvalidValue: one of them was given.
    """
    if any(option is not None for option in given):
        raise InvalidValue("--format, --out and --vectors write tables: leave them out with --as and --to")


def print_choice(
    data: Dataset,
    layout: Layout | None,
    to: Path | None,
    plan: Path | None,
    coco: Path | None,
    *,
    null: bool,
    json: bool,
) -> None:
    """Write what a plan keeps and removes, and say what was written.

    Raises:
        InvalidValue: an option is missing, or what it names is off.
    """
    from twinlens.service.layouts import export_choice

    if layout is None or to is None:
        raise InvalidValue(
            f"--plan, --coco, --as and --to go together: say --as {'|'.join(Layout)} --to FOLDER"
        )
    written = export_choice(data, plan, layout, to, coco=coco, null=null)
    if json:
        output.write_json({"to": str(to), "as": str(layout), **asdict(written)}, sys.stdout.buffer)
    else:
        console.print_written(to, written.counts, written.notices, written.failures)
