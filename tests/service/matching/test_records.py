"""Records of visual_hash, remove_duplicates and rank_images: what of them is answered, and how they fail."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from tests.matching import (
    JsonObject,
    as_base64,
    ask,
    by_opencv,
    ids,
    parts,
    photograph,
    record,
    refusal,
    unreadable,
)
from tests.pictures import encode, exif, picture
from tests.servers import RunningServer

PNG = photograph("coins.png")
METHODS = ("visual_hash", "remove_duplicates", "rank_images")

FREE: JsonObject = {
    "text": 'crème "東京" 🦉\u0000\n',
    "half a surrogate pair": "a\ud83d",
    "whole": 1234567890123456789012345678901234567890,
    "decimal": 0.1,
    "whole as decimal": 2.0,
    "minus nothing": -0.0,
    "nothing": None,
    "yes": True,
    "deep": {"a": [1, {"b": [[], {}, ""]}, None]},
    "": "no name",
    "_file": "/etc/hostname",
    "noresize": True,
    "_anything": 1,
    "records": [{"_base64": "inner values are free"}],
    "query_record": 5,
    "hash_type": "md5",
    "code": 500,
}
"""Fields that mean nothing to the server."""

OURS: JsonObject = {
    "_width": 1,
    "_height": "x",
    "_status": {"code": 500, "text": "?", "request_id": "?"},
    "removed_records": [{"_id": 5}],
    "bmh1": "01",
    "phash": None,
}
"""Fields that only the server writes."""


def hashes(server: RunningServer, *records: JsonObject, **options: Any) -> list[JsonObject]:
    answer = ask(server, "visual_hash", {"records": list(records), **options})
    found: list[JsonObject] = answer["records"]
    return found


# -- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_unknown_field_is_echoed_as_it_was_sent(server: RunningServer, method: str) -> None:
    records = [record(PNG, **FREE), record(PNG, **FREE), unreadable(**FREE)]
    answer = ask(server, method, {"records": records, "query_record": record(PNG, **FREE)})
    echoed = parts(answer)
    assert len(echoed) == (4 if method == "rank_images" else 3)
    for each in echoed:
        # As text, since 2.0 and 2 are equal, and so are 0.0 and -0.0.
        assert json.dumps({key: each[key] for key in FREE}) == json.dumps(FREE)
        assert "_base64" not in each


@pytest.mark.parametrize("method", METHODS)
def test_fields_of_the_server_are_never_echoed(server: RunningServer, method: str) -> None:
    records = [record(PNG, **OURS), unreadable(**OURS)]
    answer = ask(
        server, method, {"records": records, "query_record": record(PNG, **OURS), "hash_type": "phash"}
    )
    for each in parts(answer):
        assert not [key for key, sent in OURS.items() if key in each and each[key] == sent]
        assert "removed_records" not in each and "bmh1" not in each


def test_fields_of_a_good_record(server: RunningServer) -> None:
    body = {"records": [record(PNG)], "query_record": record(PNG)}
    size = {"_width", "_height"}
    assert set(ask(server, "visual_hash", body)["records"][0]) == size | {"bmh1", "phash"}
    assert set(ask(server, "remove_duplicates", body)["records"][0]) == size | {"_id", "_status"}
    answer = ask(server, "rank_images", body)
    assert set(answer["query_records"][0]) == size
    assert set(answer["answer_records"][0]) == size | {"_id"}


def test_size_is_that_of_the_upright_image(server: RunningServer) -> None:
    turned = encode(picture(40, 90), "JPEG", exif=exif(6))
    (answered,) = hashes(server, record(turned))
    assert (answered["_width"], answered["_height"]) == (40, 90)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (1, "1"),
        (0, "0"),
        (-7, "-7"),
        (10**25, "1" + "0" * 25),
        (1.5, "1.5"),
        ("1", "1"),
        ("a b/ü", "a b/ü"),
        ("\ud83d", "\ud83d"),
    ],
)
def test_ids_are_answered_as_strings(server: RunningServer, sent: Any, answered: str) -> None:
    body = {"records": [record(PNG, _id=sent), unreadable(_id=sent)], "query_record": record(PNG, _id=sent)}
    for method in METHODS:
        assert set(ids(parts(ask(server, method, body)))) == {answered}


@pytest.mark.parametrize("absent", [{}, {"_id": None}])
def test_records_without_an_id_get_one_where_the_documentation_shows_it(
    server: RunningServer, absent: JsonObject
) -> None:
    body = {"records": [record(PNG, **absent), unreadable(**absent)], "query_record": record(PNG, **absent)}
    assert not any("_id" in each for each in parts(ask(server, "visual_hash", body)))
    ranking = ask(server, "rank_images", body)
    assert "_id" not in ranking["query_records"][0]
    given = parts(ask(server, "remove_duplicates", body)) + parts(ranking)[1:]
    assert len({UUID(id, version=4) for id in ids(given)}) == 4


@pytest.mark.parametrize("sent", [True, [1], {"a": 1}])
def test_an_id_of_another_type_fails_its_record(server: RunningServer, sent: Any) -> None:
    body = {"records": [record(PNG, _id=sent), record(PNG)], "query_record": record(PNG)}
    first, second = ask(server, "visual_hash", body)["records"]
    assert "_id must be a string or a number" in first["_status"]["text"] and "_id" not in first
    assert "bmh1" in second
    for method in ("remove_duplicates", "rank_images"):
        (skipped,) = ask(server, method, body)["skipped_records"]
        assert skipped["_status"]["code"] == 400 and UUID(skipped["_id"])
    assert "_id must be" in refusal(
        server, "rank_images", {"query_record": record(PNG, _id=sent), "records": []}
    )


# -- images ----------------------------------------------------------------------------------------


def test_base64_is_read_in_every_common_form(server: RunningServer) -> None:
    text = as_base64(PNG)
    short = as_base64(PNG + b"\0" * (-len(PNG) % 3 + 1))
    assert short.endswith("==")
    forms = [
        text,
        "data:image/png;base64," + text,
        "data:image/jpeg;charset=x;base64," + text,
        " \n" + "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\t",
        "DATA:image/png;base64,\n" + text,
        base64.urlsafe_b64encode(PNG).decode(),
        short,
        short.rstrip("="),
    ]
    expected = by_opencv(PNG)
    assert hashes(server, *({"_base64": form} for form in forms)) == [expected] * len(forms)


def test_an_image_that_is_sent_is_not_downloaded(server: RunningServer) -> None:
    both = record(PNG, _url="http://127.0.0.1:9/nothing", _file="/nothing")
    assert hashes(server, both) == [by_opencv(PNG) | {"_url": both["_url"], "_file": "/nothing"}]


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({}, "the record has neither _url nor _base64"),
        ({"_file": "/etc/hostname"}, "the record has neither _url nor _base64"),
        ({"_base64": ""}, "its _base64 is empty"),
        ({"_url": ""}, "its _url is empty"),
        ({"_base64": 5}, "_base64 must be a string"),
        ({"_url": ["http://localhost/"]}, "_url must be a string"),
        ({"_base64": "(no base64)"}, "_base64 is not base64 text"),
        ({"_base64": "iVBORw0KGgo="}, ""),
        ({"_base64": as_base64(PNG[: len(PNG) // 2])}, ""),
        ({"_url": "http://127.0.0.1:9/x.png"}, "'http://127.0.0.1:9/x.png' is not fetched: "),
        ({"_url": "file:///etc/hostname"}, "'file:///etc/hostname' is not fetched: "),
        ({"_url": "C:\\x.png"}, "'C:\\x.png' is not fetched: "),
    ],
    ids=range(12),
)
def test_a_broken_record_fails_alone(server: RunningServer, broken: JsonObject, complaint: str) -> None:
    good, bad = record(PNG, _id="good"), {**broken, "_id": "bad", "shop": 7}
    body = {"records": [bad, good], "query_record": record(PNG)}
    status, first, second = mixed(ask(server, "visual_hash", body))
    assert "bmh1" in second and "_status" not in second
    echoed = {key: value for key, value in bad.items() if key != "_base64"}
    assert first == echoed | {"_status": status}
    assert status["text"].startswith("Error Loading Image: " + complaint)

    for method in ("remove_duplicates", "rank_images"):
        answer = ask(server, method, body)
        (skipped,) = answer["skipped_records"]
        text = skipped["_status"]["text"]
        assert text == status["text"] and answer["status"]["code"] == 300
        assert skipped == echoed | {"_status": skipped["_status"]}
        (kept,) = answer.get("answer_records") or answer["records"]
        assert kept["_id"] == "good"
    assert refusal(server, "rank_images", {"query_record": bad, "records": [good]}) == status["text"]


def mixed(answer: JsonObject) -> tuple[JsonObject, JsonObject, JsonObject]:
    """The status of the first of two records, and both records, of which the first has failed."""
    assert (answer["status"]["code"], answer["status"]["text"]) == (300, "MIXED_RESULT")
    first, second = answer["records"]
    status = first["_status"]
    assert status == {"code": 400, "text": status["text"], "request_id": answer["status"]["request_id"]}
    return status, first, second


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_in_which_every_record_failed_says_so(server: RunningServer, method: str) -> None:
    body = {"records": [unreadable(_id=1), unreadable(_id=2)], "query_record": record(PNG)}
    answer = ask(server, method, body)
    assert answer["status"]["code"] == 400 and answer["status"]["text"] != "OK"
    failed = answer["records"] if method == "visual_hash" else answer["skipped_records"]
    assert ids(failed) == ["1", "2"] and {each["_status"]["code"] for each in failed} == {400}
    if method == "rank_images":
        assert answer["answer_records"] == answer["answer_distances"] == []
    elif method == "remove_duplicates":
        assert answer["records"] == []


@pytest.mark.parametrize("method", METHODS)
def test_no_records_are_no_failure(server: RunningServer, method: str) -> None:
    answer = ask(server, method, {"records": [], "query_record": record(PNG)})
    assert answer["status"]["code"] == 200 and "skipped_records" not in answer
    assert answer.get("records", []) == answer.get("answer_records", []) == []
