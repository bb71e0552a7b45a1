"""The plots of a calibration: geometry only, the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinlens.engine.calibration import LEVELS, Calibration
from twinlens.service.calibration_text import (
    interval_text,
    left_out_sentences,
    meaning,
    percent,
    sample_sentence,
)
from twinlens.service.table import shown

WIDTH, HEIGHT = 1000, 160
"""Of the area that lines are drawn in, in its own units."""

_TICK_STEPS = (20, 10, 5, 2)
_FEWEST_TICKS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot: its class, what it is called, and its points as SVG wants them."""

    name: str
    label: str
    points: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled place: % of the width."""

    label: str
    place: float


def calibration_view(calibration: Calibration, paths: Mapping[str, str]) -> dict[str, Any]:
    """What the section of a page fills in.

    Args:
        calibration: to show.
        paths: of images by id; without them the pairs that look alike are left out.
    """
    lowest = _lowest(calibration)
    return {
        "sample": sample_sentence(calibration),
        "made": calibration.made[:10],
        "left_out": [shown(sentence) for sentence in left_out_sentences(calibration)],
        "meaning": meaning(calibration),
        "levels": [*_levels(calibration)],
        "curves": [*_curves(calibration, lowest)],
        "piles": [*_piles(calibration, lowest)],
        "ticks": _ticks(lowest),
        "shares": [Mark(f"{share} %", HEIGHT * share / 100) for share in (0, 50, 100)],
        "marks": [
            Mark(f"{level.precision:.0%}", _place(level.threshold, lowest))
            for level in calibration.levels
            if level.threshold is not None
        ],
        "kinds": [
            {
                "name": f"{kind.grade}: {kind.name}",
                "count": f"{kind.count:,}",
                "found": ["–" if share is None else f"{share:.0%}" for share in kind.found],
            }
            for kind in calibration.edits_found
        ],
        "alike": [
            {"similarity": f"{pair.similarity:.4f}", "names": [shown(paths[pair.a]), shown(paths[pair.b])]}
            for pair in calibration.alike
            if pair.a in paths and pair.b in paths
        ],
    }


def _levels(calibration: Calibration) -> Iterator[dict[str, str]]:
    for name, level in zip(LEVELS, calibration.levels, strict=True):
        reached = level.threshold is not None and level.expected is not None and level.recall is not None
        yield {
            "precision": f"{level.precision:.0%}",
            "used": name,
            "threshold": f"{level.threshold:.4f}" if level.threshold is not None else "none",
            "interval": interval_text(level.interval),
            "expected": percent(level.expected) if reached and level.expected else "",
            "recall": percent(level.recall) if reached and level.recall else "",
            "reason": level.reason,
        }


def _lowest(calibration: Calibration) -> float:
    """Where the plots begin: below the thresholds, where some of the edits are, at a multiple of 0.05."""
    thresholds = [level.threshold for level in calibration.levels if level.threshold is not None]
    curve = calibration.curve
    nearly_all = [t for t, share in zip(curve.thresholds, curve.recall, strict=True) if share >= 0.97]
    least = min([*thresholds, max(nearly_all, default=0.5)])
    return min(max(math.floor((least - 0.05) * 20) / 20, 0.0), 0.9)


def _curves(calibration: Calibration, lowest: float) -> Iterator[Line]:
    curve = calibration.curve
    lines = {
        ("precision", "precision"): curve.precision,
        ("low", "precision, lower end of its 90 % interval"): curve.precision_low,
        ("recall", "edits found"): curve.recall,
        **{(grade, f"{grade} edits found"): found for grade, found in curve.recall_of.items()},
    }
    for (name, label), values in lines.items():
        yield Line(name, label, _points(curve.thresholds, values, lowest))


def _piles(calibration: Calibration, lowest: float) -> Iterator[Line]:
    """Outlines of histograms, each as high as its highest bin in sight; heights follow the square root."""
    histograms = calibration.histograms
    piles = {
        ("different", "pairs of different images"): histograms.different,
        **{(grade, f"{grade} edits"): counts for grade, counts in histograms.edits.items()},
    }
    for (name, label), counts in piles.items():
        bins = len(counts)
        first = int(lowest * bins)
        most = max(counts[first:], default=0) or 1
        edges: list[float] = []
        heights: list[float] = []
        for place, count in enumerate(counts[first:], start=first):
            edges += [place / bins, (place + 1) / bins]
            heights += [math.sqrt(count / most)] * 2
        yield Line(name, label, _points([lowest, *edges, 1.0], [0.0, *heights, 0.0], lowest))


def _points(similarities: Sequence[float], shares: Sequence[float], lowest: float) -> str:
    return " ".join(
        f"{_place(similarity, lowest) * WIDTH / 100:.1f},{HEIGHT * (1 - share):.1f}"
        for similarity, share in zip(similarities, shares, strict=True)
        if similarity >= lowest
    )


def _place(similarity: float, lowest: float) -> float:
    return (similarity - lowest) / (1 - lowest) * 100


def _ticks(lowest: float) -> list[Mark]:
    first = round(lowest * 100)
    step = next((each for each in _TICK_STEPS if (100 - first) // each >= _FEWEST_TICKS), _TICK_STEPS[-1])
    start = -(-first // step) * step
    return [Mark(f"{at / 100:.2f}", _place(at / 100, lowest)) for at in range(start, 101, step)]
