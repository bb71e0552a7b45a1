"""Searches in collections over HTTP: fields, queries, ranges, rankings, filters, samples and pages."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.bits import differing_by, differing_in_phash_by
from tests.matching import (
    Collection,
    JsonObject,
    by_opencv,
    code,
    distances,
    ids,
    photograph,
    record,
    unreadable,
)
from tests.pictures import encode
from tests.servers import RunningServer
from tests.web_server import answer, serve

PNG = photograph("coins.png")
BITS = (0, 4, 8, 12, 400)
"""How far the five records of the collection `shelf` are from the first one."""


@pytest.fixture
def empty(server: RunningServer, request: pytest.FixtureRequest) -> Collection:
    return Collection(server, request.node.name)


@pytest.fixture(scope="module")
def shelf(server: RunningServer) -> Collection:
    """Five records that tests only read."""
    made = Collection(server, "shelf")
    colours = ("red", "green", "red", "blue", None)
    made.insert(
        *(
            record(differing_by(bits), _id=n, colour=colour, price=10 * n, bits=bits)
            for n, (bits, colour) in enumerate(zip(BITS, colours, strict=True))
        )
    )
    return made


# -- fields_to_return ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [
        ({}, {"_id": "0"}),
        ({"fields_to_return": None}, {"_id": "0"}),
        ({"fields_to_return": []}, {}),
        ({"fields_to_return": ["colour", "nobody", "COLOUR"]}, {"colour": "red"}),
        ({"fields_to_return": ["_width", "_id"]}, {"_id": "0", "_width": 256}),
        (
            {"fields_to_return": ["*"]},
            {"_id": "0", "colour": "red", "price": 0, "bits": 0, "_width": 256, "_height": 256},
        ),
    ],
)
def test_fields_are_answered_as_asked(shelf: Collection, wanted: JsonObject, answered: JsonObject) -> None:
    first = {"records": [{"_id": 0}], "query_record": {"_id": 0}, "k": 1, "filter": {"_id": 0}}
    for method in ("get", "visualKNN", "visualRankRecords", "random", "allRecords"):
        assert shelf.call(method, **first, **wanted)["answer_records"] == [answered]
    near = shelf.call("nearDuplicates", query_record=record(differing_by(0)), filter={"_id": 0}, **wanted)
    assert near["answer_records"] == [answered]


def test_names_of_fields_are_literal(empty: Collection) -> None:
    empty.insert(record(PNG, _id=1, **{"a.b": 1, "a": {"b": 2}, "$x": 3}))
    read = empty.call("get", records=[{"_id": 1}], fields_to_return=["a.b", "$x"])
    assert read["answer_records"] == [{"a.b": 1, "$x": 3}]


def test_hashes_are_answered_where_they_are_named(empty: Collection) -> None:
    expected = by_opencv(PNG)
    empty.insert(record(PNG, _id=1))
    for method in ("get", "visualKNN", "visualRankRecords", "random", "allRecords"):
        body = {"records": [{"_id": 1}], "query_record": {"_id": 1}}
        (both,) = empty.call(method, **body, fields_to_return=["bmh1", "phash"])["answer_records"]
        assert both == {"bmh1": expected["bmh1"], "phash": expected["phash"]}
        (one,) = empty.call(method, **body, fields_to_return=["*", "phash"])["answer_records"]
        assert one == {"_id": "1", "_width": 384, "_height": 303, "phash": expected["phash"]}


@pytest.mark.parametrize("wrong", ["*", 5, [5], {"_id": 1}])
def test_what_is_no_list_of_names_is_refused(shelf: Collection, wrong: Any) -> None:
    body = {"records": [{"_id": 0}], "query_record": {"_id": 0}, "fields_to_return": wrong}
    for method in ("insert", "get", "update", "visualKNN", "nearDuplicates", "visualRankRecords", "random"):
        assert "fields_to_return" in shelf.refused(method, **body)


# -- search ----------------------------------------------------------------------------------------


def test_nearest_records(shelf: Collection) -> None:
    found = shelf.call("visualKNN", query_record=record(differing_by(4), tag="mine"))
    assert code(found) == 200 and found["answer_count"] == 5
    assert found["query_records"] == [{"tag": "mine", "_width": 256, "_height": 256}]
    assert distances(found) == {"1": 0.0, "0": 0.4, "2": 0.4, "3": 0.8, "4": 40.9}
    assert list(distances(found)) == ["1", "0", "2", "3", "4"]
    assert list(distances(shelf.call("visualKNN", query_record=record(differing_by(4)), k=2))) == ["1", "0"]
    assert shelf.call("visualKNN", query_record=record(PNG), k=10**9)["answer_count"] == 5


def test_a_stored_record_as_query(shelf: Collection) -> None:
    """visualKNN finds the record itself as well; nearDuplicates answers its duplicates only."""
    for id in (2, "2"):
        found = shelf.call("visualKNN", query_record={"_id": id, "tag": "ignored"}, k=3)
        assert distances(found) == {"2": 0.0, "1": 0.4, "3": 0.4}
        (query,) = found["query_records"]
        assert query == shelf.get(2)[0]
        assert distances(shelf.call("nearDuplicates", query_record={"_id": id})) == {
            "1": 0.4,
            "3": 0.4,
            "0": 0.8,
        }
    same = shelf.call("nearDuplicates", query_record=record(differing_by(8), _id=2))
    assert list(distances(same)) == ["2", "1", "3", "0"]


def test_an_image_counts_before_an_id_and_an_id_before_a_url(tight: RunningServer) -> None:
    pair = Collection(tight, "pair")
    pair.insert(record(differing_by(0), _id="near"), record(differing_by(400), _id="far"))

    def nearest(**query: Any) -> str:
        found = pair.call("visualKNN", query_record=query, k=1)
        assert found["answer_distances"] == [0.0]
        (id,) = ids(found["answer_records"])
        return id

    with serve({"/far": answer(encode(differing_by(400), "PNG"))}) as web:
        url = f"{web.url}/far"
        assert nearest(**record(differing_by(0)), _id="far", _url=url) == "near"
        assert nearest(_id="near", _url=url) == "near" and web.hits == []
        assert nearest(_id="new", _url=url) == nearest(_url=url) == "far"


@pytest.mark.parametrize("method", ["visualKNN", "nearDuplicates", "visualRankRecords"])
def test_a_query_that_cannot_be_had(shelf: Collection, method: str) -> None:
    unknown = shelf.call(method, query_record={"_id": 99, "tag": 1}, records=[])
    assert code(unknown) == 404 and unknown["query_records"] == [{"tag": 1, "_id": "99"}]
    assert unknown["answer_records"] == unknown["answer_distances"] == [] and unknown["answer_count"] == 0
    assert "neither _url nor _base64" in shelf.refused(method, query_record={}, records=[])
    assert "Error Loading Image: " in shelf.refused(method, query_record=unreadable(), records=[])
    assert shelf.refused(method, records=[]) == "query_record is missing"


@pytest.mark.parametrize(
    ("range", "near"),
    [(None, 4), (0, 1), (0.3, 1), (0.4, 2), (0.8, 3), (1.1, 3), (1.2, 4), (41.2, 4), (41.3, 5), (1000, 5)],
)
def test_near_duplicates_lie_within_the_range(shelf: Collection, range: float | None, near: int) -> None:
    """Distances are 0.0, 0.4, 0.8, 1.2 and 41.3; 5 % if no range is given."""
    found = shelf.call("nearDuplicates", query_record=record(differing_by(0)), range=range)
    assert code(found) == 200
    assert (
        list(distances(found).items()) == [("0", 0.0), ("1", 0.4), ("2", 0.8), ("3", 1.2), ("4", 41.3)][:near]
    )


def test_near_duplicates_in_bits(tight: RunningServer) -> None:
    """Without a range it is 5 % of the bits, whatever the server counts."""
    bits = Collection(tight, "bits")
    bits.insert(record(differing_by(48), _id=48), record(differing_by(49), _id=49))
    query = record(differing_by(0))
    assert distances(bits.call("nearDuplicates", query_record=query)) == {"48": 48.0}
    assert distances(bits.call("nearDuplicates", query_record=query, range=49)) == {"48": 48.0, "49": 49.0}
    assert distances(bits.call("visualKNN", query_record=query)) == {"48": 48.0, "49": 49.0}


def test_search_by_phash(empty: Collection) -> None:
    """10 % of the bits are near if no range is given: 6 of 64 are, 7 are not."""
    empty.insert(*(record(differing_in_phash_by(n), _id=n) for n in (0, 6, 7)))
    query = {"query_record": {"_id": 0}, "hash_type": "phash"}
    assert distances(empty.call("visualKNN", **query)) == {"0": 0.0, "6": 9.4, "7": 10.9}
    assert distances(empty.call("nearDuplicates", **query)) == {"6": 9.4}
    records = [{"_id": 7}, {"_id": 6}]
    assert distances(empty.call("visualRankRecords", **query, records=records)) == {"6": 9.4, "7": 10.9}
    assert "hash_type" in empty.refused("visualKNN", query_record={"_id": 0}, hash_type="md5")


def test_ranking_of_stored_and_sent_records(shelf: Collection) -> None:
    sent = [
        {"_id": 4},
        record(differing_by(8), _id="sent", tag=1),
        {"_id": "nobody", "tag": 2},
        {"_id": 2},
        unreadable(tag=3),
        record(differing_by(4), tag=4),
    ]
    ranked = shelf.call(
        "visualRankRecords", query_record={"_id": 0}, records=sent, fields_to_return=["_id", "tag", "colour"]
    )
    assert code(ranked) == 300 and ranked["answer_distances"] == [0.4, 0.8, 0.8, 41.3]
    nameless, first, second, last = ranked["answer_records"]
    assert UUID(nameless.pop("_id")) and nameless == {"tag": 4}
    assert (first, second) == ({"_id": "sent", "tag": 1}, {"_id": "2", "colour": "red"})
    assert last == {"_id": "4", "colour": None}
    assert [(each["tag"], each["_status"]["code"]) for each in ranked["skipped_records"]] == [
        (2, 404),
        (3, 400),
    ]
    assert ranked["skipped_records"][0]["_id"] == "nobody"
    nothing = shelf.call("visualRankRecords", query_record={"_id": 0}, records=[{"_id": "nobody"}])
    assert code(nothing) == 400 and nothing["answer_records"] == []


@pytest.mark.parametrize(("method", "name"), [("visualKNN", "k"), ("random", "count")])
@pytest.mark.parametrize("wrong", [-1, 1.5, "5", True, []])
def test_a_wrong_number_is_named(shelf: Collection, method: str, name: str, wrong: Any) -> None:
    assert shelf.refused(method, query_record={"_id": 0}, **{name: wrong}).startswith(f"{name} must be ")


def test_no_neighbour_cannot_be_asked_for(shelf: Collection) -> None:
    assert shelf.refused("visualKNN", query_record={"_id": 0}, k=0) == "k must be 1 or more, not 0"


# -- filters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        (None, "01234"),
        ({}, "01234"),
        ({"colour": "red"}, "02"),
        ({"colour": None}, "4"),
        ({"_id": 3}, "3"),
        ({"_id": {"$in": [1, "4"]}}, "14"),
        ({"colour": {"$nin": ["red", None]}}, "13"),
        ({"colour": {"$ne": "red"}, "price": {"$lt": 40}}, "13"),
        ({"price": {"$gt": 10, "$lte": 30}}, "23"),
        ({"price": {"$gte": 30}}, "34"),
        ({"nothing": {"$exists": False}, "colour": {"$exists": True}}, "01234"),
        ({"$or": [{"colour": "blue"}, {"$and": [{"bits": 0}, {"price": 0}]}]}, "03"),
        ({"_width": 256, "_height": {"$ne": 256}}, ""),
    ],
)
def test_filters(shelf: Collection, filter: JsonObject | None, found: str) -> None:
    query = {"query_record": record(differing_by(0)), "filter": filter}
    assert ids(shelf.call("visualKNN", **query)["answer_records"]) == list(found)
    assert ids(shelf.call("nearDuplicates", **query, range=100)["answer_records"]) == list(found)
    assert ids(shelf.call("allRecords", filter=filter)["answer_records"]) == list(found)
    assert ids(shelf.call("allRecords?size=9", filter=filter)["answer_records"]) == list(found)
    assert sorted(ids(shelf.call("random", filter=filter)["answer_records"])) == list(found)


def test_the_filter_comes_before_the_count(shelf: Collection) -> None:
    found = shelf.call("visualKNN", query_record={"_id": 0}, k=1, filter={"colour": "blue"})
    assert distances(found) == {"3": 1.2}


@pytest.mark.parametrize(
    ("filter", "complaint"),
    [
        ({"price": {"$regex": "x"}}, r"unknown operator '$regex'"),
        ({"$nor": []}, r"unknown operator '$nor'"),
        ({"price": {"$in": 5}}, "$in takes an array"),
        ("red", "filter must be an object"),
        ([], "filter must be an object"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_operator(shelf: Collection, filter: Any, complaint: str) -> None:
    for method in ("visualKNN", "nearDuplicates", "random", "allRecords", "allRecords?size=2"):
        assert complaint in shelf.refused(method, query_record={"_id": 0}, filter=filter)


# -- random and allRecords -------------------------------------------------------------------------


def test_random_records_come_once_each(shelf: Collection) -> None:
    assert sorted(ids(shelf.call("random")["answer_records"])) == list("01234")
    for count in (0, 1, 3, 5, 99):
        drawn = ids(shelf.call("random", count=count)["answer_records"])
        assert len(drawn) == len(set(drawn)) == min(count, 5)
    assert len({ids(shelf.call("random", count=1)["answer_records"])[0] for _ in range(30)}) > 1


@pytest.mark.parametrize(
    ("query", "found", "more"),
    [
        ("", "01234", False),
        ("?size=0", "01234", False),
        ("?size=0&page=3", "01234", False),
        ("?size=2", "01", True),
        ("?size=2&page=0", "01", True),
        ("?size=2&page=2", "23", True),
        ("?size=2&page=3", "4", False),
        ("?size=2&page=4", "", False),
        ("?size=5", "01234", False),
        ("?size=4&page=1", "0123", True),
        ("?size=999999999&page=999999999", "", False),
        ("?page=2", "01234", False),
    ],
)
def test_pages(shelf: Collection, query: str, found: str, more: bool) -> None:
    page = shelf.call(f"allRecords{query}")
    assert (code(page), ids(page["answer_records"]), page["answer_count"]) == (200, list(found), len(found))
    assert ("next" in page) == more
    if more:
        rest = list(shelf.ids()[shelf.ids().index(found[-1]) + 1 :])
        following = ids(shelf.call(page["next"])["answer_records"])
        assert following and following == rest[: len(following)]


def test_pages_of_filtered_records(shelf: Collection) -> None:
    first = shelf.call("allRecords?size=1", filter={"colour": "red"})
    assert ids(first["answer_records"]) == ["0"] and "next" in first
    last = shelf.call(first["next"], filter={"colour": "red"})
    assert ids(last["answer_records"]) == ["2"] and "next" not in last


@pytest.mark.parametrize(
    "query", ["size=-1", "size=x", "size=1.5", "size=1&page=-1", "size=1&page=x", "size="]
)
def test_wrong_pages_are_refused(shelf: Collection, query: str) -> None:
    text = shelf.refused(f"allRecords?{query}")
    assert text.startswith(("size must be a whole number", "page must be a whole number"))
