"""Uniqueness: 0 for a twin, 1 for the isolated, and nobody's outlier moves it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import clustered_rows
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join import Nearest, self_join
from twinlens.engine.uniqueness import PRIOR_ISOLATION, measure_isolation, percentile, uniqueness

similarities = st.lists(st.floats(-1.0, 1.0), max_size=20).map(np.array)
isolations = st.floats(0.0, 0.99)


def plain(nearest: np.ndarray, isolation: float) -> np.ndarray:
    nobody = np.zeros(len(nearest), dtype=bool)
    return uniqueness(nearest, isolation, low_information=nobody, has_identical_twin=nobody)


def nearest_similarity(rows: np.ndarray) -> np.ndarray:
    nearest = Nearest(len(rows))
    for _ in self_join(rows, 0.9, nearest=nearest):
        pass
    return nearest.similarity


@given(similarities, isolations)
def test_scores_lie_between_the_perfect_twin_and_the_isolated(nearest: np.ndarray, isolation: float) -> None:
    scores = plain(nearest, isolation)
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    assert ((scores == 0.0) == (nearest == 1.0)).all()
    assert (scores[nearest <= isolation] == 1.0).all()
    assert (np.diff(scores[np.argsort(nearest, kind="stable")]) <= 0.0).all(), "nearer is less unique"


def test_the_formula() -> None:
    assert plain(np.array([0.8, 0.5, 0.2]), 0.5).tolist() == pytest.approx([0.4, 1.0, 1.0])


def test_one_image_alone_is_unique() -> None:
    assert plain(np.array([np.nan]), 0.5).tolist() == [1.0]


def test_images_of_low_information_score_only_as_identical_twins() -> None:
    scores = uniqueness(
        np.array([np.nan, np.nan, 0.5, 1.0]),
        0.2,
        low_information=np.array([True, True, False, False]),
        has_identical_twin=np.array([True, False, False, True]),
    )
    assert np.array_equal(scores, [0.0, np.nan, 0.625, 0.0], equal_nan=True)


def test_an_outlier_changes_nobody_elses_score() -> None:
    rows = clustered_rows(0, 400, 32, groups=80, noise=0.5)
    outlier = -rows.sum(axis=0, keepdims=True, dtype=np.float32).astype(np.float16)
    before = plain(nearest_similarity(rows), 0.5)
    after = plain(nearest_similarity(np.concatenate([rows, outlier])), 0.5)
    assert np.array_equal(before, after[:-1])
    assert after[-1] == 1.0
    assert 0.0 < before.mean() < 1.0


def test_rows_with_an_identical_twin_score_exactly_zero() -> None:
    rows = clustered_rows(1, 300, 512, groups=40, noise=0.3)
    rows[200:] = rows[:100]
    scores = plain(nearest_similarity(rows), 0.5)
    assert not scores[:100].any() and not scores[200:].any()


@pytest.mark.parametrize("isolation", [1.0, 1.2, -0.1, np.nan])
def test_a_senseless_isolation_is_refused(isolation: float) -> None:
    with pytest.raises(InvalidValue, match="isolation"):
        plain(np.array([0.5]), isolation)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan]), max_size=20).map(np.array))
def test_percentile_is_the_share_of_the_others_that_are_less_unique(scores: np.ndarray) -> None:
    ranks = percentile(scores)
    scored = scores[~np.isnan(scores)]
    for score, rank in zip(scores.tolist(), ranks.tolist(), strict=True):
        if np.isnan(score):
            assert np.isnan(rank)
        elif len(scored) == 1:
            assert rank == 100.0
        else:
            assert rank == pytest.approx(100.0 * (scored < score).sum() / (len(scored) - 1))


def test_isolation_is_the_fifth_percentile_of_images_without_a_known_twin() -> None:
    nearest = np.concatenate([np.linspace(0.3, 0.7, 101), np.full(50, 0.97), [np.nan]])
    assert measure_isolation(nearest, 0.95) == 0.32
    assert measure_isolation(nearest, 0.98) > 0.32


def test_isolation_is_capped_and_never_negative() -> None:
    assert measure_isolation(np.full(50, 0.94), 0.95) == 0.9
    assert measure_isolation(np.full(50, -0.2), 0.95) == 0.0


def test_isolation_of_too_few_images_is_a_stated_prior() -> None:
    assert measure_isolation(np.full(19, 0.6), 0.95) == PRIOR_ISOLATION
    assert measure_isolation(np.full(20, 0.6), 0.95) == 0.6
    assert measure_isolation(np.full(100, np.nan), 0.95) == PRIOR_ISOLATION


def test_isolation_is_measured_on_a_seeded_sample() -> None:
    nearest = np.random.default_rng(0).random(5000) * 0.9
    sampled = measure_isolation(nearest, 0.95, sample=500)
    assert sampled == measure_isolation(nearest, 0.95, sample=500)
    assert sampled != measure_isolation(nearest, 0.95, seed=1, sample=500)
    assert sampled == pytest.approx(measure_isolation(nearest, 0.95), abs=0.03)
