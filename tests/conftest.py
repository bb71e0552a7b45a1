"""Shared fixtures: a seeded generator and pictures with content."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)
