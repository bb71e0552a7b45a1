"""EfficientNet-Lite0 with its batch normalisations folded away: convolutions, ReLU6 and nothing else.

Tan and Le, EfficientNet (https://arxiv.org/abs/1905.11946), in its lite variant: no squeeze-and-excitation,
ReLU6, and a stem and head that are not scaled. It is written out here because importing a library of a
thousand models costs more memory and time than this one model does.

Where one-sided padding is laid out first, a feature map goes to memory and back once more than for its
activation. `onednn.fuse_for` does without either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import conv2d, pad, relu6
from torch.nn.utils.fusion import fuse_conv_bn_weights

from twinlens.models.onednn import NONE, RELU6, FusibleConvolution, fused

STEM, HEAD = 32, 1280
NORM_EPSILON = 1e-3
"""TensorFlow's, which the weights were trained with."""

_NORM_TENSORS = 5


class Stage(NamedTuple):
    """Blocks of one kind, of which only the first has a stride."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)

SLIM_STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 4, 24, 2),
    Stage(5, 2, 4, 40, 2),
    Stage(3, 2, 4, 80, 2),
    Stage(5, 1, 4, 112, 3),
    Stage(5, 2, 4, 192, 2),
    Stage(3, 1, 4, 320, 1),
)
"""Two thirds of the wide channels and three blocks less: two thirds of the time."""


class Convolution(FusibleConvolution):
    """A convolution of square maps, with zeros as TensorFlow puts them, and its ReLU6 if it has one.

    There are as many zeros as are needed; where they are not even in number, more are on the far side.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, activated: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.activated = activated
        self._wide: torch.Tensor | None = None

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps [n, outputs, side / stride, side / stride] of maps [n, inputs, side, side]."""
        zeros = self._zeros(maps.shape[-1])
        if self._wide is not None:
            return self._fused(maps, zeros)
        before, after = zeros // 2, zeros - zeros // 2
        if before == after:
            maps = conv2d(maps, self.weight, self.bias, self.stride, before, groups=self.groups)
        else:
            padded = pad(maps, (before, after, before, after))
            maps = conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)
        return relu6(maps, inplace=True) if self.activated else maps

    def fuse(self) -> None:
        """Compute in one pass from now on; types and memory format are final."""
        self._wide = _widened(self.weight)

    def padded(self, side: int) -> tuple[torch.Tensor, list[int]]:
        """Weights, and zeros on each side, with which maps of this side need no one-sided zeros."""
        zeros = self._zeros(side)
        return _widened(self.weight) if zeros % 2 else self.weight.detach(), [(zeros + 1) // 2] * 2

    def _fused(self, maps: torch.Tensor, zeros: int) -> torch.Tensor:
        weight = self._wide if zeros % 2 else self.weight
        return fused(self, maps, RELU6 if self.activated else NONE, weight, [(zeros + 1) // 2] * 2)

    def _zeros(self, side: int) -> int:
        stride, kernel = self.stride[0], self.kernel_size[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


class Block(nn.Module):
    """Channels are widened, filtered each by itself, and narrowed again (inverted residual)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widen = Convolution(inputs, wide, activated=True) if expansion > 1 else nn.Identity()
        self.filter = Convolution(wide, wide, kernel, stride, groups=wide, activated=True)
        self.narrow = Convolution(wide, outputs, activated=False)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps [n, outputs, side / stride, side / stride] of maps [n, inputs, side, side]."""
        narrow: torch.Tensor = self.narrow(self.filter(self.widen(maps)))
        return narrow + maps if self.skips else narrow


def layers(stages: Sequence[Stage] = STAGES) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers up to the last feature map [n, 1280, side / 32, side / 32], cut after the first block."""
    stem = Convolution(3, STEM, 3, 2, activated=True)
    blocks = list(_blocks(stages))
    head = Convolution(stages[-1].channels, HEAD, activated=True)
    return nn.Sequential(stem, blocks[0]), nn.Sequential(*blocks[1:], head)


def load_unfolded(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Take the weights of a checkpoint in which each convolution is followed by its batch normalisation.

    Folded, a normalisation is faster, most of all in bfloat16 on a CPU, and rounded once less.

    Args:
        network: of `Convolution`s.
        state: in the order of the layers; what comes after them is left.
    """
    tensors = iter(state.values())
    for layer in network.modules():
        if isinstance(layer, Convolution):
            weight = next(tensors)
            gain, shift, mean, variance, _ = (next(tensors) for _ in range(_NORM_TENSORS))
            layer.weight, layer.bias = fuse_conv_bn_weights(
                nn.Parameter(weight), None, mean, variance, NORM_EPSILON, gain, shift
            )


def _widened(weight: torch.Tensor) -> torch.Tensor:
    """One-sided zeros are zeros on both sides for a kernel with one more row and column of zeros."""
    return pad(weight.detach(), (1, 0, 1, 0))


def _blocks(stages: Sequence[Stage]) -> Iterator[Block]:
    inputs = STEM
    for stage in stages:
        for number in range(stage.blocks):
            stride = stage.stride if number == 0 else 1
            yield Block(inputs, stage.channels, stage.kernel, stride, stage.expansion)
            inputs = stage.channels
