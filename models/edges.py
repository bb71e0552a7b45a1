"""Whether the edges of what was found in a picture can be seen.

A photograph in a frame differs from it along its edges. The lines of a page lie within margins, too, but
where they end paper lies beside paper.
"""

from __future__ import annotations

import torch
from torch.nn.functional import grid_sample

from twinlens.models.parallelograms import Parallelograms

PROBES = 24
"""Places along an edge at which both sides of it are looked at."""

INWARDS = 0.9
"""Of half an edge, around its middle, that is looked at."""

REACH = 0.4
"""From an edge to where it is looked at, in cells: edges are found to a fifth of one."""

DIFFERENT = 16
"""Levels of a colour by which both sides differ where an edge can be seen."""


def seen(pixels: torch.Tensor, found: Parallelograms, cells: int) -> torch.Tensor:
    """Shares of the edges within the squares that can be seen, float32 [n]; 0 where there are none.

    Args:
        pixels: uint8 [n, 3, side, side].
        found: in them.
        cells: of a row and of a column of a square.
    """
    outwards = torch.stack([found.across, found.down, -found.across, -found.down], dim=1)
    along = torch.linspace(-INWARDS, INWARDS, PROBES, device=pixels.device)
    # The edge that lies outwards is as long as the next one, and parallel to it.
    edges = found.centres[:, None, None] + outwards[:, :, None] + outwards.roll(1, dims=1)[:, :, None] * along
    steps = (REACH * outwards / outwards.abs().clamp(min=REACH))[:, :, None]
    differences = _sampled(pixels, edges + steps, cells) - _sampled(pixels, edges - steps, cells)
    beyond = torch.view_as_real(edges + steps)
    within = ((beyond > 0) & (beyond < cells)).all(dim=-1)
    visible = within & (differences.abs().amax(dim=1) > DIFFERENT)
    return visible.sum(dim=(1, 2)) / within.sum(dim=(1, 2)).clamp(min=1)


def _sampled(pixels: torch.Tensor, places: torch.Tensor, cells: int) -> torch.Tensor:
    """Colours [n, 3, 4, probes] at places in cells, complex64 [n, 4, probes]."""
    grid = torch.view_as_real(places) * (2 / cells) - 1
    return grid_sample(pixels.to(torch.float32), grid, padding_mode="border", align_corners=False)
