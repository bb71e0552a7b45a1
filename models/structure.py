"""What a picture looks like from afar: where it is brighter than around, as classic hashes keep it.

A learnt row sees through crops, frames and turned pictures, and is unsure where a picture lost its detail
or its colours: blur, halftone, mosaic, grey. Perceptual hashes are the other way round. These rows are such
a hash with soft bits. As a part of one vector with the learnt row, their dot product adds to its own.

Most of a row are signs of local contrasts, as of the Laplacian in Marr-Hildreth hashes: what is pasted into
a picture turns those where it lies, and leaves the others as they were. The rest are products of the signs
of its lowest frequencies, as pHash and PDQ take them, that stay where a picture is mirrored.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch.nn.functional import avg_pool2d, normalize, pad

from twinlens.models.principal import Principal

PLACES = 16
"""Of a row and of a column, at which contrasts are taken."""

SIGNS = PLACES**2

CONTRASTS, PRODUCTS = 160, 48
DIM = CONTRASTS + PRODUCTS
"""Numbers of a row."""

PRODUCTS_SHARE = 0.26
"""Of a row's squared length; the rest is that of the contrasts."""

CELLS = 2 * PLACES
"""Of a row and of a column, whose mean brightness is all that is looked at."""

SOFTNESS, FAINT = 0.3, 0.1
"""Contrasts that are 0.7 of a sign: in medians of those of the picture, and in grey levels."""

WAVES = 12
"""Frequencies of a row and of a column, of which the lowest are multiplied."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

_SHORTEST = 0.3
_WAVE_SOFTNESS, _SMALLEST_WAVE = 0.05, 1e-2
_AT_ONCE = 4


class Structure(Principal):
    """Rows of the structure of pictures: of 256 signs along 160 directions, and of 48 products.

    What nearly all pictures show (a bright sky) says less than the rest.
    """

    def __init__(self) -> None:
        super().__init__(CONTRASTS, SIGNS)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Rows float32 [n, 208], of uint8 [n, 3, side, side].

        Their length is 1, and less where there is next to nothing to be seen.
        """
        seen = brightness(pixels)
        contrasts = normalize(self.along(signs(seen)), dim=1, eps=_SHORTEST * math.sqrt(CONTRASTS))
        parts = (math.sqrt(1 - PRODUCTS_SHARE) * contrasts, math.sqrt(PRODUCTS_SHARE) * products(seen))
        return torch.cat(parts, dim=1)


def brightness(pixels: torch.Tensor) -> torch.Tensor:
    """The mean brightness of each cell, in grey levels, float32 [n, 32, 32], of uint8 [n, 3, side, side]."""
    down, across = _boxes(pixels.shape[-1], pixels.device)
    rows = pixels.permute(0, 2, 3, 1).flatten(2)
    # A few at a time: a CPU's kernel zeroes the memory of larger blocks anew for each call.
    count = _AT_ONCE if pixels.device.type == "cpu" else max(1, len(rows))
    return torch.cat([down @ (some.to(torch.float32) @ across.T) for some in torch.split(rows, count)])


def signs(seen: torch.Tensor) -> torch.Tensor:
    """How much brighter each place is than what lies around it, as soft signs, float32 [n, 256].

    Args:
        seen: float32 [n, 32, 32]. A place is of 2 x 2 cells, what lies around it of 6 x 6.
    """
    around = avg_pool2d(pad(seen, (2, 2, 2, 2), mode="replicate"), 6, stride=2)
    contrasts = (avg_pool2d(seen, 2) - around).flatten(1)
    usual = contrasts.abs().median(dim=1, keepdim=True).values
    return contrasts / (contrasts.pow(2) + (SOFTNESS * usual).pow(2) + FAINT**2).sqrt()


def products(seen: torch.Tensor) -> torch.Tensor:
    """Products of pairs of waves' soft signs, rows of length 1 or less, float32 [n, 48].

    A pair's product stays as it is when a picture is mirrored, stood on its head, or inverted: each of these
    turns the signs of all waves with odd numbers, or of all.

    Args:
        seen: float32 [n, 32, 32].
    """
    waves = _waves(seen.device)
    amplitudes = (waves @ (seen @ waves.T)).flatten(1)
    amplitudes[:, 0] = 0
    size = amplitudes.pow(2).mean(dim=1, keepdim=True).sqrt()
    # An amplitude of a hundredth of a grey level says nothing, and where all are smaller there is no row.
    soft = amplitudes / (amplitudes.pow(2) + (_WAVE_SOFTNESS * size).pow(2) + _SMALLEST_WAVE**2).sqrt()
    pairs = _pairs(seen.device)
    return normalize(soft[:, pairs.first] * soft[:, pairs.second], dim=1, eps=1)


class Pairs(NamedTuple):
    """Places in a square of waves [12 * 12], int64 [48] each."""

    first: torch.Tensor
    second: torch.Tensor


@cache
def _boxes(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What gives the means of rows, float32 [32, side], and those of columns of colours, [32, side * 3].

    The second gives brightness and mean at once: pixels lie in memory as [n, side, side, 3].
    """
    edges = torch.arange(CELLS + 1, dtype=torch.float64) * side / CELLS
    starts = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    of_columns = (covered.clamp(min=0) * CELLS / side).to(device, torch.float32)
    of_rows = of_columns[:, :, None] * torch.tensor(LUMA, device=device)
    return of_columns, of_rows.flatten(1)


@cache
def _waves(device: torch.device) -> torch.Tensor:
    """A column's mean and its mean products with the waves of a cosine transform (DCT-II), [12, 32]."""
    places = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * math.pi / CELLS
    waves = torch.cos(torch.arange(WAVES, dtype=torch.float64)[:, None] * places) * math.sqrt(2)
    waves[0] = 1
    return (waves / CELLS).to(device, torch.float32)


@cache
def _pairs(device: torch.device) -> Pairs:
    square = ((y * y + x * x, y, x) for y in range(WAVES) for x in range(WAVES))
    ordered = [(y, x) for _, y, x in sorted(square)][1:]
    pairs = []
    for parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
        alike = [(y, x) for y, x in ordered if (y % 2, x % 2) == parity]
        pairs += [(y * y + x * x, first, (y, x)) for first, (y, x) in pairwise(alike)]
    pairs.sort()
    return Pairs(
        first=_places([first for _, first, _ in pairs[:PRODUCTS]], device),
        second=_places([second for *_, second in pairs[:PRODUCTS]], device),
    )


def _places(pairs: list[tuple[int, int]], device: torch.device) -> torch.Tensor:
    return torch.tensor([y * WAVES + x for y, x in pairs], device=device)
