"""The edits that people make of a picture, as the quality benchmark makes them: seventeen plain families.

Each family is one function from a picture and a setting to a picture. The setting's strength runs from 0
(mild) to 1 (strong), so that every family is graded; its chance decides the rest. These edits share no
code with those that descriptors are trained with or thresholds are calibrated by.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Colour: TypeAlias = tuple[int, int, int]

SMALLEST_SIDE = 48
"""No edit makes a picture smaller than this, px."""

WORDS = (
    "when the build is green",
    "nobody expects this",
    "Summer in the city",
    "SALE -50 %",
    "me on a Monday",
    "to be continued",
    "photo: private",
    "Greetings from home",
    "wait for it",
    "true story",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How an edit is made.

    Attributes:
        strength: 0 is mild, 1 strong.
        chance: decides what strength leaves open; drawing from it moves it on.
        fillers: other pictures, where the family pastes some in or puts some around.
    """

    strength: float
    chance: Random
    fillers: Sequence[Image.Image] = ()

    def between(self, mild: float, strong: float) -> float:
        """The value of a quantity at this strength."""
        return mild + (strong - mild) * self.strength


Change: TypeAlias = Callable[[Image.Image, Setting], Image.Image]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of edit.

    Attributes:
        name: what is done.
        change: does it.
        fillers: how many other pictures it needs.
    """

    name: str
    change: Change
    fillers: int = 0


# --- what several edits need


def sized(picture: Image.Image, width: float, height: float) -> Image.Image:
    """The picture at another size, px."""
    size = max(SMALLEST_SIDE, round(width)), max(SMALLEST_SIDE, round(height))
    return picture.resize(size, Image.Resampling.BICUBIC)


def cut(picture: Image.Image, share: float, chance: Random) -> Image.Image:
    """A part of the picture with a share of its area and about its proportions, anywhere in it."""
    slant = chance.uniform(-0.15, 0.15)
    width = min(1.0, share**0.5 * 2**slant) * picture.width
    height = min(1.0, share**0.5 * 2**-slant) * picture.height
    left, top = chance.uniform(0, picture.width - width), chance.uniform(0, picture.height - height)
    return picture.crop((round(left), round(top), round(left + width), round(top + height)))


def filled(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled and cut to fill a box, px."""
    return ImageOps.fit(picture, (max(1, width), max(1, height)), Image.Resampling.BICUBIC)


def drawn_colour(chance: Random) -> Colour:
    """Black or white as often as any other colour."""
    if chance.random() < 0.5:
        return chance.choice(((0, 0, 0), (255, 255, 255)))
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def write(
    picture: Image.Image, words: str, place: tuple[float, float], size: float, colour: Colour, edge: int = 0
) -> Image.Image:
    """A copy with one line of text around a place, px."""
    copy = picture.copy()
    font = ImageFont.load_default(max(8, size))
    contrast = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    ImageDraw.Draw(copy).text(
        place, words, colour, font, anchor="mm", stroke_width=edge, stroke_fill=contrast
    )
    return copy


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """The picture through a JPEG file."""
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality)
    return Image.open(target).convert("RGB")


# --- the plain families


def recompressed(picture: Image.Image, setting: Setting) -> Image.Image:
    return jpeg(picture, round(setting.between(60, 6)))


def resized(picture: Image.Image, setting: Setting) -> Image.Image:
    scale = setting.between(0.8, 0.2)
    return sized(picture, picture.width * scale, picture.height * scale)


def stretched(picture: Image.Image, setting: Setting) -> Image.Image:
    ratio = setting.between(0.92, 0.6)
    across, down = setting.chance.choice(((ratio, 1), (1, ratio)))
    return sized(picture, picture.width * across, picture.height * down)


def blurred(picture: Image.Image, setting: Setting) -> Image.Image:
    radius = max(0.7, setting.between(0.002, 0.008) * max(picture.size))
    return picture.filter(ImageFilter.GaussianBlur(radius))


def noisy(picture: Image.Image, setting: Setting) -> Image.Image:
    generator = np.random.default_rng(setting.chance.randrange(2**32))
    noise = generator.normal(0, setting.between(8, 38), (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def lit(picture: Image.Image, setting: Setting) -> Image.Image:
    """Brighter or darker, with more or less contrast."""
    away = setting.between(0.15, 0.5)
    light = setting.chance.choice((1 - away, 1 + away))
    contrast = setting.chance.choice((1 - away, 1 + away))
    return ImageEnhance.Contrast(ImageEnhance.Brightness(picture).enhance(light)).enhance(contrast)


def recoloured(picture: Image.Image, setting: Setting) -> Image.Image:
    """Another hue, saturation and white balance."""
    hue, saturation, value = picture.convert("HSV").split()
    turn = round(setting.between(6, 45)) * setting.chance.choice((-1, 1))
    richness = setting.chance.choice((setting.between(0.8, 0.3), setting.between(1.2, 2.0)))
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    rich = saturation.point([min(255, round(level * richness)) for level in range(256)])
    changed = np.asarray(Image.merge("HSV", (turned, rich, value)).convert("RGB"), np.float32)
    reach = setting.between(0.04, 0.2)
    balance = np.array([1 + setting.chance.uniform(-reach, reach) for _ in range(3)], np.float32)
    return Image.fromarray((changed * balance).clip(0, 255).astype(np.uint8))


def greyed(picture: Image.Image, setting: Setting) -> Image.Image:
    """Grey; the stronger half of them brownish and faded like old prints."""
    grey = ImageOps.grayscale(picture)
    if setting.strength < 0.5:
        return grey.convert("RGB")
    return ImageOps.colorize(grey, (45, 25, 10), (245, 225, 190), mid=(150, 120, 85))


def flipped(picture: Image.Image, setting: Setting) -> Image.Image:
    mirrored = ImageOps.mirror(picture)
    return cut(mirrored, setting.between(1, 0.9), setting.chance)


def cropped(picture: Image.Image, setting: Setting) -> Image.Image:
    """Keeps 95 to 70 % of the area."""
    return cut(picture, setting.between(0.95, 0.7), setting.chance)


def cropped_to_half(picture: Image.Image, setting: Setting) -> Image.Image:
    """Keeps 70 to 45 % of the area."""
    return cut(picture, setting.between(0.7, 0.45), setting.chance)


def rotated(picture: Image.Image, setting: Setting) -> Image.Image:
    """By 3 to 30 degrees: the corners filled, or, for the half of them, cut away."""
    degrees = setting.between(3, 30) * setting.chance.choice((-1, 1))
    if setting.chance.random() < 0.5:
        return picture.rotate(
            degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=drawn_colour(setting.chance)
        )
    turned = picture.rotate(degrees, Image.Resampling.BICUBIC)
    width, height = upright_box(picture.width, picture.height, degrees)
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return turned.crop((round(left), round(top), round(left + width), round(top + height)))


def upright_box(width: float, height: float, degrees: float) -> tuple[float, float]:
    """Sides of the largest upright box of the same proportions within a rotated picture."""
    angle = abs(np.radians(degrees))
    across = width * np.cos(angle) + height * np.sin(angle)
    down = width * np.sin(angle) + height * np.cos(angle)
    scale = min(width / across, height / down)
    return float(width * scale), float(height * scale)


def lettered(picture: Image.Image, setting: Setting) -> Image.Image:
    """One to four lines of text."""
    copy = picture
    for _ in range(round(setting.between(1, 4))):
        place = (
            setting.chance.uniform(0.35, 0.65) * picture.width,
            setting.chance.uniform(0.1, 0.9) * picture.height,
        )
        size = setting.between(0.06, 0.13) * picture.height
        words, colour = setting.chance.choice(WORDS), drawn_colour(setting.chance)
        copy = write(copy, words, place, size, colour, edge=2)
    return copy


def pasted_over(picture: Image.Image, setting: Setting) -> Image.Image:
    """Another picture pasted over 4 to 25 % of it."""
    share = setting.between(0.04, 0.25) ** 0.5
    patch = filled(setting.fillers[0], round(share * picture.width), round(share * picture.height))
    copy = picture.copy()
    left = setting.chance.randint(0, picture.width - patch.width)
    copy.paste(patch, (left, setting.chance.randint(0, picture.height - patch.height)))
    return copy


def bordered(picture: Image.Image, setting: Setting) -> Image.Image:
    """A border of one colour on all sides or on two opposite ones (letter box, pillar box)."""
    share = setting.between(0.04, 0.25)
    across, down = setting.chance.choice(((1, 1), (1, 0), (0, 1)))
    edge = (
        round(share * picture.width) * across,
        round(share * picture.height) * down,
    )
    return ImageOps.expand(picture, (edge[0], edge[1], edge[0], edge[1]), drawn_colour(setting.chance))


def screenshot(picture: Image.Image, setting: Setting) -> Image.Image:
    """The picture in a window of a viewer: title bar, tool bar, side panel, desktop around it."""
    share = setting.between(0.75, 0.35) ** 0.5
    width, height = round(picture.width / share), round(picture.height / share)
    dark = setting.chance.random() < 0.5
    paper, ink = ((32, 33, 38), (210, 210, 215)) if dark else ((242, 242, 245), (70, 70, 80))
    screen = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(screen)
    bar = max(6, round(0.35 * (height - picture.height)))
    pen.rectangle((0, 0, width, bar // 2), fill=drawn_colour(setting.chance))
    for place in range(5):
        left = round(bar * (0.4 + 1.1 * place))
        pen.ellipse((left, bar * 0.6, left + bar * 0.35, bar * 0.95), fill=ink)
    left = setting.chance.choice((0, width - picture.width))
    panel = (picture.width, width) if left == 0 else (0, width - picture.width)
    for line in range(12):
        y = bar + (line + 0.5) * picture.height / 12
        length = setting.chance.uniform(0.3, 0.9) * (panel[1] - panel[0])
        pen.line((panel[0] + 4, y, panel[0] + length, y), fill=ink, width=max(1, height // 150))
    screen.paste(picture, (left, bar))
    foot = bar + picture.height
    words = f"{setting.chance.randrange(10_000)}.jpg - {picture.width} x {picture.height}"
    return write(screen, words, (width / 2, (foot + height) / 2), 0.3 * (height - foot), ink)


GEOMETRY = (
    Family("crop to 70 %", cropped),
    Family("flip", flipped),
    Family("rotation", rotated),
    Family("stretch", stretched),
)
TONE = (
    Family("colour", recoloured),
    Family("grey", greyed),
    Family("light", lit),
)
LOSS = (
    Family("blur", blurred),
    Family("noise", noisy),
    Family("recompression", recompressed),
    Family("smaller", resized),
)
ADDITION = (
    Family("border", bordered),
    Family("text", lettered),
)


def edited_often(picture: Image.Image, setting: Setting, *, times: int) -> Image.Image:
    """Edits of so many groups, in any order, each at half to full strength of one alone."""
    for group in setting.chance.sample((GEOMETRY, TONE, LOSS, ADDITION), times):
        strength = setting.strength * setting.chance.uniform(0.5, 1)
        picture = setting.chance.choice(group).change(picture, replace(setting, strength=strength))
    return picture


PLAIN = (
    *GEOMETRY,
    *TONE,
    *LOSS,
    *ADDITION,
    Family("crop to 45 %", cropped_to_half),
    Family("pasted picture", pasted_over, fillers=1),
    Family("screenshot frame", screenshot),
    Family("three edits at once", partial(edited_often, times=3)),
)
"""Seventeen families, those that other tools are measured by."""
