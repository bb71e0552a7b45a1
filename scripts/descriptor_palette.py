"""Which colours pictures have in general, and how they differ: what a palette is measured by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.descriptor_pictures import Pictures
from scripts.descriptor_training import principal_axes
from scripts.descriptor_validation import network_embed, rows_of
from twinlens.models.copy_descriptor import SIDE
from twinlens.models.palette import DIM, Palette, roots

WHITENING = 0.5
"""All directions vary alike."""


def set_palette(palette: Palette, pictures: Pictures, chosen: NDArray[np.int64]) -> None:
    """Give a palette the mean and the principal directions of the chosen pictures' colours."""
    shown = (pictures.image(index) for index in chosen.tolist())
    rows = torch.from_numpy(rows_of(network_embed(roots, SIDE), shown))
    axes, mean = principal_axes(rows, DIM, WHITENING)
    palette.axes.copy_(axes)
    palette.mean.copy_(mean)
