"""The copy descriptor: EfficientNet-Lite0, trained to see through edits. Images only.

`scripts/train_descriptor.py` made the weights of the model that sees more, `scripts/train_student.py` those
of a slimmer network that learnt from it; the logs of both lie beside them. Not quite half of a row is not
learnt: a hash with soft bits (`models/structure.py`) and which colours there are (`models/palette.py`). A
picture in a frame is looked at twice, with it and without (`models/frames.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from twinlens.engine.types import DecodePolicy, ModelDescription, OperatingPoints, Prepared, Rgb
from twinlens.models import efficientnet, frames, lite, palette, points, structure, weights
from twinlens.models.device import INT8, choose_device, choose_precision, cpu_computes_bfloat16
from twinlens.models.embedder import TorchEmbedder
from twinlens.models.frames import FrameFinder, load_finder
from twinlens.models.onednn import fuse_for
from twinlens.models.quantised import Maps, QuantisedMaps, ranged

NAME, FAST_NAME = "twinlens_copy512", "twinlens_fast512"
WEIGHTS = Path(__file__).with_name("copy_descriptor.safetensors")
WEIGHTS_DIGEST = "e81ee5a74faec6a9bf0b4e1f2115bdb7b968d1b171d57a70122ade35d10e3fb8"

FAST_WEIGHTS = Path(__file__).with_name("fast_descriptor.safetensors")
FAST_WEIGHTS_DIGEST = "c5a30d8f4901b61f2f3e33db138f65b948232ec55303162f218cbc49991064fc"

RANGES = "ranges"

SIDE, FAST_SIDE = 192, 96
TRAINED_DIM = 255
ROW_DIM = TRAINED_DIM + structure.DIM + palette.DIM
DIM = ROW_DIM + 1

STRUCTURE_SHARE, PALETTE_SHARE = 0.37, 0.08
"""Of a row's squared length, and so of its cosines; the rest is learnt."""

BACKGROUND = 1000
"""Training pictures whose rows lie with the weights, as a sample of all that a picture may look like."""

CROWD, CROWDED = 3, 0.25
"""How crowded it is around a row: the mean cosine to so many of them that are most similar; usually this."""

SHARES = (0.3, 0.7)

TOGETHER = 4
"""Pictures without their frames that are looked at in a call of their own, where there is no room for them
beside whole ones."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A network, how large it sees a picture, and how far its cosines are raised.

    Attributes:
        revision: counts what changed its vectors.
        weights, digest: its file, and what `weights.digest` gives for it.
        stages: of its blocks.
        side: of the square, px.
        cpu_call: pictures that a CPU takes best in one call. Many small ones share what a call takes beside
            its kernels; the large maps of a large network would take memory.
        wholes: pictures of a call for each that is looked at beside them without its frame. Few are fast; the
            large maps of a large network take memory.
        constant: share of the appended constant in a vector's squared length, where it is as crowded as
            usual.
        slope: by how much that falls as the crowd's cosine rises.
    """

    revision: str
    weights: Path
    digest: str
    stages: Sequence[lite.Stage]
    side: int
    cpu_call: int
    wholes: int
    constant: float
    slope: float


VARIANTS = {
    NAME: Variant("15", WEIGHTS, WEIGHTS_DIGEST, lite.STAGES, SIDE, 32, 64, constant=0.5, slope=0.15),
    FAST_NAME: Variant(
        "15", FAST_WEIGHTS, FAST_WEIGHTS_DIGEST, lite.SLIM_STAGES, FAST_SIDE, 64, 8, constant=0.5, slope=0.2
    ),
}


def _description(
    name: str, points: OperatingPoints, floor: float, isolation: float | None
) -> ModelDescription:
    variant = VARIANTS[name]
    return ModelDescription(
        name=name,
        revision=variant.revision,
        dim=DIM,
        preprocess=json.dumps(
            {
                "appended_constant": variant.constant,
                "constant_by_crowd": [CROWD, CROWDED, variant.slope, *SHARES],
                "frames": [frames.WEIGHTS_DIGEST[:16], frames.WEIGHT],
                "interpolation": "bilinear",
                "mean": [0.5, 0.5, 0.5],
                "palette": [palette.LEVELS, palette.DIM, PALETTE_SHARE],
                "pooling": f"generalised mean, p = {efficientnet.POOLING_POWER:g}",
                "resize_mode": "squash",
                "size": [variant.side, variant.side],
                "std": [0.5, 0.5, 0.5],
                "structure": [*structure.PARTS, STRUCTURE_SHARE],
            },
            sort_keys=True,
        ),
        decode=DecodePolicy(min_side=variant.side),
        licence="Apache-2.0",
        text_capable=False,
        isolation=isolation,
        points=points,
        floor=floor,
        weights_digest=variant.digest,
    )


# Floor and isolation as scripts/measure_points.py gives them.
DESCRIPTIONS = {
    NAME: _description(NAME, points.COPY_DESCRIPTOR, floor=0.74, isolation=0.587),
    FAST_NAME: _description(FAST_NAME, points.FAST_DESCRIPTOR, floor=0.76, isolation=0.592),
}


class CopyNetwork(nn.Module):
    """The backbone with folded batch normalisation, its generalised mean as a unit row, and a linear layer.

    Folded, the statistics of the normalisation are frozen by construction, and what is trained is what
    runs. Beside what is learnt a row holds the structure of its picture and its colours.

    Args:
        first, rest: the layers of `lite.layers`.
    """

    def __init__(self, first: nn.Sequential, rest: nn.Sequential) -> None:
        super().__init__()
        self.first, self.rest = first, rest
        self.projection = nn.Linear(efficientnet.DIM, TRAINED_DIM)
        self.structure = structure.Structure()
        self.palette = palette.Palette()
        self.background: torch.Tensor
        self.register_buffer("background", torch.zeros(BACKGROUND, ROW_DIM))

    @property
    def layers(self) -> list[nn.Module]:
        """What makes the last feature maps."""
        return [*self.first, *self.rest]

    def maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last feature maps of uint8 [n, 3, side, side], in the type of the later layers."""
        early: torch.Tensor = self.first(efficientnet.scaled(pixels))
        late: torch.Tensor = self.rest(early.to(next(self.rest.parameters()).dtype))
        return late

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """What is projected: unit rows, float32 [n, 1280], of uint8 [n, 3, side, side]."""
        return _pooled(self.maps(pixels))

    def projected(self, maps: torch.Tensor) -> torch.Tensor:
        """What is learnt: unit rows, float32 [n, 255], of the last feature maps."""
        return _unit(self.projection(_pooled(maps)))

    def rows(self, maps: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Unit rows, float32 [n, 511], of the last feature maps and the pixels that they come from."""
        parts = (
            (1 - STRUCTURE_SHARE - PALETTE_SHARE, self.projected(maps)),
            (STRUCTURE_SHARE, self.structure(pixels)),
            (PALETTE_SHARE, self.palette(pixels)),
        )
        return _unit(torch.cat([math.sqrt(share) * part for share, part in parts], dim=1))

    def crowding(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean cosine to the most similar of the background, [n, 1], of unit rows [n, 511]."""
        cosines = rows @ self.background.to(rows.dtype).T
        return cosines.topk(CROWD, dim=1).values.mean(dim=1, keepdim=True)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit vectors, float32 [n, 511], of uint8 [n, 3, side, side]."""
        return self.rows(self.maps(pixels), pixels)


class CopyDescriptorEmbedder(TorchEmbedder):
    """The trained vector with a constant appended; where a picture stands in a frame, the mean of two.

    The constant raises a cosine s to share + (1 - share) s, so that thresholds lie where people expect them.
    Its share is smaller where many pictures are alike: pages of text, plots, plain backgrounds. So the cosine
    of two rows rises to sqrt(share_a share_b) + sqrt((1 - share_a) (1 - share_b)) s, which stands for the
    score normalisation of copy detection (Pizzi et al., A Self-Supervised Descriptor for Image Copy
    Detection, CVPR 2022), as a change of the vectors alone.
    """

    def __init__(
        self,
        network: CopyNetwork,
        finder: FrameFinder,
        device: str,
        precision: str,
        description: ModelDescription = DESCRIPTIONS[NAME],
        ranges: torch.Tensor | None = None,
    ) -> None:
        super().__init__(description, device, precision)
        self._variant = VARIANTS[description.name]
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._finder = finder.eval().to(device).to(memory_format=torch.channels_last)
        if device == "cpu" and precision != "float32" and cpu_computes_bfloat16():
            self._finder.to(torch.bfloat16)
        fuse_for(self._finder, device)
        if precision == INT8:
            assert ranges is not None
            self._maps: Maps = QuantisedMaps(network.layers, ranges, self._variant.side)
            # The layers in float32 are not needed any more: 14 MB.
            network.first, network.rest = nn.Sequential(), nn.Sequential()
            return
        # As in the backbone's own embedder: the first block loses most in a narrow precision.
        self._network.rest.to(self.dtype)
        fuse_for(self._network, device)
        self._maps = self._network.maps

    @property
    def cpu_call(self) -> int:
        """Pictures that a CPU takes best in one call; in floats, maps are larger and all there at once."""
        return self._variant.cpu_call if self.precision == INT8 else super().cpu_call

    def prepare(self, image: Rgb) -> Prepared:
        """The whole picture, squashed to a square: uint8 [side, side, 3]."""
        return squashed(image, self._variant.side)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors [n, 512] of uint8 [n, 3, side, side]."""
        rows = self._rows(pixels)
        variant = self._variant
        share = variant.constant - variant.slope * (self._network.crowding(rows) - CROWDED)
        return with_constant(rows, share.clamp(*SHARES))

    def _rows(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit rows [n, 511] of uint8 [n, 3, side, side]: of the whole and of what stands in a frame."""
        inner = self._finder.inner(pixels)
        # Kernels keep memory for each shape that they were called with: all calls have one of two shapes.
        beside = len(pixels) // self._variant.wholes
        rows = self._looked_at(torch.cat([pixels, filled(inner.squares[:beside], beside, pixels)]))
        rows, first = rows[: len(pixels)], rows[len(pixels) :]
        others = [
            self._looked_at(filled(inner.squares[start : start + TOGETHER], TOGETHER, pixels))
            for start in range(beside, len(inner.places), TOGETHER)
        ]
        of_inner = torch.cat([first[: len(inner.places)], *others])[: len(inner.places)]
        rows[inner.places] = _unit(torch.lerp(rows[inner.places], of_inner, inner.weights))
        return rows

    def _looked_at(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._network.rows(self._maps(pixels), pixels)


def filled(squares: torch.Tensor, count: int, others: torch.Tensor) -> torch.Tensor:
    """So many squares, [count, 3, side, side]: these, and the first of others as often as it takes."""
    return torch.cat([squares, others[:1].expand(count - len(squares), -1, -1, -1)])


def squashed(image: Rgb, side: int) -> Prepared:
    """A picture uint8 [h, w, 3] of any shape as a square, uint8 [side, side, 3].

    The bilinear filter is as wide as what it shrinks. torch resizes bytes four times as fast as Pillow.
    """
    # torch takes arrays that may be written to only.
    pixels = torch.from_numpy(np.require(image, np.uint8, ["C", "W"])).permute(2, 0, 1)[None]
    squares = nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    square: Prepared = squares[0].permute(1, 2, 0).numpy()
    return square


def with_constant(rows: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Unit rows [n, dim] as unit rows [n, dim + 1], of whose squared length a constant has a share [n, 1]."""
    return torch.cat([(1 - share).sqrt() * rows, share.sqrt()], dim=1)


def load(
    *, device: str, precision: str, name: str = NAME, path: Path | None = None
) -> CopyDescriptorEmbedder:
    """Load a model from the weights that are installed with it, or from the same ones elsewhere.

    Raises:
        WeightsUnavailable: the file is missing.
        WeightsCorrupt: it is not the one that was measured.
        DeviceUnavailable: no such device.
        InvalidValue: unknown device or precision.
    """
    place = choose_device(device)
    arithmetic = choose_precision(precision, place, quantised=True)
    variant = VARIANTS[name]
    network, ranges = read_network(path or variant.weights, variant.digest, variant.stages)
    return CopyDescriptorEmbedder(network, load_finder(), place, arithmetic, DESCRIPTIONS[name], ranges)


def read_network(
    path: Path, digest: str | None, stages: Sequence[lite.Stage] = lite.STAGES
) -> tuple[CopyNetwork, torch.Tensor]:
    """The float32 network on the CPU, from a file of a training script, and its ranges.

    Args:
        path: a safetensors file.
        digest: what `weights.digest` gives for it; None takes any file of the right shapes.
        stages: of its blocks.

    Returns:
        The network, and float32 [k, 2] for `QuantisedMaps`.

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: it holds other tensors.
    """
    network = CopyNetwork(*lite.layers(stages))
    wanted = weights.shapes_of(network) | {RANGES: (len(list(ranged(network.layers))), 2)}
    state = weights.read_exactly(path, wanted, digest)
    ranges = state.pop(RANGES).float()
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network, ranges


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows [n, dim] of an odd dimension, divided by their lengths."""
    # CUDA sums a row from where its memory is aligned. With a zero at the end all rows are, so that a row
    # does not depend on its place among others.
    return nn.functional.normalize(nn.functional.pad(rows, (0, 1)), dim=1)[:, :-1]


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(efficientnet.pooled(maps), dim=1)
