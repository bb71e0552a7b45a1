"""Uniqueness of every image of a snapshot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.results import Uniqueness
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.similarity import shown
from twinlens.engine.uniqueness import percentile, uniqueness
