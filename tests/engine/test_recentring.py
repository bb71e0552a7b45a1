"""Centres in the middle of what they cover: never worse than the greedy choice, and what must stay stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_representatives import collections, table
from tests.rows import Rows, brute_similarity, clustered_rows
from twinlens.engine.recentring import best_copies, recentre
from twinlens.engine.representatives import coverage_after, representatives
from twinlens.engine.similarity import Mask, Numbers


def on_a_circle(*degrees: float) -> Rows:
    """Images in the plane, whose similarity is the cosine of the angle between them."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)


def test_a_centre_at_the_rim_moves_to_the_middle() -> None:
    rows = on_a_circle(0, 10, 20, 30, 40)
    assert recentre(rows, np.array([0]), np.arange(5)).tolist() == [2]


def test_each_group_gets_its_middle_and_keeps_its_turn() -> None:
    rows = on_a_circle(0, 15, 30, 100, 112, 130)
    assert recentre(rows, np.array([5, 0]), np.arange(6)).tolist() == [4, 1]


def test_a_group_that_lies_close_together_keeps_the_better_image() -> None:
    rows = on_a_circle(0, 20, 40, 170, 171, 172)
    assert recentre(rows, np.array([3, 0]), np.arange(6)).tolist() == [3, 1]


def test_of_equally_good_middles_the_best_in_keeper_order_is_taken() -> None:
    rows = on_a_circle(0, 20, 20, 40)
    assert recentre(rows, np.array([0]), np.array([0, 3, 2, 1])).tolist() == [2]


def test_what_must_stay_stays() -> None:
    rows = on_a_circle(0, 10, 20, 30, 40)
    fixed = np.array([True, False, False, False, False])
    assert recentre(rows, np.array([0]), np.arange(5), fixed=fixed).tolist() == [0]


NOTHING = {"identity": np.full(6, -1), "low_information": np.zeros(6, bool), "fixed": np.zeros(6, bool)}


def test_of_copies_of_one_picture_the_best_is_taken() -> None:
    rows, rank = on_a_circle(0, 15, 30, 100, 101, 102), np.array([5, 1, 4, 3, 2, 0])
    # 102 degrees is the best copy of 100, and covers the others of its group; 15 is no twin of 0.
    assert best_copies(rows, np.array([3, 0]), rank, 0.99, **NOTHING).tolist() == [5, 0]
    assert best_copies(rows, np.array([3, 0]), rank, 0.9, **NOTHING).tolist() == [5, 1]


def test_a_better_copy_that_covers_worse_is_not_taken() -> None:
    rows, rank = on_a_circle(0, 25, 47, 55, 120, 170), np.array([0, 5, 1, 2, 3, 4])
    # At 0 degrees, what lies at 55 would be farther from its centre than 170 is from 120.
    assert best_copies(rows, np.array([1, 4]), rank, 0.9, **NOTHING).tolist() == [2, 4]
    fixed = NOTHING | {"fixed": np.arange(6) == 1}
    assert best_copies(rows, np.array([1, 4]), rank, 0.9, **fixed).tolist() == [1, 4]


@given(st.data(), collections(), st.sampled_from([1, 3, 1024]))
def test_never_worse_than_before_and_as_many(
    data: st.DataObject, made: tuple[Rows, Numbers, Numbers, Mask, Mask], candidates: int
) -> None:
    rows, rank, identity, flat, first = made
    count = data.draw(st.integers(1, len(rows)))
    before = representatives(rows, rank, count, first=first, identity=identity, low_information=flat)
    after = recentre(
        rows,
        before.chosen,
        rank,
        fixed=first,
        identity=identity,
        low_information=flat,
        candidates=candidates,
    )
    assert len(set(after.tolist())) == count
    assert set(np.flatnonzero(first)) & set(before.chosen) <= set(after)
    assert set(before.chosen[flat[before.chosen]]) <= set(after)
    after = best_copies(rows, after, rank, 0.9, fixed=first, identity=identity, low_information=flat)
    assert len(set(after.tolist())) == count
    assert set(np.flatnonzero(first)) & set(before.chosen) <= set(after)
    similarity = table(rows, identity, flat)

    def coverage(chosen: Numbers) -> float:
        left = np.setdiff1d(np.flatnonzero(~flat), chosen)
        return 1 - float(np.clip(similarity[np.ix_(left, chosen)].max(axis=1).min(initial=1.0), 0, 1))

    assert coverage(after) <= coverage(before.chosen) + 1e-9
    said = coverage_after(rows, after, identity=identity, low_information=flat)
    assert said[-1] == pytest.approx(coverage(after), abs=1e-9)
    assert said == pytest.approx([coverage(after[: n + 1]) for n in range(count)], abs=1e-9)


@pytest.mark.parametrize("candidates", [16, 1024])
def test_a_crowd_is_covered_better(candidates: int) -> None:
    rows = clustered_rows(1, 1500, 32, groups=40, noise=0.8)
    similarity = brute_similarity(rows)
    before = representatives(rows, np.arange(1500), 10).chosen
    after = recentre(rows, before, np.arange(1500), candidates=candidates)
    worst = [1 - similarity[:, chosen].max(axis=1).min() for chosen in (before, after)]
    assert worst[1] < worst[0] - 0.03


def test_nothing_to_move_where_all_is_flat() -> None:
    rows = on_a_circle(0, 10)
    flat = np.ones(2, bool)
    assert recentre(rows, np.array([1]), np.arange(2), low_information=flat).tolist() == [1]
