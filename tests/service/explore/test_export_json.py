from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.explore.media import CAT, DOG, head, many
from twinlens.service.explore.export_items import IssueEntry, ItemsChanged, LabelEntry, MediaItem, TagEntry
from twinlens.service.explore.export_json import file_size_text, iter_json, iter_media_ids_csv, write_json
from twinlens.service.table import shown

# What os.fsdecode can return: any text, and lone surrogates for bytes that are not UTF-8.
texts = st.binary(max_size=12).map(os.fsdecode) | st.text(st.characters(exclude_categories=()), max_size=12)


def document(*items: MediaItem) -> bytes:
    return b"".join(iter_json(head(len(items)), items))


def test_the_document_has_a_head_and_its_images() -> None:
    assert json.loads(document(CAT)) == {
        "info": {
            "schema_version": "1.1",
            "dataset": "pets",
            "description": "two pets",
            "dataset_url": "http://localhost:8000/dataset/1",
            "export_time": "2024-06-08 12:34:56",
            "dataset_creation_time": "2024-01-01 00:00:00",
            "exported_by": "ann",
            "total_media_items": 1,
        },
        "media_items": [
            {
                "media_id": "300dad2c-1234-41f1-8483-5a879df30de4",
                "media_type": "image",
                "file_name": "cat.jpg",
                "file_path": "pets/cat.jpg",
                "file_size": "48.27KB",
                "uniqueness_score": 0.25,
                "height": 1080,
                "width": 1920,
                "url": "http://localhost:8000/media/cat",
                "cluster_id": "d0470097-0c77-4a9c-9edf-289680df7f71",
                "metadata_items": [
                    {"type": "issue", "properties": {"issue_type": "blur", "confidence": 0.75}},
                    {
                        "type": "issue",
                        "properties": {
                            "issue_type": "duplicates",
                            "confidence": 1.0,
                            "duplicate_group_id": "d0470097",
                            "duplicate_threshold": 0.95,
                        },
                    },
                    {
                        "type": "user_tag",
                        "properties": {"tag_name": "review", "assigned_date": "2024-06-08T12:34:56Z"},
                    },
                    {
                        "type": "image_label",
                        "properties": {"category_name": "cat", "source": "User", "original_id": -1},
                    },
                    {
                        "type": "image_label",
                        "properties": {"category_name": "animal", "source": "User", "original_id": 7},
                    },
                    {
                        "type": "caption",
                        "properties": {
                            "text": "a cat on a mat",
                            "caption": "a cat on a mat",
                            "source": "User",
                        },
                    },
                ],
            }
        ],
    }


def test_what_is_not_known_is_null() -> None:
    (dog,) = json.loads(document(DOG))["media_items"]
    assert (dog["uniqueness_score"], dog["cluster_id"], dog["metadata_items"]) == (None, None, [])
    assert dog["file_size"] == "512.00B"


def test_the_confidence_of_a_search_is_there_after_a_search_only() -> None:
    found = replace(CAT, search_confidence=0.5)
    first, second = json.loads(document(found, DOG))["media_items"]
    assert first["search_confidence"] == 0.5
    assert "search_confidence" not in second


def test_where_originals_are_placed_each_image_tells_its_path() -> None:
    pieces = iter_json(head(2), [CAT, DOG], place={CAT: "images/cat.jpg"}.get)
    items = json.loads(b"".join(pieces))["media_items"]
    assert [item["archive_path"] for item in items] == ["images/cat.jpg", None]


def test_the_text_is_compact_with_one_image_a_line() -> None:
    first, *lines, last = document(CAT, DOG).splitlines()
    assert first.startswith(b'{"info":{"schema_version":"1.1","dataset":"pets",')
    assert lines[0].startswith(b'{"media_id":"300dad2c-') and lines[0].endswith(b"]},")
    assert lines[1].startswith(b'{"media_id":"9c1f4b60-') and lines[1].endswith(b"]}")
    assert (len(lines), last) == (2, b"]}")


def test_no_images_are_a_document_too() -> None:
    assert json.loads(document())["media_items"] == []


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null(number: float) -> None:
    odd = replace(CAT, uniqueness_score=number, issues=(IssueEntry("blur", number),))
    (item,) = json.loads(document(odd))["media_items"]
    assert item["uniqueness_score"] is None
    assert item["metadata_items"][0]["properties"]["confidence"] is None


def test_a_byte_that_is_not_utf8_is_shown_as_its_escape() -> None:
    (item,) = json.loads(document(replace(CAT, file_name=os.fsdecode(b"caf\xc3\xa9 \xff.jpg"))))[
        "media_items"
    ]
    assert item["file_name"] == "café \\udcff.jpg"


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
    written = b"".join(iter_json(replace(head(1), dataset=text), [item]))
    read = json.loads(written.decode("utf-8"))
    (found,) = read["media_items"]
    said = [read["info"]["dataset"], *(found[name] for name in ("media_id", "file_name", "file_path"))]
    said += [found["url"], found["cluster_id"]]
    for one in found["metadata_items"]:
        said += [value for value in one["properties"].values() if isinstance(value, str)]
    assert sorted({*said}) == sorted({shown(text), "User"})


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.00B"),
        (1023, "1023.00B"),
        (1024, "1.00KB"),
        (49_428, "48.27KB"),
        (2**20 - 1, "1.00MB"),
        (3_544_187, "3.38MB"),
        (2**30, "1.00GB"),
        (5 * 2**40, "5120.00GB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert file_size_text(size) == text


@given(st.integers(0, 2**50))
def test_a_size_is_within_half_a_hundredth_of_its_unit(size: int) -> None:
    text = file_size_text(size)
    number = text.rstrip("BKMG")
    unit = 1024 ** ["B", "KB", "MB", "GB"].index(text.removeprefix(number))
    assert float(number) < 1024 or unit == 1024**3
    assert abs(float(number) * unit - size) <= 0.0051 * unit


@pytest.mark.parametrize(("told", "came"), [(1, "more than 1"), (3, "and 2 came")])
def test_another_number_of_images_than_announced_is_an_error(told: int, came: str) -> None:
    with pytest.raises(ItemsChanged, match=rf"'pets' announces {told} images.*{came}.*export it again"):
        write_json(io.BytesIO(), head(told), [CAT, DOG])


def test_writing_tells_how_many_there_were() -> None:
    out = io.BytesIO()
    assert write_json(out, head(2), [CAT, DOG]) == 2
    assert out.getvalue() == document(CAT, DOG)


def test_pieces_come_while_the_images_do() -> None:
    taken: list[str] = []

    def items() -> Iterator[MediaItem]:
        for item in many(1000):
            taken.append(item.media_id)
            yield item

    sizes = [(len(taken), len(piece)) for piece in iter_json(head(1000), items())]
    assert sizes[0][0] < 200
    assert all(2**16 <= size < 2**17 for _, size in sizes[:-1])


def test_media_ids_are_a_table() -> None:
    written = b"".join(iter_media_ids_csv([("cat.jpg", "300d"), ('a, "b".jpg', "9c1f")]))
    assert written == b'filename,media_id\r\ncat.jpg,300d\r\n"a, ""b"".jpg",9c1f\r\n'


def test_a_table_without_images_has_its_header() -> None:
    assert b"".join(iter_media_ids_csv([])) == b"filename,media_id\r\n"


def test_the_table_comes_in_pieces() -> None:
    pieces = list(iter_media_ids_csv((f"{number}.jpg", "300d") for number in range(20_000)))
    assert len(pieces) > 2
    assert b"".join(pieces).count(b"\r\n") == 20_001


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_the_table_gives_every_name_back_as_it_is_shown(rows: list[tuple[str, str]]) -> None:
    text = b"".join(iter_media_ids_csv(rows)).decode("utf-8")
    header, *read = csv.reader(io.StringIO(text, newline=""))
    assert header == ["filename", "media_id"]
    assert read == [[shown(name), shown(media_id)] for name, media_id in rows]
