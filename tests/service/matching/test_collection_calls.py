"""Collections over HTTP: what is inserted, read, changed and deleted, with which codes, and what lasts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from tests.bits import differing_by
from tests.matching import (
    Collection,
    JsonObject,
    code,
    distances,
    ids,
    photograph,
    record,
    unreadable,
)
from tests.servers import RunningServer, running_server

PNG = photograph("coins.png")


@pytest.fixture
def empty(server: RunningServer, request: pytest.FixtureRequest) -> Collection:
    return Collection(server, request.node.name)


def skipped(answer: JsonObject) -> list[tuple[str, int, int]]:
    """Id, code of `_status` and code of `_reason` of each record that was skipped."""
    return [
        (each["_id"], each["_status"]["code"], each["_reason"]["status"]["code"])
        for each in answer.get("skipped_records", [])
    ]


# -- insert ----------------------------------------------------------------------------------------


def test_all_are_inserted(empty: Collection) -> None:
    inserted = empty.insert(record(PNG, _id=1), record(PNG, _id="b"))
    assert code(inserted) == 210 and inserted["status"]["text"] == "records inserted"
    assert (inserted["answer_records"], inserted["answer_count"]) == ([{"_id": "1"}, {"_id": "b"}], 2)
    assert "skipped_records" not in inserted
    assert empty.ids() == ["1", "b"]


def test_some_are_inserted(empty: Collection) -> None:
    """An id is never given twice, and what is skipped is answered in the order sent, with its fields."""
    empty.insert(record(PNG, _id=1, shop="north"))
    answered = empty.insert(
        record(PNG, _id=1, shop="south"),
        unreadable(_id=2, shop="east"),
        record(PNG, _id=3),
        record(PNG, _id="3"),
        record(PNG, _id=[]),
    )
    assert code(answered) == 211 and answered["status"]["text"] == "some records inserted"
    assert answered["answer_records"] == [{"_id": "3"}]
    *named, nameless = skipped(answered)
    assert named == [("1", 411, 211), ("2", 400, 400), ("3", 411, 211)]
    assert UUID(nameless[0]) and nameless[1:] == (400, 400)
    assert [each.get("shop") for each in answered["skipped_records"]] == ["south", "east", None, None]
    assert all("_base64" not in each for each in answered["skipped_records"])
    assert [each["shop"] for each in empty.get(1)] == ["north"]


def test_none_is_inserted(empty: Collection) -> None:
    empty.insert(record(PNG, _id=1))
    again = empty.insert(record(PNG, _id=1), unreadable(_id=2))
    assert (code(again), again["status"]["text"]) == (411, "record duplicate")
    assert (again["answer_records"], again["answer_count"]) == ([], 0)
    broken = empty.insert(unreadable(_id=2))
    assert code(broken) == 400 and skipped(broken) == [("2", 400, 400)]
    assert code(empty.insert()) == 210


def test_what_cannot_be_stored_is_skipped_alone(empty: Collection) -> None:
    half = "\ud83d"
    answered = empty.insert(record(PNG, _id=half), record(PNG, _id="b"), record(PNG, _id=""))
    assert code(answered) == 211
    assert skipped(answered) == [(half, 400, 400)]
    assert "half a surrogate pair" in answered["skipped_records"][0]["_status"]["text"]
    named, nameless = empty.ids()
    assert named == "b" and UUID(nameless)


def test_a_full_collection(tight: RunningServer) -> None:
    full = Collection(tight, "full")
    first = full.insert(*(record(PNG, _id=n) for n in range(3)))
    assert code(first) == 211 and skipped(first) == [("2", 412, 412)]
    more = full.insert(record(PNG, _id=0), record(PNG, _id=5))
    assert (code(more), more["status"]["text"]) == (412, "hard capacity exceeded")
    assert skipped(more) == [("0", 411, 211), ("5", 412, 412)]
    assert code(full.insert(record(PNG, _id=0))) == 411
    full.call("delete", records=[{"_id": 0}])
    assert code(full.insert(record(PNG, _id=5))) == 210
    assert full.ids() == ["1", "5"]


def test_records_without_an_id_get_one(empty: Collection) -> None:
    given = ids(empty.insert(record(PNG), record(PNG, _id=None))["answer_records"])
    assert len({UUID(id, version=4) for id in given}) == 2
    assert empty.ids() == given


def test_fields_are_stored_as_they_are(empty: Collection) -> None:
    fields: JsonObject = {
        "text": 'crème "東京" 🦉\u0000',
        "half": "\ud83d",
        "big": 10**40,
        "decimal": 2.0,
        "nothing": None,
        "deep": {"a.b": [1, {"$c": []}]},
        "$set": {"x": 1},
        "": 0,
        "_file": "/etc/hostname",
        "_url": "https://example.org/a.png",
    }
    ours = {"_width": 1, "_height": 1, "bmh1": "x", "phash": "x", "_status": 1, "removed_records": []}
    inserted = empty.insert(record(PNG, _id=1, **fields, **ours), fields_to_return=["*"])
    stored = {"_id": "1", **fields, "_width": 384, "_height": 303}
    for answered in (inserted["answer_records"], empty.get("1")):
        assert [json.dumps(each, sort_keys=True) for each in answered] == [json.dumps(stored, sort_keys=True)]


def test_of_many_that_insert_the_same_one_wins(empty: Collection) -> None:
    def insert(number: int) -> JsonObject:
        return empty.insert(record(PNG, _id="same", number=number))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(insert, range(24)))
    (winner,) = [number for number, each in enumerate(answers) if code(each) == 210]
    assert sorted(code(each) for each in answers) == [210] + [411] * 23
    assert [each["number"] for each in empty.get("same")] == [winner]


# -- get, update, delete ---------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "whole"), [("get", 205), ("update", 200), ("delete", 220)])
def test_found_wholly_partly_and_not_at_all(empty: Collection, method: str, whole: int) -> None:
    empty.insert(*(record(PNG, _id=n) for n in range(4)))
    found = empty.call(method, records=[{"_id": 2}, {"_id": "0"}])
    assert (code(found), found["answer_records"]) == (whole, [{"_id": "2"}, {"_id": "0"}])
    assert found["answer_count"] == 2 and "skipped_records" not in found
    partly = empty.call(method, records=[{"_id": "x"}, {"_id": 3}, {"_id": 1.5}])
    assert (code(partly), partly["answer_records"]) == (206, [{"_id": "3"}])
    assert skipped(partly) == [("x", 404, 404), ("1.5", 404, 404)]
    nothing = empty.call(method, records=[{"_id": "x"}])
    assert (code(nothing), nothing["answer_records"], nothing["answer_count"]) == (404, [], 0)
    assert empty.ids() == (["1"] if method == "delete" else ["0", "1", "2", "3"])


@pytest.mark.parametrize("method", ["get", "update", "delete"])
def test_records_are_known_by_their_id_alone(empty: Collection, method: str) -> None:
    assert empty.refused(method, records=[{"_id": 1}, {"_url": "x"}]) == "records.1: _id is missing"
    assert empty.refused(method, records=[{"_id": None}]) == "records.0: _id is missing"
    assert "_id must be a string or a number" in empty.refused(method, records=[{"_id": True}])
    assert empty.refused(method) == "records is missing"


def test_update_merges_fields_and_leaves_the_image(empty: Collection) -> None:
    empty.insert(record(differing_by(0), _id=1, a=1, b={"x": 1}))
    change = record(differing_by(400), _id=1, b={"y": 2}, c=None, _width=5, bmh1="x")
    (answered,) = empty.call("update", records=[change], fields_to_return=["*"])["answer_records"]
    assert answered == {"_id": "1", "a": 1, "b": {"y": 2}, "c": None, "_width": 256, "_height": 256}
    assert empty.get(1) == [answered]
    assert distances(empty.call("visualKNN", query_record=record(differing_by(0)))) == {"1": 0.0}


def test_what_is_deleted_is_gone_and_may_come_again_at_the_end(empty: Collection) -> None:
    empty.insert(record(PNG, _id=1, a=1), record(PNG, _id=2))
    assert code(empty.call("delete", records=[{"_id": 1}])) == 220
    assert empty.get(1) == [] and distances(empty.call("visualKNN", query_record=record(PNG))) == {"2": 0.0}
    assert code(empty.insert(record(PNG, _id=1))) == 210
    assert empty.ids() == ["2", "1"] and "a" not in empty.get(1)[0]


# -- collections -----------------------------------------------------------------------------------


def test_a_collection_that_nobody_made_is_empty(empty: Collection) -> None:
    for method in ("visualKNN", "nearDuplicates", "random", "allRecords", "allRecords?size=5"):
        found = empty.call(method, query_record=record(PNG))
        assert (code(found), found["answer_records"], found["answer_count"]) == (200, [], 0)
    for method in ("get", "update", "delete"):
        assert code(empty.call(method, records=[{"_id": 1}])) == 404
    assert code(empty.call("visualRankRecords", query_record=record(PNG), records=[record(PNG)])) == 200


def test_collections_are_told_apart_by_the_header(server: RunningServer) -> None:
    names = (None, "a", "A", "b" * 200)
    for name in names:
        assert code(Collection(server, name).insert(record(PNG, _id="apart", of=name))) == 210
    for name in names:
        assert [each["of"] for each in Collection(server, name).get("apart")] == [name]
    for same in ("default", ""):
        assert [each["of"] for each in Collection(server, same).get("apart")] == [None]
    assert "200" in Collection(server, "b" * 201).refused("get", records=[{"_id": 1}])


def test_a_request_takes_so_many_records(tight: RunningServer) -> None:
    full = Collection(tight, "many")
    for method in ("insert", "get", "update", "delete", "visualRankRecords"):
        query, records = record(PNG), [record(PNG, _id=n) for n in range(4)]
        text = full.refused(method, query_record=query, records=records)
        assert text == "records: 4 were sent, at most 3 are taken in a request"
        assert code(full.call(method, query_record=query, records=records[:3])) < 300


def test_records_survive_the_server(tmp_path: Path) -> None:
    """One that is told to stop, and one that is killed as soon as it has answered."""
    with running_server(tmp_path) as server:
        kept = Collection(server, "kept")
        kept.insert(*(record(differing_by(4 * n), _id=n, n=n) for n in range(3)))
        kept.call("update", records=[{"_id": 2, "new": "field"}])
    with running_server(tmp_path) as server:
        kept = Collection(server, "kept")
        assert kept.ids() == ["0", "1", "2"]
        kept.call("delete", records=[{"_id": 0}])
        kept.insert(record(differing_by(100), _id=3))
        server.process.kill()
        server.process.wait()
    with running_server(tmp_path) as server:
        kept = Collection(server, "kept")
        size = {"_width": 256, "_height": 256}
        assert kept.ids() == ["1", "2", "3"]
        assert kept.get(2, 1) == [{"_id": "2", "n": 2, "new": "field", **size}, {"_id": "1", "n": 1, **size}]
        found = kept.call("visualKNN", query_record={"_id": 1})
        assert distances(found) == {"1": 0.0, "2": 0.4, "3": 9.9}
