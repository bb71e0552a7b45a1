"""Every way of finding near codes finds the pairs of brute force, and the cheapest is taken."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.near_pairs import brute, family, same, sorted_pairs
from twinlens.engine.code_parts import Parts
from twinlens.engine.code_weights import Weights
from twinlens.engine.codes import (
    HammingBlock,
    Looking,
    Packing,
    Sorted,
    Way,
    in_order,
    joined,
    packed_words,
    screen_words,
)
from twinlens.engine.hamming import join, self_join
from twinlens.engine.near_codes import cheapest_way

RADIUS = 11
# 12 parts without a differing bit, 6 with one at most, 4 with two at most: each more than RADIUS allows.
# Below it, some parts need not be looked at, or may differ by less.
WAYS = pytest.mark.parametrize(
    "way",
    [Parts(12, 0, 4), Parts(6, 1, 9), Parts(6, 1, 10), Parts(4, 2, 16), Weights()],
    ids=["equal-parts", "parts-within-1", "all-bits", "parts-within-2", "weights"],
)


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it there is one more way (`test_code_products`)."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@WAYS
@pytest.mark.parametrize("radius", [RADIUS, RADIUS - 1, RADIUS - 3])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_each_way_finds_each_pair_of_a_set_once(
    rng: np.random.Generator, way: Way, count: int, radius: int
) -> None:
    codes = family(rng, count)
    side = way.side(codes)
    found = sorted_pairs(way, side, side, radius, later=True)
    assert same(found, brute(codes, codes, radius, later=True))
    assert len(found) > 20 or count < 300


@pytest.mark.parametrize(
    ("parts", "radius", "tolerances"),
    [
        (Parts(4, 2, 16), 11, [2, 2, 2, 2]),
        (Parts(4, 2, 16), 10, [2, 2, 2, 1]),
        (Parts(4, 2, 16), 3, [1, 1, 1, 1]),
        (Parts(6, 0, 4), 3, [0, 0, 0, 0, -1, -1]),
    ],
)
def test_parts_need_not_agree_in_more_than_the_radius_leaves(
    parts: Parts, radius: int, tolerances: list[int]
) -> None:
    """With one differing bit more in each part, codes differ by more than the radius."""
    assert parts.tolerances(radius) == tolerances
    assert parts.count_masks(radius) == sum(len(parts.masks(tolerance)) for tolerance in tolerances)
    assert sum(tolerance + 1 for tolerance in tolerances) > radius


@WAYS
@pytest.mark.parametrize("count", [0, 1, 200])
def test_each_way_finds_each_pair_of_two_sets_once(rng: np.random.Generator, way: Way, count: int) -> None:
    codes = family(rng, 150 + count)
    left, right = codes[:150], codes[150:]
    for one, other in ((left, right), (right, left)):
        found = sorted_pairs(way, way.side(one), way.side(other), RADIUS, later=False)
        assert same(found, brute(one, other, RADIUS, later=False))


@WAYS
def test_large_buckets_are_cut_into_tiles(rng: np.random.Generator, way: Way) -> None:
    """One bucket whose pairs are several tiles."""
    codes = np.zeros((1200, 8), np.uint8)
    codes[:, 0] = rng.integers(0, 2, 1200)
    side = way.side(codes)
    found = sorted_pairs(way, side, side, 0 if isinstance(way, Weights) else RADIUS, later=True)
    assert same(found, brute(codes, codes, 0 if isinstance(way, Weights) else RADIUS, later=True))


@WAYS
def test_a_row_meets_many(rng: np.random.Generator, way: Way) -> None:
    """Thousands of one value in a part, and some whose value is next to it."""
    codes = np.zeros((3000, 8), np.uint8)
    codes[:, 7] = rng.integers(0, 16, 3000)
    codes[::900, 0] = 1
    left, right = codes[::900], codes[:-1]
    found = sorted_pairs(way, way.side(left), way.side(right), RADIUS, later=False)
    assert same(found, brute(left, right, RADIUS, later=False))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [1 << 18, 10, 1])
@pytest.mark.parametrize("kind", ["parts", "weights"])
def test_joins_are_those_of_brute_force_in_order(
    rng: np.random.Generator, kind: str, block: int, threads: int
) -> None:
    """Blocks of 10 pairs: those of all rows cannot be held, so it goes in stripes; of 1: all with all."""
    if kind == "parts":
        codes, radius = rng.integers(0, 256, (26_000, 8), dtype=np.uint8), 2
        codes[1::40] = codes[::40] ^ np.packbits(rng.random((650, 64)) < 0.02, axis=1)
    else:
        codes, radius = family(rng, 1200, 121), 60
    words = packed_words(codes)
    way = cheapest_way(codes, codes, Looking(radius, screen_words(words, words, radius)))
    assert isinstance(way, Parts if kind == "parts" else Weights)
    if block == 1:
        codes = codes[:200]
    blocks = list(self_join(codes, radius, block, threads))
    assert same(joined(blocks), brute(codes, codes, radius, later=True))
    assert max(map(len, blocks)) <= block
    left, right = codes[: len(codes) // 3], codes[len(codes) // 3 :]
    assert same(
        joined(list(join(left, right, radius, block, threads))), brute(left, right, radius, later=False)
    )


def test_the_way_follows_the_codes(rng: np.random.Generator) -> None:
    """Random codes have one weight, and agree in small parts by chance only."""
    codes = rng.integers(0, 256, (50_000, 8), dtype=np.uint8)
    assert isinstance(cheapest_way(codes, codes, Looking(4, 1)), Parts)
    assert cheapest_way(codes, codes, Looking(30, 1)) is None
    pictures = family(rng, 5000, 121)
    assert isinstance(cheapest_way(pictures, pictures, Looking(60, 4)), Weights)


def test_pairs_as_numbers_keep_what_they_are() -> None:
    """Also at the ends of what there is room for."""
    packing = Packing.of(7, 1 << 30, 100)
    a = np.array([7, 7, 8, 7 + packing.most_rows - 1])
    b = np.array([0, (1 << 30) - 1, 5, (1 << 30) - 1])
    pairs = HammingBlock(a, b, np.array([100, 0, 3, 100], np.int32))
    packed = packing.pack(pairs)
    assert (np.diff(packed) > 0).all() and packed.min() >= 0
    assert same(packing.unpack(packed), pairs)
    assert same(Sorted(packing, in_order([packed[2:], packed[:2]], runs=True))[:], pairs)


@pytest.mark.parametrize("radius", [64, 65, 10**6, 1 << 62, 1 << 70])
def test_a_radius_may_be_larger_than_codes_are_long(rng: np.random.Generator, radius: int) -> None:
    codes = family(rng, 100)
    found = joined(list(self_join(codes, radius)))
    assert same(found, brute(codes, codes, 64, later=True))
    assert len(found) == 100 * 99 // 2
