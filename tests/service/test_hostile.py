"""Hostile bodies: every one gets the contract's error, and the server is as well as before.

URLs are in `test_hostile_urls.py`, bare connections in `test_hostile_connections.py`.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.attacks import KEPT, assert_failed, assert_refused, only_record, settled, unharmed
from tests.broken import INDEXED, SKIPPED, make_broken
from tests.encoders import png_chunk, png_header
from tests.matching import as_base64, record
from tests.pictures import HEIGHT, WIDTH, encode, picture
from tests.servers import RunningServer

READABLE = as_base64(picture(seed=1))
IMAGE = {"_base64": READABLE}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with unharmed(tmp_path_factory.mktemp("home"), request_seconds=20) as running:
        yield running


def post(server: RunningServer, method: str, body: bytes | str | Any, **options: Any) -> httpx.Response:
    """Send bytes and text as they are, everything else as JSON in ASCII."""
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return server.post(method, content=content, **options)


# -- what is no JSON object ------------------------------------------------------------------------

DEEP = 1_000_000
BODIES = {
    "nothing": (b"", "not JSON"),
    "half an object": (b'{"records": [', "not JSON"),
    "an array": (b"[]", "must be a JSON object, not an array"),
    "a string": (b'"records"', "must be a JSON object, not a string"),
    "a number": (b"5", "must be a JSON object, not a number"),
    "null": (b"null", "must be a JSON object, not null"),
    "two objects": (b'{"records": []}{"records": []}', "not JSON"),
    "single quotes": (b"{'records': []}", "not JSON"),
    "a form": (b"records=%5B%5D", "not JSON"),
    "a gzip file": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "not utf-8 text"),
    "a control character": (b'{"records": "\x01"}', "not JSON"),
    "no UTF-8": (b'{"records": ["\xff\xfe"]}', "not utf-8 text"),
    "UTF-8 of half a surrogate pair cut short": (b'{"records": ["\xed\xa0"]}', "not utf-8 text"),
    "NaN": (b'{"records": [], "range": NaN}', "NaN is not a number"),
    "minus infinity": (b'{"records": [], "range": -Infinity}', "-Infinity is not a number"),
    "a number too large": (b'{"records": [], "range": 1e400}', "1e400"),
    "a number too long": (b'{"records": [], "range": ' + b"9" * 5000 + b"}", "too many digits"),
    "a million arrays in each other": (b'{"records": ' + b"[" * DEEP, "values"),
    "a million objects in each other": (b'{"a":' * DEEP, "nested too deeply"),
    "900,000 arrays in each other": (b'{"records": ' + b"[" * 900_000, "nested too deeply"),
    "950 arrays in each other": (b'{"records":' + b"[" * 950 + b"]" * 950 + b"}", "nested too deeply"),
    "101 objects in each other": (b'{"a":' * 101 + b"0" + b"}" * 101, "nested too deeply"),
    "the same key twice, the last one wrong": (b'{"records": [], "records": 5}', "records must be an array"),
    "twenty million values": (b'{"records":[' + b"{}," * 20_000_000 + b"{}]}", "more than 1,000,000 values"),
}


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_request(server: RunningServer, body: bytes, words: str) -> None:
    assert_refused(post(server, "remove_duplicates", body), 400, words)


def test_a_hundred_megabytes(server: RunningServer) -> None:
    body = b'{"records": [{"_base64": "' + b"A" * 100_000_000 + b'"}]}'
    assert_refused(post(server, "visual_hash", body), 400, "more than 67,108,864 bytes")


def test_a_hundred_megabytes_that_announce_nothing(server: RunningServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000_000

    assert_refused(server.post("visual_hash", content=chunks()), 400, "more than 67,108,864 bytes")


def test_sixty_megabytes_of_letters_in_one_field(server: RunningServer) -> None:
    answer = post(server, "remove_duplicates", b'{"records": [], "x": "' + b"A" * 60_000_000 + b'"}')
    assert answer.json()["status"]["code"] == 200


def test_sixty_megabytes_of_one_image(server: RunningServer) -> None:
    answer = post(server, "visual_hash", b'{"records": [{"_base64": "' + b"A" * 60_000_000 + b'"}]}')
    assert_failed(only_record(answer), "at most 33,554,432 are read")


# -- wrong types -----------------------------------------------------------------------------------

RECORDS = [IMAGE]
QUERY = {"query_record": IMAGE}
ON_RECORDS: dict[str, tuple[str, Any, str]] = {
    "records are missing": ("visual_hash", {}, "records is missing"),
    "records are null": ("visual_hash", {"records": None}, "records is missing"),
    "records are an object": ("visual_hash", {"records": {}}, "records must be an array, not an object"),
    "records are a number": ("visual_hash", {"records": 5}, "records must be an array, not 5"),
    "records are true": ("visual_hash", {"records": True}, "records must be an array, not True"),
    "records are a string": ("visual_hash", {"records": "x" * 10**6}, "records must be an array, not 'xxx"),
    "a record is null": ("visual_hash", {"records": [IMAGE, None]}, "records.1 must be an object, not None"),
    "a record is an array": ("visual_hash", {"records": [[]]}, "records.0 must be an object, not an array"),
    "a record is a URL": ("visual_hash", {"records": ["http://a/"]}, "records.0 must be an object"),
    "a record is a boolean": ("insert", {"records": [False]}, "records.0 must be an object, not False"),
    "900,000 records are numbers": ("insert", {"records": [0] * 900_000}, "records.0 must be an object"),
    "400,000 records are empty": ("rank_images", QUERY | {"records": [{}] * 400_000}, "at most 1,000"),
    "more records than documented": ("visual_hash", {"records": [IMAGE] * 11}, "at most 10"),
    "a query is missing": ("rank_images", {"records": []}, "query_record is missing"),
    "a query is an array": ("visualKNN", {"query_record": [IMAGE]}, "query_record must be an object"),
    "a query is a string": ("nearDuplicates", {"query_record": "1"}, "query_record must be an object"),
    "a query is empty": ("visualKNN", {"query_record": {}}, "neither _url nor _base64"),
    "a query is no image": ("rank_images", {"query_record": {"_base64": "AAAA"}, "records": []}, "no known"),
    "a stored record has no id": ("get", {"records": [{"_id": 1}, {}]}, "records.1: _id is missing"),
    "an id is null": ("delete", {"records": [{"_id": None}]}, "records.0: _id is missing"),
    "an id is an array": ("update", {"records": [{"_id": [1]}]}, "_id must be a string or a number"),
    "an id is an object": ("get", {"records": [{"_id": {"$ne": 1}}]}, "_id must be a string or a number"),
    "an id is true": ("get", {"records": [{"_id": True}]}, "_id must be a string or a number"),
    "an id is half a surrogate pair": ("get", {"records": [{"_id": "\ud800"}]}, "half a surrogate pair"),
}
ON_PARAMETERS: dict[str, tuple[str, Any, str]] = {
    "hash_type is unknown": (
        "remove_duplicates",
        {"hash_type": "md5"},
        "must be 'bmh1' or 'phash', not 'md5'",
    ),
    "hash_type is empty": ("rank_images", QUERY | {"hash_type": ""}, "must be 'bmh1' or 'phash'"),
    "hash_type is a number": ("visual_hash", {"hash_type": 1}, "hash_type must be an array, not 1"),
    "hash_type is no name": ("visual_hash", {"hash_type": []}, "hash_type must not be empty"),
    "hash_type has a wrong name": ("visual_hash", {"hash_type": ["bmh1", "md5"]}, "hash_type.1 must be"),
    "hash_type has 900,000 wrong names": ("visual_hash", {"hash_type": [0] * 900_000}, "hash_type.0 must be"),
    "range is a string": ("remove_duplicates", {"range": "5"}, "range must be a number, not '5'"),
    "range is true": ("remove_duplicates", {"range": True}, "range must be a number, not True"),
    "range is an array": ("remove_duplicates", {"range": [5]}, "range must be a number, not an array"),
    "range is negative": ("nearDuplicates", QUERY | {"range": -1e-300}, "range must be 0.0 or more"),
    "range has 400 digits": ("remove_duplicates", {"range": 10**400}, "range"),
    "k is zero": ("visualKNN", QUERY | {"k": 0}, "k must be 1 or more, not 0"),
    "k is negative": ("visualKNN", QUERY | {"k": -1}, "k must be 1 or more, not -1"),
    "k is half": ("visualKNN", QUERY | {"k": 1.5}, "k must be a whole number, not 1.5"),
    "k is a string": ("visualKNN", QUERY | {"k": "5"}, "k must be a whole number, not '5'"),
    "k is true": ("visualKNN", QUERY | {"k": True}, "k must be a whole number, not True"),
    "k has 4,000 digits": ("visualKNN", QUERY | {"k": 10**4000}, "k must be 1000000000 or less"),
    "count is 1e308": ("random", {"count": 1e308}, "count must be 1000000000 or less"),
    "count is negative": ("random", {"count": -1}, "count must be 0 or more"),
    "count is an object": ("random", {"count": {}}, "count must be a whole number, not an object"),
    "fields_to_return is a string": ("get", {"fields_to_return": "*"}, "fields_to_return must be an array"),
    "fields_to_return has a number": ("get", {"fields_to_return": ["a", 1]}, "fields_to_return.1 must be"),
    "fields_to_return has null": ("allRecords", {"fields_to_return": [None]}, "fields_to_return.0 must be"),
    "fields_to_return is an object": (
        "random",
        {"fields_to_return": {}},
        "fields_to_return must be an array",
    ),
}
DEEP_FILTER = json.loads('{"$or": [' * 30 + '{"a": 1}' + "]}" * 30)
ON_FILTERS: dict[str, tuple[Any, str]] = {
    "is an array": ([], "filter must be an object, not an array"),
    "is a string": ("this.a == 1", "filter must be an object, not 'this.a == 1'"),
    "runs JavaScript": ({"$where": "sleep(10000)"}, "unknown operator '$where'"),
    "runs a regular expression": ({"a": {"$regex": "(a+)+$"}}, "unknown operator '$regex'"),
    "has an operator in a value": ({"a": {"$eq": {"$ne": 1}}}, "'$ne' stands in a value"),
    "mixes operators and keys": ({"a": {"$gt": 1, "b": 2}}, "mixed"),
    "compares with null": ({"a": {"$lt": None}}, "$lt takes a number, a string or a boolean, not null"),
    "compares with an array": ({"a": {"$gte": [1]}}, "$gte takes a number"),
    "lists nothing": ({"a": {"$in": 5}}, "$in takes an array, not a number"),
    "asks for existence by number": ({"a": {"$exists": 1}}, "$exists takes true or false, not a number"),
    "has no alternatives": ({"$or": []}, "$or takes an array of one or more objects, not an empty array"),
    "has an alternative that is none": ({"$and": [5]}, "a filter is an object, not a number"),
    "nests 60 levels": (DEEP_FILTER, "nests at most 32 levels"),
    "has a path of 100 parts": ({".".join("a" * 100): 1}, "at most 32 parts"),
}


@pytest.mark.parametrize(("method", "body", "words"), ON_RECORDS.values(), ids=ON_RECORDS)
def test_records_of_a_wrong_type(server: RunningServer, method: str, body: Any, words: str) -> None:
    assert_refused(post(server, method, body), 400, words)


@pytest.mark.parametrize(("method", "body", "words"), ON_PARAMETERS.values(), ids=ON_PARAMETERS)
def test_parameters_of_a_wrong_type(server: RunningServer, method: str, body: Any, words: str) -> None:
    assert_refused(post(server, method, {"records": [], **body}), 400, words)


@pytest.mark.parametrize(("filter", "words"), ON_FILTERS.values(), ids=ON_FILTERS)
@pytest.mark.parametrize("method", ["random", "allRecords"])
def test_a_filter_that_is_none(server: RunningServer, method: str, filter: Any, words: str) -> None:
    assert_refused(post(server, method, {"filter": filter}), 400, words)


def test_a_filter_that_would_take_minutes(tmp_path: Path) -> None:
    with unharmed(tmp_path, request_seconds=2) as hurried:
        small = as_base64(picture(8, 8))
        for part in range(5):
            records = [{"_base64": small, "_id": f"{part}-{number}"} for number in range(100)]
            assert post(hurried, "insert", {"records": records}).json()["status"]["code"] == 210
        endless = {"$or": [{"a": {"$gt": number}} for number in range(20_000)]}
        for method in ("allRecords", "visualKNN"):
            answer = post(hurried, method, QUERY | {"filter": endless})
            assert_refused(answer, 400, "the filter took more than 2 s: use fewer conditions")


@pytest.mark.parametrize("size", ["-1", "x", "1e9", "", "9" * 100, "\u0661", "1;drop table records"])
def test_a_page_that_is_none(server: RunningServer, size: str) -> None:
    for name in ("size", "page"):
        answer = post(server, "allRecords", {}, params={name: size})
        assert_refused(answer, 400, f"{name} must be a whole number from 0")


NAMES = {
    "too long": (b"x" * 201, "at most 200"),
    "60 kilobytes": (b"x" * 60_000, "at most 200"),
    "not ASCII": ("sch\xf6n".encode(), "printable ASCII"),
    "latin-1": (b"sch\xf6n", "printable ASCII"),
    "a tab inside": (b"a\tb", "printable ASCII"),
}


@pytest.mark.parametrize(("name", "words"), NAMES.values(), ids=NAMES)
def test_a_collection_of_no_name(server: RunningServer, name: bytes, words: str) -> None:
    assert_refused(post(server, "allRecords", {}, headers={b"collection-id": name}), 400, words)


def test_what_is_odd_but_no_mistake(server: RunningServer) -> None:
    """A server that refused everything would pass the rest."""
    many = {"$or": [{"a": number} for number in range(10_000)]}
    assert post(server, "allRecords", {"filter": many}).json()["answer_count"] == 0
    assert post(server, "visualKNN", QUERY | {"k": 10**9}).json()["answer_count"] == 10
    assert post(server, "remove_duplicates", {"records": RECORDS * 2, "range": 1e308}).status_code == 200
    assert post(server, "visual_hash", '{"records": []}'.encode("utf-16")).status_code == 200
    assert post(server, "get", {"records": [{"_id": "'; DROP TABLE records; --"}]}).status_code == 200
    assert post(server, "visual_hash", {"records": [], "\ud800": "\udfff"}).status_code == 200


# -- records that cannot be analysed ---------------------------------------------------------------

SOURCES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "neither _url nor _base64"),
    "_url is a number": ({"_url": 5}, "_url must be a string"),
    "_url is an array": ({"_url": ["http://example.com/"]}, "_url must be a string"),
    "_url is an object": ({"_url": {"href": "http://example.com/"}}, "_url must be a string"),
    "_url is empty": ({"_url": ""}, "its _url is empty"),
    "_base64 is an object": ({"_base64": {}}, "_base64 must be a string"),
    "_base64 is a number": ({"_base64": 1e308}, "_base64 must be a string"),
    "_base64 is true": ({"_base64": True}, "_base64 must be a string"),
    "_base64 is an array of bytes": ({"_base64": [137, 80, 78, 71]}, "_base64 must be a string"),
    "_base64 is empty": ({"_base64": ""}, "its _base64 is empty"),
    "_base64 is blank": ({"_base64": " \n\t"}, "empty"),
    "_base64 is punctuation": ({"_base64": "!!!!"}, "not base64 text"),
    "_base64 is one letter": ({"_base64": "A"}, "not base64 text"),
    "_base64 is padding": ({"_base64": "===="}, "empty"),
    "_base64 has padding inside": ({"_base64": "AA==AAAA"}, "not base64 text"),
    "_base64 is not ASCII": ({"_base64": "\u00e9\u4e2d\U0001f600"}, "not base64 text"),
    "_base64 is half a surrogate pair": ({"_base64": "\ud800"}, "not base64 text"),
    "_base64 has a NUL": ({"_base64": "AAAA\0AAAA"}, "not base64 text"),
    "_base64 is a data URL without data": ({"_base64": "data:image/png;base64,"}, "empty"),
    "_base64 is a data URL without a comma": ({"_base64": "data:" + "x" * 10**6}, "not base64 text"),
    "_base64 is percent-encoded": ({"_base64": "data:image/png,%89PNG"}, "not base64 text"),
    "_base64 is an SVG": ({"_base64": b64encode(b"<svg xmlns='x'/>").decode()}, "SVG"),
    "_id is true": ({**IMAGE, "_id": True}, "_id must be a string or a number"),
    "_id is an object": ({**IMAGE, "_id": {}}, "_id must be a string or a number"),
}


@pytest.mark.parametrize(("record", "words"), SOURCES.values(), ids=SOURCES)
def test_a_record_without_a_readable_image(server: RunningServer, record: Any, words: str) -> None:
    assert_failed(only_record(post(server, "visual_hash", {"records": [record]})), words)
    for method, key in (("remove_duplicates", "records"), ("rank_images", "answer_records")):
        answer = post(server, method, {"query_record": IMAGE, "records": [record, IMAGE]}).json()
        assert answer["status"]["code"] == 300 and len(answer[key]) == 1
        (skipped,) = answer["skipped_records"]
        assert_failed(skipped, words)


def test_fields_are_answered_as_they_were_sent_whatever_they_hold(server: RunningServer) -> None:
    fields = {
        "_file": "/etc/passwd",
        "__proto__": {"polluted": True},
        "<script>": "</script>\u2028\u2029\0",
        "number": -1.5e300,
        "\ud800": ["\udfff", {"\r\nSet-Cookie": "a=b"}],
        "_width": "ignored",
    }
    answer = post(server, "visual_hash", {"records": [{**IMAGE, **fields}]})
    (found,) = answer.json()["records"]
    del fields["_width"]
    assert {key: found[key] for key in fields} == fields
    assert "set-cookie" not in answer.headers


def test_the_deepest_record_that_is_read_can_be_stored_and_found(server: RunningServer) -> None:
    deep = json.loads("[" * 97 + "]" * 97)
    fields = {"_id": "deep", "x": deep}
    assert post(server, "insert", {"records": [IMAGE | fields]}).json()["status"]["code"] == 210
    found = post(server, "get", {"records": [{"_id": "deep"}], "fields_to_return": ["*"]}).json()
    assert found["answer_records"][0]["x"] == deep
    assert_refused(post(server, "insert", {"records": [IMAGE | {"x": [deep]}]}), 400, "nested too deeply")


# -- images ----------------------------------------------------------------------------------------


NAMED_ONLY = (b"film.mp4", b"FILM.MOV", b"drawing.svg", b"raw.CR2")
"""Nothing in them says what they are, and a server gets no names."""


def test_every_broken_file_that_is_known(server: RunningServer, tmp_path: Path) -> None:
    expected = make_broken(tmp_path)
    files = {name: tmp_path / os.fsdecode(name) for name in expected}
    contents = {
        name: path.read_bytes() for name, path in files.items() if path.is_file() and not path.is_symlink()
    }
    assert len(contents) > 60
    readable = 0
    for name, data in contents.items():
        answer = post(server, "visual_hash", {"records": [{"_base64": b64encode(data).decode()}]})
        (found,) = answer.json()["records"]
        if "_status" in found:
            assert expected[name] != INDEXED
            assert_failed(found, "" if name in NAMED_ONLY or expected[name] == SKIPPED else expected[name])
        else:
            assert expected[name] in (INDEXED, SKIPPED) and len(found["bmh1"]) == 968
            readable += 1
    assert readable > 10


def flat(kind: str, width: int, height: int) -> bytes:
    """A file a hundredth or a thousandth the size of its pixels."""
    target = BytesIO()
    Image.new("RGB", (width, height), (1, 2, 3)).save(target, kind)
    return target.getvalue()


def test_images_that_unpack_to_too_many_pixels(tmp_path: Path) -> None:
    kinds = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
    with unharmed(tmp_path, max_image_pixels=1_000_000) as careful:
        records = [record(flat(kind, 1000, 1001)) for kind in kinds]
        answer = post(careful, "visual_hash", {"records": records}).json()
    for found in answer["records"]:
        assert_failed(found, "1,000 x 1,001 pixels")


def test_a_thread_of_a_hundred_million_pixels(server: RunningServer) -> None:
    thread = png_header(1, 100_000_001, 8, 2) + png_chunk(b"IDAT", b"")
    answer = post(server, "visual_hash", {"records": [record(thread)]})
    assert_failed(only_record(answer), "1 x 100,000,001")


def test_a_film_is_its_first_frame(server: RunningServer) -> None:
    frames = [Image.new("L", (500, 500), shade) for shade in range(200)]
    film = encode(picture(seed=1), "GIF", save_all=True, append_images=frames)
    answer = post(server, "visual_hash", {"records": [record(film)]}).json()
    assert (answer["records"][0]["_width"], answer["records"][0]["_height"]) == (WIDTH, HEIGHT)


def test_the_largest_images_that_are_served_leave_no_memory_behind(server: RunningServer) -> None:
    before = server.memory()
    # The second time, C libraries would take the memory from where they keep what was freed.
    for size in (10_000, 5_000, 5_000):
        records = [record(flat(kind, size, size)) for kind in ("PNG", "JPEG")]
        answer = post(server, "remove_duplicates", {"records": records}).json()
        assert len(answer["records"][0]["removed_records"]) == 1
    assert settled(server, before) < before + KEPT
