"""What pictures in general look like to the descriptor: the rows of some training pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.descriptor_pictures import Pictures
from scripts.descriptor_validation import network_embed, rows_of
from twinlens.models.copy_descriptor import BACKGROUND, SIDE, CopyNetwork


def background_rows(
    network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64], side: int = SIDE
) -> torch.Tensor:
    """Rows of some of the chosen pictures, evenly spaced, float32 [1000, 511]; few are taken repeatedly."""
    places = np.linspace(0, len(chosen) - 1, BACKGROUND).astype(np.int64)
    shown = (pictures.image(int(index)) for index in chosen[places])
    return torch.from_numpy(rows_of(network_embed(network, side), shown))
