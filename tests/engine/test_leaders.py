"""Greedy leaders equal the double loop that defines them, whatever the radius and the block."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.codes import Codes
from twinlens.engine.errors import InvalidValue
from twinlens.engine.hamming import hamming
from twinlens.engine.leaders import leaders


def double_loop(codes: Codes, radius: int) -> list[int]:
    """The definition: each row joins the first kept row within the radius, else it is kept."""
    whole = [int.from_bytes(code.tobytes()) for code in codes]
    kept: list[int] = []
    joined: list[int] = []
    for row, code in enumerate(whole):
        leader = next((k for k in kept if (whole[k] ^ code).bit_count() <= radius), row)
        joined.append(leader)
        if leader == row:
            kept.append(row)
    return joined


def relatives(rng: np.random.Generator, count: int, width: int) -> Codes:
    """Codes with equal, near and far ones among them, and the inverse of some."""
    parents = rng.integers(0, 256, (max(1, count // 4), width), dtype=np.uint8)
    codes = parents[rng.integers(0, len(parents), count)]
    flips = rng.random((count, width * 8)) < rng.choice([0.0, 0.005, 0.05, 1.0], (count, 1))
    return codes ^ np.packbits(flips, axis=1)


def chain(count: int, width: int, step: int) -> Codes:
    """Codes of which each differs by `step` bits from the one before, and more from all others."""
    ones = np.arange(count)[:, np.newaxis] * step
    return np.packbits(np.arange(width * 8) < ones, axis=1)


WIDTHS = st.sampled_from([1, 8, 13, 40, 121])
SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(0, 60)
RADII = st.one_of(st.integers(0, 130), st.integers(0, 1000))
BLOCKS = st.one_of(st.integers(1, 200), st.just(1 << 18))


@given(WIDTHS, SEEDS, COUNTS, RADII, BLOCKS)
def test_leaders_equal_the_double_loop(width: int, seed: int, count: int, radius: int, block: int) -> None:
    codes = relatives(np.random.default_rng(seed), count, width)
    joined = leaders(codes, radius, block)
    assert joined.dtype == np.int64
    assert joined.tolist() == double_loop(codes, radius)


@given(WIDTHS, SEEDS, COUNTS, RADII)
def test_what_is_removed_is_near_its_leader_and_what_is_kept_is_far_apart(
    width: int, seed: int, count: int, radius: int
) -> None:
    codes = relatives(np.random.default_rng(seed), count, width)
    joined = leaders(codes, radius)
    kept = np.unique(joined)
    assert (joined[kept] == kept).all()
    assert (hamming(codes, codes)[np.arange(count), joined] <= radius).all()
    between = hamming(codes[kept], codes[kept])
    assert (between[~np.eye(len(kept), dtype=bool)] > radius).all()


@given(st.permutations(range(40)), st.integers(0, 12), BLOCKS)
def test_chains_are_cut_as_the_double_loop_cuts_them(order: list[int], radius: int, block: int) -> None:
    codes = chain(40, 40, step=4)[order]
    assert leaders(codes, radius, block).tolist() == double_loop(codes, radius)


@pytest.mark.parametrize("radius", [0, 19, 97, 194, 400, 968])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_many_rows_equal_the_double_loop(rng: np.random.Generator, radius: int, noise: float) -> None:
    """Enough rows that taken ones are left out on the way, from dense to all strangers."""
    parents = rng.integers(0, 256, (20, 121), dtype=np.uint8)
    flips = rng.random((1200, 968)) < rng.random((1200, 1)) * noise
    codes = parents[rng.integers(0, 20, 1200)] ^ np.packbits(flips, axis=1)
    assert leaders(codes, radius, block=1 << 14).tolist() == double_loop(codes, radius)


def test_the_first_row_within_reach_leads_not_the_nearest() -> None:
    codes = np.array([[0b1111], [0b0000], [0b0001], [0b0001], [0b0111]], np.uint8)
    assert leaders(codes, 3).tolist() == [0, 1, 0, 0, 0]
    assert leaders(codes, 1).tolist() == [0, 1, 1, 1, 0]


def test_a_removed_row_leads_nobody() -> None:
    codes = chain(3, 1, step=2)
    assert leaders(codes, 2).tolist() == [0, 0, 2]
    assert leaders(codes[[1, 0, 2]], 2).tolist() == [0, 0, 0]


def test_radius_0_joins_equal_codes_only() -> None:
    codes = np.array([[7, 0], [7, 1], [7, 0], [0, 7], [7, 1]], np.uint8)
    assert leaders(codes, 0).tolist() == [0, 1, 0, 3, 1]


def test_the_inverse_of_a_code_is_as_far_as_can_be() -> None:
    """All 256 bits of four words differ, which a count in eight bits would take for none."""
    codes = np.array([[0] * 32, [255] * 32], np.uint8)
    assert leaders(codes, 100).tolist() == leaders(codes, 255).tolist() == [0, 1]
    assert leaders(codes, 256).tolist() == [0, 0]


@pytest.mark.parametrize("radius", [0, 5])
def test_a_hundred_thousand_copies_of_two_codes_cost_linear_time(radius: int) -> None:
    codes = np.zeros((100_000, 121), np.uint8)
    codes[1::2] = 255
    joined = leaders(codes, radius)
    assert (joined[::2] == 0).all() and (joined[1::2] == 1).all()


@pytest.mark.parametrize("radius", [48, 97, 400, 968])
def test_memory_is_bounded_by_the_block_not_by_the_pairs(rng: np.random.Generator, radius: int) -> None:
    """12 million pairs, none of equal codes: as a matrix of bytes they would take 24 MB."""
    near = np.packbits(rng.random((4900, 968)) < 0.05, axis=1)
    tracemalloc.start()
    leaders(near, radius, block=1 << 14)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_mistakes_are_refused() -> None:
    codes = np.zeros((2, 8), np.uint8)
    with pytest.raises(InvalidValue, match="not -1"):
        leaders(codes, -1)
    with pytest.raises(InvalidValue, match="not 0"):
        leaders(codes, 1, block=0)
    with pytest.raises(InvalidValue, match="float64"):
        leaders(np.zeros((2, 8)), 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"\[8\]"):
        leaders(codes[0], 1)
