"""EfficientNet-Lite0 in 8-bit integers, for CPUs that multiply and add four of them at once (VNNI).

Weights have a step for each output channel, maps one for all of them (Jacob et al., Quantization and
training of neural networks for integer-arithmetic-only inference, https://arxiv.org/abs/1712.05877). Steps
of maps come from ranges that were measured on pictures and lie beside the weights. Sums are exact integers,
so that a picture gives the same vector in a call of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from twinlens.models.lite import Block, Convolution

LARGEST_WEIGHT, LARGEST_CODE = 127, 255
SMALLEST_STEP = 1e-8

LARGE = 4
"""Maps with more than this part of a picture's side are large."""

LARGE_TOGETHER = 8 * 192**2
"""Pixels of the pictures of which large maps are there at once: they take most memory."""

Maps = Callable[[torch.Tensor], torch.Tensor]


class Scale(NamedTuple):
    """What codes mean: value = step * (code - zero), code in [0, 255]."""

    step: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Scale:
        """Codes for the values from low to high, of which 0 is one."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / LARGEST_CODE, SMALLEST_STEP)
        return cls(step, round(-low / step))


PIXELS = Scale(1 / 127.5, 128)
"""What a network sees in pixels but for half a code, which its first bias takes up."""


def ranged(layers: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """The modules whose outputs have a range of their own, in order, the last convolution left out.

    Where a block adds its input, that is the block instead of its last convolution.
    """
    for layer in layers[:-1]:
        if isinstance(layer, Block):
            yield from (part for part in (layer.widen, layer.filter) if isinstance(part, Convolution))
            yield layer if layer.skips else layer.narrow
        else:
            yield layer


class QuantisedMaps:
    """The layers up to the last feature map, float32 [n, 1280, side / 32, side / 32], of pixels.

    Args:
        layers: float32, on the CPU: a convolution, blocks, a convolution.
        ranges: float [k, 2], lowest and highest value of what `ranged` gives.
        side: of the pixels, uint8 [n, 3, side, side], channels last.
    """

    def __init__(self, layers: Sequence[nn.Module], ranges: torch.Tensor, side: int) -> None:
        scales = iter([Scale.of_range(low, high) for low, high in ranges.tolist()])
        stem, *blocks, head = layers
        assert isinstance(stem, Convolution) and isinstance(head, Convolution)
        first = _Convolution(stem, side, PIXELS, next(scales), shift=0.5 * PIXELS.step)
        self._large: list[Maps] = [first]
        self._small: list[Maps] = []
        after, inner = first.after, first.side
        for block in blocks:
            assert isinstance(block, Block)
            steps = self._large if LARGE * inner > side else self._small
            step = _Block(block, inner, after, scales)
            steps.append(step)
            after, inner = step.after, step.side
        self._small.append(_Convolution(head, inner, after, None))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last feature maps."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        parts = -(-pixels[:, 0].numel() // LARGE_TOGETHER)
        large = [_through(self._large, part) for part in pixels.chunk(max(1, parts))]
        return _through(self._small, torch.cat(large))


def _through(steps: Sequence[Maps], maps: torch.Tensor) -> torch.Tensor:
    for step in steps:
        maps = step(maps)
    return maps


class _Convolution:
    """One convolution from codes to codes, or to float32 where they have no scale.

    `shift` is added to everything that comes in. Nothing of the layer itself is kept.
    """

    def __init__(
        self, layer: Convolution, side: int, before: Scale, after: Scale | None, *, shift: float = 0.0
    ) -> None:
        weight, padding = layer.padded(side)
        self._before, self.after = before, after or Scale(1.0, 0)
        self._type = torch.float32 if after is None else torch.uint8
        self._steps = (weight.abs().amax(dim=(1, 2, 3)) / LARGEST_WEIGHT).clamp(min=SMALLEST_STEP)
        codes = torch.round(weight / self._steps[:, None, None, None]).to(torch.int8)
        self._shape = (list(layer.stride), padding, [1, 1], layer.groups)
        self._codes = _onednn().qconv_prepack(
            codes, self._steps, before.step, before.zero, *self._shape, None
        )
        self._zeros = torch.zeros(len(codes), dtype=torch.int64)
        assert layer.bias is not None
        self._bias = layer.bias.detach().float() + shift * weight.sum(dim=(1, 2, 3))
        self._activation = ("hardtanh", [0.0, 6.0]) if layer.activated else ("none", [])
        self.side = -(-side // layer.stride[0])

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = _onednn().qconv2d_pointwise(
            *self._arguments(maps), self._bias, *self._shape, *self.after, self._type, *self._activation, ""
        )
        return codes

    def added_to(self, sums: torch.Tensor, scale: Scale, maps: torch.Tensor) -> torch.Tensor:
        """What comes out plus `sums`, whose memory is used for it."""
        codes: torch.Tensor = _onednn().qconv2d_pointwise.binary(
            *self._arguments(maps), sums, self._bias, *self._shape, *self.after, self._type, *scale,
            "sum", 1.0, *self._activation, "",
        )  # fmt: skip
        return codes

    def _arguments(self, maps: torch.Tensor) -> tuple[Any, ...]:
        return maps, *self._before, self._codes, self._steps, self._zeros


class _Block:
    def __init__(self, block: Block, side: int, before: Scale, scales: Iterator[Scale]) -> None:
        self._before = before if block.skips else None
        self._inner: list[_Convolution] = []
        after = before
        for layer in (block.widen, block.filter):
            if isinstance(layer, Convolution):
                inner = _Convolution(layer, side, after, next(scales))
                self._inner.append(inner)
                after, side = inner.after, inner.side
        self._narrow = _Convolution(block.narrow, side, after, next(scales))
        self.after, self.side = self._narrow.after, side

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        wide = maps
        for inner in self._inner:
            wide = inner(wide)
        if self._before is None:
            return self._narrow(wide)
        return self._narrow.added_to(maps, self._before, wide)


def _onednn() -> Any:
    return torch.ops.onednn
