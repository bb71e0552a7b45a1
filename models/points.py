"""Thresholds of the embedded models, as they were measured. Imports no model.

Where thresholds lie was set by the share of false pairs that pass (`scripts/measure_points.py`), since false
pairs grow with the square of a collection. Precision and recall are those of `scripts/bench_quality.py` over
the plain families of edits (docs/benchmarks.md).
"""

from __future__ import annotations

from twinlens.engine.types import OperatingPoints

COPY_DESCRIPTOR = OperatingPoints(
    strict=0.93,
    default=0.88,
    loose=0.85,
    measured=True,
    precision=(1.0, 0.999, 0.996),
    recall=(0.44, 0.665, 0.765),
)

FAST_DESCRIPTOR = OperatingPoints(
    strict=0.93,
    default=0.89,
    loose=0.85,
    measured=True,
    precision=(1.0, 0.998, 0.996),
    recall=(0.439, 0.598, 0.731),
)

EFFICIENTNET = OperatingPoints(
    strict=0.93,
    default=0.86,
    loose=0.81,
    measured=True,
    precision=(1.0, 0.96, 0.808),
    recall=(0.348, 0.585, 0.706),
)
