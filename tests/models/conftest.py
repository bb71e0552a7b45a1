"""Photographs that tests of several models look at."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.models.squares import photographs


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return photographs()
