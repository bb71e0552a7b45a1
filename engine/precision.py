"""Which thresholds give a precision: statistics of edited copies and of pairs of different images.

Precision depends on how many pairs of different images there are for each true pair, and that number
grows with the collection. It is stated here for a collection of a given size in which every image has one
edited copy: of n images, half are originals and half their copies. Then n / 2 pairs are true, and for each
of these there are n - 1 pairs of different images: a quarter of them two originals, half an original and
the copy of another, a quarter two copies.

The share of different pairs that pass a high threshold is smaller than what a sample can count. Beyond the
nearest ones it is taken to fall as a power of the distance 1 - s (Hill, A simple general approach to
inference about the tail of a distribution, 1975), or as counted, whichever is more. Intervals come from
drawing images, not pairs, with replacement: a pair counts as often as both of its images together. Such
intervals are rather too wide than too narrow (Owen, The pigeonhole bootstrap, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.similarity import Numbers

Values = NDArray[np.float64]

ROUNDS = 200
"""Of the bootstrap."""

INTERVAL = (0.05, 0.95)
"""Quantiles between which an interval lies."""

SLACK = 2.0
"""Times the false pairs of a precision that the lower end of its interval may have."""

LEAST_RECALL = 0.05
"""A threshold that finds a smaller share of the edits is no use."""

SMALLEST_COLLECTION = 1000
"""Smaller collections are calculated with as if they had so many images: they may grow."""

_NEAREST_DISTANCE = 1e-6
_STEPS = 1000
_FINEST = 1e-6


def grid() -> Values:
    """Similarities at which precision and recall are computed, rising, denser towards 1: float64 [t]."""
    return np.unique(np.round(1.0 - np.geomspace(1.0, _FINEST, _STEPS), 6))


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The most similar of the pairs of different images that were compared, of one kind.

    Attributes:
        a, b: int64 [k], the number of the image that each side is or was made of.
        similarity: float64 [k].
        total: how many pairs were compared.
        start: all pairs at or above this similarity are here.
        share: of all pairs of different images in a collection, those of this kind.
    """

    a: Numbers
    b: Numbers
    similarity: Values
    total: int
    start: float
    share: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Level:
    """What it takes for a precision.

    Attributes:
        precision: that is asked for, in (0, 1).
        threshold: to use; None if no threshold is good enough.
        interval: of the least threshold that has the precision; its upper end is None where some of the
            draws have it nowhere. None if hardly any has.
        expected: precision at the threshold.
        recall: share of the edits that are found at the threshold.
        reason: why there is no threshold; empty if there is one.
    """

    precision: float
    threshold: float | None
    interval: tuple[float, float | None] | None
    expected: Estimate | None
    recall: Estimate | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Precision and recall over the grid, float64 [t] each, and of each draw [rounds, t]."""

    thresholds: Values
    precision: Values
    recall: Values
    drawn_precision: Values
    drawn_recall: Values


def measure_curves(edits: Values, owner: Numbers, tails: Sequence[Tail], images: int, seed: int) -> Curves:
    """Precision and recall at every threshold of the grid.

    Args:
        edits: float64 [e], similarity of each edited copy to its image.
        owner: int64 [e], number of that image; numbers are those of the tails.
        tails: pairs of different images by kind.
        images: how many images the collection has.
        seed: of the draws.
    """
    thresholds = grid()
    crowd = max(images, SMALLEST_COLLECTION) - 1
    n = 1 + max(
        int(numbers.max(initial=-1)) for numbers in (owner, *(t.a for t in tails), *(t.b for t in tails))
    )
    recall, precision = [], []
    for weights in _draws(n, seed):
        found = reached(edits, thresholds, weights[owner]) / max(weights[owner].sum(), 1.0)
        false = np.sum([tail.share * false_share(tail, thresholds, weights) for tail in tails], axis=0)
        recall.append(found)
        precision.append(_ratio(found, crowd * false))
    return Curves(thresholds, precision[0], recall[0], np.array(precision[1:]), np.array(recall[1:]))


def find_level(curves: Curves, precision: float) -> Level:
    """The threshold for a precision.

    The least one that has it by what was seen, and at which the lower end of its interval allows at most
    twice the false pairs: a threshold for 99 % is at least 98 % precise at that end.
    """
    least = _first_reached(curves.precision, curves.recall, curves.thresholds, precision)
    lower_end = np.quantile(curves.drawn_precision, INTERVAL[0], axis=0)
    allowed = 1.0 - SLACK * (1.0 - precision)
    chosen = max(least, _first_reached(lower_end, curves.recall, curves.thresholds, allowed))
    interval = _interval(curves, precision, least)
    if not np.isfinite(chosen):
        return Level(precision, None, interval, None, None, _reason(least, precision))
    at = int(np.searchsorted(curves.thresholds, chosen))
    return Level(
        precision,
        chosen,
        interval,
        _estimate(curves.precision[at], curves.drawn_precision[:, at]),
        _estimate(curves.recall[at], curves.drawn_recall[:, at]),
        "",
    )


def reached(similarity: Values, thresholds: Values, weights: Values) -> Values:
    """Weight of the similarities at or above each of some rising thresholds: float64 [t]."""
    place = np.searchsorted(thresholds, similarity, side="right")
    below = np.bincount(place, weights, len(thresholds) + 1)
    return np.asarray(below[::-1].cumsum()[::-1][1:], np.float64)


def false_share(tail: Tail, thresholds: Values, weights: Values) -> Values:
    """Share of different pairs at or above each threshold, counted or fitted, whichever is more.

    Args:
        tail: the most similar ones.
        thresholds: rising, float64 [t].
        weights: of the images by their number, float64 [n]; ones count every image once.

    Returns:
        float64 [t]; 1 below the start of the tail, where pairs were not kept.
    """
    pairs = weights[tail.a] * weights[tail.b]
    total = tail.total * weights.mean() ** 2
    kept = thresholds >= tail.start
    counted = reached(tail.similarity, thresholds, pairs) / total
    reach = 1.0 - tail.start
    distance = np.maximum(1.0 - tail.similarity, _NEAREST_DISTANCE)
    logs = float((pairs * np.log(np.maximum(reach / distance, 1.0))).sum())
    if logs <= 0.0:
        return np.where(kept, counted, 1.0)
    power = pairs.sum() / logs
    distances = np.clip((1.0 - thresholds) / max(reach, _NEAREST_DISTANCE), 0.0, 1.0)
    fitted = pairs.sum() / total * distances**power
    return np.where(kept, np.maximum(counted, fitted), 1.0)


def _draws(n: int, seed: int) -> Iterator[Values]:
    """Weights of the images: each once, then as often as each draw has it."""
    yield np.ones(n)
    random = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        yield random.poisson(1.0, n).astype(np.float64)


def _ratio(found: Values, false: Values) -> Values:
    both = found + false
    return np.divide(found, both, out=np.zeros_like(found), where=both > 0)


def _first_reached(precision: Values, recall: Values, thresholds: Values, wanted: float) -> float:
    good = np.flatnonzero((precision >= wanted) & (recall >= LEAST_RECALL))
    return float(thresholds[good[0]]) if len(good) else np.inf


def _interval(curves: Curves, precision: float, least: float) -> tuple[float, float | None] | None:
    """Where the draws reach a precision."""
    drawn = [
        _first_reached(p, r, curves.thresholds, precision)
        for p, r in zip(curves.drawn_precision, curves.drawn_recall, strict=True)
    ]
    low, high = np.quantile(drawn, INTERVAL, method="higher")
    low, high = min(low, least), max(high, least)
    return (float(low), float(high) if np.isfinite(high) else None) if np.isfinite(low) else None


def _estimate(value: float, drawn: Values) -> Estimate:
    low, high = np.quantile(drawn, INTERVAL)
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def _reason(least: float, precision: float) -> str:
    useful = f"finds {LEAST_RECALL:.0%} of the edits or more"
    if not np.isfinite(least):
        return f"no threshold that {useful} is {precision:.0%} precise: other images are as similar as copies"
    return (
        f"{least:g} would do by what was seen, but few pairs decide about it, and no threshold that {useful} "
        f"is surely {1 - SLACK * (1 - precision):.0%} precise: a larger sample or more images would tell"
    )
