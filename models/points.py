"""Thresholds of the embedded models, as they were measured. Imports no model.

Where thresholds lie was set by the share of false pairs that pass (`scripts/measure_points.py`), since false
pairs grow with the square of a collection. Precision and recall are those of `scripts/bench_quality.py` over
the plain families of edits (docs/benchmarks.md).
"""

from __future__ import annotations

from twinlens.engine.types import OperatingPoints

COPY_DESCRIPTOR = OperatingPoints(
    strict=0.89,
    default=0.84,
    loose=0.80,
    measured=True,
    precision=(1.0, 1.0, 0.998),
    recall=(0.595, 0.785, 0.881),
)

FAST_DESCRIPTOR = OperatingPoints(
    strict=0.91,
    default=0.86,
    loose=0.82,
    measured=True,
    precision=(1.0, 1.0, 0.998),
    recall=(0.498, 0.682, 0.815),
)

EFFICIENTNET = OperatingPoints(
    strict=0.93,
    default=0.86,
    loose=0.81,
    measured=True,
    precision=(1.0, 0.999, 0.974),
    recall=(0.355, 0.595, 0.723),
)
