"""Pictures resized and cropped by Pillow alone, which needs no torch: any process can do it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from twinlens.engine.types import Rgb


@dataclass(frozen=True, slots=True)
class Squash:
    """The whole picture at one size, px, whatever its shape.

    Attributes:
        gap: how much larger than that a picture is left that is first shrunk by whole blocks of pixels;
            None shrinks it by the filter alone.
    """

    width: int
    height: int
    filter: Image.Resampling
    gap: float | None = None

    def __call__(self, image: Rgb) -> Rgb:
        """uint8 [height, width, 3] of a picture of any shape."""
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(image).resize(size, self.filter, reducing_gap=self.gap))


@dataclass(frozen=True, slots=True)
class MiddleSquare:
    """The middle of a picture whose shorter side is made `side` px long, rounded as torchvision does."""

    side: int
    filter: Image.Resampling

    def __call__(self, image: Rgb) -> Rgb:
        """uint8 [side, side, 3] of a picture of any shape."""
        picture, side = Image.fromarray(image), self.side
        shorter = min(picture.size)
        width, height = (int(side * length / shorter) for length in picture.size)
        if shorter != side:
            picture = picture.resize((width, height), self.filter)
        left, top = round((width - side) / 2), round((height - side) / 2)
        return np.asarray(picture.crop((left, top, left + side, top + side)))
