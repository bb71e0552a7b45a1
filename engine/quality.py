"""How sharp, how bright and how informative a picture is, cheap enough for the ingest pass.

Everything is measured on small copies of fixed sizes, aspect ratio ignored, so that a JPEG that was
decoded at a reduced size measures alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinlens.engine.types import Rgb

LOW_INFORMATION = 8.0
"""Contrast, in grey levels, below which a picture is flat, blank or nearly constant.

Blank scans with noise and shading stay below 6, a faint fog or a line of small text above 9.
"""

_SHARPNESS_SIDE = 224
_CELLS = 56
_SIGNATURE_SIDE = 16
SIGNATURE_BYTES = _SIGNATURE_SIDE**2
_SPECKS = 4
_SHADING_WEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Quality:
    """What is measured on every picture.

    Attributes:
        sharpness: variance of the Laplacian of the luma at 224x224, in grey levels squared.
        contrast: how much there is to see, in grey levels; see `is_low_information`.
        brightness: mean luma, 0 to 255.
        signature: luma at 16x16, row by row, 256 bytes: screens candidates for equal pixels, which
            differ by a few levels when one of them was decoded at a reduced size.
    """

    sharpness: float
    contrast: float
    brightness: float
    signature: bytes


def measure(picture: Image.Image) -> Quality:
    """Measure one decoded image, RGB, in full or reduced size."""
    image = _moderate(picture)
    luma = image.convert("L")
    common = _common(luma)
    levels = np.asarray(common)
    # The overlapping windows of the bilinear filter make the signature least sensitive to the decoded size.
    signature = common.resize((_SIGNATURE_SIDE, _SIGNATURE_SIDE), Image.Resampling.BILINEAR)
    return Quality(
        sharpness=_laplacian_variance(levels),
        contrast=_contrast(_cells(image)),
        brightness=float(levels.mean()),
        signature=signature.tobytes(),
    )


def shows_something(rgb: Rgb) -> bool:
    """False where `measure` would find one decoded image to be of low information."""
    cells = _cells(_moderate(Image.fromarray(rgb)))
    # Most pictures show this much whatever is shading in them.
    return _SHADING_WEIGHT * _spread(_colors(cells)) >= LOW_INFORMATION or (
        _contrast(cells) >= LOW_INFORMATION
    )


def is_low_information(quality: Quality) -> bool:
    """True for flat, blank and nearly constant pictures: they are evidence of nothing but identity."""
    return quality.contrast < LOW_INFORMATION


def _moderate(image: Image.Image) -> Image.Image:
    """Divide a large image by a whole number first, as JPEG decoding does: what follows is then cheap."""
    factor = min(image.size) // (2 * _SHARPNESS_SIDE)
    return image.reduce(factor) if factor > 1 else image


def _cells(image: Image.Image) -> Image.Image:
    # Whole blocks are averaged first: a third of the time, and cells are averages anyway.
    return image.resize((_CELLS, _CELLS), Image.Resampling.BOX, reducing_gap=1.0)


def _colors(cells: Image.Image) -> NDArray[np.uint8]:
    """What `_cells` gave as rows, uint8 [56 * 56, 3]."""
    return np.asarray(cells).reshape(-1, 3)


def _common(luma: Image.Image) -> Image.Image:
    """The copy of one size that most is measured on."""
    # Where every pixel shows a part of one pixel, averages are that pixel, for an eighth of the time.
    enlarged = max(luma.size) <= _SHARPNESS_SIDE
    resampling = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return luma.resize((_SHARPNESS_SIDE, _SHARPNESS_SIDE), resampling)


def _laplacian_variance(luma: NDArray[np.uint8]) -> float:
    """Focus measure of Pech-Pacheco et al., ICPR 2000, with the kernel of four neighbours."""
    level = luma.astype(np.int16)
    edges = level[:-2, 1:-1] + level[2:, 1:-1]
    edges += level[1:-1, :-2]
    edges += level[1:-1, 2:]
    edges -= level[1:-1, 1:-1] << 2
    # The mean square less the squared mean. Sums of whole numbers as small as these are exact in float64.
    exact = edges.ravel().astype(np.float64)
    mean = float(exact.sum()) / exact.size
    return max(float(exact @ exact) / exact.size - mean**2, 0.0)


def _contrast(cells: Image.Image) -> float:
    """The widest spread of a colour channel over cells, in grey levels.

    Averaging over cells removes noise, taking off the best quadratic surface removes the shading of a
    scanner or a lens. Shading itself counts less, since a gradient is a picture only when it is strong.
    """
    colors = _colors(cells).astype(np.float32)
    surface = _smooth_surfaces()
    detail = _spread(colors - surface @ (surface.T @ colors))
    # The whole range bounds the spread for a tenth of the time, and seldom reaches what the detail has.
    if _SHADING_WEIGHT * max(high - low for low, high in _extrema(cells)) <= detail:
        return detail
    return max(detail, _SHADING_WEIGHT * _spread(colors))


def _extrema(cells: Image.Image) -> Sequence[tuple[int, int]]:
    # The type of what it gives covers all modes.
    extrema: Any = cells.getextrema()
    return list(extrema)


def _spread(colors: NDArray[Any]) -> float:
    """Widest range of a channel without the few darkest and brightest cells, which dust could explain."""
    ordered = np.partition(colors.T, (_SPECKS, -1 - _SPECKS), axis=1)
    return float((ordered[:, -1 - _SPECKS] - ordered[:, _SPECKS]).max())


@lru_cache(maxsize=1)
def _smooth_surfaces() -> NDArray[np.float32]:
    """An orthonormal basis of the quadratic polynomials over the cells, float32 [56 * 56, 6]."""
    axis = np.linspace(-1, 1, _CELLS)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    basis = np.linalg.qr(powers).Q.astype(np.float32)
    basis.flags.writeable = False
    return basis
