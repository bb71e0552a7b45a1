"""What pictures have in common and how they differ, in structure and in colours: the axes of both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.descriptor_pictures import Pictures
from scripts.descriptor_training import principal_axes
from scripts.descriptor_validation import network_embed, rows_of
from twinlens.models.copy_descriptor import SIDE, CopyNetwork
from twinlens.models.palette import roots
from twinlens.models.principal import Principal
from twinlens.models.structure import brightness, contrasts, neighbours

WHITENING = 0.5
"""All directions vary alike."""


def set_parts(network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64]) -> None:
    """Give a network the means and the principal directions of what the chosen pictures show."""
    parts = {
        network.structure.contrasts: lambda pixels: contrasts(brightness(pixels)),
        network.structure.neighbours: lambda pixels: neighbours(brightness(pixels)),
        network.palette: roots,
    }
    for part, seen in parts.items():
        _set_axes(part, seen, pictures, chosen)


def _set_axes(
    part: Principal,
    seen: Callable[[torch.Tensor], torch.Tensor],
    pictures: Pictures,
    chosen: NDArray[np.int64],
) -> None:
    shown = (pictures.image(index) for index in chosen.tolist())
    rows = torch.from_numpy(rows_of(network_embed(seen, SIDE), shown))
    axes, mean = principal_axes(rows, len(part.axes), WHITENING)
    part.axes.copy_(axes)
    part.mean.copy_(mean)
