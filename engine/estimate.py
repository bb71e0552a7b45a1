"""How many pairs a threshold has, estimated from a sample before anything is joined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import TooManyPairs
from twinlens.engine.similarity import Mask, Numbers, RowSource, similarities, spans, unit_rows

_STEPS = 1000
_ROWS_AT_ONCE = 512


def estimate_pairs(
    rows: RowSource, threshold: float, *, seed: int = 0, sample: int = 4096, skip: Mask | None = None
) -> int:
    """About how many pairs of rows are at or above a threshold; exact where the sample holds all rows.

    Pass one row of each group of identical ones (`collapse`): copies are counted once.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        threshold: a similarity.
        seed: of the sample.
        sample: how many rows at most are compared with each other.
        skip: bool [n], rows that take no part.
    """
    counts, share = _sampled(rows, np.array([threshold]), seed, sample, skip)
    return round(int(counts[0]) / share)


def lowest_served(
    rows: RowSource, limit: int, *, seed: int = 0, sample: int = 4096, skip: Mask | None = None
) -> float:
    """The lowest threshold, a multiple of 0.001, whose estimated pairs stay within a limit; at most 1."""
    thresholds = np.arange(1, _STEPS + 1) / _STEPS
    counts, share = _sampled(rows, thresholds, seed, sample, skip)
    served = thresholds[counts / share <= limit]
    return float(served[0]) if served.size else 1.0


def refuse_too_many(
    rows: RowSource,
    threshold: float,
    limit: int,
    *,
    seed: int = 0,
    sample: int = 4096,
    skip: Mask | None = None,
) -> None:
    """Refuse a threshold whose estimated pairs exceed a limit.

    Raises:
        TooManyPairs: naming the lowest threshold that is served.
    """
    pairs = estimate_pairs(rows, threshold, seed=seed, sample=sample, skip=skip)
    if pairs > limit:
        lowest = lowest_served(rows, limit, seed=seed, sample=sample, skip=skip)
        raise TooManyPairs(threshold=threshold, pairs=pairs, limit=limit, lowest_served=lowest)


def _sampled(
    rows: RowSource, thresholds: NDArray[np.float64], seed: int, sample: int, skip: Mask | None
) -> tuple[Numbers, float]:
    """Sampled pairs at or above each of some ascending thresholds, and the share of all pairs sampled."""
    kept = np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)
    chosen = kept
    if len(kept) > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(kept, sample, replace=False))
    if len(chosen) < 2:
        return np.zeros(len(thresholds), dtype=np.int64), 1.0
    units = unit_rows(rows[chosen], chosen)
    passed = np.zeros(len(thresholds) + 1, dtype=np.int64)
    for span in spans(0, len(chosen), _ROWS_AT_ONCE):
        block = similarities(units[span], units[span.start :])
        # Each pair once: what is on or below the diagonal reaches no threshold.
        block[:, : len(block)][np.tril_indices(len(block))] = -np.inf
        reaching = block[block >= thresholds[0]]
        passed += np.bincount(np.searchsorted(thresholds, reaching, "right"), minlength=len(passed))
    # passed[k]: pairs at or above exactly k thresholds, the lowest k.
    at_or_above = passed[::-1].cumsum()[::-1][1:]
    return at_or_above, len(chosen) * (len(chosen) - 1) / (len(kept) * (len(kept) - 1))
