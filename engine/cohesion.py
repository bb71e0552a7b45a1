"""How tightly a cluster holds together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.edges import stream_edges
from twinlens.engine.similarity import DECIMALS, MICRO, Numbers, Similarities, micro, shown, spans

COMPARED_UP_TO = 20_000
"""Clusters of more units than this have a bound for their minimum."""

_ROWS_AT_ONCE = 512
_COLUMNS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Cohesion:
    """What the pairs of images of a cluster say.

    Attributes:
        min_similarity: the lowest, in [0, 1]; where not exact, a similarity that no pair is below.
        mean_similarity: their mean, in [0, 1]; where not exact, by the rows alone.
        within: pairs of images of different units that are at or above the threshold or linked. A
            unit's own copies are not counted, as in `Neighbourhood.degree`, so that
            sum(weights * degree) - 2 * within pairs leave the cluster.
        exact: False where the cluster is too large to compare all of its units.
    """

    min_similarity: float
    mean_similarity: float
    within: int
    exact: bool


def cohesion(
    oracle: Similarities,
    units: Numbers,
    weights: Numbers,
    threshold: float,
    *,
    similarity: NDArray[np.float64] | None = None,
    device: str = "cpu",
) -> Cohesion:
    """Measure a cluster.

    Args:
        oracle: similarities of all units.
        units: int64 [k], the units of the cluster; at least two images.
        weights: int64 [k], how many images each stands for; copies are 1 similar to each other.
        threshold: at which `within` counts.
        similarity: float64 [k, k], of the units with each other, where somebody has asked for it already.
        device: where the units of a very large cluster are joined.
    """
    if len(units) > COMPARED_UP_TO:
        return _bounded(oracle, units, weights, threshold, device)
    copies = int((weights * (weights - 1) // 2).sum())
    lowest, total, within = 1.0, copies * MICRO, 0
    for rows in spans(0, len(units), _ROWS_AT_ONCE):
        for columns in spans(rows.start, len(units), _COLUMNS_AT_ONCE):
            # Each pair once: what is on or below the diagonal weighs nothing.
            upper = np.arange(columns.start, columns.stop) > np.arange(rows.start, rows.stop)[:, None]
            times = weights[rows, None] * weights[columns] * upper
            if similarity is None:
                block = shown(oracle.block(units[rows], units[columns]))
            else:
                block = shown(similarity[rows, columns])
            edges = block >= threshold
            edges[oracle.linked.positions(units[rows], units[columns])] = True
            lowest = min(lowest, float(block.min(where=upper, initial=1.0)))
            total += int((micro(block) * times).sum())
            within += int(times[edges].sum())
    return Cohesion(lowest, round(total / _pairs(weights) / MICRO, DECIMALS), within, exact=True)


def _bounded(
    oracle: Similarities, units: Numbers, weights: Numbers, threshold: float, device: str
) -> Cohesion:
    """In one pass over the rows: the mean of all dot products follows from the length of their sum."""
    total = np.zeros(oracle.rows.shape[1])
    for span in spans(0, len(units), _COLUMNS_AT_ONCE):
        total += weights[span] @ oracle.units(units[span])
    images, squares = int(weights.sum()), int((weights**2).sum())
    # Over images, copies written out: |sum of all|^2 = n + 2 * (sum of the dot products of all pairs).
    mean = (float(total @ total) - images) / 2.0 / _pairs(weights)
    lowest = _lower_bound(oracle, units, total)
    across = (images**2 - squares) // 2
    within = across if lowest >= threshold else _count_within(oracle, units, weights, threshold, device)
    return Cohesion(lowest, round(float(shown(mean)), DECIMALS), within, exact=False)


def _lower_bound(oracle: Similarities, units: Numbers, direction: NDArray[np.float64]) -> float:
    """A similarity that no pair is below: units at angles of at most r to one direction are 2 r apart."""
    if oracle.low_information[units].any() or len(oracle.rejected.positions(units, units)[0]):
        return 0.0
    furthest = 1.0
    for span in spans(0, len(units), _COLUMNS_AT_ONCE):
        dots = oracle.units(units[span]) @ direction
        furthest = min(furthest, float(dots.min()) / max(float(np.linalg.norm(direction)), 1.0))
    # Below 0 (two units at the edge are more than a right angle from the direction) nothing is known.
    bound = 2.0 * max(furthest, 0.0) ** 2 - 1.0
    return float(shown(math.floor(bound * MICRO - 1.0) / MICRO))


def _count_within(
    oracle: Similarities, units: Numbers, weights: Numbers, threshold: float, device: str
) -> int:
    among, weight_of = np.zeros(len(oracle), dtype=bool), np.zeros(len(oracle), dtype=np.int64)
    among[units], weight_of[units] = True, weights
    blocks = stream_edges(oracle, threshold, among=among, device=device)
    return sum(int((weight_of[block.a] * weight_of[block.b]).sum()) for block in blocks)


def _pairs(weights: Numbers) -> int:
    images = int(weights.sum())
    return images * (images - 1) // 2
