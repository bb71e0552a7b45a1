"""The copy descriptor: EfficientNet-Lite0, trained to see through edits. Images only.

`scripts/train_descriptor.py` made its weights and `copy_descriptor.log.jsonl` beside them is its log. It was
trained at several sizes at once, so that one network serves as two models: one that sees more, and one
that is faster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from twinlens.engine.errors import WeightsCorrupt
from twinlens.engine.types import DecodePolicy, ModelDescription, OperatingPoints, Prepared, Rgb
from twinlens.models import efficientnet, lite, points, weights
from twinlens.models.device import choose_device, choose_precision
from twinlens.models.embedder import TorchEmbedder

NAME, FAST_NAME = "twinlens_copy512", "twinlens_fast512"
WEIGHTS = Path(__file__).with_name("copy_descriptor.safetensors")
WEIGHTS_DIGEST = "ca30caf78ba2ea2ee893e2dd69f9492aa60f8f0169a2711209a56bcb5b1cb2b7"

SIDE, FAST_SIDE = 160, 112
TRAINED_DIM = 511
DIM = TRAINED_DIM + 1


@dataclass(frozen=True, slots=True)
class Sight:
    """How large the network sees a picture, and how far its cosines are raised.

    Attributes:
        side: of the square, px.
        constant: share of the appended constant in a vector's squared length.
    """

    side: int
    constant: float


SIGHTS = {NAME: Sight(SIDE, 0.5), FAST_NAME: Sight(FAST_SIDE, 0.5)}


def _description(
    name: str, points: OperatingPoints, floor: float, isolation: float | None
) -> ModelDescription:
    sight = SIGHTS[name]
    return ModelDescription(
        name=name,
        revision="1",
        dim=DIM,
        preprocess=json.dumps(
            {
                "appended_constant": sight.constant,
                "interpolation": "bilinear",
                "mean": [0.5, 0.5, 0.5],
                "pooling": f"generalised mean, p = {efficientnet.POOLING_POWER:g}",
                "resize_mode": "squash",
                "size": [sight.side, sight.side],
                "std": [0.5, 0.5, 0.5],
            },
            sort_keys=True,
        ),
        decode=DecodePolicy(min_side=SIDE),
        licence="Apache-2.0",
        text_capable=False,
        isolation=isolation,
        points=points,
        floor=floor,
        weights_digest=WEIGHTS_DIGEST,
    )


# Floor and isolation as scripts/measure_points.py gives them.
DESCRIPTIONS = {
    NAME: _description(NAME, points.COPY_DESCRIPTOR, floor=0.79, isolation=0.584),
    FAST_NAME: _description(FAST_NAME, points.FAST_DESCRIPTOR, floor=0.79, isolation=0.597),
}


class CopyNetwork(nn.Module):
    """The backbone with folded batch normalisation, its generalised mean as a unit row, and a linear layer.

    Folded, the statistics of the normalisation are frozen by construction, and what is trained is what
    runs.
    """

    def __init__(self, first: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.first, self.rest = first, rest
        self.projection = nn.Linear(efficientnet.DIM, TRAINED_DIM)

    def maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last feature maps of uint8 [n, 3, side, side], in the type of the later layers."""
        scaled = (pixels.to(torch.float32) - 127.5) / 127.5
        early: torch.Tensor = self.first(scaled.contiguous(memory_format=torch.channels_last))
        late: torch.Tensor = self.rest(early.to(next(self.rest.parameters()).dtype))
        return late

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """What is projected: unit rows, float32 [n, 1280], of uint8 [n, 3, side, side]."""
        return nn.functional.normalize(efficientnet.pooled(self.maps(pixels)), dim=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit vectors, float32 [n, 511], of uint8 [n, 3, side, side]."""
        return nn.functional.normalize(self.projection(self.pooled(pixels)), dim=1)


class CopyDescriptorEmbedder(TorchEmbedder):
    """The trained vector with a constant appended.

    The constant raises every cosine s to share + (1 - share) s, so that thresholds lie where people
    expect them: order, distances and neighbours stay what they are.
    """

    def __init__(
        self,
        network: CopyNetwork,
        device: str,
        precision: str,
        description: ModelDescription = DESCRIPTIONS[NAME],
    ) -> None:
        super().__init__(description, device, precision)
        self._sight = SIGHTS[description.name]
        # As in the backbone's own embedder: the first block loses most in a narrow precision.
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._network.rest.to(self.dtype)
        lite.fuse_for(self._network, device)

    def prepare(self, image: Rgb) -> Prepared:
        """The whole picture, squashed to a square: uint8 [side, side, 3]."""
        return np.asarray(squashed(Image.fromarray(image), self._sight.side))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors [n, 512] of uint8 [n, 3, side, side]."""
        return with_constant(self._network(pixels), self._sight.constant)


def squashed(image: Image.Image, side: int) -> Image.Image:
    """A picture of any shape as a square."""
    return image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)


def with_constant(rows: torch.Tensor, share: float) -> torch.Tensor:
    """Unit rows [n, dim] as unit rows [n, dim + 1] whose cosines are share + (1 - share) times theirs."""
    constant = rows.new_full((len(rows), 1), share**0.5)
    return torch.cat([(1 - share) ** 0.5 * rows, constant], dim=1)


def load(*, device: str, precision: str, name: str = NAME, path: Path = WEIGHTS) -> CopyDescriptorEmbedder:
    """Load a model from the weights that are installed with it; both have the same.

    Raises:
        WeightsUnavailable: the file is missing.
        WeightsCorrupt: it is not the one that was measured.
        DeviceUnavailable: no such device.
        InvalidValue: unknown device or precision.
    """
    place = choose_device(device)
    network = read_network(path, WEIGHTS_DIGEST)
    return CopyDescriptorEmbedder(network, place, choose_precision(precision, place), DESCRIPTIONS[name])


def read_network(path: Path, digest: str | None) -> CopyNetwork:
    """The float32 network on the CPU, from a file of `scripts/train_descriptor.py`.

    Args:
        path: a safetensors file.
        digest: what `weights.digest` gives for it; None takes any file of the right shapes.

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: it holds other tensors.
    """
    shapes = weights.read_shapes(path)
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsCorrupt(f"{path} cannot be read: {weights.one_line(error)}") from error
    network = CopyNetwork(*lite.layers())
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = weights.digest(state)
    if shapes != wanted or digest not in (None, found):
        raise WeightsCorrupt(f"{path} holds other weights ({len(shapes)} tensors, digest {found[:16]})")
    weights.require_finite(state, str(path))
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network
