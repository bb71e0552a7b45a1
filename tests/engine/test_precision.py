"""Precision, recall, tails and levels: by hand, on known distributions, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.precision import (
    LEAST_RECALL,
    Tail,
    Values,
    false_share,
    find_level,
    grid,
    measure_curves,
    reached,
)


def tail(similarity: list[float] | Values, total: int, share: float = 1.0, images: int = 40) -> Tail:
    """Pairs between images that are taken in turn."""
    values = np.array(similarity, np.float64)
    a = np.arange(len(values)) % images
    return Tail(a, (a + 1) % images, values, total, float(values.min()), share)


def power_tail(power: float, reach: float, kept: int, total: int, seed: int = 0) -> Tail:
    """The nearest of pairs whose distance has that power law."""
    uniform = np.random.default_rng(seed).uniform(size=kept)
    return tail(1.0 - reach * uniform ** (1 / power), total, images=500)


def test_what_reaches_a_threshold_counts_ties() -> None:
    similarity, weights = np.array([0.5, 0.9, 0.9, 0.2]), np.array([1.0, 2.0, 1.0, 4.0])
    assert reached(similarity, np.array([0.1, 0.5, 0.9, 0.95]), weights).tolist() == [8.0, 4.0, 3.0, 0.0]


def test_the_grid_rises_to_nearly_one() -> None:
    steps = grid()
    assert steps[0] == 0 and steps[-1] == pytest.approx(1 - 1e-6) and (np.diff(steps) > 0).all()


def test_counted_where_pairs_are_and_nothing_said_below_the_tail() -> None:
    pairs = tail([0.8, 0.85, 0.9, 0.95], 1000)
    share = false_share(pairs, np.array([0.5, 0.8, 0.95]), np.ones(40))
    assert share[0] == 1.0
    assert share[1] == pytest.approx(4 / 1000)
    assert share[2] >= 1 / 1000


def test_beyond_the_last_pair_the_share_falls_as_the_power_that_is_there() -> None:
    pairs = power_tail(8.0, 0.5, 4000, 400_000)
    share = false_share(pairs, np.array([0.5, 0.9]), np.ones(500))
    assert share[1] == pytest.approx(0.01 * 0.2**8.0, rel=0.4)


def test_a_pair_counts_as_often_as_both_of_its_images() -> None:
    pairs = Tail(np.array([0]), np.array([1]), np.array([0.9]), 100, 0.9, 1.0)
    share = false_share(pairs, np.array([0.9]), np.array([2.0, 3.0, 1.0, 2.0]))
    assert share[0] == pytest.approx(6 / (100 * 4.0))


def measured(edits: Values, pairs: Tail, images: int = 1000, seed: int = 0) -> list[float | None]:
    curves = measure_curves(edits, np.arange(len(edits)) % 500, [pairs], images, seed)
    return [find_level(curves, precision).threshold for precision in (0.99, 0.95, 0.9)]


def test_precision_is_what_its_formula_says() -> None:
    edits, pairs = np.full(1000, 0.95), power_tail(6.0, 0.4, 5000, 500_000)
    curves = measure_curves(edits, np.arange(1000) % 500, [pairs], 2000, 0)
    at = int(np.searchsorted(curves.thresholds, 0.8))
    false = false_share(pairs, curves.thresholds, np.ones(500))[at]
    assert curves.precision[at] == pytest.approx(1 / (1 + 1999 * false))
    assert curves.recall[at] == 1.0


def test_levels_are_reached_with_most_of_the_edits() -> None:
    edits = 1 - np.random.default_rng(1).exponential(0.03, 2000)
    levels = measured(edits, power_tail(12.0, 0.5, 5000, 500_000))
    assert all(level is not None and 0.6 < level < 0.95 for level in levels)
    assert levels == sorted(levels, key=lambda level: -(level or 0))


def test_the_lower_end_of_the_precision_allows_twice_the_false_pairs() -> None:
    edits = 1 - np.random.default_rng(1).exponential(0.03, 2000)
    curves = measure_curves(edits, np.arange(2000) % 500, [power_tail(12.0, 0.5, 5000, 500_000)], 1000, 0)
    level = find_level(curves, 0.99)
    assert level.interval is not None and level.threshold is not None and level.expected is not None
    assert level.interval[1] is not None and level.interval[0] < level.interval[1]
    assert level.expected.low <= level.expected.value <= level.expected.high
    assert level.expected.value >= 0.99 and level.expected.low >= 0.98


def test_strangers_as_similar_as_copies_leave_no_threshold_and_say_why() -> None:
    edits = np.full(500, 0.9)
    curves = measure_curves(edits, np.arange(500), [tail([0.95] * 2000, 100_000)], 1000, 0)
    level = find_level(curves, 0.9)
    assert level.threshold is None and level.recall is None
    assert "no threshold" in level.reason and "90%" in level.reason


def test_a_few_pairs_that_decide_alone_are_not_trusted() -> None:
    edits = np.full(500, 0.9)
    curves = measure_curves(edits, np.arange(500), [tail([0.5] * 300 + [0.9], 100_000)], 1000, 0)
    level = find_level(curves, 0.99)
    assert level.threshold is None and level.reason


def test_a_larger_collection_needs_a_threshold_that_is_no_lower() -> None:
    edits, pairs = 1 - np.random.default_rng(1).exponential(0.03, 2000), power_tail(12.0, 0.5, 5000, 500_000)
    small, large = measured(edits, pairs, 1000)[0], measured(edits, pairs, 200_000)[0]
    assert small is not None and large is not None and small < large


def test_a_seed_decides_the_draws() -> None:
    edits, pairs = 1 - np.random.default_rng(1).exponential(0.03, 2000), power_tail(12.0, 0.5, 500, 50_000)
    first, again, other = (
        measure_curves(edits, np.arange(2000) % 500, [pairs], 1000, seed).drawn_precision
        for seed in (4, 4, 5)
    )
    assert (first == again).all() and (first != other).any()


similar = st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000)


@settings(max_examples=15, deadline=None)
@given(st.lists(similar, min_size=20, max_size=60), st.lists(similar, min_size=5, max_size=60))
def test_a_higher_precision_never_has_a_lower_threshold(edits: list[float], strangers: list[float]) -> None:
    owner = np.arange(len(edits)) % 40
    curves = measure_curves(np.array(edits), owner, [tail(strangers, 50 * len(strangers))], 100, 1)
    levels = [find_level(curves, precision) for precision in (0.5, 0.9, 0.95, 0.99)]
    thresholds = [np.inf if level.threshold is None else level.threshold for level in levels]
    assert thresholds == sorted(thresholds)
    for level in levels:
        if level.threshold is not None:
            assert np.mean(np.array(edits) >= level.threshold) >= LEAST_RECALL or level.recall is not None
        else:
            assert level.reason
