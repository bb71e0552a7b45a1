"""Thresholds of the embedded models, as they were measured. Imports no model.

Where thresholds lie was set by the share of false pairs that pass (`scripts/measure_points.py`), since false
pairs grow with the square of a collection. Precision and recall are those of `scripts/bench_quality.py` over
the plain families of edits (docs/benchmarks.md).
"""

from __future__ import annotations

from twinlens.engine.types import OperatingPoints

COPY_DESCRIPTOR = OperatingPoints(
    strict=0.89,
    default=0.83,
    loose=0.79,
    measured=True,
    precision=(1.0, 0.999, 0.998),
    recall=(0.615, 0.811, 0.890),
)

FAST_DESCRIPTOR = OperatingPoints(
    strict=0.90,
    default=0.84,
    loose=0.81,
    measured=True,
    precision=(1.0, 0.999, 0.999),
    recall=(0.554, 0.762, 0.830),
)

EFFICIENTNET = OperatingPoints(
    strict=0.93,
    default=0.86,
    loose=0.81,
    measured=True,
    precision=(1.0, 0.999, 0.974),
    recall=(0.355, 0.595, 0.723),
)
