"""Thresholds of the embedded models, as they were measured. Imports no model."""

from __future__ import annotations

from twinlens.engine.types import OperatingPoints

EFFICIENTNET = OperatingPoints(strict=0.93, default=0.86, loose=0.81, measured=True)
"""By the share of false pairs: `scripts/measure_points.py`."""

COPY_DESCRIPTOR = OperatingPoints(strict=0.94, default=0.88, loose=0.84, measured=True)

FAST_DESCRIPTOR = OperatingPoints(strict=0.94, default=0.88, loose=0.84, measured=True)
