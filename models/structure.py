"""What a picture looks like from afar: where it is brighter than around, as classic hashes keep it.

A learnt row sees through crops, frames and turned pictures, and is unsure where a picture lost its detail
or its colours: blur, halftone, mosaic, grey. Perceptual hashes are the other way round. These rows are such
a hash with soft bits. As a part of one vector with the learnt row, their dot product adds to its own.

They have three parts. *Contrasts* are signs of how much brighter a place is than what lies around it, as of
the Laplacian in Marr-Hildreth hashes: what is pasted into a picture turns those where it lies, and leaves
the others as they were. *Neighbours* are products of the signs of two near places, and *waves* products of
the signs of the lowest frequencies, as pHash and PDQ take them. A product of two signs stays where both turn,
as all do in a negative. Both kinds are means over the eight ways to lay a square down, so that they stay
where a picture is mirrored or turned by a quarter.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import normalize

from twinlens.models.principal import Principal


class Scale(NamedTuple):
    """A place and what lies around it: squares with one middle, in cells."""

    place: int
    around: int


class Part(NamedTuple):
    """Of a row: so many of its numbers, and their share of its squared length."""

    dim: int
    share: float


CONTRASTS, NEIGHBOURS, WAVES = PARTS = Part(96, 0.4), Part(72, 0.36), Part(40, 0.24)

DIM = sum(part.dim for part in PARTS)
"""Numbers of a row."""

CELLS = 32
"""Of a row and of a column, whose mean brightness is all that is looked at."""

PLACES = 16
"""Of a row and of a column, at which contrasts are taken."""

COARSE = Scale(4, 10)
"""Of contrasts: what blur and the dots of print leave."""

SCALES = (Scale(2, 4), Scale(2, 6), Scale(4, 8))
"""Of neighbours."""

STEP = 2
"""Places from one neighbour to the other."""

SOFTNESS, FAINT = 0.3, 0.1
"""Contrasts that are 0.7 of a sign: in medians of those of the picture, and in grey levels."""

FREQUENCIES = 12
"""Of a row and of a column, of which the lowest are multiplied."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

_KEPT = PLACES // 2, (PLACES - STEP) // 2
_WAYS = 8
_SHORTEST, _FAINTEST = 0.3, 0.02
_WAVE_SOFTNESS, _SMALLEST_WAVE = 0.05, 1e-2
_AT_ONCE = 4


class Structure(nn.Module):
    """Rows of the structure of pictures: contrasts and neighbours along principal directions, and waves.

    What nearly all pictures show (a bright sky) says less than the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.contrasts = Principal(CONTRASTS.dim, PLACES**2)
        self.neighbours = Principal(NEIGHBOURS.dim, len(SCALES) * math.prod(_KEPT))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Rows float32 [n, 208], of uint8 [n, 3, side, side].

        Their length is 1, and less where there is next to nothing to be seen.
        """
        seen = brightness(pixels)
        parts = (
            (CONTRASTS, _along(self.contrasts, contrasts(seen))),
            (NEIGHBOURS, _along(self.neighbours, neighbours(seen))),
            (WAVES, waves(seen)),
        )
        return torch.cat([math.sqrt(part.share) * row for part, row in parts], dim=1)


def brightness(pixels: torch.Tensor) -> torch.Tensor:
    """The mean brightness of each cell, in grey levels, float32 [n, 32, 32], of uint8 [n, 3, side, side]."""
    down, across = _boxes(pixels.shape[-1], pixels.device)
    rows = pixels.permute(0, 2, 3, 1).flatten(2)
    # A few at a time: a CPU's kernel zeroes the memory of larger blocks anew for each call.
    count = _AT_ONCE if pixels.device.type == "cpu" else max(1, len(rows))
    return torch.cat([down @ (some.to(torch.float32) @ across.T) for some in torch.split(rows, count)])


def signs(seen: torch.Tensor, scale: Scale) -> torch.Tensor:
    """How much brighter each place is than what lies around it, as soft signs, float32 [n, 16, 16].

    Args:
        seen: float32 [n, 32, 32].
        scale: of places. Beyond the edge cells are as at the edge.
    """
    differences = _means(seen, scale.place) - _means(seen, scale.around)
    usual = differences.flatten(1).abs().median(dim=1).values[:, None, None]
    return differences / (differences.pow(2) + (SOFTNESS * usual).pow(2) + FAINT**2).sqrt()


def contrasts(seen: torch.Tensor) -> torch.Tensor:
    """The soft signs of all places, float32 [n, 256], of float32 [n, 32, 32]."""
    return signs(seen, COARSE).flatten(1)


def neighbours(seen: torch.Tensor) -> torch.Tensor:
    """Products of the signs of places a step apart, over eight ways, float32 [n, 168], of [n, 32, 32]."""
    return torch.cat([_of_neighbours(signs(seen, scale)) for scale in SCALES], dim=1)


def waves(seen: torch.Tensor) -> torch.Tensor:
    """Products of pairs of waves' soft signs, over eight ways, float32 [n, 40], rows of length 1 or less.

    Where a picture is mirrored, the signs of all waves with odd numbers turn; those of a pair turn together.

    Args:
        seen: float32 [n, 32, 32].
    """
    cosines = _cosines(seen.device)
    amplitudes = cosines @ (seen @ cosines.T)
    amplitudes[:, 0, 0] = 0
    size = amplitudes.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
    # An amplitude of a hundredth of a grey level says nothing, and where all are smaller there is no row.
    soft = amplitudes / (amplitudes.pow(2) + (_WAVE_SOFTNESS * size).pow(2) + _SMALLEST_WAVE**2).sqrt()
    pairs = _pairs(seen.device)
    ways = torch.stack([soft.flatten(1), soft.transpose(1, 2).flatten(1)])
    return normalize((ways[:, :, pairs.first] * ways[:, :, pairs.second]).mean(dim=0), dim=1, eps=1)


class Pairs(NamedTuple):
    """Places in a square of waves [12 * 12], int64 [40] each."""

    first: torch.Tensor
    second: torch.Tensor


def _means(seen: torch.Tensor, size: int) -> torch.Tensor:
    window = _window(size, seen.device)
    return window @ (seen @ window.T)


def _of_neighbours(soft: torch.Tensor) -> torch.Tensor:
    """Float32 [n, 56], of signs [n, 16, 16]: a quarter of the square, onto which the others are folded."""
    across = soft[:, :, :-STEP] * soft[:, :, STEP:]
    down = soft[:, :-STEP] * soft[:, STEP:]
    products = across + down.transpose(1, 2)
    products = products + products.flip(1)
    products = products + products.flip(2)
    rows, columns = _KEPT
    return products[:, :rows, :columns].flatten(1) / _WAYS


def _along(part: Principal, seen: torch.Tensor) -> torch.Tensor:
    rows = part.along(seen)
    # Where there is nothing to be seen, that it differs from the mean says nothing.
    visible = (seen.abs().mean(dim=1, keepdim=True) / _FAINTEST).clamp(max=1)
    return visible * normalize(rows, dim=1, eps=_SHORTEST * math.sqrt(rows.shape[1]))


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
def _window(size: int, device: torch.device) -> torch.Tensor:
    """What gives a column's means over so many cells around the middles of places, float32 [16, 32]."""
    window = torch.zeros(PLACES, CELLS)
    step = CELLS // PLACES
    middles = torch.arange(PLACES) * step + step // 2
    cells = (middles[:, None] + torch.arange(size) - size // 2).clamp(0, CELLS - 1)
    return window.scatter_add_(1, cells, torch.full(cells.shape, 1 / size)).to(device)


@cache
def _cosines(device: torch.device) -> torch.Tensor:
    """A column's mean and its mean products with the waves of a cosine transform (DCT-II), [12, 32]."""
    places = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * math.pi / CELLS
    cosines = torch.cos(torch.arange(FREQUENCIES, dtype=torch.float64)[:, None] * places) * math.sqrt(2)
    cosines[0] = 1
    return (cosines / CELLS).to(device, torch.float32)


@cache
def _pairs(device: torch.device) -> Pairs:
    """Waves that follow one another among those of one parity, the longest first.

    Odd and even waves are even and odd ones of the picture when it is turned: one kind stands for both.
    """
    square = sorted((y * y + x * x, y, x) for y in range(FREQUENCIES) for x in range(FREQUENCIES))
    pairs = []
    for parity in ((0, 0), (1, 1), (0, 1)):
        alike = [(y, x) for _, y, x in square[1:] if (y % 2, x % 2) == parity]
        pairs += [(y * y + x * x, first, (y, x)) for first, (y, x) in pairwise(alike)]
    pairs.sort()
    return Pairs(
        first=_places([first for _, first, _ in pairs[: WAVES.dim]], device),
        second=_places([second for *_, second in pairs[: WAVES.dim]], device),
    )


def _places(numbers: list[tuple[int, int]], device: torch.device) -> torch.Tensor:
    return torch.tensor([y * FREQUENCIES + x for y, x in numbers], device=device)
