"""Which colours a picture has, wherever in it they lie.

Structure (`models/structure.py`) stays where a picture loses its colours and turns where it is cut, rotated
or put into a frame. A palette is the other way round. Its rows are soft histograms, compared by the products
of the square roots of shares (the Bhattacharyya coefficient), less what pictures have in common, each
direction divided by how far pictures differ in it: a blue sky says less than as much violet.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from twinlens.models.principal import Principal
from twinlens.models.squares import resized

LEVELS = 6
"""Of red, green and blue: a bin is one of each."""

BINS = LEVELS**3

DIM = 48
"""Numbers of a row."""

SIDE = 20
"""Colours are those of so many places of a row and of a column: noise and screens of dots are none."""


class Palette(Principal):
    """Rows of the colours of pictures: of the roots of 216 shares along 48 directions."""

    def __init__(self) -> None:
        super().__init__(DIM, BINS)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit rows, float32 [n, 48], of uint8 [n, 3, side, side]."""
        return normalize(self.along(roots(pixels)), dim=1)


def roots(pixels: torch.Tensor) -> torch.Tensor:
    """Square roots of the shares of all bins, float32 [n, 216], of uint8 [n, 3, side, side].

    A colour between levels counts with those around it, the nearer ones more.
    """
    levels = resized(pixels, SIDE).flatten(2).to(torch.float32) * ((LEVELS - 1) / 255)
    places = torch.arange(LEVELS, device=pixels.device)[:, None]
    # Float32 [n, 3, 6, 400]: of which level a place is, in each channel.
    near = (1 - (levels[:, :, None] - places).abs()).clamp(min=0)
    red, green, blue = near.unbind(1)
    pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)
    shares = pairs @ blue.transpose(1, 2) / levels.shape[2]
    return shares.flatten(1).clamp(min=0).sqrt()
