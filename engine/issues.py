"""What is wrong with images, from measures that are stored: blurred, dark, bright, alone, or there twice.

Each answer is a confidence: 0 where an image does not have the issue, else from 0.8 at the limit to 1.0 at
the far end of the scale. It says how far beyond the limit a measure is and is no probability. The limits of
blur, dark and bright were measured on real photographs (docs/issues.md, scripts/measure_issues.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.similarity import Mask

Values: TypeAlias = NDArray[np.float64]
Confidences: TypeAlias = NDArray[np.float64]
Signatures: TypeAlias = NDArray[np.uint8]

LOWEST_CONFIDENCE = 0.8
"""Confidence right beyond a limit: clients ask for 0.8 and above unless they say otherwise."""

BLUR = 2.9
"""Strength of edges in percent (`edge_strength`) below which a picture is blurred."""

DARK = 75.0
"""Luma of the lightest part (`lightest_part`) below which a picture is dark."""

BRIGHT = 185.0
"""Luma (`luma_without_paper`) above which a picture is bright."""

_WHITEST = 255.0
_LOWEST_CONTRAST = 60.0
_LIGHTEST_CELLS = 5
_PAPER = 250
_PAPER_BORDER = 0.5
_DARKEST_TENTH = 10
_FEWEST_CELLS = 13
_SIDE = 16
_AT_ONCE = 16_384


class Measured(Protocol):
    """What is known of an image."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def width(self) -> int:
        """Pixels; 0 where there is a vector only."""
        ...

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian at a common size."""
        ...

    @property
    def contrast(self) -> float:
        """Spread of its colours in grey levels."""
        ...

    @property
    def brightness(self) -> float:
        """Mean luma, 0 to 255."""
        ...

    @property
    def low_information(self) -> bool:
        """Flat, blank or nearly constant."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Stored measures of n images, in their order.

    Attributes:
        has_pixels: bool [n], False for vectors without an image.
        low_information: bool [n], flat, blank or nearly constant.
        edges: float64 [n], their strength, percent.
        lightest: float64 [n], luma of the lightest part; NaN where unknown.
        luma: float64 [n], mean luma without the paper around; NaN where unknown.
    """

    has_pixels: Mask
    low_information: Mask
    edges: Values
    lightest: Values
    luma: Values

    @classmethod
    def of(cls, images: Sequence[Measured], signatures: Iterable[tuple[str, bytes]]) -> Measures:
        """Collect the measures of images.

        Args:
            images: n images, each id once.
            signatures: luma at 16 x 16 by id, in any order; those of other images are ignored.
        """
        brightness = np.array([image.brightness for image in images], np.float64)
        lightest, luma = np.full(len(images), np.nan), np.full(len(images), np.nan)
        position = {image.id: place for place, image in enumerate(images)}
        for places, block in _blocks(position, signatures):
            lightest[places] = lightest_part(block)
            luma[places] = luma_without_paper(brightness[places], block)
        return cls(
            has_pixels=np.array([image.width > 0 for image in images], np.bool_),
            low_information=np.array([image.low_information for image in images], np.bool_),
            edges=edge_strength(
                np.array([image.sharpness for image in images], np.float64),
                np.array([image.contrast for image in images], np.float64),
            ),
            lightest=lightest,
            luma=luma,
        )


ISSUES = ("blur", "dark", "bright")
"""Names of the issues that a picture has by itself."""


def issue_confidences(name: str, measures: Measures) -> Confidences:
    """Confidences of one of `ISSUES`, float64 [n].

    Raises:
        InvalidValue: no such issue.
    """
    if name == "blur":
        return blur(measures.edges, has_pixels=measures.has_pixels, low_information=measures.low_information)
    if name == "dark":
        return dark(measures.lightest, has_pixels=measures.has_pixels)
    if name == "bright":
        return bright(measures.luma, has_pixels=measures.has_pixels)
    raise InvalidValue(f"no issue {name!r} is measured: choose from {', '.join(ISSUES)}")


def blur(edges: Values, *, has_pixels: Mask, low_information: Mask) -> Confidences:
    """Confidence that pictures are blurred: 1.0 where there is no edge at all, float64 [n].

    Args:
        edges: float64 [n], as `edge_strength` gives it.
        has_pixels: bool [n].
        low_information: bool [n]; where there is nothing to see, nothing is blurred.
    """
    blurred = has_pixels & ~low_information & (edges < BLUR)
    return _confidences(blurred, BLUR - edges, BLUR)


def dark(lightest: Values, *, has_pixels: Mask) -> Confidences:
    """Confidence that pictures are dark: 1.0 where even the lightest part is black, float64 [n].

    Args:
        lightest: float64 [n], as `lightest_part` gives it; NaN where unknown.
        has_pixels: bool [n].
    """
    return _confidences(has_pixels & (lightest < DARK), DARK - lightest, DARK)


def bright(luma: Values, *, has_pixels: Mask) -> Confidences:
    """Confidence that pictures are bright, overexposed for instance: 1.0 where all is white, float64 [n].

    Args:
        luma: float64 [n], as `luma_without_paper` gives it; NaN where unknown.
        has_pixels: bool [n].
    """
    return _confidences(has_pixels & (luma > BRIGHT), luma - BRIGHT, _WHITEST - BRIGHT)


def outliers(nearest: Values, isolation: float, *, low_information: Mask) -> Confidences:
    """Confidence that images are unlike all others: 1.0 where the nearest is at a right angle, float64 [n].

    Args:
        nearest: float64 [n], similarity of each image to its nearest other; NaN where there is none.
        isolation: b of the uniqueness formula: what is nearest below it counts as no neighbour.
        low_information: bool [n]; flat images are evidence of nothing.
    """
    return _confidences(~low_information & (nearest < isolation), isolation - nearest, isolation)


def duplicates(nearest: Values, threshold: float) -> Confidences:
    """Confidence that images have a twin: 1.0 where it is a perfect one, float64 [n].

    Args:
        nearest: float64 [n], similarity of each image to its nearest other; NaN where there is none.
        threshold: at or above it, two images are twins; at most 1.
    """
    return _confidences(nearest >= threshold, nearest - threshold, 1.0 - threshold)


def edge_strength(sharpness: Values, contrast: Values) -> Values:
    """How strong edges are for what there is to see: dark and foggy pictures have weak ones and are sharp.

    Little contrast counts as 60 grey levels, lest the grain be taken for edges that a strong blur leaves.

    Args:
        sharpness: float64 [n], variance of the Laplacian.
        contrast: float64 [n], grey levels.

    Returns:
        float64 [n], standard deviation of the Laplacian in percent of the contrast.
    """
    return 100.0 * np.sqrt(sharpness) / np.maximum(contrast, _LOWEST_CONTRAST)


def lightest_part(signatures: Signatures) -> Values:
    """Luma of the fifth lightest of 256 cells, which lights in the night are too small to reach.

    Args:
        signatures: uint8 [n, 256], luma at 16 x 16, row by row.

    Returns:
        float64 [n], 0 to 255.
    """
    rank = signatures.shape[1] - _LIGHTEST_CELLS
    return np.partition(signatures, rank, axis=1)[:, rank].astype(np.float64)


def luma_without_paper(brightness: Values, signatures: Signatures) -> Values:
    """Mean luma; of what lies on white paper, the luma that a tenth of its cells stay below.

    A picture lies on paper where half of its border is white. What is white is then left out; where next to
    nothing remains, all is white.

    Args:
        brightness: float64 [n], mean luma.
        signatures: uint8 [n, 256], luma at 16 x 16, row by row.

    Returns:
        float64 [n], 0 to 255.
    """
    cells = np.sort(signatures, axis=1)
    darker = (cells < _PAPER).sum(axis=1)
    tenth = np.maximum(darker - 1, 0) // _DARKEST_TENTH
    content = np.where(darker < _FEWEST_CELLS, _WHITEST, cells[np.arange(len(cells)), tenth])
    on_paper = (signatures[:, _border()] >= _PAPER).mean(axis=1) >= _PAPER_BORDER
    return np.where(on_paper, content, brightness)


def _confidences(has_issue: Mask, beyond: Values, scale: float) -> Confidences:
    """0 without the issue, else by how far a measure is beyond its limit; at most `scale` counts."""
    share = np.clip(beyond, 0.0, scale) / scale if scale > 0.0 else np.ones(len(beyond))
    return np.where(has_issue, LOWEST_CONFIDENCE + (1.0 - LOWEST_CONFIDENCE) * share, 0.0)


def _blocks(
    position: dict[str, int], signatures: Iterable[tuple[str, bytes]]
) -> Iterator[tuple[NDArray[np.int64], Signatures]]:
    """Places and signatures of known images, int64 [m] and uint8 [m, 256], a block at a time."""
    known = ((position[id_], signature) for id_, signature in signatures if id_ in position)
    while block := list(islice(known, _AT_ONCE)):
        places = np.array([place for place, _ in block], np.int64)
        yield places, np.frombuffer(b"".join(s for _, s in block), np.uint8).reshape(len(block), -1)


def _border() -> Mask:
    """The outer cells of a signature, bool [256]."""
    border = np.ones((_SIDE, _SIDE), np.bool_)
    border[1:-1, 1:-1] = False
    return border.ravel()
