"""Between which values the feature maps of the descriptor lie, for its 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.descriptor_batches import squares_of
from scripts.descriptor_pictures import Pictures
from twinlens.models.copy_descriptor import CopyNetwork
from twinlens.models.quantised import ranged

PICTURES, BATCH = 256, 16
LEFT_OUT = 1e-4
"""Share of the values at either end that may be clipped: the others are then resolved better."""
_VALUES_AT_ONCE = 1 << 18


def measured_ranges(
    network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64], sides: Sequence[int]
) -> torch.Tensor:
    """Lowest and highest value of each ranged module, float32 [k, 2], over some pictures at all sides."""
    modules = list(ranged(network.layers))
    found = torch.zeros(len(modules), 2)
    shown = chosen[:: -(-len(chosen) // PICTURES)].tolist()
    with torch.inference_mode(), _watched(modules, found):
        for side in sides:
            for start in range(0, len(shown), BATCH):
                images = [pictures.image(index) for index in shown[start : start + BATCH]]
                network.maps(squares_of(images, side))
    return found


@contextmanager
def _watched(modules: Sequence[nn.Module], found: torch.Tensor) -> Iterator[None]:
    hooks = [module.register_forward_hook(_widening(row)) for module, row in zip(modules, found, strict=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _widening(row: torch.Tensor) -> Callable[..., None]:
    def widen(_module: nn.Module, _inputs: object, maps: torch.Tensor) -> None:
        values = maps.reshape(-1)[:: -(-maps.numel() // _VALUES_AT_ONCE)].float()
        low, high = torch.quantile(values, torch.tensor([LEFT_OUT, 1 - LEFT_OUT])).tolist()
        row[0], row[1] = min(row[0].item(), low), max(row[1].item(), high)

    return widen
