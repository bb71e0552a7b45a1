"""Folders of pictures with known twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """A picture with content: smooth colour fields that no other seed shares."""
    cells = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def save(folder: Path, name: str, image: Image.Image, quality: int = 90) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)
    return path


def fill(folder: Path, count: int, first: int = 0) -> list[Path]:
    """`count` different pictures, named after their seeds."""
    return [save(folder, f"{seed:05}.jpg", picture(seed), quality=90) for seed in range(first, first + count)]
