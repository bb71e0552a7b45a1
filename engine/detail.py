"""How much of a picture there is in a file, measured on its decoded pixels, so that copies can be ranked.

Three things make a worse copy look like a better one: it was enlarged, it was framed (a screenshot, bars, the
corners of a rotation), or it was compressed again, which adds edges. So

- **detail** is the size of the luma as a JPEG of quality 95: what is smooth costs nothing, and what was lost
  is not stored. Pictures that were a JPEG before cost less on their old grid of 8 x 8 blocks, so there are
  two grids, and the geometric mean of both sizes counts. Frames are cut off before.
- **a frame** is a border of one colour on two opposite sides or around, whatever lies outside of it; or four
  corners of one colour, as a rotation leaves them.
- **an enlargement** holds nothing beyond the smaller copy's finest detail but what interpolation and JPEG
  leave: see `is_enlargement`.

docs/upscales.md has the figures, scripts/measure_upscales.py measures them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinlens.engine.similarity import spans
from twinlens.engine.types import Rgb

SMALLEST_FACTOR = 1.2
"""Enlargements by less than this, along a side, are not looked for: too little lies between the two sizes."""

OF_BAND = 0.09
"""An enlargement adds at most so much to the smaller copy, as a share of the octave below..."""
UNSEEN = 0.15
"""... and so much more, in squared grey levels: twice what rounding to 8 bits leaves."""
SOFT = 2.0
"""With less than this in the octave below, squared grey levels, the smaller copy is too soft to tell."""

_QUALITY = 95
_JPEG_SIDE = 32_768
"""A multiple of the grid below the 65,535 that a JPEG may have."""
_GRID = 8
_PLAIN_LEVELS = 4
_PLAIN_SHARE = 0.98
_CORNER_SHARE = 0.15
_SMALLEST_BOX = 0.2
_WHOLE_SIDE = 1024
_TILE_SIDE = 384
_TILES = (1 / 6, 1 / 2, 5 / 6)
_KERNELS = (
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)

Luma = NDArray[np.uint8]
_Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What the pixels of one file hold.

    Attributes:
        width: of the picture without its frame, px.
        height: likewise.
        padded: True if it has a frame, or the corners of a rotation.
        detail: bytes that it takes to store the picture; 0 at least.
    """

    width: int
    height: int
    padded: bool
    detail: float


def look_at(rgb: Rgb) -> Look:
    """Measure one decoded picture, uint8 [h, w, 3]."""
    luma = _luma(rgb)
    box = _content_box(luma)
    left, top, right, bottom = box
    padded = box != (0, 0, luma.shape[1], luma.shape[0])
    # From a frame on the grid of the file's own blocks on, which is what a JPEG of a framed picture has.
    inside = luma[_up(top, bottom) : bottom, _up(left, right) : right]
    return Look(right - left, bottom - top, padded or _has_turned_corners(luma), _detail(inside))


def is_enlargement(larger: Rgb, smaller: Rgb) -> bool | None:
    """True if the larger of two pictures of one thing holds no more detail than the smaller; None if unknown.

    What the larger one loses on the smaller one's grid is compared with what the smaller one, enlarged in one
    of the common ways, would have there by itself. The least that is left is the detail it really adds.
    Nothing can be said of a picture that is so soft that even the smaller copy has no fine detail.

    Args:
        larger: uint8 [h, w, 3].
        smaller: uint8, of the same proportions.
    """
    large, small = _luma(larger), Image.fromarray(_luma(smaller))
    added, band = 0.0, 0.0
    for box in _tiles(large):
        more, below = _beyond(large, small, box)
        added, band = added + more, band + below
    tiles = len(list(_tiles(large)))
    return None if band < SOFT * tiles else added <= OF_BAND * band + UNSEEN * tiles


def _luma(rgb: Rgb) -> Luma:
    return np.asarray(Image.fromarray(rgb).convert("L"))


# -- detail --------------------------------------------------------------------------------------------


def _detail(luma: Luma) -> float:
    """Geometric mean of the sizes on two grids of blocks."""
    half = _GRID // 2
    shifted = luma[half:, half:]
    if min(shifted.shape) < 1:
        return float(_stored_size(luma)) if luma.size else 0.0
    return math.sqrt(_stored_size(luma) * _stored_size(shifted) * luma.size / shifted.size)


def _stored_size(luma: Luma) -> int:
    size = 0
    for rows in spans(0, luma.shape[0], _JPEG_SIDE):
        for columns in spans(0, luma.shape[1], _JPEG_SIDE):
            target = io.BytesIO()
            part = np.ascontiguousarray(luma[rows, columns])
            Image.fromarray(part).save(target, "JPEG", quality=_QUALITY)
            size += target.tell()
    return size


def _up(start: int, stop: int) -> int:
    """The next line of the grid, if anything is left after it."""
    aligned = -(-start // _GRID) * _GRID
    return aligned if aligned < stop else start


# -- frames --------------------------------------------------------------------------------------------


def _content_box(luma: Luma) -> _Box:
    """Left, top, right and bottom of the picture inside a frame; all of it if there is none."""
    height, width = luma.shape
    colour = int(np.bincount(luma.ravel(), minlength=256).argmax())
    plain = np.abs(luma.astype(np.int16) - colour) <= _PLAIN_LEVELS
    rows = _between(plain.mean(axis=1))
    columns = _between(plain[slice(*rows or (0, height))].mean(axis=0))
    # Bars beside the picture hide the lines above and below it until they are cut off.
    rows = _between(plain[:, slice(*columns or (0, width))].mean(axis=1)) or rows
    (top, bottom), (left, right) = rows or (0, height), columns or (0, width)
    if (right - left) * (bottom - top) < _SMALLEST_BOX * luma.size:
        return 0, 0, width, height
    return left, top, right, bottom


def _between(shares: NDArray[np.float64]) -> tuple[int, int] | None:
    """The longest stretch of lines that are not plain, with plain ones before and after it."""
    filled = np.concatenate([[0], (shares < _PLAIN_SHARE).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(filled))
    stretches = [
        (int(start), int(stop))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        if start > 0 and stop < len(shares)
    ]
    return max(stretches, key=lambda stretch: stretch[1] - stretch[0], default=None)


def _has_turned_corners(luma: Luma) -> bool:
    """True if all four corners have one colour, and each side keeps it for a part of its length only."""
    corners = luma[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.int16)
    colour = int(np.median(corners))
    if np.abs(corners - colour).max() > _PLAIN_LEVELS:
        return False
    sides = (luma[0], luma[-1], luma[:, 0], luma[:, -1])
    shares = [float((np.abs(side.astype(np.int16) - colour) <= _PLAIN_LEVELS).mean()) for side in sides]
    return min(shares) >= _CORNER_SHARE and max(shares) < _PLAIN_SHARE


# -- enlargements --------------------------------------------------------------------------------------


def _tiles(luma: Luma) -> Iterator[_Box]:
    """Where a picture is compared: everywhere, or at nine places of a large one."""
    height, width = luma.shape
    if max(height, width) <= _WHOLE_SIDE:
        yield 0, 0, width, height
        return
    across, down = min(width, _TILE_SIDE), min(height, _TILE_SIDE)
    for y in _TILES:
        for x in _TILES:
            left = min(max(round(x * width) - across // 2, 0), width - across)
            top = min(max(round(y * height) - down // 2, 0), height - down)
            yield left, top, left + across, top + down


def _beyond(large: Luma, small: Image.Image, box: _Box) -> tuple[float, float]:
    """Detail that a tile adds to the smaller picture, and detail in the octave below: mean squares."""
    left, top, right, bottom = box
    tile = large[top:bottom, left:right].astype(np.float32)
    across, down = large.shape[1] / small.width, large.shape[0] / small.height
    size = (max(round(tile.shape[1] / across), 1), max(round(tile.shape[0] / down), 1))
    fine = tile - _coarse(tile, size)
    part = (left / across, top / down, right / across, bottom / down)
    own = [float((fine**2).mean())]
    for kernel in _KERNELS:
        enlarged = small.resize((right - left, bottom - top), kernel, part)
        expected = np.asarray(enlarged, np.float32)
        own.append(float(((fine - (expected - _coarse(expected, size))) ** 2).mean()))
    reduced = np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS))
    band = reduced - _coarse(reduced, (max(size[0] // 2, 1), max(size[1] // 2, 1)))
    return min(own), float((band**2).mean())


def _coarse(luma: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """What is left of a picture that was reduced to a size and enlarged again."""
    image = Image.fromarray(luma)
    reduced = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(reduced.resize(image.size, Image.Resampling.BICUBIC))
