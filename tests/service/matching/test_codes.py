"""Hashes in memory: what is nearest, and that growing and shrinking leaves older views alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinlens.engine.hamming import hamming
from twinlens.service.matching.codes import BLOCK_RECORDS, CodeCache, CodeTable, nearest_places
from twinlens.service.matching.distances import HashType


def append(table: CodeTable, rows: Sequence[int]) -> None:
    table.append(rows, [bytes([row % 251] * 121) for row in rows], [bytes([row % 251] * 8) for row in rows])


@given(
    st.lists(st.integers(0, 968), max_size=40) | st.lists(st.integers(0, 2), max_size=40),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 1000),
)
def test_the_nearest_come_by_distance_then_by_place(
    distances: list[int], k: int | None, radius: int | None
) -> None:
    order = sorted(range(len(distances)), key=lambda place: distances[place])
    expected = [place for place in order if radius is None or distances[place] <= radius][:k]
    assert nearest_places(np.array(distances, np.uint16), k=k, radius=radius).tolist() == expected


def test_distances_of_several_blocks_are_those_of_the_engine(rng: np.random.Generator) -> None:
    count = BLOCK_RECORDS + 100
    bmh1 = rng.integers(0, 256, (count, 121), dtype=np.uint8)
    phash = rng.integers(0, 256, (count, 8), dtype=np.uint8)
    table = CodeTable()
    table.append(range(1, count + 1), [row.tobytes() for row in bmh1], [row.tobytes() for row in phash])
    places = rng.permutation(count)[: BLOCK_RECORDS + 7]
    for kind, codes in ((HashType.BMH1, bmh1), (HashType.PHASH, phash)):
        expected = hamming(codes[5:6], codes)[0]
        assert (table.codes().distances(codes[5], kind) == expected).all()
        assert (table.codes().distances(codes[5], kind, places) == expected[places]).all()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=12))
def test_a_table_holds_what_was_added_and_kept(steps: list[tuple[bool, int]]) -> None:
    table, held, last = CodeTable(), list[int](), 0
    views: list[tuple[list[int], NDArray[np.int64]]] = []
    for adding, count in steps:
        if adding:
            rows = list(range(last + 1, last + 1 + count))
            append(table, rows)
            held, last = held + rows, last + count
        else:
            held = [row for row in held if row % (count + 2)]
            # Rows that came after the last look are passed over: they are appended next.
            table.keep(np.array([*held, last + 1, last + 2], np.int64))
        codes = table.codes()
        assert codes.rows.tolist() == held and len(table) == len(held)
        assert table.last_row == (held[-1] if held else 0)
        ones = codes.distances(np.zeros(8, np.uint8), HashType.PHASH)
        assert ones.tolist() == [8 * (row % 251).bit_count() for row in held]
        views.append((held, codes.rows))
        assert all(np.array_equal(np.array(rows), view) for rows, view in views)


def test_growing_costs_no_copy_for_each_record() -> None:
    table = CodeTable()
    sizes = []
    for row in range(1, 5001):
        append(table, [row])
        sizes.append(table.nbytes)
    assert len(set(sizes)) < 60
    assert sizes[-1] < 2 * 5000 * 144


def test_the_collection_not_used_for_longest_leaves_first() -> None:
    one = CodeTable()
    append(one, range(1, 101))
    cache = CodeCache(int(2.5 * one.nbytes))
    held = {}
    for name in "abac":
        held[name] = cache.of("ann", name)
        if not len(held[name].table):
            append(held[name].table, range(1, 101))
        cache.trim()
    assert cache.nbytes == 2 * one.nbytes
    assert cache.of("ann", "a") is held["a"] and cache.of("ann", "c") is held["c"]
    assert len(cache.of("ann", "b").table) == len(cache.of("bob", "c").table) == 0
    cache.drop("ann", "c")
    assert len(cache.of("ann", "c").table) == 0
