"""Rows along the principal directions of what training pictures show."""

from __future__ import annotations

import torch
from torch import nn


class Principal(nn.Module):
    """Directions that lie with the weights of a network.

    Attributes:
        mean: float32 [count], of what training pictures have.
        axes: float32 [dim, count], their principal directions, each divided by its standard deviation.
    """

    mean: torch.Tensor
    axes: torch.Tensor

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("axes", torch.zeros(dim, count))

    def along(self, seen: torch.Tensor) -> torch.Tensor:
        """Float32 [n, dim], of float32 [n, count]."""
        return (seen - self.mean) @ self.axes.T
