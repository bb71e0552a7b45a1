"""The figures of the quality benchmark beside scikit-learn's and beside counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from scripts.quality_scores import (
    Ranking,
    average_precision,
    best_f1,
    curve,
    figures,
    rank,
    recall_at,
    resamples,
    shares_at,
    threshold_at,
    with_interval,
)


def ranked(products: NDArray[np.float32], originals: NDArray[np.intp], block: int = 3) -> Ranking:
    """A ranking of queries against references, block by block."""
    places = np.arange(len(products))
    true = products[places, originals].copy()
    rest = products.copy()
    rest[places, originals] = -np.inf
    blocks = (
        (originals[start : start + block], rest[start : start + block])
        for start in range(0, len(rest), block)
    )
    return rank(true, originals, blocks, products.shape[1])


def drawn(
    seed: int, queries: int, references: int, levels: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    generator = np.random.default_rng(seed)
    products = generator.integers(levels, size=(queries, references)).astype(np.float32)
    originals = generator.integers(references, size=queries).astype(np.intp)
    products[np.arange(queries), originals] += levels // 2
    return products, originals


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 9), st.sampled_from((2, 5, 1000)))
def test_figures_equal_those_of_scikit_learn(seed: int, queries: int, references: int, levels: int) -> None:
    products, originals = drawn(seed, queries, references, levels)
    labels = np.zeros(products.shape, np.bool_)
    labels[np.arange(queries), originals] = True
    precision, recall = curve(ranked(products, originals))
    assert average_precision(precision, recall) == pytest.approx(
        average_precision_score(labels.ravel(), products.ravel())
    )
    theirs, found, _ = precision_recall_curve(labels.ravel(), products.ravel())
    assert recall_at(precision, recall, 0.8) == pytest.approx(found[theirs >= 0.8].max(initial=0))
    threshold = float(products[labels].min())
    share, reached = shares_at(ranked(products, originals), threshold)
    assert share == pytest.approx(labels[products >= threshold].mean()) and reached == 1
    assert shares_at(ranked(products, originals), float(products.max()) + 1) == (1.0, 0.0)
    f1 = 2 * theirs * found / np.maximum(theirs + found, 1e-12)
    assert best_f1(precision, recall) == pytest.approx(f1.max())


def test_weights_count_an_original_as_often_as_it_was_drawn() -> None:
    products, originals = drawn(5, 8, 4, 6)
    weights = np.array([2.0, 0.0, 1.0, 3.0])
    repeated = [place for place, owner in enumerate(originals) for _ in range(int(weights[owner]))]
    labels = np.zeros(products.shape, np.bool_)
    labels[np.arange(8), originals] = True
    expected = average_precision_score(labels[repeated].ravel(), products[repeated].ravel())
    assert average_precision(*curve(ranked(products, originals), weights)) == pytest.approx(expected)


def test_a_threshold_is_the_lowest_of_its_precision() -> None:
    products = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.7]], np.float32)
    ranking = ranked(products, np.array([0, 1, 0]))
    assert threshold_at(ranking) == pytest.approx(0.8)
    assert threshold_at(ranked(np.array([[0.1, 0.9]], np.float32), np.array([0]))) is None
    assert recall_at(*curve(ranking)) == pytest.approx(2 / 3)


def test_left_out_pairs_count_nowhere() -> None:
    without = ranked(np.array([[0.5, -np.inf]], np.float32), np.array([0]))
    assert without.false.sum() == 0 and average_precision(*curve(without)) == 1


def test_intervals_are_the_same_every_time_and_hold_the_figure() -> None:
    products, originals = drawn(1, 60, 20, 8)
    draws = resamples(20, 200, 3)
    assert draws.shape == (200, 20) and (draws.sum(axis=1) == 20).all()
    first, second = (figures(ranked(products, originals), draws) for _ in range(2))
    assert first == second
    assert all(figure.low <= figure.value <= figure.high for figure in first.values())
    assert with_interval(0.5, [0.0, 1.0]).low == pytest.approx(0.025)
