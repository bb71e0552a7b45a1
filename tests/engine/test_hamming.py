"""Distances and joins on packed hashes equal brute force, whatever the radius and the block."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.codes import Codes, HammingBlock
from twinlens.engine.errors import InvalidValue
from twinlens.engine.hamming import hamming, join, nearest, self_join

Pair = tuple[int, int, int]


def bit_difference(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def brute_force(left: Codes, right: Codes, radius: int) -> list[Pair]:
    pairs = itertools.product(enumerate(left), enumerate(right))
    found = [(i, j, bit_difference(a.tobytes(), b.tobytes())) for (i, a), (j, b) in pairs]
    return [pair for pair in found if pair[2] <= radius]


def listed(blocks: Iterable[HammingBlock]) -> list[Pair]:
    return [
        (int(a), int(b), int(distance))
        for block in blocks
        for a, b, distance in zip(block.a, block.b, block.distance, strict=True)
    ]


def relatives(rng: np.random.Generator, count: int, width: int) -> Codes:
    """Codes with equal, near and far ones among them."""
    parents = rng.integers(0, 256, (max(1, count // 4), width), dtype=np.uint8)
    codes = parents[rng.integers(0, len(parents), count)]
    flips = rng.random((count, width * 8)) < rng.choice([0.0, 0.005, 0.05], (count, 1))
    return codes ^ np.packbits(flips, axis=1)


WIDTHS = st.sampled_from([1, 8, 13, 121])
SEEDS = st.integers(0, 2**32 - 1)
BLOCKS = st.one_of(st.integers(1, 40), st.just(1 << 18))


@given(WIDTHS, SEEDS)
def test_hamming_is_a_metric(width: int, seed: int) -> None:
    codes = relatives(np.random.default_rng(seed), 12, width)
    distance = hamming(codes, codes)
    equal = (codes[:, np.newaxis] == codes).all(axis=2)
    assert ((distance == 0) == equal).all()
    assert (distance == distance.T).all()
    detours = distance[:, :, np.newaxis] + distance[np.newaxis]
    assert (distance[:, np.newaxis, :] <= detours).all()


@given(WIDTHS, SEEDS)
def test_hamming_counts_differing_bits(width: int, seed: int) -> None:
    codes = relatives(np.random.default_rng(seed), 9, width)
    distance = hamming(codes[:4], codes[4:])
    assert distance.dtype == np.int32
    expected = [[bit_difference(a.tobytes(), b.tobytes()) for b in codes[4:]] for a in codes[:4]]
    assert distance.tolist() == expected


@given(WIDTHS, SEEDS, st.integers(0, 30), st.one_of(st.integers(0, 100), st.just(968)), BLOCKS)
def test_self_join_equals_brute_force(width: int, seed: int, count: int, radius: int, block: int) -> None:
    codes = relatives(np.random.default_rng(seed), count, width)
    expected = [(a, b, distance) for a, b, distance in brute_force(codes, codes, radius) if a < b]
    assert listed(self_join(codes, radius, block)) == expected


@given(WIDTHS, SEEDS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 100), BLOCKS)
def test_join_equals_brute_force(
    width: int, seed: int, rows: int, columns: int, radius: int, block: int
) -> None:
    codes = relatives(np.random.default_rng(seed), rows + columns, width)
    left, right = codes[:rows], codes[rows:]
    assert listed(join(left, right, radius, block)) == brute_force(left, right, radius)


@pytest.mark.parametrize("width", [8, 121])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_joins_are_exact_whatever_share_of_the_pairs_is_near(
    rng: np.random.Generator, width: int, share: float
) -> None:
    codes = rng.integers(0, 256, (300, width), dtype=np.uint8)
    distance = hamming(codes, codes)
    radius = int(np.quantile(distance[np.triu_indices(300, 1)], share))
    a, b = np.nonzero(np.triu(distance <= radius, 1))
    expected = HammingBlock(a, b, distance[a, b])
    assert listed(self_join(codes, radius)) == listed([expected])


def test_radius_0_and_the_full_length_are_served() -> None:
    codes = np.array([[0], [255], [0], [254]], np.uint8)
    assert listed(self_join(codes, 0)) == [(0, 2, 0)]
    assert len(listed(self_join(codes, 8))) == len(listed(self_join(codes, 1_000_000))) == 6
    assert listed(join(codes, codes[:2], 0)) == [(0, 0, 0), (1, 1, 0), (2, 0, 0)]


def test_a_difference_anywhere_in_a_code_counts(rng: np.random.Generator) -> None:
    """One byte of one code inverted, each byte in turn, among strangers."""
    strangers = rng.integers(0, 256, (800, 121), dtype=np.uint8)
    changed = strangers[:1] ^ np.diag(np.full(121, 255, np.uint8))
    codes = np.concatenate([strangers, changed])
    assert listed(self_join(codes, 7)) == []
    assert listed(self_join(codes, 8)) == [(0, 800 + byte, 8) for byte in range(121)]


@pytest.mark.parametrize("radius", [0, 3, 64])
@pytest.mark.parametrize("block", [50, 700])
def test_blocks_are_never_empty_nor_larger_than_asked(
    rng: np.random.Generator, radius: int, block: int
) -> None:
    codes = relatives(rng, 200, 8)
    sizes = [len(found.a) for found in self_join(codes, radius, block)]
    assert sizes and min(sizes) >= 1 and max(sizes) <= block


@pytest.mark.parametrize("radius", [0, 968])
def test_memory_is_bounded_by_the_block_not_by_the_pairs(radius: int) -> None:
    """12 million pairs: listed at once they would take 240 MB, as a matrix of bytes 24 MB."""
    codes = np.zeros((4900, 121), np.uint8)
    tracemalloc.start()
    pairs = sum(len(block.a) for block in self_join(codes, radius, block=1 << 14))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == 4900 * 4899 // 2
    assert peak < 8_000_000


def test_a_hundred_thousand_equal_codes_start_to_stream_at_once() -> None:
    codes = np.full((100_000, 121), 7, np.uint8)
    first, second = itertools.islice(self_join(codes, 0, block=60_000), 2)
    assert (first.a == 0).all() and first.b[[0, -1]].tolist() == [1, 60_000]
    assert second.a[[0, -1]].tolist() == [0, 1]


@given(WIDTHS, SEEDS, st.integers(0, 30), st.integers(0, 35))
def test_nearest_equals_a_sort_by_distance_then_index(width: int, seed: int, count: int, k: int) -> None:
    codes = relatives(np.random.default_rng(seed), count, width)
    query = relatives(np.random.default_rng(seed), 1, width)[0]
    ranked = sorted((bit_difference(query.tobytes(), code.tobytes()), i) for i, code in enumerate(codes))
    found = nearest(query, codes, k)
    assert list(zip(found.distance, found.index, strict=True)) == ranked[:k]


def test_nearest_goes_on_where_a_block_ends(rng: np.random.Generator) -> None:
    codes = np.full((300_000, 8), 255, np.uint8)
    codes[[5, 299_999]] = 0
    found = nearest(np.zeros(8, np.uint8), codes, 3)
    assert found.index.tolist() == [5, 299_999, 0]
    assert found.distance.tolist() == [0, 0, 64]


def test_mistakes_are_refused_before_anything_is_compared() -> None:
    bmh1, phash = np.zeros((2, 121), np.uint8), np.zeros((2, 8), np.uint8)
    with pytest.raises(InvalidValue, match="121 and of 8 bytes"):
        join(bmh1, phash, 3)
    with pytest.raises(InvalidValue, match="121 and of 8 bytes"):
        hamming(bmh1, phash)
    with pytest.raises(InvalidValue, match="121 and of 8 bytes"):
        nearest(bmh1[0], phash, 1)
    with pytest.raises(InvalidValue, match="not -1"):
        self_join(phash, -1)
    with pytest.raises(InvalidValue, match="not 0"):
        self_join(phash, 1, block=0)
    with pytest.raises(InvalidValue, match="not -2"):
        nearest(phash[0], phash, -2)
    with pytest.raises(InvalidValue, match="float64"):
        self_join(np.zeros((2, 8)), 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"\[8\]"):
        self_join(phash[0], 1)
