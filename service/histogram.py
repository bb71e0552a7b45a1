"""How similar images are to their nearest neighbour, as bars: geometry only, the template draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

HEIGHT = 160
"""Of the highest bar, px."""

_BIN_WIDTHS = (10, 5, 2, 1)
_TICK_STEPS = (200, 100, 50, 20, 10)
_FEWEST_BARS = 25
_FEWEST_TICKS = 4
_LABEL_GAP = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """Images whose nearest neighbour is in [low, high) similar; the last bar holds 1 as well.

    Attributes:
        low, high: thousandths.
        count: of images.
        left, width: % of the width of the plot.
        height: px; its square is proportional to the count.
        twins: True if the whole bar is at or above the threshold.
    """

    low: int
    high: int
    count: int
    left: float
    width: float
    height: float
    twins: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A label and its place: % of the width, or px of the height."""

    label: str
    place: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars and axes.

    Attributes:
        bars: by rising similarity, empty ones left out.
        x: ticks of similarity.
        y: ticks of the count.
        threshold: its place, % of the width.
        count: of images.
        twins: of them, those at or above the threshold.
    """

    bars: Sequence[Bar]
    x: Sequence[Tick]
    y: Sequence[Tick]
    threshold: float
    count: int
    twins: int


def histogram(similarities: NDArray[np.float64], threshold: float) -> Histogram | None:
    """Bars of nearest-neighbour similarities.

    Heights grow with the square root of the count, or a pile of exact twins would flatten the rest.
    Values are counted as whole millionths, so that one that is exactly an edge falls to its right.

    Args:
        similarities: float64 [n], in [0, 1]; what is not finite is left out.
        threshold: in [0, 1].

    Returns:
        None if there is nothing to count.
    """
    millionths = np.rint(similarities[np.isfinite(similarities)] * 1e6).astype(np.int64)
    if not len(millionths):
        return None
    lowest = _lowest_edge(min(int(millionths.min()), round(threshold * 1e6)) // 1000)
    span = 1000 - lowest
    width = next((w for w in _BIN_WIDTHS if span // w >= _FEWEST_BARS), _BIN_WIDTHS[-1])
    places = np.clip((millionths // 1000 - lowest) // width, 0, span // width - 1)
    counts = np.bincount(places)
    return Histogram(
        bars=list(_bars(counts, lowest, width, threshold)),
        x=_similarity_ticks(lowest),
        y=_count_ticks(int(counts.max())),
        threshold=(threshold * 1000 - lowest) / span * 100,
        count=len(millionths),
        twins=int((millionths >= round(threshold * 1e6)).sum()),
    )


def _lowest_edge(thousandths: int) -> int:
    return min(max(thousandths, 0) // 50 * 50, 950)


def _bars(counts: NDArray[np.int64], lowest: int, width: int, threshold: float) -> Iterator[Bar]:
    scale, most = 100 / (1000 - lowest), counts.max()
    for place in np.flatnonzero(counts).tolist():
        low, count = lowest + place * width, int(counts[place])
        yield Bar(
            low=low,
            high=low + width,
            count=count,
            left=(low - lowest) * scale,
            width=width * scale,
            height=_height(count, most),
            twins=low * 1000 >= round(threshold * 1e6),
        )


def _height(count: int, most: int) -> float:
    return HEIGHT * sqrt(count / most)


def _similarity_ticks(lowest: int) -> list[Tick]:
    span = 1000 - lowest
    step = next((s for s in _TICK_STEPS if span // s >= _FEWEST_TICKS), _TICK_STEPS[-1])
    first = -(-lowest // step) * step
    return [Tick(f"{at / 1000:.2f}", (at - lowest) / span * 100) for at in range(first, 1001, step)]


def _count_ticks(most: int) -> list[Tick]:
    """Round counts (1, 2, 5, 10, ...) from the top, as many as have room for a label."""
    rounds = [digit * 10**power for power in range(len(str(most))) for digit in (1, 2, 5)]
    ticks: list[Tick] = []
    for count in reversed([number for number in rounds if number <= most]):
        height = _height(count, most)
        if height >= _LABEL_GAP / 2 and (not ticks or ticks[-1].place - height >= _LABEL_GAP):
            ticks.append(Tick(f"{count:,}", height))
    return ticks
