"""What a picture looks like from afar: the signs of its lowest frequencies, as classic hashes keep them.

A learnt row sees through crops, frames and turned pictures, and is unsure where a picture lost its detail
or its colours: blur, halftone, mosaic, grey. Perceptual hashes are the other way round. These rows are such
a hash with soft bits, the signs of coefficients of a cosine transform as in pHash and PDQ. As a part of one
vector with the learnt row, their dot product adds to its own.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch.nn.functional import normalize

SIGNS, PRODUCTS = 144, 48
DIM = SIGNS + PRODUCTS
"""Numbers of a row."""

PRODUCTS_SHARE = 0.3
"""Of a row's squared length; the rest is that of the signs."""

SIDE = 20
"""Frequencies of a row and of a column, of which the lowest are taken."""

SOFTNESS = 0.05
"""A coefficient of so many times the root mean square is 0.7 of a sign."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

_SMALLEST, _SHORTEST = 1e-2, 0.3
_AT_ONCE = 4


class Frequencies(NamedTuple):
    """Places in a square of coefficients [20 * 20].

    Attributes:
        lowest: int64 [144], without the mean.
        weights: float32 [144], what each of these counts for: the root of 1 / frequency. A cut or a frame
            moves a picture, and the higher a frequency, the sooner its sign turns.
        first, second: int64 [48], pairs whose product stays as it is when a picture is mirrored, stood on
            its head, or inverted: each of these turns the signs of a coefficient with odd numbers, or of
            all.
    """

    lowest: torch.Tensor
    weights: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


def structure(pixels: torch.Tensor) -> torch.Tensor:
    """Rows of unit length, float32 [n, 192], of uint8 [n, 3, side, side].

    Of a picture of one brightness they are next to zeros, and shorter than 1 where there are only few waves.
    """
    amplitudes = _amplitudes(pixels).flatten(1)
    amplitudes[:, 0] = 0
    size = amplitudes.pow(2).mean(dim=1, keepdim=True).sqrt()
    # An amplitude of a hundredth of a grey level says nothing, and where all are smaller there is no row.
    signs = amplitudes / (amplitudes.pow(2) + (SOFTNESS * size).pow(2) + _SMALLEST**2).sqrt()
    places = _frequencies(pixels.device)
    direct = normalize(signs[:, places.lowest] * places.weights, dim=1, eps=_SHORTEST)
    products = normalize(signs[:, places.first] * signs[:, places.second], dim=1, eps=1)
    return torch.cat([math.sqrt(1 - PRODUCTS_SHARE) * direct, math.sqrt(PRODUCTS_SHARE) * products], dim=1)


def _amplitudes(pixels: torch.Tensor) -> torch.Tensor:
    """Of the waves of a cosine transform (DCT-II) of the brightness, in grey levels, float32 [n, 20, 20]."""
    waves, columns = _waves(pixels.shape[-1], pixels.device)
    rows = pixels.permute(0, 2, 3, 1).flatten(2)
    # A few at a time: a CPU's kernel zeroes the memory of larger blocks anew for each call.
    count = _AT_ONCE if pixels.device.type == "cpu" else max(1, len(rows))
    return torch.cat([waves @ (some.to(torch.float32) @ columns.T) for some in torch.split(rows, count)])


@cache
def _waves(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Float32 [20, side], a column's mean and its mean products with waves; the same of rows of colours.

    The second, [20, side * 3], gives brightness and transform at once: pixels lie in memory as
    [n, side, side, 3].
    """
    places = (torch.arange(side, dtype=torch.float64) + 0.5) * math.pi / side
    waves = torch.cos(torch.arange(SIDE, dtype=torch.float64)[:, None] * places) * math.sqrt(2)
    waves[0] = 1
    of_columns = (waves / side).to(device, torch.float32)
    of_rows = of_columns[:, :, None] * torch.tensor(LUMA, device=device)
    return of_columns, of_rows.flatten(1)


@cache
def _frequencies(device: torch.device) -> Frequencies:
    square = ((y * y + x * x, y, x) for y in range(SIDE) for x in range(SIDE))
    ordered = [(y, x) for _, y, x in sorted(square)][1:]
    pairs = []
    for parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
        alike = [(y, x) for y, x in ordered if (y % 2, x % 2) == parity]
        pairs += [(y * y + x * x, first, (y, x)) for first, (y, x) in pairwise(alike)]
    pairs.sort()
    return Frequencies(
        lowest=_places(ordered[:SIGNS], device),
        weights=torch.tensor([math.hypot(y, x) ** -0.5 for y, x in ordered[:SIGNS]], device=device),
        first=_places([first for _, first, _ in pairs[:PRODUCTS]], device),
        second=_places([second for *_, second in pairs[:PRODUCTS]], device),
    )


def _places(pairs: list[tuple[int, int]], device: torch.device) -> torch.Tensor:
    return torch.tensor([y * SIDE + x for y, x in pairs], device=device)
