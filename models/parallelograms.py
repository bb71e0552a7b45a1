"""The parallelogram that some shares of cells are most like: a picture that was turned, squashed to a square.

Points of the plane are complex numbers here, cells have sides of 1, and a symmetric matrix takes z to
p z + q conj(z), with p real.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn.functional import grid_sample, pad

BEYOND, STEPS = 6, 20
"""Cells around a square in which a parallelogram goes on, and how often it is made anew from what it says of
them."""

MARGIN = 0.15
"""Cells by which a corner lies outside clearly."""

GRAIN = 2
"""Parts of a pixel on which centres and half edges lie of what is cut out, so that it does not depend on the
last bits of cells."""

TINY = 1e-6


class _Shape(NamedTuple):
    """Centres and half edges, complex64 [n] each."""

    centres: torch.Tensor
    across: torch.Tensor
    down: torch.Tensor


class Parallelograms(NamedTuple):
    """What is most like some squares of cells.

    Attributes:
        centres: complex64 [n], right and down from the upper left corner, in cells.
        across, down: complex64 [n], half of the edges: of all ways to name them the one turned least.
        agreement: float32 [n], intersection over union with the cells.
        areas: float32 [n], share of the square that is covered.
    """

    centres: torch.Tensor
    across: torch.Tensor
    down: torch.Tensor
    agreement: torch.Tensor
    areas: torch.Tensor

    def lean(self) -> torch.Tensor:
        """By how much the edge that leans more does, degrees, float32 [n]."""
        edges = torch.stack([self.across, -1j * self.down])
        return torch.rad2deg(edges.angle().abs().amax(dim=0))

    def stick_out(self, side: int) -> torch.Tensor:
        """Bool [n]: whether a corner lies outside of a square of so many cells, clearly."""
        right = self.across.real.abs() + self.down.real.abs()
        below = self.across.imag.abs() + self.down.imag.abs()
        reach, middle = torch.complex(right, below), self.centres
        low, high = (torch.view_as_real(corner) for corner in (middle - reach, middle + reach))
        return ((low < -MARGIN) | (high > side + MARGIN)).any(dim=1)


def fitted(cells: torch.Tensor) -> Parallelograms:
    """Parallelograms of shares in [0, 1], float32 [n, side, side], by which cells belong to them.

    Their moments say which: mean and covariance are those of a square that was turned, then stretched, and
    how far it was turned is the phase of the mean fourth power of what is left when that is undone.
    """
    shares, points = cells.flatten(1), _points(0, cells.shape[1], cells.device)
    return _compared(_of_moments(shares, points), shares, points)


def completed(found: Parallelograms, cells: torch.Tensor) -> Parallelograms:
    """Parallelograms of which corners lie outside of the square, as if cells went on there.

    Beyond, the shares are what the parallelogram so far says, and so on.
    """
    side = cells.shape[1]
    shape = _Shape(*found[:3])
    shares = pad(cells, (BEYOND,) * 4).flatten(1)
    seen = pad(torch.ones_like(cells[0], dtype=torch.bool), (BEYOND,) * 4).ravel()
    points = _points(BEYOND, side, cells.device)
    for _ in range(STEPS):
        shape = _of_moments(torch.where(seen, shares, _covered(shape, points)), points)
    return _compared(shape, shares[:, seen], points[seen])


def _compared(shape: _Shape, shares: torch.Tensor, points: torch.Tensor) -> Parallelograms:
    covered = _covered(shape, points)
    shared, either = torch.minimum(shares, covered), torch.maximum(shares, covered)
    agreement = shared.sum(dim=1) / either.sum(dim=1).clamp(min=TINY)
    return Parallelograms(*shape, agreement, covered.mean(dim=1))


def _points(beyond: int, side: int, device: torch.device) -> torch.Tensor:
    """The middles of cells, of so many around a square as well, complex64 [places]."""
    places = torch.arange(-beyond, side + beyond, device=device) + 0.5
    return torch.complex(*torch.meshgrid(places, places, indexing="xy")).ravel()


def _of_moments(shares: torch.Tensor, points: torch.Tensor) -> _Shape:
    """What has the moments of shares [n, places]."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (weights * values).sum(dim=1)

    weights = shares / shares.sum(dim=1, keepdim=True).clamp(min=TINY)
    centres = mean(points)
    offsets = points - centres[:, None]
    # The covariance matrix and its square root, which stretches the square.
    p, q = mean((offsets * offsets.conj()).real) / 2, mean(offsets * offsets) / 2
    root = (p * p - (q * q.conj()).real).clamp(min=TINY).sqrt()
    p = ((p + root) / 2).sqrt()
    q = q / (2 * p)
    squared = ((p[:, None] * offsets - q[:, None] * offsets.conj()) / root[:, None]).square()
    angles = (torch.angle(mean(squared.square())) - math.pi) / 4
    # A square of half edges of 1 has variances of a third.
    edge = math.sqrt(3) * torch.polar(torch.ones_like(angles), angles)
    one, other = (p * z + q * z.conj() for z in (edge, 1j * edge))
    level = one.real.abs() / one.abs() >= other.real.abs() / other.abs()
    across, down = torch.where(level, one, other), torch.where(level, other, one)
    return _Shape(
        centres, torch.where(across.real < 0, -across, across), torch.where(down.imag < 0, -down, down)
    )


def _covered(shape: _Shape, points: torch.Tensor) -> torch.Tensor:
    """Which share of the cell around each point is covered, about, float32 [n, places]."""
    centres, across, down = shape
    offsets, area = points - centres[:, None], _cross(across, down)[:, None]
    shares = torch.ones_like(area)
    for edge in (across[:, None], down[:, None]):
        inward = 1 - _cross(offsets, edge).abs() / area
        shares = shares * (inward * area / edge.abs() + 0.5).clamp(0, 1)
    return shares


def _cross(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one.conj() * other).imag


def cut(pixels: torch.Tensor, found: Parallelograms, place: int, cells: int) -> torch.Tensor:
    """What is in one of them as an upright square, float32 [1, 3, side, side].

    Args:
        pixels: uint8 [1, 3, side, side].
        found: where pictures lie.
        place: which of them.
        cells: of a side.
    """
    scale = GRAIN * pixels.shape[-1] / cells
    centre, across, down = (
        torch.view_as_real(each[place] * scale).round() * 2 / (GRAIN * pixels.shape[-1]) for each in found[:3]
    )
    # From -1 to 1, as `grid_sample` has it.
    steps = torch.arange(pixels.shape[-1], device=pixels.device)
    steps = (2 * steps + 1) / len(steps) - 1
    grid = (centre - 1) + steps[None, :, None] * across + steps[:, None, None] * down
    return grid_sample(pixels.to(torch.float32), grid[None], padding_mode="border", align_corners=False)
