"""Where a picture lies that something frames: a window of a screen, a post, a page, a border, a wall.

What is around a picture says little about it, and makes it look like whatever is framed alike. A small
network says of each cell of a square whether it is of the picture. Where these cells make up a rectangle, or
what a turned one becomes when it is squashed, what is in it is looked at alone as well, upright, as if it had
come without a frame. `scripts/train_frames.py` made the weights; their log lies beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from twinlens.models import edges, weights
from twinlens.models.onednn import NONE, RELU, FusibleConvolution, fused
from twinlens.models.parallelograms import Parallelograms, completed, cut, fitted
from twinlens.models.squares import resized

WEIGHTS = Path(__file__).with_name("frames.safetensors")
WEIGHTS_DIGEST = "594eb9fbd40199f38c8f70131b89b73a386a955114c1299e54bd054c925726e9"

SIDE, CELLS = 96, 24
"""Of the squares that it sees, px, and of the cells of a row and of a column."""

WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the side."""

CONTEXTS, LATE_WIDTHS = 4, (32, 24)

SMALLEST, LARGE, LARGEST = 0.08, 0.65, 0.75
"""Shares of a square from which a picture is cut out, less and less is made of it, and nothing is."""

CORNERS = 0.5
"""Share of all corners of a square but one below which a picture may lean in it."""

LARGEST_CLEAR = 0.97
"""The largest share where a picture leans or its edges can be seen: no text of a page within margins."""

LEANS = 2.0, 8.0
"""Degrees from which a picture leans a little, and clearly."""

SEEN = 0.8, 0.95
"""Shares of its edges with which they can be seen well, and as good as everywhere."""

DOUBTFUL, SURE = 0.55, 0.85
"""Intersection over union of cells and rectangle from which there may be a frame, and from which there is."""

CLEARLY = 0.75
"""Of what an upright rectangle lacks in agreement, what one that leans may: it has more ways to agree."""

WEIGHT = 0.5
"""What is made of what is in a frame, beside the whole."""

FLAT, RIM = 6.0, 8
"""Largest standard deviation of a colour, in its levels, of what is no picture but a box: without its rim, an
eighth of its sides."""


class Filter(FusibleConvolution):
    """A convolution, and its ReLU if it has one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activated: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
        self.activated = activated
        self._is_fused = False

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps of maps [n, inputs, height, width]."""
        if self._is_fused:
            return fused(self, maps, RELU if self.activated else NONE)
        seen = super().forward(maps)
        return seen.relu_() if self.activated else seen

    def fuse(self) -> None:
        """Compute in one pass from now on."""
        self._is_fused = True


class Context(nn.Module):
    """What lies around each place changes what is known of it: a depthwise filter and two layers, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = Filter(width, width, 5, groups=width)
        self.widen = Filter(width, 2 * width, activated=True)
        self.narrow = Filter(2 * width, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [n, width, side, side] of such maps."""
        change: torch.Tensor = self.narrow(self.widen(self.around(maps)))
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
        self.of_contexts = Filter(sixteenth, eighth)
        self.late_eighth = _filter(eighth, LATE_WIDTHS[0])
        self.of_eighth = Filter(LATE_WIDTHS[0], quarter)
        self.late_quarter = _filter(quarter, LATE_WIDTHS[1])
        self.last = Filter(LATE_WIDTHS[1], 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n, 24, 24], of uint8 [n, 3, 96, 96]."""
        scaled = pixels.to(self.last.weight.dtype).div_(128).contiguous(memory_format=torch.channels_last)
        quarter = self.to_quarter(self.to_half(scaled))
        eighth = self.to_eighth(quarter)
        contexts = self.contexts(self.to_sixteenth(eighth))
        eighth = self.late_eighth(eighth + _twice(self.of_contexts(contexts)))
        quarter = self.late_quarter(quarter + _twice(self.of_eighth(eighth)))
        cells: torch.Tensor = self.last(quarter)
        return cells[:, 0].to(torch.float32)

    def inner(self, pixels: torch.Tensor) -> Inner:
        """What stands in a frame, of squares uint8 [n, 3, side, side]."""
        small = _bytes(pixels, SIDE)
        found = shapes(torch.sigmoid(self(small)))
        weights = weights_of(found, edges_of(found, small))
        places, squares = [], [pixels[:0]]
        for place in weights.nonzero()[:, 0].tolist():
            square = cut(pixels[place : place + 1], found, place, CELLS)
            if not _is_flat(square):
                places.append(place)
                squares.append(square.round().to(torch.uint8))
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

    def as_parallelograms(self) -> Parallelograms:
        """The same, none of which leans."""
        left, top, right, bottom = self.boxes.T * CELLS
        nothing = torch.zeros_like(left)
        return Parallelograms(
            torch.complex(left + right, top + bottom) / 2,
            torch.complex(right - left, nothing) / 2,
            torch.complex(nothing, bottom - top) / 2,
            self.agreement,
            (right - left) * (bottom - top) / CELLS**2,
        )


def shapes(cells: torch.Tensor) -> Parallelograms:
    """Where pictures lie, of shares in [0, 1], float32 [n, 24, 24]: upright, or askew where that fits."""
    upright = rectangles(cells)
    found = upright.as_parallelograms()
    corners = cells[:, :: CELLS - 1, :: CELLS - 1].flatten(1)
    (doubted,) = torch.where(corners.sort(dim=1).values[:, 2] < CORNERS)
    askew = fitted(cells[doubted])
    better = (askew.agreement > upright.agreement[doubted]) & (askew.lean() > LEANS[0])
    places, askew = doubted[better], _chosen(askew, better)
    out = askew.stick_out(CELLS)
    if out.any():
        _put(askew, out, completed(_chosen(askew, out), cells[places[out]]))
    better = 1 - askew.agreement < CLEARLY * (1 - upright.agreement[places])
    _put(found, places[better], _chosen(askew, better))
    return found


def _chosen(found: Parallelograms, which: torch.Tensor) -> Parallelograms:
    return Parallelograms(*(part[which] for part in found))


def _put(found: Parallelograms, places: torch.Tensor, others: Parallelograms) -> None:
    """Write others in the place of some."""
    for part, other in zip(found, others, strict=True):
        part[places] = other


def edges_of(found: Parallelograms, pixels: torch.Tensor) -> torch.Tensor:
    """Shares of their edges that can be seen, float32 [n], where that counts, and else 0.

    Args:
        found: in the squares.
        pixels: uint8 [n, 3, side, side].
    """
    shares = torch.zeros_like(found.areas)
    (asked,) = torch.where(
        (found.areas > LARGE) & (found.areas < LARGEST_CLEAR) & (found.agreement > DOUBTFUL)
    )
    shares[asked] = edges.seen(pixels[asked], _chosen(found, asked), CELLS)
    return shares


def weights_of(found: Parallelograms, edges_seen: torch.Tensor) -> torch.Tensor:
    """What is made of shapes as pictures in a frame, float32 [n], 0 to 0.5.

    It rises and falls evenly: copies that differ by next to nothing have rows that differ by as much.

    Args:
        found: in squares.
        edges_seen: shares of their edges, as `edges_of` gives them.
    """
    clear = torch.maximum(_between(found.lean(), LEANS), _between(edges_seen, SEEN))
    certain = _between(found.agreement, (DOUBTFUL, SURE))
    largest = LARGEST + (LARGEST_CLEAR - LARGEST) * clear
    small = ((largest - found.areas) / (LARGEST - LARGE)).clamp(0, 1)
    return torch.where(found.areas >= SMALLEST, WEIGHT * certain * small, 0.0)


def _between(values: torch.Tensor, ends: tuple[float, float]) -> torch.Tensor:
    """Where values lie on the way from one end to the other, 0 to 1."""
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


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
    """True for a box of one colour, float32 [1, 3, side, side]."""
    down, across = (length // RIM for length in part.shape[2:])
    inner = part[:, :, down : part.shape[2] - down, across : part.shape[3] - across]
    return inner.std(dim=(2, 3)).max().item() <= FLAT


def _filter(inputs: int, outputs: int, stride: int = 1) -> Filter:
    return Filter(inputs, outputs, 3, stride, activated=True)


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
