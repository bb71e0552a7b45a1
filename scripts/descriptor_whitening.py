"""Partial whitenings of the descriptor's rows, folded into its projection."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from scripts.descriptor_pictures import Pictures
from scripts.descriptor_validation import network_embed, rows_of
from twinlens.models.copy_descriptor import SIDE, CopyNetwork

FIRST_POWER, POWER = 0.35, 0.25
SMALLEST_VARIANCE = 1e-8


def whitened(network: CopyNetwork, features: NDArray[np.float16], network_rows: int) -> None:
    """Start the projection as a partial whitening of the plain features: their principal axes, evened out."""
    rows = torch.from_numpy(features.astype(np.float32))
    axes, variances, mean = principal_axes(rows, network_rows)
    scaled = _divided(axes, variances, FIRST_POWER)
    _project(network, scaled, -scaled @ mean, rows)


def evened_out(network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64]) -> torch.Tensor:
    """Partly whiten the rows that were learnt; gives those of the chosen pictures, float32 [n, dim].

    Training moves all rows to one side, where cosines of strangers are high and unlike: the losses compare
    cosines with each other and see nothing of it. One threshold for all does. The axes are turned back, so
    that the projection stays comparable with what it was.
    """
    embed = network_embed(network.pooled, SIDE)
    rows = torch.from_numpy(rows_of(embed, (pictures.image(index) for index in chosen.tolist())))
    weight, bias = network.projection.weight.detach(), network.projection.bias.detach()
    axes, variances, mean = principal_axes(rows @ weight.T + bias, len(weight))
    evened = axes.T @ _divided(axes, variances, POWER)
    _project(network, evened @ weight, evened @ (bias - mean), rows)
    with torch.no_grad():
        return normalize(network.projection(rows), dim=1)


def principal_axes(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first principal axes [count, dim] of rows [n, dim], orthonormal, their variances, and the mean."""
    mean = rows.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((rows - mean).T))
    return axes[:, -count:].flip(1).T, variances[-count:].flip(0).clamp(min=SMALLEST_VARIANCE), mean


def _divided(axes: torch.Tensor, variances: torch.Tensor, power: float) -> torch.Tensor:
    """Axes divided by a power of their variances: with 0.5 that is whitening, all vary alike."""
    return axes / variances[:, None] ** power


def _project(network: CopyNetwork, weight: torch.Tensor, bias: torch.Tensor, rows: torch.Tensor) -> None:
    """Set the projection, scaled so that rows come out about as long as 1."""
    length = (rows @ weight.T + bias).norm(dim=1).mean()
    with torch.no_grad():
        network.projection.weight.copy_(weight / length)
        network.projection.bias.copy_(bias / length)
