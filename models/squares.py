"""Pictures on a device as squares of another size."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def resized(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Squares [n, 3, side, side] of pictures [n, 3, height, width]; bytes of bytes on a CPU, else float32.

    The bilinear filter is as wide as what it shrinks.
    """
    # torch resizes bytes of a CPU ten times as fast as numbers, and those of a GPU not at all.
    shown = pixels if pixels.device.type == "cpu" else pixels.to(torch.float32)
    squares: torch.Tensor = interpolate(shown, (side, side), mode="bilinear", antialias=True)
    return squares
