"""All pairs at or above a threshold: equal to brute force, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import (
    DEVICES,
    Pair,
    Rows,
    brute_pairs,
    brute_similarity,
    clustered_rows,
    lattice_rows,
    near_copies,
    random_rows,
    thresholds,
)
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join import PairBlock, cross_join, self_join


def listed(blocks: Iterable[PairBlock]) -> list[Pair]:
    return [
        pair
        for block in blocks
        for pair in zip(block.a.tolist(), block.b.tolist(), block.similarity.tolist(), strict=True)
    ]


@given(st.data(), lattice_rows(), st.integers(1, 40))
def test_equals_brute_force_at_any_block_size(data: st.DataObject, rows: Rows, block: int) -> None:
    threshold = data.draw(thresholds(rows))
    pairs = listed(self_join(rows, threshold, block=block))
    assert len(pairs) == len(set(pairs)), "each pair once"
    assert set(pairs) == brute_pairs(brute_similarity(rows), threshold)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [70, 128, None])
def test_equals_brute_force_on_every_device(device: str, block: int | None) -> None:
    rows = clustered_rows(0, 700, 96, groups=40, noise=0.6)
    similarity = brute_similarity(rows)
    for threshold in (0.5, 0.9, float(np.sort(similarity[similarity < 1.0])[-50]), 1.0):
        pairs = listed(self_join(rows, threshold, block=block, device=device))
        assert sorted(pairs) == sorted(brute_pairs(similarity, threshold))


@pytest.mark.parametrize("device", DEVICES)
def test_pairs_exactly_at_the_threshold_are_in_and_just_below_are_out(device: str) -> None:
    # Float32 sees 4,900 pairs around 0.95 that differ by a millionth or less; float64 tells them apart.
    angles = np.arccos(0.95 + np.linspace(-3e-6, 3e-6, 70))
    rows = np.zeros((140, 64), dtype=np.float32)
    rows[:70, 0] = 1.0
    rows[70:, 0], rows[70:, 1] = np.cos(angles), np.sin(angles)
    similarity = brute_similarity(rows)
    found = set(listed(self_join(rows, 0.95, device=device)))
    assert found == brute_pairs(similarity, 0.95)
    across = similarity[:70, 70:]
    assert (across == 0.95).any() and (across == 0.949999).any() and (across == 0.950001).any()


def test_identical_rows_are_pairs_at_one() -> None:
    rows = random_rows(0, 50, 512)
    rows[[3, 20, 49]] = rows[7]
    pairs = {(3, 7), (3, 20), (3, 49), (7, 20), (7, 49), (20, 49)}
    assert set(listed(self_join(rows, 1.0, block=16))) == {(a, b, 1.0) for a, b in pairs}


def test_the_order_is_the_same_every_time_and_sorted_within_blocks() -> None:
    rows = clustered_rows(1, 600, 32, groups=10, noise=0.5)
    fresh = np.random.default_rng(0).random(600) < 0.5
    for only in (None, fresh):
        blocks = list(self_join(rows, 0.8, block=100, fresh=only))
        assert listed(blocks) == listed(self_join(rows, 0.8, block=100, fresh=only))
        for block in blocks:
            assert len(block)
            assert listed([block]) == sorted(listed([block]))
            assert (block.a < block.b).all()


@given(st.data(), lattice_rows(), st.integers(1, 12))
def test_skipped_rows_take_no_part(data: st.DataObject, rows: Rows, block: int) -> None:
    skip = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    wanted = {pair for pair in brute_pairs(brute_similarity(rows), 0.5) if not skip[list(pair[:2])].any()}
    rows[skip] = 0
    assert set(listed(self_join(rows, 0.5, block=block, skip=skip))) == wanted


@given(st.data(), lattice_rows(), st.integers(1, 12))
def test_what_was_joined_before_and_the_fresh_make_the_whole(
    data: st.DataObject, rows: Rows, block: int
) -> None:
    fresh = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    before = listed(self_join(rows, 0.5, block=block, skip=fresh))
    after = listed(self_join(rows, 0.5, block=block, fresh=fresh))
    assert sorted(before + after) == sorted(brute_pairs(brute_similarity(rows), 0.5))


@given(st.data(), lattice_rows(), st.integers(1, 12), st.integers(0, 30))
def test_two_collections_meet_in_every_pair(data: st.DataObject, rows: Rows, block: int, cut: int) -> None:
    cut = min(cut, len(rows))
    skip = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    wanted = {
        (a, b - cut, similarity)
        for a, b, similarity in brute_pairs(brute_similarity(rows), 0.5)
        if a < cut <= b and not skip[a] and not skip[b]
    }
    pairs = listed(cross_join(rows[:cut], rows[cut:], 0.5, block=block, skip_a=skip[:cut], skip_b=skip[cut:]))
    assert len(pairs) == len(wanted)
    assert set(pairs) == wanted


def test_rows_may_stay_on_the_disk(tmp_path: Path) -> None:
    rows = clustered_rows(2, 300, 16, groups=9, noise=0.5)
    rows.tofile(tmp_path / "vectors.f16")
    mapped = np.memmap(tmp_path / "vectors.f16", np.float16, "r", shape=rows.shape)
    assert listed(self_join(mapped, 0.9)) == listed(self_join(rows, 0.9))


def test_a_row_without_direction_is_named_before_anything_is_joined() -> None:
    rows = random_rows(0, 5000, 4)
    rows[4321] = np.nan
    with pytest.raises(InvalidValue, match="row 4321 "):
        self_join(rows, 0.9)
    with pytest.raises(InvalidValue, match="row 4321 "):
        cross_join(rows[:10], rows, 0.9)
    assert listed(self_join(rows, 0.999, skip=np.arange(5000) == 4321))


@pytest.mark.parametrize(("threshold", "block"), [(0.0, 10), (1.5, 10), (0.9, 0)])
def test_senseless_arguments_are_refused_at_once(threshold: float, block: int) -> None:
    with pytest.raises(InvalidValue):
        self_join(random_rows(0, 5, 4), threshold, block=block)
    with pytest.raises(InvalidValue):
        cross_join(random_rows(0, 5, 4), random_rows(1, 5, 4), threshold, block=block)


@given(st.integers(0, 3))
def test_few_rows_have_few_pairs(n: int) -> None:
    rows = np.ones((n, 3), dtype=np.float16)
    assert len(listed(self_join(rows, 0.9))) == n * (n - 1) // 2


def test_memory_is_bounded_even_if_all_pairs_are_similar() -> None:
    rows = near_copies(0, 6000, 32, mutual=0.999)
    tracemalloc.start()
    pairs = sum(len(block) for block in self_join(rows, 0.9))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == 6000 * 5999 // 2
    assert peak < 256 << 20, f"{peak >> 20} MiB; the pairs alone are 412"


@given(st.floats(0.0001, 1.0))
def test_thresholds_with_many_digits_compare_as_they_are(threshold: float) -> None:
    rows = np.array([[1, 0], [1, 1], [2, 1], [3, 1]], dtype=np.float16)
    assert set(listed(self_join(rows, threshold))) == brute_pairs(brute_similarity(rows), threshold)
