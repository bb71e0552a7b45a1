from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.histogram import HEIGHT, histogram

similarities = st.lists(st.floats(0, 1).map(lambda value: round(value, 6)), min_size=1, max_size=50)
thresholds = st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)


@given(similarities, thresholds)
def test_every_image_is_in_one_bar_inside_the_plot(values: list[float], threshold: float) -> None:
    drawn = histogram(np.array(values), threshold)
    assert drawn is not None
    assert drawn.count == sum(bar.count for bar in drawn.bars) == len(values)
    for bar in drawn.bars:
        inside = [v for v in values if bar.low <= round(v * 1e6) // 1000 < bar.high]
        assert bar.count == len(inside) + (values.count(1.0) if bar.high == 1000 else 0)
        assert bar.left >= 0 and bar.left + bar.width <= 100 + 1e-9
        assert 0 < bar.height <= HEIGHT
    assert 0 <= drawn.threshold <= 100


@given(similarities, thresholds)
def test_only_bars_wholly_at_or_above_the_threshold_are_twins(values: list[float], threshold: float) -> None:
    drawn = histogram(np.array(values), threshold)
    assert drawn is not None
    assert drawn.twins == sum(value >= threshold for value in values)
    for bar in drawn.bars:
        assert bar.twins == (bar.low / 1000 >= threshold)


def test_a_value_on_an_edge_falls_to_its_right() -> None:
    drawn = histogram(np.array([0.57, 0.3]), 0.57)
    assert drawn is not None
    assert [(bar.low, bar.twins) for bar in drawn.bars] == [(300, False), (570, True)]


def test_heights_follow_the_square_root() -> None:
    drawn = histogram(np.array([0.5] * 100 + [0.9]), 0.9)
    assert drawn is not None
    assert [bar.height for bar in drawn.bars] == [HEIGHT, pytest.approx(HEIGHT / 10)]


@pytest.mark.parametrize("values", [[0.0], [0.5, 0.99], [0.955, 0.96], [1.0]])
def test_there_are_a_few_ticks_whatever_the_range(values: list[float]) -> None:
    drawn = histogram(np.array(values), 0.96)
    assert drawn is not None
    assert 4 <= len(drawn.x) <= 11
    assert drawn.x[-1].label == "1.00" and drawn.x[-1].place == 100


def test_counts_are_round_and_have_room() -> None:
    drawn = histogram(np.array([1.0] * 3120), 0.9)
    assert drawn is not None
    places = [tick.place for tick in drawn.y]
    assert [tick.label for tick in drawn.y] == ["2,000", "1,000", "200"]
    assert min(high - low for high, low in pairwise(places)) >= 30


@pytest.mark.parametrize("values", [[], [np.nan]])
def test_nothing_to_count_is_no_histogram(values: list[float]) -> None:
    assert histogram(np.array(values, dtype=np.float64), 0.9) is None
