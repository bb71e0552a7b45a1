"""How unique an image is: how far its nearest other image is, on a scale that no outlier can move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.similarity import DECIMALS, Mask

PRIOR_ISOLATION = 0.5
"""b where too few images have no known twin to measure it: the middle of the scale, not a measurement."""

HIGHEST_ISOLATION = 0.9
"""b is at most this, so that a collection of near-copies does not call its least near copy unique."""

_ISOLATED_PERCENT = 5
FEWEST = 20


def uniqueness(
    nearest: NDArray[np.float64],
    isolation: float,
    *,
    low_information: Mask,
    has_identical_twin: Mask,
) -> NDArray[np.float64]:
    """Score images: u = clip((1 - s) / (1 - b), 0, 1), s the similarity to the nearest other image.

    Args:
        nearest: float64 [n], s of each image; NaN where there is no other image to compare with.
        isolation: b, the similarity below which a nearest image counts as no neighbour at all.
        low_information: bool [n], images without evidence but identity.
        has_identical_twin: bool [n], images with a copy by bytes or pixels.

    Returns:
        float64 [n] in [0, 1]: 0 for a perfect twin, 1 for the isolated and for an image alone; NaN (no
        score) for an image of low information without an identical twin.

    Raises:
        InvalidValue: an isolation outside [0, 1).
    """
    if not 0.0 <= isolation < 1.0:
        raise InvalidValue(f"isolation {isolation:g} is not in [0, 1): it is a similarity below a twin's")
    scores = np.clip((1.0 - nearest) / (1.0 - isolation), 0.0, 1.0)
    scores[np.isnan(nearest)] = 1.0
    scores[low_information] = np.nan
    scores[has_identical_twin] = 0.0
    return scores


def percentile(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each score: the percentage of the other scored images that are less unique.

    Args:
        scores: float64 [n], NaN where there is none.

    Returns:
        float64 [n] in [0, 100]: equal scores share it; 100 for the only one; NaN where there is no score.
    """
    scored = ~np.isnan(scores)
    ordered = np.sort(scores[scored])
    less = np.searchsorted(ordered, scores[scored], "left")
    ranks = np.full(len(scores), np.nan)
    ranks[scored] = 100.0 * less / (len(ordered) - 1) if len(ordered) > 1 else 100.0
    return ranks


def measure_isolation(
    nearest: NDArray[np.float64], twin_threshold: float, *, seed: int = 0, sample: int = 10_000
) -> float:
    """Measure b: the similarity to the nearest image that only the most isolated 5 % stay below.

    Args:
        nearest: float64 [n], similarity of each image to its nearest other; NaN where there is none.
        twin_threshold: images with a neighbour at or above it have a known twin and are left out.
        seed: of the sample.
        sample: how many images at most are measured.

    Returns:
        The 5th percentile, rounded to 6 decimals, in [0, 0.9]; 0.5 where fewer than 20 images have no
        known twin, since one image is then more than 5 %.
    """
    without_twin = nearest[nearest < twin_threshold]
    if len(without_twin) < FEWEST:
        return PRIOR_ISOLATION
    if len(without_twin) > sample:
        without_twin = np.random.default_rng(seed).choice(without_twin, sample, replace=False)
    measured = float(np.percentile(without_twin, _ISOLATED_PERCENT))
    return round(min(max(measured, 0.0), HIGHEST_ISOLATION), DECIMALS)
