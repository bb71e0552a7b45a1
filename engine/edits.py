"""Graded edits of a picture, from mild to strong: what copies of it look like that people make.

Every edit is drawn at random within its range, so that another seed gives other edits of the same kinds.
They are made of a picture of moderate size and come as files, to go the way that every image goes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from random import Random
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from twinlens.engine.decode import decode
from twinlens.engine.types import Rgb

LARGEST_SIDE = 1024
"""Longer side of the pictures that are edited, px: larger ones are scaled down first."""

_PNG_SHARE = 0.2
_QUALITY = (82, 95)
_WORDS = ("SUMMER SALE", "draft", "Best of 2019", "@nobody", "lol", "NOT FOR PRINT", "page 7", "Danke!")


class Grade(StrEnum):
    """How much an edit changes."""

    MILD = "mild"
    MEDIUM = "medium"
    STRONG = "strong"


Change: TypeAlias = Callable[[Image.Image, Random], Image.Image]


@dataclass(frozen=True, slots=True)
class Edit:
    """An edited copy.

    Attributes:
        name: what was done.
        grade: how much of it.
        data: the file, a JPEG or a PNG.
    """

    name: str
    grade: Grade
    data: bytes


def draw_edits(rgb: Rgb, each: int, chance: Random) -> Iterator[Edit]:
    """Edited copies of one picture: `each` different ones of every grade, mild ones first.

    Args:
        rgb: uint8 [height, width, 3].
        each: how many of every grade, at most the fewest that a grade has.
        chance: decides which and how; the same state gives the same files.
    """
    picture = Image.fromarray(rgb)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    for grade, changes in EDITS.items():
        for name in chance.sample(sorted(changes), each):
            yield Edit(name, grade, _file(changes[name](picture, chance), chance))


def _file(picture: Image.Image, chance: Random) -> bytes:
    target = io.BytesIO()
    if chance.random() < _PNG_SHARE:
        picture.save(target, "PNG", compress_level=1)
    else:
        picture.save(target, "JPEG", quality=chance.randint(*_QUALITY))
    return target.getvalue()


# -- changes ---------------------------------------------------------------------------------------


def _recompressed(lowest: int, highest: int) -> Change:
    def change(picture: Image.Image, chance: Random) -> Image.Image:
        target = io.BytesIO()
        picture.save(target, "JPEG", quality=chance.randint(lowest, highest))
        return Image.fromarray(decode(target.getvalue()).rgb)

    return change


def _resized(smallest: float, largest: float) -> Change:
    def change(picture: Image.Image, chance: Random) -> Image.Image:
        scale = chance.uniform(smallest, largest)
        return _scaled(picture, scale, scale)

    return change


def _stretched(least: float, most: float) -> Change:
    def change(picture: Image.Image, chance: Random) -> Image.Image:
        scale = 1 - chance.uniform(least, most)
        return _scaled(picture, scale, 1) if chance.random() < 0.5 else _scaled(picture, 1, scale)

    return change


def _cropped(least: float, most: float) -> Change:
    """Takes off a share of the width and of the height, anywhere."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        share = chance.uniform(least, most)
        left, top = (chance.uniform(0, share) * side for side in picture.size)
        right, bottom = left + (1 - share) * picture.width, top + (1 - share) * picture.height
        box = (int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))
        return picture.crop(box)

    return change


def _rotated(least: float, most: float) -> Change:
    """Turns by some degrees; the corners are black, white, or cut off."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        degrees = chance.choice((-1, 1)) * chance.uniform(least, most)
        ground = chance.choice(("black", "white", None))
        turned = picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=ground or "grey")
        if ground is not None:
            return turned
        # What a turn by so few degrees brings into sight at the edges.
        inset = abs(np.tan(np.radians(degrees))) / 2
        edge_x, edge_y = int(picture.height * inset), int(picture.width * inset)
        if picture.width - 2 * edge_x < 1 or picture.height - 2 * edge_y < 1:
            return turned
        return turned.crop((edge_x, edge_y, picture.width - edge_x, picture.height - edge_y))

    return change


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], least: float, most: float) -> Change:
    """Less or more of something, by a share of it."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        return kind(picture).enhance(1 + chance.choice((-1, 1)) * chance.uniform(least, most))

    return change


def _tinted(least: float, most: float) -> Change:
    """Every colour gets brighter or darker on its own, as filters of phones do it."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        scales = [1 + chance.choice((-1, 1)) * chance.uniform(least, most) for _ in range(3)]
        pixels = np.asarray(picture) * np.array(scales, np.float32)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return change


def _blurred(least: float, most: float) -> Change:
    """Gaussian, its sigma a share of the longer side and at least 0.6 px."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        sigma = max(picture.size) * chance.uniform(least, most)
        return picture.filter(ImageFilter.GaussianBlur(max(sigma, 0.6)))

    return change


def _noisy(least: float, most: float) -> Change:
    """Gaussian, its sigma in grey levels."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        sigma = chance.uniform(least, most)
        random = np.random.default_rng(chance.getrandbits(64))
        noise = sigma * random.standard_normal((picture.height, picture.width, 3), np.float32)
        return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))

    return change


def _framed(least: float, most: float) -> Change:
    """A border around it, a share of the longer side wide."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        width = max(1, round(max(picture.size) * chance.uniform(least, most)))
        framed = Image.new("RGB", (picture.width + 2 * width, picture.height + 2 * width), _colour(chance))
        framed.paste(picture, (width, width))
        return framed

    return change


def _captioned(least: float, most: float) -> Change:
    """Some words, their height a share of the picture's."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        copy = picture.copy()
        size = max(6, round(copy.height * chance.uniform(least, most)))
        place = (copy.width * chance.uniform(0.02, 0.5), copy.height * chance.uniform(0.02, 0.85))
        edge = max(1, size // 12)
        pen = ImageDraw.Draw(copy)
        words, ink = chance.choice(_WORDS), _colour(chance)
        pen.text(place, words, ink, font_size=size, stroke_width=edge, stroke_fill=_colour(chance))
        return copy

    return change


def _stickered(least: float, most: float) -> Change:
    """A disc of one colour with a ring, its diameter a share of the shorter side."""

    def change(picture: Image.Image, chance: Random) -> Image.Image:
        copy = picture.copy()
        size = max(2, round(min(copy.size) * chance.uniform(least, most)))
        left, top = (round(chance.uniform(0, max(side - size, 0))) for side in copy.size)
        pen = ImageDraw.Draw(copy)
        ring = max(1, size // 14)
        pen.ellipse((left, top, left + size, top + size), _colour(chance), _colour(chance), ring)
        return copy

    return change


def _screenshot(picture: Image.Image, chance: Random) -> Image.Image:
    """As a program shows it on a screen: a bar above, another below, some ground around."""
    unit = max(1, max(picture.size) // 40)
    around, above, below = (
        unit * chance.randint(0, 2),
        unit * chance.randint(2, 4),
        unit * chance.randint(0, 3),
    )
    ground, bar = chance.choice((("white", "lightgrey"), ("black", "dimgrey"), ("whitesmoke", "steelblue")))
    size = (picture.width + 2 * around, picture.height + 2 * around + above + below)
    screen = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, size[0], above - 1), bar)
    for number in range(3):
        left = unit * (1 + 2 * number)
        pen.ellipse((left, unit // 2, left + unit, unit // 2 + unit), _colour(chance))
    if below:
        pen.rectangle((0, size[1] - below, size[0], size[1]), bar)
    screen.paste(picture, (around, above + around))
    return screen


def _grey(picture: Image.Image, _: Random) -> Image.Image:
    return picture.convert("L").convert("RGB")


def _mirrored(picture: Image.Image, _: Random) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _all_of(*changes: Change) -> Change:
    def change(picture: Image.Image, chance: Random) -> Image.Image:
        return reduce(lambda changed, each: each(changed, chance), changes, picture)

    return change


def _scaled(picture: Image.Image, width: float, height: float) -> Image.Image:
    size = (max(1, round(picture.width * width)), max(1, round(picture.height * height)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _colour(chance: Random) -> tuple[int, int, int]:
    if chance.random() < 0.5:
        return chance.choice(((0, 0, 0), (255, 255, 255)))
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


EDITS: Mapping[Grade, Mapping[str, Change]] = MappingProxyType(
    {
        Grade.MILD: {
            "recompressed": _recompressed(70, 92),
            "resized": _resized(0.6, 0.95),
            "cropped": _cropped(0.01, 0.03),
            "brightness": _enhanced(ImageEnhance.Brightness, 0.02, 0.08),
            "contrast": _enhanced(ImageEnhance.Contrast, 0.02, 0.08),
            "colour": _enhanced(ImageEnhance.Color, 0.05, 0.2),
            "sharpness": _enhanced(ImageEnhance.Sharpness, 0.2, 0.8),
            "resized and recompressed": _all_of(_resized(0.6, 0.95), _recompressed(70, 92)),
        },
        Grade.MEDIUM: {
            "recompressed": _recompressed(35, 65),
            "resized": _resized(0.25, 0.5),
            "stretched": _stretched(0.05, 0.15),
            "cropped": _cropped(0.04, 0.1),
            "rotated": _rotated(0.5, 2),
            "mirrored": _mirrored,
            "grey": _grey,
            "brightness": _enhanced(ImageEnhance.Brightness, 0.12, 0.3),
            "contrast": _enhanced(ImageEnhance.Contrast, 0.12, 0.3),
            "blurred": _blurred(0.002, 0.004),
            "noisy": _noisy(5, 9),
            "captioned": _captioned(0.04, 0.07),
            "stickered": _stickered(0.08, 0.15),
            "framed": _framed(0.01, 0.04),
            "cropped and recompressed": _all_of(_cropped(0.02, 0.06), _recompressed(50, 80)),
        },
        Grade.STRONG: {
            "recompressed": _recompressed(8, 25),
            "resized": _resized(0.12, 0.22),
            "cropped": _cropped(0.11, 0.2),
            "rotated": _rotated(3, 6),
            "tinted": _tinted(0.15, 0.35),
            "brightness": _enhanced(ImageEnhance.Brightness, 0.35, 0.55),
            "contrast": _enhanced(ImageEnhance.Contrast, 0.35, 0.6),
            "blurred": _blurred(0.006, 0.01),
            "noisy": _noisy(14, 24),
            "captioned": _captioned(0.1, 0.16),
            "stickered": _stickered(0.2, 0.35),
            "framed": _framed(0.06, 0.12),
            "screenshot": _screenshot,
            "mirrored and cropped": _all_of(_mirrored, _cropped(0.04, 0.1)),
            "resized, grey, captioned": _all_of(_resized(0.3, 0.6), _grey, _captioned(0.05, 0.09)),
            "cropped, brightness, recompressed": _all_of(
                _cropped(0.05, 0.1), _enhanced(ImageEnhance.Brightness, 0.1, 0.25), _recompressed(30, 60)
            ),
        },
    }
)
"""All edits by grade and name."""
