"""Where a picture lies that something frames: a window of a screen, a post, a page, a border, a wall.

What is around a picture says little about it, and makes it look like whatever is framed alike. A small
network says of each cell of a square whether it is of the picture. Where these cells make up a rectangle,
what is in it is looked at alone as well, as if it had come without a frame. `scripts/train_frames.py` made
the weights; their log lies beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from twinlens.models import weights
from twinlens.models.squares import resized

WEIGHTS = Path(__file__).with_name("frames.safetensors")
WEIGHTS_DIGEST = "ae0bbb903a84c39676d2458ef5ae23c76096a4e71fcfbe4ec6263d91ce697647"

SIDE, CELLS = 96, 24
"""Of the squares that it sees, px, and of the cells of a row and of a column."""

WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the side."""

CONTEXTS, LATE_WIDTHS = 4, (32, 24)

SMALLEST, LARGE, LARGEST = 0.08, 0.65, 0.75
"""Shares of a square from which a picture is cut out, less and less is made of it, and nothing is."""

DOUBTFUL, SURE = 0.6, 0.9
"""Intersection over union of cells and rectangle from which there may be a frame, and from which there is."""

WEIGHT = 0.5
"""What is made of what is in a frame, beside the whole."""

FLAT, RIM = 6.0, 8
"""Largest standard deviation of a colour, in its levels, of what is no picture but a box: without its rim, an
eighth of its sides."""


class Context(nn.Module):
    """What lies around each place changes what is known of it: a depthwise filter and two layers, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [n, width, side, side] of such maps."""
        change: torch.Tensor = self.narrow(self.widen(self.around(maps)).relu_())
        return maps + change


class FrameFinder(nn.Module):
    """How likely it is of each cell that it belongs to the picture, and not to what frames it.

    Down to where all is seen at once, and up again beside what was seen on the way (Lin et al., Feature
    Pyramid Networks for Object Detection, https://arxiv.org/abs/1612.03144).
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.to_half = _filter(3, half, stride=2)
        self.to_quarter = _filter(half, quarter, stride=2)
        self.to_eighth = _filter(quarter, eighth, stride=2)
        self.to_sixteenth = _filter(eighth, sixteenth, stride=2)
        self.contexts = nn.Sequential(*(Context(sixteenth) for _ in range(CONTEXTS)))
        self.of_contexts = nn.Conv2d(sixteenth, eighth, 1)
        self.late_eighth = _filter(eighth, LATE_WIDTHS[0])
        self.of_eighth = nn.Conv2d(LATE_WIDTHS[0], quarter, 1)
        self.late_quarter = _filter(quarter, LATE_WIDTHS[1])
        self.last = nn.Conv2d(LATE_WIDTHS[1], 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n, 24, 24], of uint8 [n, 3, 96, 96]."""
        scaled = pixels.to(self.last.weight.dtype).div_(128).contiguous(memory_format=torch.channels_last)
        quarter = self.to_quarter(self.to_half(scaled).relu_()).relu_()
        eighth = self.to_eighth(quarter).relu_()
        contexts = self.contexts(self.to_sixteenth(eighth).relu_())
        eighth = self.late_eighth(eighth + _twice(self.of_contexts(contexts))).relu_()
        quarter = self.late_quarter(quarter + _twice(self.of_eighth(eighth))).relu_()
        cells: torch.Tensor = self.last(quarter)
        return cells[:, 0].to(torch.float32)

    def inner(self, pixels: torch.Tensor) -> Inner:
        """What stands in a frame, of squares uint8 [n, 3, side, side]."""
        side = pixels.shape[-1]
        found = rectangles(torch.sigmoid(self(_bytes(pixels, SIDE))))
        weights = found.weights()
        boxes = (found.boxes * side).round().to(torch.int64)
        places, squares = [], [pixels[:0]]
        for place in weights.nonzero()[:, 0].tolist():
            left, top, right, bottom = boxes[place].tolist()
            part = pixels[place : place + 1, :, top:bottom, left:right]
            if not _is_flat(part):
                places.append(place)
                squares.append(_bytes(part, side))
        chosen = torch.tensor(places, dtype=torch.int64, device=pixels.device)
        return Inner(chosen, torch.cat(squares), weights[chosen, None])


class Inner(NamedTuple):
    """Pictures without the frames that they stand in.

    Attributes:
        places: int64 [k], which squares have one.
        squares: uint8 [k, 3, side, side], cut to what is in it and enlarged.
        weights: float32 [k, 1], what is made of that beside the whole, above 0, at most a half.
    """

    places: torch.Tensor
    squares: torch.Tensor
    weights: torch.Tensor


class Rectangles(NamedTuple):
    """What is most like a rectangle in each square of cells.

    Attributes:
        boxes: float32 [n, 4], left, top, right and bottom edge as shares of the side.
        agreement: float32 [n], intersection over union of cells and rectangle.
    """

    boxes: torch.Tensor
    agreement: torch.Tensor

    def weights(self) -> torch.Tensor:
        """What is made of rectangles as pictures in a frame, float32 [n], 0 to 0.5.

        It rises and falls evenly: copies that differ by next to nothing have rows that differ by as much.
        """
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)
        certain = ((self.agreement - DOUBTFUL) / (SURE - DOUBTFUL)).clamp(0, 1)
        small = ((LARGEST - areas) / (LARGEST - LARGE)).clamp(0, 1)
        return torch.where(areas >= SMALLEST, WEIGHT * certain * small, 0.0)


def rectangles(cells: torch.Tensor) -> Rectangles:
    """Rectangles of shares in [0, 1], float32 [n, 24, 24], by which cells belong to the picture."""
    rows, columns = cells.mean(dim=2), cells.mean(dim=1)
    # What lies in the rectangle's columns alone says which rows are in it, and the other way round.
    for _ in range(2):
        in_rows, in_columns = _within(rows).to(cells.dtype), _within(columns).to(cells.dtype)
        rows = (cells @ in_columns[:, :, None])[:, :, 0] / in_columns.sum(dim=1, keepdim=True)
        columns = (in_rows[:, None] @ cells)[:, 0] / in_rows.sum(dim=1, keepdim=True)
    (left, right), (top, bottom) = _edges(columns), _edges(rows)
    covered = _covered(top, bottom)[:, :, None] * _covered(left, right)[:, None]
    shared, either = torch.minimum(cells, covered), torch.maximum(cells, covered)
    agreement = shared.sum(dim=(1, 2)) / either.sum(dim=(1, 2))
    return Rectangles(torch.stack([left, top, right, bottom], dim=1), agreement)


def _within(profile: torch.Tensor) -> torch.Tensor:
    """Bool [n, 24]: which are at least half of the highest."""
    return profile >= profile.amax(dim=1, keepdim=True) / 2


def _edges(profile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where what is within begins and ends, as shares of the side, [n] each.

    A cell at an edge, and the one beyond it, count as far as they are covered.
    """
    shares = profile / profile.amax(dim=1, keepdim=True)
    within = _within(profile)
    before = (within.cumsum(dim=1) == 0).sum(dim=1)
    after = (within.flip(1).cumsum(dim=1) == 0).sum(dim=1)
    padded = pad(shares, (1, 1))
    first, last = before[:, None], CELLS - 1 - after[:, None]
    begins = first + 1 - padded.gather(1, first) - padded.gather(1, first + 1)
    ends = last + padded.gather(1, last + 1) + padded.gather(1, last + 2)
    return begins[:, 0].clamp(0, CELLS) / CELLS, ends[:, 0].clamp(0, CELLS) / CELLS


def _covered(begins: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Which share of each cell of a row lies between two edges, [n, 24]."""
    cells = torch.arange(CELLS, device=begins.device)
    right = torch.minimum(CELLS * ends[:, None], cells + 1)
    return (right - torch.maximum(CELLS * begins[:, None], cells)).clamp(min=0)


def _is_flat(part: torch.Tensor) -> bool:
    """True for a box of one colour, uint8 [1, 3, height, width]."""
    down, across = (length // RIM for length in part.shape[2:])
    inner = part[:, :, down : part.shape[2] - down, across : part.shape[3] - across]
    return inner.to(torch.float32).std(dim=(2, 3)).max().item() <= FLAT


def _filter(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def _twice(maps: torch.Tensor) -> torch.Tensor:
    return interpolate(maps, scale_factor=2.0, mode="bilinear")


def _bytes(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Squares uint8 [n, 3, side, side] of pictures uint8 [n, 3, height, width]."""
    if pixels.shape[2:] == (side, side):
        return pixels
    squares = resized(pixels, side)
    return squares if squares.dtype == torch.uint8 else squares.round().clamp(0, 255).to(torch.uint8)


def load_finder(path: Path = WEIGHTS, digest: str | None = WEIGHTS_DIGEST) -> FrameFinder:
    """The network on the CPU, from a file of the training script.

    Args:
        path: a safetensors file.
        digest: what `weights.digest` gives for it; None takes any file of the right shapes.

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: it holds other tensors.
    """
    network = FrameFinder()
    state = weights.read_exactly(path, weights.shapes_of(network), digest)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network.eval()
