from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.service.table import (
    ROW_GROUP,
    Column,
    Format,
    Kind,
    Row,
    Schema,
    Value,
    shown,
    write_json,
    write_table,
)

FRUIT = Schema(
    "fruit",
    (
        Column("name", Kind.STRING, "what it is called"),
        Column("seeds", Kind.INTEGER, "how many"),
        Column("weight", Kind.NUMBER, "in g"),
        Column("ripe", Kind.BOOLEAN, "true if it can be eaten"),
    ),
)
FIG: dict[str, Value] = {"name": "fig", "seeds": 30, "weight": 41.5, "ripe": True}
UNKNOWN: dict[str, Value] = {"name": None, "seeds": None, "weight": None, "ripe": None}

# What os.fsdecode can return: any text, and lone surrogates for bytes that are not UTF-8.
names_on_disk = st.binary(max_size=12).map(os.fsdecode)


def table(rows: Sequence[Row], format: Format | str) -> bytes:
    out = io.BytesIO()
    write_table(rows, FRUIT, format, out)
    assert not out.closed
    return out.getvalue()


def test_json_has_one_object_per_line_under_the_name_of_the_schema() -> None:
    written = table([FIG, UNKNOWN], "json")
    assert written.decode().splitlines() == [
        "{",
        '"fruit": [',
        '{"name": "fig", "seeds": 30, "weight": 41.5, "ripe": true},',
        '{"name": null, "seeds": null, "weight": null, "ripe": null}',
        "]",
        "}",
    ]


def test_csv_has_a_header_and_leaves_unknown_cells_empty() -> None:
    assert table([FIG, UNKNOWN], "csv") == b"name,seeds,weight,ripe\r\nfig,30,41.5,true\r\n,,,\r\n"


def test_parquet_has_typed_columns_that_say_what_they_mean() -> None:
    read = pq.read_table(io.BytesIO(table([FIG, UNKNOWN], "parquet")))
    assert read.to_pylist() == [FIG, UNKNOWN]
    assert [str(field.type) for field in read.schema] == ["string", "int64", "double", "bool"]
    assert read.schema.field("weight").metadata == {b"description": b"in g"}


@pytest.mark.parametrize("format", Format)
def test_no_rows_are_a_table_with_columns(format: Format) -> None:
    written = table([], format)
    if format is Format.JSON:
        assert json.loads(written) == {"fruit": []}
    elif format is Format.CSV:
        assert written == b"name,seeds,weight,ripe\r\n"
    else:
        assert pq.read_table(io.BytesIO(written)).column_names == ["name", "seeds", "weight", "ripe"]


@given(names_on_disk)
def test_json_gives_every_file_name_back(name: str) -> None:
    (row,) = json.loads(table([FIG | {"name": name}], "json"))["fruit"]
    assert os.fsencode(row["name"]) == os.fsencode(name)


@given(names_on_disk.filter(lambda name: "\0" not in name))
def test_csv_and_parquet_show_every_file_name(name: str) -> None:
    row = FIG | {"name": name}
    (read,) = csv.DictReader(io.StringIO(table([row], "csv").decode(), newline=""))
    assert read["name"] == shown(name)
    assert pq.read_table(io.BytesIO(table([row], "parquet"))).to_pylist()[0]["name"] == shown(name)


def test_a_byte_that_is_not_utf8_is_shown_as_its_escape() -> None:
    assert shown(os.fsdecode(b"caf\xc3\xa9 \xff.jpg")) == "café \\udcff.jpg"


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_unknown(weight: float) -> None:
    row = FIG | {"weight": weight}
    assert json.loads(table([row], "json"))["fruit"][0]["weight"] is None
    assert table([row], "csv").endswith(b"fig,30,,true\r\n")
    assert pq.read_table(io.BytesIO(table([row], "parquet")))["weight"].to_pylist() == [None]


@pytest.mark.parametrize("format", Format)
def test_rows_are_written_while_they_come(format: Format) -> None:
    out = io.BytesIO()
    written_by_row: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(ROW_GROUP + 2):
            written_by_row.append(len(out.getvalue()) if number in (0, ROW_GROUP + 1) else 0)
            yield FIG | {"seeds": number}

    write_table(rows(), FRUIT, format, out)
    assert written_by_row[-1] > written_by_row[0]
    if format is Format.PARQUET:
        assert pq.ParquetFile(io.BytesIO(out.getvalue())).num_row_groups == 2


@pytest.mark.parametrize("format", Format)
def test_a_pipe_will_do(format: Format) -> None:
    code = (
        "import sys; from twinlens.service.output import PAIRS, write_table;"
        "row = dict.fromkeys(PAIRS.names) | {'path_a': 'x', 'similarity': 0.5};"
        f"write_table(iter([row] * 3), PAIRS, '{format}', sys.stdout.buffer)"
    )
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    if format is Format.PARQUET:
        assert pq.read_table(io.BytesIO(piped))["similarity"].to_pylist() == [0.5] * 3
    else:
        assert piped.count(b"0.5") == 3


def test_a_format_that_is_not_served_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"xlsx.*json, csv, parquet"):
        table([FIG], "xlsx")


def test_a_missing_column_is_an_error_and_leaves_the_file_open(tmp_path: Path) -> None:
    with open(tmp_path / "t.csv", "wb") as file:
        with pytest.raises(KeyError, match="seeds"):
            write_table([{"name": "fig"}], FRUIT, "csv", file)
        assert not file.closed


def test_documents_stream_their_lists(tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "numbers": iter(range(3)),
        "name": "caf\udcff",
        "empty": [],
        "deep": {"a": [1]},
    }
    out = io.BytesIO()
    write_json(document, out)
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue()) == {
        "numbers": [0, 1, 2],
        "name": "caf\udcff",
        "empty": [],
        "deep": {"a": [1]},
    }


def test_documents_refuse_numbers_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": [math.nan]}, io.BytesIO())
