"""How well similarities tell copies from other pictures: figures from arrays, nothing else.

Queries are edited copies, references are originals and other pictures. A query and its original are the
one true pair of that query; every other pair is a false one. All pairs are pooled and ranked by their
similarity, whatever query they belong to, so that one threshold has to serve all of them: average
precision over that ranking is the micro-average precision of the image similarity challenge of 2021
(Douze and others, https://arxiv.org/abs/2106.09672). Ties count at once.

Nothing is kept of a false pair but how many true ones it beats; the figures are exact all the same, since
precision changes only where a true pair comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Counts = NDArray[np.int64]
Weights = NDArray[np.float64]
Blocks = Iterable[tuple[NDArray[np.intp], Scores]]
"""Similarities of false pairs: the group of each row, and the rows, float32 [rows, n]; -inf leaves out."""

PRECISION = 0.99
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ranking:
    """All pairs in the order of their similarity, as far as figures need it.

    Attributes:
        true: similarity of each true pair, float32 [n].
        groups: the group, an original, that each true pair counts with, [n].
        thresholds: the different values of `true`, the highest first, [t].
        false: how many false pairs of each group are at or above each threshold, [groups, t].
    """

    true: Scores
    groups: NDArray[np.intp]
    thresholds: Scores
    false: Counts


@dataclass(frozen=True)
class Figure:
    """A figure and the interval that 95 % of the resampled ones lie in."""

    value: float
    low: float
    high: float


def rank(true: Scores, groups: NDArray[np.intp], false: Blocks, group_count: int) -> Ranking:
    """Rank true pairs among false ones, which come block by block."""
    ascending = np.unique(true)
    counts = np.zeros((group_count, len(ascending)), np.int64)
    for owners, block in false:
        for owner, row in zip(owners, block, strict=True):
            # How many thresholds a pair reaches: those below or equal to it.
            reached = np.searchsorted(ascending, row, side="right")
            counts[owner] += np.bincount(reached, minlength=len(ascending) + 1)[1:]
    # A pair that reaches the k lowest thresholds counts at each of them.
    at_or_above = np.cumsum(counts[:, ::-1], axis=1)
    return Ranking(true, groups, ascending[::-1].copy(), at_or_above)


def curve(ranking: Ranking, weights: Weights | None = None) -> tuple[Weights, Weights]:
    """Precision and recall at each threshold, each group with its weight (all 1 unless given)."""
    of_group = np.ones(len(ranking.false)) if weights is None else weights
    ascending = ranking.thresholds[::-1]
    place = len(ascending) - 1 - np.searchsorted(ascending, ranking.true)
    worth = of_group[ranking.groups]
    found = np.cumsum(np.bincount(place, worth, len(ascending)))
    false = of_group @ ranking.false
    precision = np.divide(found, found + false, out=np.zeros_like(found), where=found + false > 0)
    return precision, found / worth.sum()


def average_precision(precision: Weights, recall: Weights) -> float:
    """Area under the steps of precision over recall."""
    return float(np.sum(precision * np.diff(recall, prepend=0)))


def recall_at(precision: Weights, recall: Weights, wanted: float = PRECISION) -> float:
    """The highest recall at or above a precision; 0 if none is."""
    return float(recall[precision >= wanted].max(initial=0))


def best_f1(precision: Weights, recall: Weights) -> float:
    """The highest harmonic mean of precision and recall."""
    total = precision + recall
    return float(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0).max())


def threshold_at(ranking: Ranking, wanted: float = PRECISION) -> float | None:
    """The lowest threshold at which the precision is reached; None if it is nowhere."""
    precision, _ = curve(ranking)
    reached = np.flatnonzero(precision >= wanted)
    return float(ranking.thresholds[reached[-1]]) if len(reached) else None


def shares_at(ranking: Ranking, threshold: float) -> tuple[float, float]:
    """Precision and recall at a threshold.

    False pairs are counted down to the lowest true pair that the threshold admits.
    """
    precision, recall = curve(ranking)
    admitted = int(np.count_nonzero(ranking.thresholds >= threshold))
    return (float(precision[admitted - 1]), float(recall[admitted - 1])) if admitted else (1.0, 0.0)


def resamples(groups: int, count: int, seed: int) -> Weights:
    """How often each group is drawn when as many are drawn with replacement, float64 [count, groups]."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(groups, size=(count, groups))
    return np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(np.float64)


def with_interval(value: float, resampled: Iterable[float]) -> Figure:
    """A figure with the percentile interval of its bootstrap."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(list(resampled), (tail, 1 - tail))
    return Figure(value, float(low), float(high))


def figures(ranking: Ranking, draws: Weights) -> dict[str, Figure]:
    """Average precision and recall at 99 % precision, with intervals over resampled originals."""
    measures = {"uAP": average_precision, "R@P99": recall_at}
    curves = [curve(ranking, weights) for weights in draws]
    return {
        name: with_interval(measure(*curve(ranking)), (measure(*each) for each in curves))
        for name, measure in measures.items()
    }
