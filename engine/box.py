"""A part of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from twinlens.engine.types import Rgb


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an upright image, in fractions of its width and height, all in [0, 1]."""

    left: float
    top: float
    width: float
    height: float

    def cut(self, rgb: Rgb) -> Rgb:
        """The pixels that it touches, at least one."""
        height, width = rgb.shape[:2]
        rows = _span(self.top, self.height, height)
        return np.ascontiguousarray(rgb[rows, _span(self.left, self.width, width)])


def _span(start: float, length: float, size: int) -> slice:
    first = min(math.floor(start * size), size - 1)
    return slice(first, max(min(math.ceil((start + length) * size), size), first + 1))
