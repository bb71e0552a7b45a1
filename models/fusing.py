"""Convolutions with their activation in one pass over memory, for CPUs.

Between a convolution and its activation a feature map goes to memory and back, and once more where
TensorFlow's one-sided padding is laid out first; small networks spend a quarter of their time so. oneDNN
computes all of it at once. Values stay bit for bit what the separate steps give.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import nn

_OPERATOR = "_convolution_pointwise"


class FusedConv(nn.Module):
    """A convolution and what follows it: ReLU6 or nothing.

    Args:
        conv: with zeros of its own on all sides, or TensorFlow's: as many as are needed, an odd one on
            the far side.
        activated: True for ReLU6.
    """

    def __init__(self, conv: nn.Conv2d, *, activated: bool) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._stride, self._groups = conv.stride, conv.groups
        self._padding: Any = conv.padding
        self._kind, self._bounds = ("hardtanh", [0.0, 6.0]) if activated else ("none", [])
        self._same = same = isinstance(conv, Conv2dSame)
        # One-sided padding is padding on both sides for a kernel with one more row and column of zeros.
        wide = nn.functional.pad(conv.weight.detach(), (1, 0, 1, 0)) if same else conv.weight.detach()
        self._wide: torch.Tensor
        self.register_buffer("_wide", wide, persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps [n, out, side', side'] of maps [n, in, side, side]."""
        weight, padding = self.weight, self._padding
        if self._same:
            total = self._total_padding(maps.shape[-1])
            padding = (-(-total // 2),) * 2
            weight = self._wide if total % 2 else weight
        fused: torch.Tensor = getattr(torch.ops.mkldnn, _OPERATOR)(
            maps, weight, self.bias, padding, self._stride, [1, 1], self._groups, self._kind, self._bounds, ""
        )
        return fused

    def _total_padding(self, side: int) -> int:
        stride, kernel = self._stride[0], self.weight.shape[-1]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def fuse_for(module: nn.Module, device: str) -> None:
    """Fuse the convolutions of a network for inference, in place, where its device and this torch can."""
    has_onednn: Any = torch.backends.mkldnn.is_available
    if device == "cpu" and has_onednn() and hasattr(torch.ops.mkldnn, _OPERATOR):
        fuse(module)


def fuse(module: nn.Module) -> None:
    """Fuse the convolutions of a network on the CPU, in place; its types and memory format are final."""
    children = list(module.named_children())
    for (name, child), (next_name, follower) in pairwise([*children, ("", nn.Identity())]):
        if not isinstance(child, nn.Conv2d):
            fuse(child)
            continue
        activated = isinstance(follower, nn.ReLU6)
        setattr(module, name, FusedConv(child, activated=activated))
        if activated:
            setattr(module, next_name, nn.Identity())
