"""Greedy k-centre: equal to a naive implementation, at most twice the optimum, the same in any order."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.rows import Rows, brute_similarity, clustered_rows, lattice_rows, near_copies, random_rows
from twinlens.engine.errors import InvalidValue
from twinlens.engine.representatives import Representatives, nearest_chosen, representatives
from twinlens.engine.similarity import Mask, Numbers


def table(rows: NDArray[Any], identity: Numbers, flat: Mask) -> NDArray[np.float64]:
    """Similarity of all images; a flat one is farther from all but identical ones than any can be."""
    similarity = brute_similarity(rows)
    similarity[flat] = similarity[:, flat] = -2.0
    similarity[(identity[:, None] == identity[None, :]) & (identity >= 0)] = 1.0
    np.fill_diagonal(similarity, 1.0)
    return similarity


def naive(
    similarity: NDArray[np.float64], rank: Numbers, count: int, first: Mask, flat: Mask
) -> tuple[list[int], list[float]]:
    """One centre after the other, from the whole table."""
    chosen: list[int] = []
    coverage: list[float] = []
    for _ in range(count):
        left = [place for place in range(len(rank)) if place not in chosen]
        nearest = {place: max((similarity[place, c] for c in chosen), default=-2.0) for place in left}
        chosen.append(
            min(
                left, key=lambda place: (not first[place], not (first[place] or not flat[place]), rank[place])
            )
            if any(first[place] for place in left)
            else min(left, key=lambda place: (bool(flat[place]), nearest[place], rank[place]))
        )
        far = [
            max(similarity[place, c] for c in chosen)
            for place in range(len(rank))
            if place not in chosen and not flat[place]
        ]
        coverage.append(1.0 - float(np.clip(min(far, default=1.0), 0, 1)))
    return chosen, coverage


def listed(found: Representatives) -> tuple[list[int], list[float]]:
    return found.chosen.tolist(), found.coverage.tolist()


@st.composite
def collections(draw: st.DrawFn) -> tuple[Rows, Numbers, Numbers, Mask, Mask]:
    rows = draw(lattice_rows(max_rows=18).filter(len))
    n = len(rows)
    identity = np.array(draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n)), np.int64)
    flat = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))) == 0
    # A flat image and one with information never have the same pixels.
    identity[flat & (identity >= 0)] += 10
    first = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))) == 0
    rank = np.array(draw(st.permutations(range(n))), np.int64)
    return rows, rank, identity, flat, first


@given(st.data(), collections(), st.sampled_from([1, 2, 3, 2048]))
def test_equal_a_naive_implementation(
    data: st.DataObject, made: tuple[Rows, Numbers, Numbers, Mask, Mask], pool: int
) -> None:
    rows, rank, identity, flat, first = made
    count = data.draw(st.integers(1, len(rows)))
    found = representatives(
        rows, rank, count, first=first, identity=identity, low_information=flat, pool=pool
    )
    wanted = naive(table(rows, identity, flat), rank, count, first, flat)
    assert found.chosen.tolist() == wanted[0]
    assert found.coverage == pytest.approx(wanted[1], abs=1e-9)


@pytest.mark.parametrize("pool", [7, 64, 2048])
def test_a_thousand_images_with_every_similarity(pool: int) -> None:
    rows = clustered_rows(3, 1000, 48, groups=60, noise=0.8)
    rank = np.random.default_rng(0).permutation(1000)
    nothing = np.zeros(1000, bool)
    wanted = naive_fast(brute_similarity(rows), rank, 200)
    found = representatives(rows, rank, 200, first=nothing, pool=pool)
    assert found.chosen.tolist() == wanted


def naive_fast(similarity: NDArray[np.float64], rank: Numbers, count: int) -> list[int]:
    chosen = [int(np.argmin(rank))]
    while len(chosen) < count:
        nearest = similarity[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.lexsort((rank, nearest))[0]))
    return chosen


@given(st.integers(0, 50), st.integers(4, 9), st.integers(1, 4))
def test_at_most_twice_the_optimum_in_chord_length(seed: int, n: int, k: int) -> None:
    similarity = brute_similarity(rows := random_rows(seed, n, 3))
    chord = np.sqrt(2 * np.clip(1 - similarity, 0, None))
    best = min(chord[:, list(centres)].min(axis=1).max() for centres in combinations(range(n), k))
    found = representatives(rows, np.arange(n), k)
    reached = chord[:, found.chosen].min(axis=1).max()
    assert reached <= 2 * best + 2e-3, "millionths of similarity are thousandths of chord length"


@given(st.data(), collections())
def test_the_order_of_the_input_changes_nothing(
    data: st.DataObject, made: tuple[Rows, Numbers, Numbers, Mask, Mask]
) -> None:
    rows, rank, identity, flat, first = made
    count = data.draw(st.integers(1, len(rows)))
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    found = representatives(rows, rank, count, first=first, identity=identity, low_information=flat)
    moved = representatives(
        rows[order],
        rank[order],
        count,
        first=first[order],
        identity=identity[order],
        low_information=flat[order],
    )
    assert order[moved.chosen].tolist() == found.chosen.tolist()
    assert moved.coverage.tolist() == found.coverage.tolist()


def test_a_longer_list_begins_with_a_shorter_one_and_never_covers_worse() -> None:
    rows = clustered_rows(0, 300, 16, groups=20, noise=0.7)
    rank = np.random.default_rng(1).permutation(300)
    longest = representatives(rows, rank, 300)
    assert sorted(longest.chosen.tolist()) == list(range(300))
    assert (np.diff(longest.coverage) <= 0).all() and longest.coverage[-1] == 0.0
    for count in (1, 2, 50, 299):
        found = representatives(rows, rank, count)
        assert listed(found) == (longest.chosen[:count].tolist(), longest.coverage[:count].tolist())


def test_near_copies_far_from_everything_do_not_fill_the_pool_in_vain() -> None:
    rows = np.concatenate([random_rows(0, 40, 32), near_copies(1, 400, 32, mutual=0.9999)])
    rank = np.arange(440)
    found = representatives(rows, rank, 42, pool=64)
    assert found.chosen.tolist() == naive_fast(brute_similarity(rows), rank, 42)
    assert sum(place >= 40 for place in found.chosen[:41].tolist()) == 1


def test_what_must_be_kept_comes_first_in_keeper_order_then_the_rest_is_far_from_it() -> None:
    rows = random_rows(4, 30, 8)
    rank = np.arange(30)[::-1].copy()
    first = np.isin(np.arange(30), (3, 7, 20))
    found = representatives(rows, rank, 5, first=first)
    assert found.chosen[:3].tolist() == [20, 7, 3]
    assert found.chosen.tolist() == naive(brute_similarity(rows), rank, 5, first, np.zeros(30, bool))[0]
    assert representatives(rows, rank, 2, first=first).chosen.tolist() == [20, 7]


def test_flat_images_come_last_those_like_others_at_the_end() -> None:
    rows = random_rows(5, 8, 4)
    flat = np.array([1, 0, 1, 0, 1, 0, 0, 1], bool)
    identity = np.array([9, -1, 9, -1, -1, -1, -1, 9])
    found = representatives(rows, np.arange(8), 8, identity=identity, low_information=flat)
    assert found.chosen[:4].tolist() == sorted([1, 3, 5, 6], key=found.chosen.tolist().index)
    assert found.chosen[4:].tolist() == [0, 4, 2, 7]
    assert found.coverage[3:].tolist() == [0.0] * 5


@pytest.mark.parametrize("count", [0, -1, 4])
def test_counts_that_cannot_be_kept_are_refused(count: int) -> None:
    with pytest.raises(InvalidValue, match="cannot be kept of 3: ask for a number from 1 to 3"):
        representatives(random_rows(0, 3, 4), np.arange(3), count)


@given(collections())
def test_the_nearest_chosen_is_the_first_of_equals(
    made: tuple[Rows, Numbers, Numbers, Mask, Mask],
) -> None:
    rows, rank, identity, _, _ = made
    chosen = np.argsort(rank)[: max(1, len(rank) // 3)]
    places = np.arange(len(rank))
    similarity = table(rows, identity, np.zeros(len(rank), bool))[:, chosen]
    # The table counts an image as like itself, rows of one direction do as well.
    found, said = nearest_chosen(rows, chosen, places, identity)
    assert found.tolist() == chosen[similarity.argmax(axis=1)].tolist()
    assert said.tolist() == pytest.approx(similarity.max(axis=1).tolist(), abs=1e-9)
