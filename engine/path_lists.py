"""Lists of paths: text, CSV and Parquet files that name images, by path or URL."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinlens.engine.errors import SourceError
from twinlens.engine.refusals import one_line

_TEXT = frozenset((".txt", ".lst", ".list"))
_CSV = frozenset((".csv", ".tsv"))
_PARQUET = frozenset((".parquet", ".pq"))
LIST_EXTENSIONS = _TEXT | _CSV | _PARQUET

COLUMNS = (
    *("path", "file_path", "filepath", "image_path", "filename", "file_name", "file", "image", "img"),
    *("url", "image_url", "img_url", "link"),
)
"""Column names that hold paths or URLs, the preferred one first; upper and lower case are the same."""

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_list(source: Path) -> Iterator[bytes]:
    """Paths in a list, in its order, as they are written; relative ones start at the list's folder.

    - Text: one path per line, UTF-8 or any other bytes. Blank lines and lines that begin with `#`
      do not count (write `./#1.jpg`).
    - CSV: fields separated by comma, semicolon or tab, whichever the first line has most of. The
      column is the first of `COLUMNS` that the first line names; if it names none there is no
      header, and paths are in the first column.
    - Parquet: the first of `COLUMNS`, or else the first column of strings; read by row groups.

    Raises:
        SourceError: on iteration, if the list cannot be read.
    """
    extension = source.suffix.lower()
    read = _csv if extension in _CSV else _parquet if extension in _PARQUET else _text
    try:
        yield from read(source)
    except OSError as error:
        raise SourceError(f"the list {source} cannot be read: {one_line(error.strerror or error)}") from error


def _text(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        for number, raw in enumerate(file):
            line = raw.rstrip(b"\r\n")
            if number == 0:
                _refuse_utf16(source, line)
                line = line.removeprefix(_UTF8_MARK)
            if line.strip() and not line.startswith(b"#"):
                yield line


def _csv(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        first = file.readline()
    _refuse_utf16(source, first)
    delimiter = max(",;\t", key=lambda mark: first.count(mark.encode()))
    with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter)
        try:
            header = next(rows, [])
            column = _column(header)
            if column is None and header:
                yield from _cell(header, 0)
            for row in rows:
                yield from _cell(row, column or 0)
        except csv.Error as error:
            raise SourceError(f"the list {source} is no CSV in line {rows.line_num}: {error}") from error


def _cell(row: Sequence[str], column: int) -> Iterator[bytes]:
    if column < len(row) and row[column].strip():
        yield os.fsencode(row[column])


def _column(names: Sequence[str]) -> int | None:
    """Which of these columns holds the paths."""
    known = [name.strip().lower() for name in names]
    return next((known.index(name) for name in COLUMNS if name in known), None)


def _parquet(source: Path) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            schema = file.schema_arrow
            strings = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_text(kind)]
            column = _column(strings)
            if not strings:
                found = ", ".join(schema.names) or "none"
                raise SourceError(f"the list {source} has no column of strings, only: {found}")
            for batch in file.iter_batches(batch_size=8192, columns=[strings[column or 0]]):
                for value in batch.column(0).to_pylist():
                    if value:
                        yield os.fsencode(value)
    except pa.ArrowException as error:
        raise SourceError(f"the list {source} is no Parquet file: {one_line(error)}") from error


def _is_text(kind: object) -> bool:
    import pyarrow as pa

    value = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return any(test(value) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _refuse_utf16(source: Path, head: bytes) -> None:
    if head.startswith(_UTF16_MARKS):
        raise SourceError(f"the list {source} is UTF-16 text: save it as UTF-8")
