"""Requests with thousands of records are answered like small ones, and let others through meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.collections_of_pictures import picture
from tests.greedy import greedily
from tests.matching import JsonObject, ids, record
from tests.pictures import encode
from tests.servers import RunningServer, running_server
from twinlens.engine.hashing import image_hashes
from twinlens.engine.types import Rgb

RECORDS = 2000
FAMILIES = 300
BYTES = 121
"""Of a bmh1."""


def pictures() -> Iterator[Rgb]:
    """Families of pictures that are equal, alike or different, mixed."""
    rng = np.random.default_rng(3)
    for family in rng.integers(0, FAMILIES, RECORDS):
        pixels = np.asarray(picture(int(family), 40, 30)).astype(np.int16)
        strength = rng.choice([0, 0, 2, 10, 30])
        yield (pixels + rng.integers(-strength, strength + 1, pixels.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def all_pictures() -> list[Rgb]:
    return list(pictures())


@pytest.fixture(scope="module")
def codes(all_pictures: list[Rgb]) -> NDArray[np.uint8]:
    return np.array([image_hashes(rgb).bmh1 for rgb in all_pictures])


@pytest.fixture(scope="module")
def records(all_pictures: list[Rgb]) -> list[JsonObject]:
    return [record(encode(rgb, "PNG"), _id=number) for number, rgb in enumerate(all_pictures)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home"), max_records=RECORDS) as running:
        yield running


def figure(server: RunningServer, name: str) -> float:
    """One line of /metrics."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_memory_returns_after_a_large_request(server: RunningServer, records: list[JsonObject]) -> None:
    server.post("remove_duplicates", {"records": records[:10]})
    before = server.memory()
    body = {"records": [each | {"text": "x" * 40_000} for each in records[:1000]]}
    assert server.post("remove_duplicates", body).json()["status"]["code"] == 200
    until = time.monotonic() + 30
    while (more := server.memory() - before) > 10 * 2**20:
        assert time.monotonic() < until, f"{more:,} bytes of a body of 40 MB are still held"
        time.sleep(0.1)


@pytest.mark.parametrize(("range_", "radius"), [(0, 0), (10, 97)])
def test_duplicates_are_those_of_brute_force(
    server: RunningServer, records: list[JsonObject], codes: NDArray[np.uint8], range_: int, radius: int
) -> None:
    response = server.post("remove_duplicates", {"records": records, "range": range_})
    answer = response.json()
    assert answer["status"]["code"] == 200
    expected = greedily(codes, radius)
    assert 200 < len(expected) < RECORDS - 200
    found = {kept["_id"]: ids(kept.get("removed_records", [])) for kept in answer["records"]}
    assert found == expected
    assert list(found) == list(expected)


def test_ranks_are_those_of_a_stable_sort(
    server: RunningServer, records: list[JsonObject], codes: NDArray[np.uint8]
) -> None:
    answer = server.post("rank_images", {"query_record": records[7], "records": records}).json()
    bits = np.bitwise_count(codes ^ codes[7]).sum(axis=1)
    order = np.argsort(bits, kind="stable")
    assert ids(answer["answer_records"]) == [str(row) for row in order]
    assert answer["answer_distances"] == [round(100 * int(n) / (8 * BYTES), 1) for n in bits[order]]


def test_a_small_request_is_answered_before_a_large_one_that_came_first(
    server: RunningServer, records: list[JsonObject]
) -> None:
    hashed = partial(figure, server, 'twinlens_images_total{outcome="hashed"}')
    before = hashed()
    large = threading.Thread(target=partial(server.post, "remove_duplicates", {"records": records[:1000]}))
    large.start()
    # The request that asks is one of them.
    while figure(server, "twinlens_requests_inflight") < 2:
        assert large.is_alive()
    answer = server.post("visual_hash", {"records": records[:3]}).json()
    assert ids(answer["records"]) == ["0", "1", "2"]
    assert hashed() == before + 3, "the large request was first"
    large.join()
    assert hashed() == before + 1003
