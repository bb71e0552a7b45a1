r"""Writers of tables that stream: JSON, CSV and Parquet.

- JSON: `{"<name of the schema>": [one object per line]}`. What is not known is null.
- CSV: RFC 4180, UTF-8, one header line. What is not known is an empty cell; booleans are `true` and `false`.
- Parquet: row groups of 65,536 rows, zstd. What is not known is null; fields carry their meaning.

A path may hold bytes that are not UTF-8. JSON keeps them as lone surrogates (`\udcff`), so that
`os.fsencode(json.loads(...))` gives the name on disk again; CSV and Parquet show the same escape as text.
Numbers that are not finite are written as not known.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO, TypeAlias

from twinlens.engine.errors import InvalidValue

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Value]

ROW_GROUP = 65_536


class Format(StrEnum):
    """What a table is written as."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class Kind(StrEnum):
    """What a column holds; any cell may be unknown."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table, in order; `name` is the key of its rows in JSON."""

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Of the columns, in order."""
        return [column.name for column in self.columns]


def write_table(rows: Iterable[Row], columns: Schema, format: str, out: BinaryIO) -> None:
    """Write rows one after the other; memory holds at most one row group.

    Args:
        rows: each has a value, or None, for every column.
        columns: what to write of them.
        format: "json", "csv" or "parquet", a `Format`.
        out: stays open; it need not be seekable.

    Raises:
        InvalidValue: no such format.
    """
    if format not in _WRITERS:
        raise InvalidValue(f"format {format!r} is not served: choose one of {', '.join(Format)}")
    _WRITERS[format](rows, columns, out)


def write_json(document: Mapping[str, Any], out: BinaryIO) -> None:
    """Write a JSON object as ASCII; lists and iterators in it are streamed, one element per line.

    Raises:
        ValueError: a number in it is not finite.
    """
    encode = json.JSONEncoder(allow_nan=False).encode
    out.write(b"{")
    for number, (key, value) in enumerate(document.items()):
        out.write(f"{',' if number else ''}\n{encode(key)}: ".encode())
        if isinstance(value, list | Iterator):
            out.write(b"[")
            for position, element in enumerate(value):
                out.write(f"{',' if position else ''}\n{encode(element)}".encode())
            out.write(b"\n]")
        else:
            out.write(encode(value).encode())
    out.write(b"\n}\n")


def _write_json(rows: Iterable[Row], schema: Schema, out: BinaryIO) -> None:
    cells = _cells(rows, schema, string=str)
    write_json({schema.name: (dict(zip(schema.names, row, strict=True)) for row in cells)}, out)


def _write_csv(rows: Iterable[Row], schema: Schema, out: BinaryIO) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(schema.names)
        writer.writerows(_cells(rows, schema, boolean=lambda value: "true" if value else "false"))
    finally:
        text.detach()


def _write_parquet(rows: Iterable[Row], schema: Schema, out: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        Kind.STRING: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
    }
    fields = [pa.field(c.name, types[c.kind], metadata={"description": c.meaning}) for c in schema.columns]
    cells = _cells(rows, schema)
    with pq.ParquetWriter(out, pa.schema(fields), compression="zstd") as writer:
        while group := list(islice(cells, ROW_GROUP)):
            columns = zip(zip(*group, strict=True), fields, strict=True)
            arrays = [pa.array(column, field.type) for column, field in columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=writer.schema))


_WRITERS: Mapping[str, Callable[[Iterable[Row], Schema, BinaryIO], None]] = {
    Format.JSON: _write_json,
    Format.CSV: _write_csv,
    Format.PARQUET: _write_parquet,
}


def _cells(
    rows: Iterable[Row],
    schema: Schema,
    *,
    string: Callable[[Any], Value] | None = None,
    boolean: Callable[[Any], Value] = bool,
) -> Iterator[list[Value]]:
    """The values of each row in column order, as plain Python values."""
    of_kind: Mapping[Kind, Callable[[Any], Value]] = {
        Kind.STRING: string or shown,
        Kind.INTEGER: int,
        Kind.NUMBER: finite,
        Kind.BOOLEAN: boolean,
    }
    plan = [(column.name, of_kind[column.kind]) for column in schema.columns]
    for row in rows:
        yield [None if (value := row[name]) is None else plain(value) for name, plain in plan]


def finite(number: float) -> float | None:
    """The number as a plain float; None if it is infinite or not a number."""
    return float(number) if math.isfinite(number) else None


def shown(text: str) -> str:
    r"""Text that can be written as UTF-8: a lone surrogate is shown as its escape (`\udcff`)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
