"""How many pairs a threshold has, before anything is joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import Rows, brute_pairs, brute_similarity, clustered_rows, lattice_rows, thresholds
from twinlens.engine.errors import TooManyPairs
from twinlens.engine.estimate import estimate_pairs, lowest_served, refuse_too_many


@given(st.data(), lattice_rows())
def test_exact_where_the_sample_holds_all_rows(data: st.DataObject, rows: Rows) -> None:
    threshold = data.draw(thresholds(rows))
    assert estimate_pairs(rows, threshold) == len(brute_pairs(brute_similarity(rows), threshold))


def test_about_right_from_a_sample_and_the_same_every_time() -> None:
    rows = clustered_rows(0, 3000, 16, groups=20, noise=0.5)
    pairs = len(brute_pairs(brute_similarity(rows), 0.8))
    estimate = estimate_pairs(rows, 0.8, sample=500)
    assert 0.9 * pairs < estimate < 1.1 * pairs
    assert estimate == estimate_pairs(rows, 0.8, sample=500) != estimate_pairs(rows, 0.8, seed=1, sample=500)


@given(lattice_rows(), st.integers(0, 60))
def test_the_lowest_served_is_the_lowest(rows: Rows, limit: int) -> None:
    lowest = lowest_served(rows, limit)
    similarity = brute_similarity(rows)
    assert lowest == 1.0 or len(brute_pairs(similarity, lowest)) <= limit
    if lowest > 0.001:
        assert len(brute_pairs(similarity, round(lowest - 0.001, 3))) > limit


def test_a_threshold_with_too_many_pairs_is_refused_with_one_that_is_served() -> None:
    rows = clustered_rows(0, 300, 8, groups=3, noise=0.5)
    with pytest.raises(TooManyPairs) as refusal:
        refuse_too_many(rows, 0.3, limit=2000)
    refuse_too_many(rows, refusal.value.lowest_served, limit=2000)


def test_skipped_rows_have_no_pairs() -> None:
    rows = np.ones((10, 3), dtype=np.float16)
    rows[:4] = 0
    assert estimate_pairs(rows, 0.9, skip=np.arange(10) < 4) == 15
