"""Labels and captions of images, as they come in `image_annotations.csv` or `image_annotations.parquet`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from twinlens.engine.errors import InvalidValue
from twinlens.engine.refusals import one_line
from twinlens.service.explore.staging import shown

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAX_LETTERS = {"filename": 4096, "label": 200, "caption": 10_000}
"""Longest text in each column."""

_FILES = ("image_annotations.csv", "image_annotations.parquet")
_OF_OBJECTS = ("annotations.json", "object_annotations.csv", "object_annotations.parquet")
_MAX_ROW_LETTERS = 1 << 20
_MAX_GROUP_BYTES = 1 << 30
_BATCH_ROWS = 4096
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one row says about an image; a file with several labels has several rows.

    Attributes:
        filename: path of the image as it is written, with `/` between folders and without a leading `./`.
        label: one label; None if there is none.
        caption: None if there is none.
    """

    filename: str
    label: str | None
    caption: str | None


def is_annotation_file(name: str) -> bool:
    """True for the names that `read_annotations` reads, in upper or lower case."""
    return name.lower() in _FILES


def unsupported_annotation(name: str) -> str | None:
    """Why annotations of another kind are not taken, one sentence; None for any other file."""
    if name.lower() not in _OF_OBJECTS:
        return None
    return (
        f"{shown(name)} describes objects in images, which this server does not support: "
        "label whole images in image_annotations.csv or image_annotations.parquet"
    )


def read_annotations(path: Path, name: str, *, max_rows: int) -> Iterator[Annotation]:
    """Rows of an annotation file, in its order, in bounded memory.

    Columns are `filename` and at least one of `label` and `caption`, in upper or lower case; others are
    ignored. CSV is UTF-8, separated by comma, semicolon or tab, whichever the first line has most of.
    Messages count rows as a spreadsheet does, those of CSV with the line of names.

    Args:
        path: where it lies.
        name: tells CSV from Parquet, and how messages call it.
        max_rows: most rows that are read.

    Raises:
        InvalidValue: on iteration: a column is missing, a cell is too long or empty where it must not be,
            there are too many rows, or it is damaged.
    """
    read = _parquet if name.lower().endswith(".parquet") else _csv
    place = _Place(name)
    try:
        for count, cells in enumerate(read(path, place)):
            if count == max_rows:
                raise place.error(
                    f"there are more than {max_rows:,} rows: raise TWINLENS_MAX_ANNOTATION_ROWS"
                )
            yield _annotation(cells, place)
    except UnicodeDecodeError as error:
        raise place.error(f"it is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise place.error(f"it cannot be read ({one_line(error.strerror or error)})") from error


@dataclass(slots=True)
class _Place:
    """Where a file is being read; 0 is before the first row."""

    name: str
    row: int = 0

    def error(self, rule: str) -> InvalidValue:
        where = f"{shown(self.name)}, row {self.row}" if self.row else shown(self.name)
        return InvalidValue(f"{where}: {rule}")


def _annotation(cells: dict[str, str], place: _Place) -> Annotation:
    for column, text in cells.items():
        if "\0" in text:
            raise place.error(f"its {column} holds a NUL character")
        if len(text) > MAX_LETTERS[column]:
            raise place.error(f"its {column} has more than {MAX_LETTERS[column]:,} characters")
    filename = cells["filename"].replace("\\", "/")
    while filename.startswith("./"):
        filename = filename.removeprefix("./")
    if not filename.strip():
        raise place.error("it has no filename")
    label, caption = cells.get("label", "").strip(), cells.get("caption", "").strip()
    return Annotation(filename, label or None, caption or None)


def _columns(names: Sequence[str], place: _Place) -> dict[str, int]:
    """Where each column is that is read."""
    plain = [name.strip().lower() for name in names]
    found = {name: plain.index(name) for name in MAX_LETTERS if name in plain}
    twice = [name for name in found if plain.count(name) > 1]
    if twice:
        raise place.error(f"there are two columns {twice[0]!r}")
    if "filename" not in found or len(found) == 1:
        there = ", ".join(shown(name) for name in names[:20]) or "none"
        raise place.error(f"the columns are `filename` and `label` or `caption`, and it has {there}")
    return found


# -- CSV -------------------------------------------------------------------------------------------------


def _csv(path: Path, place: _Place) -> Iterator[dict[str, str]]:
    with path.open("rb") as file:
        if file.read(2) in _UTF16_MARKS:
            raise place.error("it is UTF-16 text: save it as UTF-8")
    with path.open(encoding="utf-8-sig", newline="") as text:
        delimiter = max(",;\t", key=text.readline(_MAX_ROW_LETTERS).count)
        text.seek(0)
        lines = _Lines(text, place)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            place.row = 1
            names = next(rows, [])
            columns = _columns(names, place)
            place.row = 2
            for row in rows:
                lines.left = _MAX_ROW_LETTERS
                if any(row):
                    yield _cells(row, columns, len(names), place)
                place.row += 1
        except csv.Error as error:
            raise place.error(f"it is no CSV: {error}") from error


def _cells(row: list[str], columns: dict[str, int], most: int, place: _Place) -> dict[str, str]:
    if any(cell.strip() for cell in row[most:]):
        raise place.error(
            f"it has {len(row)} cells for {most} columns: put texts with commas into double quotes"
        )
    return {name: row[column] if column < len(row) else "" for name, column in columns.items()}


class _Lines:
    """Lines of a text, as many letters of them as one row may have.

    `csv` takes a row that never ends into memory.
    """

    def __init__(self, text: IO[str], place: _Place) -> None:
        self._text = text
        self._place = place
        self.left = _MAX_ROW_LETTERS

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self.left + 1)
        if len(line) > self.left:
            raise self._place.error(f"it has more than {_MAX_ROW_LETTERS:,} characters: is a quote missing?")
        if not line:
            raise StopIteration
        self.left -= len(line)
        return line


# -- Parquet ---------------------------------------------------------------------------------------------


def _parquet(path: Path, place: _Place) -> Iterator[dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow.names, place)
            names = {name: file.schema_arrow.names[column] for name, column in columns.items()}
            _check_kinds(file, names, place)
        # As a dictionary a text that a million rows share is in memory once.
        with pq.ParquetFile(path, read_dictionary=list(names.values())) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(names.values())):
                place.row += 1
                _check_lengths(batch, names, place)
                texts = [_texts(batch.column(spelt)) for spelt in names.values()]
                for row in zip(*texts, strict=True):
                    yield dict(zip(names, row, strict=True))
                    place.row += 1
                place.row -= 1
    except (pa.ArrowException, MemoryError) as error:
        raise place.error(f"it is no Parquet that can be read ({one_line(error)})") from error


def _check_kinds(file: pq.ParquetFile, names: dict[str, str], place: _Place) -> None:
    """See that the columns hold texts or whole numbers, in groups that fit into memory."""
    import pyarrow as pa

    kinds = pa.types
    for spelt in names.values():
        kind = file.schema_arrow.field(spelt).type
        inner = kind.value_type if kinds.is_dictionary(kind) else kind
        tests = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_integer, kinds.is_null)
        if not any(test(inner) for test in tests):
            raise place.error(f"the column {shown(spelt)} holds {shown(str(kind))}, not texts")
    for number in range(file.metadata.num_row_groups):
        # What it says of single columns ends the process where it is damaged (seen in pyarrow 26.0.1).
        size = file.metadata.row_group(number).total_byte_size
        if size > _MAX_GROUP_BYTES:
            raise place.error(f"a row group has {size:,} bytes: write at most {_MAX_GROUP_BYTES:,} into one")


def _check_lengths(batch: Any, names: dict[str, str], place: _Place) -> None:
    """Refuse texts of many megabytes before they are copied into rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, spelt in names.items():
        column = batch.column(spelt)
        if pa.types.is_dictionary(column.type):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            # In UTF-8; counted exactly row by row.
            if longest > 4 * MAX_LETTERS[name]:
                most = f"{MAX_LETTERS[name]:,}"
                raise place.error(f"a {name} from here on has more than {most} characters")


def _texts(column: Any) -> list[str]:
    return [_text(value) for value in column.to_pylist()]


def _text(value: str | bytes | int | None) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)
