"""Hashes, ranges, distances and limits of visual_hash, remove_duplicates and rank_images over HTTP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bits import differing_by, differing_in_phash_by
from tests.matching import (
    JsonObject,
    ask,
    by_opencv,
    ids,
    parts,
    photograph,
    record,
    refusal,
)
from tests.servers import RunningServer
from twinlens.engine.hashing import bmh1, phash
from twinlens.engine.types import Rgb

PNG = photograph("coins.png")
METHODS = ("visual_hash", "remove_duplicates", "rank_images")


def merged(server: RunningServer, pictures: list[Rgb], **options: Any) -> list[list[str]]:
    """Ids of the records that stay, each followed by those that it replaces; pictures are named 0, 1, ..."""
    records = [record(rgb, _id=number) for number, rgb in enumerate(pictures)]
    answer = ask(server, "remove_duplicates", {"records": records, **options})
    assert answer["status"]["code"] == 200
    return [[kept["_id"], *ids(kept.get("removed_records", []))] for kept in answer["records"]]


def ranked(server: RunningServer, query: Rgb, pictures: list[Rgb], **options: Any) -> dict[str, float]:
    """Distances by id, in the order answered; pictures are named 0, 1, ..."""
    records = [record(rgb, _id=number) for number, rgb in enumerate(pictures)]
    answer = ask(server, "rank_images", {"query_record": record(query), "records": records, **options})
    return dict(zip(ids(answer["answer_records"]), answer["answer_distances"], strict=True))


# -- the pictures of these tests -------------------------------------------------------------------


def test_pictures_differ_by_the_bits_that_they_say() -> None:
    def bits(one: Any, other: Any) -> int:
        return int(np.unpackbits(one ^ other).sum())

    first = bmh1(differing_by(0))
    assert all(bits(first, bmh1(differing_by(n))) == n for n in (0, 1, 2, 3, 47, 48, 49, 252, 903, 961))
    in_fours = [bmh1(differing_by(n)) for n in range(0, 901, 100)]
    assert all(bits(a, b) == 100 * abs(n - m) for n, a in enumerate(in_fours) for m, b in enumerate(in_fours))
    signs = [phash(differing_in_phash_by(n)) for n in range(21)]
    assert all(bits(a, b) == abs(n - m) for n, a in enumerate(signs) for m, b in enumerate(signs))


# -- hash_type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({}, ["bmh1", "phash"]),
        ({"hash_type": None}, ["bmh1", "phash"]),
        ({"hash_type": "bmh1"}, ["bmh1"]),
        ({"hash_type": "phash"}, ["phash"]),
        ({"hash_type": ["phash"]}, ["phash"]),
        ({"hash_type": ["bmh1", "phash"]}, ["bmh1", "phash"]),
        ({"hash_type": ["bmh1", "bmh1"]}, ["bmh1"]),
    ],
)
def test_one_hash_or_both(server: RunningServer, asked: JsonObject, answered: list[str]) -> None:
    (found,) = ask(server, "visual_hash", {"records": [record(PNG)], **asked})["records"]
    expected = by_opencv(PNG)
    assert found == {key: expected[key] for key in ("_width", "_height", *answered)}


@pytest.mark.parametrize("hash_type", ["md5", "BMH1", "", 5, True, [], ["bmh1", "md5"], {"bmh1": 1}])
def test_another_hash_is_refused(server: RunningServer, hash_type: Any) -> None:
    body = {"records": [record(PNG)], "query_record": record(PNG), "hash_type": hash_type}
    for method in METHODS:
        assert "hash_type" in refusal(server, method, body)
    if hash_type == "md5":
        assert refusal(server, "rank_images", body) == "hash_type must be 'bmh1' or 'phash', not 'md5'"


def test_comparing_takes_one_hash(server: RunningServer) -> None:
    body = {"records": [record(PNG)], "query_record": record(PNG), "hash_type": ["bmh1"]}
    for method in ("remove_duplicates", "rank_images"):
        assert "hash_type" in refusal(server, method, body)


def test_each_hash_compares_by_itself(server: RunningServer) -> None:
    """These two are 2 of 64 bits of phash apart, and far apart by bmh1; the default is bmh1."""
    pair = [differing_in_phash_by(0), differing_in_phash_by(2)]
    assert merged(server, pair, hash_type="phash", range=3.2) == [["0", "1"]]
    assert merged(server, pair, hash_type="bmh1", range=3.2) == merged(server, pair, range=3.2)
    assert ranked(server, pair[0], pair, hash_type="phash") == {"0": 0.0, "1": 3.1}
    assert ranked(server, pair[0], pair) == ranked(server, pair[0], pair, hash_type="bmh1")
    assert ranked(server, pair[0], pair)["1"] != 3.1


# -- range and distance ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "distance", "range"),
    [
        (0, 0.0, 0),
        (1, 0.1, 0.1),
        (2, 0.2, 0.2),
        (47, 4.9, 4.9),
        (48, 5.0, 5),
        (49, 5.1, 5.1),
        (242, 25.0, 25.0),
        (961, 99.3, 99.3),
    ],
)
def test_a_range_in_percent_takes_distances_up_to_itself(
    server: RunningServer, bits: int, distance: float, range: float
) -> None:
    pair = [differing_by(0), differing_by(bits)]
    assert ranked(server, pair[0], pair) == {"0": 0.0, "1": distance}
    assert merged(server, pair, range=range) == [["0", "1"]]
    assert merged(server, pair, range=1000) == [["0", "1"]]
    if bits:
        assert merged(server, pair, range=distance - 0.01) == [["0"], ["1"]]
        assert merged(server, pair) == [["0"], ["1"]]


@pytest.mark.parametrize(("bits", "distance"), [(1, 1.6), (2, 3.1), (3, 4.7), (16, 25.0)])
def test_phash_counts_shares_of_64_bits(server: RunningServer, bits: int, distance: float) -> None:
    pair = [differing_in_phash_by(0), differing_in_phash_by(bits)]
    assert ranked(server, pair[0], pair, hash_type="phash") == {"0": 0.0, "1": distance}
    assert merged(server, pair, range=distance, hash_type="phash") == [["0", "1"]]
    assert merged(server, pair, range=distance - 0.01, hash_type="phash") == [["0"], ["1"]]


@pytest.mark.parametrize("bits", [0, 1, 48, 252])
def test_a_server_can_count_bits(tight: RunningServer, bits: int) -> None:
    pair = [differing_by(0), differing_by(bits)]
    answered = ranked(tight, pair[0], pair)
    assert answered == {"0": 0.0, "1": bits} and isinstance(answered["1"], float)
    assert merged(tight, pair, range=bits) == merged(tight, pair, range=bits + 0.9) == [["0", "1"]]
    if bits:
        assert merged(tight, pair, range=bits - 1) == merged(tight, pair, range=bits - 0.1) == [["0"], ["1"]]


@pytest.mark.parametrize("range", [-1, -0.001, "5", True, [], {}])
def test_what_is_no_range_is_refused(server: RunningServer, range: Any) -> None:
    assert "range" in refusal(server, "remove_duplicates", {"records": [record(PNG)], "range": range})


def test_the_range_is_0_if_it_is_null(server: RunningServer) -> None:
    assert merged(server, [differing_by(0), differing_by(1), differing_by(0)], range=None) == [
        ["0", "2"],
        ["1"],
    ]


def test_records_join_the_first_kept_record_within_range(server: RunningServer) -> None:
    """Of a, b and c, neighbours are 5.0 % apart and the ends 9.9 %: only a kept record replaces others."""
    a, b, c = differing_by(0), differing_by(48), differing_by(96)
    assert merged(server, [a, b, c], range=5) == [["0", "1"], ["2"]]
    assert merged(server, [a, c, b], range=5) == [["0", "2"], ["1"]]
    assert merged(server, [c, a, b], range=5) == [["0", "2"], ["1"]]
    assert merged(server, [b, a, c], range=5) == [["0", "1", "2"]]
    assert merged(server, [a, b, c], range=9.9) == [["0", "1", "2"]]
    assert merged(server, [a, b, c, b, a, c], range=0) == [["0", "4"], ["1", "3"], ["2", "5"]]


def test_removed_records_are_whole_records_in_the_order_sent(server: RunningServer) -> None:
    records = [record(differing_by(n), _id=n, tag=f"t{n}") for n in (0, 400, 1, 401, 2)]
    answer = ask(server, "remove_duplicates", {"records": records, "range": 1})
    first, second = answer["records"]
    assert [each["tag"] for each in first["removed_records"]] == ["t1", "t2"]
    assert [each["tag"] for each in second["removed_records"]] == ["t401"]
    status = {"code": 200, "text": "OK", "request_id": answer["status"]["request_id"]}
    for each in parts(answer):
        assert (each["_status"], each["_width"], each["_height"]) == (status, 256, 256)
        assert "bmh1" not in each and "phash" not in each
    assert not any("removed_records" in each for each in first["removed_records"] + second["removed_records"])


def test_ranking_answers_all_records_nearest_first_and_equals_in_the_order_sent(
    server: RunningServer,
) -> None:
    bits = [400, 4, 40, 4, 400, 40, 4] * 10
    pictures = {n: differing_by(n) for n in set(bits)}
    answered = ranked(server, differing_by(0), [pictures[n] for n in bits])
    assert list(answered) == [str(place) for place in sorted(range(70), key=lambda place: bits[place])]
    assert list(answered.values()) == [0.4] * 30 + [4.1] * 20 + [41.3] * 20


# -- limits and parameters -------------------------------------------------------------------------


def test_visual_hash_takes_ten_records(server: RunningServer) -> None:
    assert len(ask(server, "visual_hash", {"records": [record(PNG)] * 10})["records"]) == 10
    text = refusal(server, "visual_hash", {"records": [record(PNG)] * 11})
    assert text == "records: 11 were sent, at most 10 are taken in a request"
    many = {"records": [record(PNG)] * 40, "query_record": record(PNG)}
    assert len(ask(server, "remove_duplicates", many)["records"][0]["removed_records"]) == 39
    assert len(ask(server, "rank_images", many)["answer_records"]) == 40


def test_limits_are_settings(tight: RunningServer) -> None:
    for method, most in (("visual_hash", 2), ("remove_duplicates", 3), ("rank_images", 3)):
        body = {"records": [record(PNG)] * most, "query_record": record(PNG)}
        assert ask(tight, method, body)["status"]["code"] == 200
        body["records"] = [record(PNG)] * (most + 1)
        assert f"at most {most}" in refusal(tight, method, body)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "records is missing"),
        ({"records": None}, "records is missing"),
        ({"records": {}}, "records must be an array, not an object"),
        ({"records": "x"}, "records must be an array, not 'x'"),
        ({"records": [5]}, "records.0 must be an object, not 5"),
        ({"records": [{}, [1]]}, "records.1 must be an object, not an array"),
    ],
)
def test_a_wrong_parameter_is_named(server: RunningServer, body: JsonObject, complaint: str) -> None:
    for method in METHODS:
        assert refusal(server, method, {"query_record": record(PNG)} | body) == complaint


@pytest.mark.parametrize("query", [{}, {"query_record": None}, {"query_record": [1]}, {"query_record": "x"}])
def test_a_ranking_needs_a_query(server: RunningServer, query: JsonObject) -> None:
    assert "query_record" in refusal(server, "rank_images", {"records": [record(PNG)], **query})


def test_parameters_that_nobody_knows_are_ignored(server: RunningServer) -> None:
    body = {"records": [record(PNG)], "query_record": record(PNG), "custom_flow": "x", "k": -5, "filter": 7}
    for method in METHODS:
        answer = ask(server, method, body)
        assert answer["status"]["code"] == 200 and not {"custom_flow", "k", "filter"} & set(answer)
