"""Photographs as the copy descriptors see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import skimage.data
import torch
from PIL import Image

from twinlens.models.copy_descriptor import squashed

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "hubble_deep_field", "retina")


def photographs() -> list[Image.Image]:
    """Those of scikit-image's wheel, RGB."""
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in PHOTOGRAPHS]


def pixels_of(pictures: Sequence[Image.Image], side: int) -> torch.Tensor:
    """Whole pictures as squares, uint8 [n, 3, side, side]."""
    squares = np.stack([squashed(np.asarray(picture), side) for picture in pictures])
    return torch.from_numpy(squares).permute(0, 3, 1, 2)
