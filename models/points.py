"""Thresholds of the embedded models, as they were measured. Imports no model.

Where thresholds lie was set by the share of false pairs that pass (`scripts/measure_points.py`), since false
pairs grow with the square of a collection. Precision and recall are those of `scripts/bench_quality.py` over
the plain families of edits (docs/benchmarks.md).
"""

from __future__ import annotations

from twinlens.engine.types import OperatingPoints

COPY_DESCRIPTOR = OperatingPoints(
    strict=0.94,
    default=0.88,
    loose=0.85,
    measured=True,
    precision=(1.0, 0.997, 0.99),
    recall=(0.439, 0.703, 0.783),
)

FAST_DESCRIPTOR = OperatingPoints(
    strict=0.94,
    default=0.89,
    loose=0.85,
    measured=True,
    precision=(1.0, 0.995, 0.983),
    recall=(0.46, 0.667, 0.764),
)

EFFICIENTNET = OperatingPoints(
    strict=0.93,
    default=0.86,
    loose=0.81,
    measured=True,
    precision=(1.0, 0.96, 0.808),
    recall=(0.348, 0.585, 0.706),
)
