from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.explore.media import CAT, DOG, head, many
from twinlens.service.explore.export_items import IssueEntry, ItemsChanged, LabelEntry, MediaItem, TagEntry
from twinlens.service.explore.export_json import info_json
from twinlens.service.explore.export_parquet import GROUP_ROWS, INFO_KEY, write_parquet
from twinlens.service.table import shown

texts = st.binary(max_size=12).map(os.fsdecode) | st.text(st.characters(exclude_categories=()), max_size=12)


def written(*items: MediaItem) -> io.BytesIO:
    out = io.BytesIO()
    assert write_parquet(out, head(len(items)), items) == len(items)
    assert not out.closed
    return out


def test_each_image_is_a_row() -> None:
    cat, dog = pq.read_table(written(CAT, replace(DOG, search_confidence=0.5))).to_pylist()
    assert cat == {
        "media_id": "300dad2c-1234-41f1-8483-5a879df30de4",
        "media_type": "image",
        "image_filename": "cat.jpg",
        "file_name": "cat.jpg",
        "file_path": "pets/cat.jpg",
        "file_size_bytes": 49_428,
        "width": 1920,
        "height": 1080,
        "uniqueness_score": 0.25,
        "url": "http://localhost:8000/media/cat",
        "cluster_id": "d0470097-0c77-4a9c-9edf-289680df7f71",
        "labels": ["cat", "animal"],
        "user_tags": ["review"],
        "captions": ["a cat on a mat"],
        "issues": [
            {
                "issue_type": "blur",
                "confidence": 0.75,
                "duplicate_group_id": None,
                "duplicate_threshold": None,
            },
            {
                "issue_type": "duplicates",
                "confidence": 1.0,
                "duplicate_group_id": "d0470097",
                "duplicate_threshold": 0.95,
            },
        ],
        "search_confidence": None,
        "archive_path": None,
    }
    assert (dog["uniqueness_score"], dog["cluster_id"], dog["search_confidence"]) == (None, None, 0.5)
    assert [dog[name] for name in ("labels", "user_tags", "captions", "issues")] == [[], [], [], []]


def test_columns_have_types_with_and_without_rows() -> None:
    for items in ([], [CAT]):
        schema = pq.read_schema(written(*items))
        assert {field.name: str(field.type).replace("element: ", "item: ") for field in schema} == {
            "media_id": "string",
            "media_type": "string",
            "image_filename": "string",
            "file_name": "string",
            "file_path": "string",
            "file_size_bytes": "int64",
            "width": "int32",
            "height": "int32",
            "uniqueness_score": "double",
            "url": "string",
            "cluster_id": "string",
            "labels": "list<item: string>",
            "user_tags": "list<item: string>",
            "captions": "list<item: string>",
            "issues": "list<item: struct<issue_type: string, confidence: double, "
            "duplicate_group_id: string, duplicate_threshold: double>>",
            "search_confidence": "double",
            "archive_path": "string",
        }


def test_the_schema_carries_the_head_of_the_export() -> None:
    assert json.loads(pq.read_schema(written(CAT)).metadata[INFO_KEY]) == info_json(head(1))


def test_where_originals_are_placed_each_row_tells_its_path() -> None:
    out = io.BytesIO()
    write_parquet(out, head(2), [CAT, DOG], place={CAT: "images/cat.jpg"}.get)
    assert pq.read_table(out)["archive_path"].to_pylist() == ["images/cat.jpg", None]


def test_a_number_that_is_not_finite_is_null() -> None:
    table = pq.read_table(written(replace(CAT, uniqueness_score=float("nan"))))
    assert table["uniqueness_score"].null_count == 1


@given(texts)
def test_every_text_comes_back_as_it_is_shown(text: str) -> None:
    item = replace(
        CAT,
        media_id=text,
        file_name=text,
        file_path=text,
        url=text,
        cluster_id=text,
        issues=(IssueEntry(text, 1.0, text),),
        tags=(TagEntry(text, text),),
        labels=(LabelEntry(text, text),),
        captions=(text,),
    )
    (row,) = pq.read_table(written(item)).to_pylist()
    (issue,) = row["issues"]
    said = [
        row[name] for name in ("media_id", "image_filename", "file_name", "file_path", "url", "cluster_id")
    ]
    said += [*row["labels"], *row["user_tags"], *row["captions"]]
    said += [issue["issue_type"], issue["duplicate_group_id"]]
    assert {*said} == {shown(text)}


def test_row_groups_are_bounded_by_rows() -> None:
    file = pq.ParquetFile(written(*many(GROUP_ROWS + 2)))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [
        GROUP_ROWS,
        2,
    ]
    assert file.read(["file_name"])["file_name"].to_pylist()[-1] == f"cat_{GROUP_ROWS + 1}.jpg"


def test_row_groups_are_bounded_by_their_texts() -> None:
    file = pq.ParquetFile(written(*many(10, captions=("x" * 3 * 2**20,))))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [3, 3, 3, 1]


@pytest.mark.parametrize("told", [1, 3])
def test_another_number_of_images_than_announced_is_an_error(told: int) -> None:
    with pytest.raises(ItemsChanged, match=f"announces {told}"):
        write_parquet(io.BytesIO(), head(told), [CAT, DOG])


def test_arrow_is_loaded_when_something_is_written() -> None:
    code = "import sys, twinlens.service.explore.exports; print('pyarrow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
