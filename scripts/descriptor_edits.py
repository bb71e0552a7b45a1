"""What people do to a copy, for training: shape, colour, quality and what is laid over it.

Pictures are small here (about 256 px), every edit costs a few milliseconds, and each is drawn at random
within a range that goes further than a measurement would.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Change: TypeAlias = Callable[[Image.Image, Random], Image.Image]
Colour: TypeAlias = tuple[int, int, int]

LETTERS = "abcdefghiklmnoprstuvwxyzABDEGHKLMNRSTUWÄÖéñ0123456789!?.,"
SMALLEST_SIDE = 24


# --- shape


def cropped(picture: Image.Image, chance: Random) -> Image.Image:
    """A part of it, 45 to 97 % of each side; now and then less."""
    least = 0.45 if chance.random() < 0.8 else 0.35
    width, height = (max(SMALLEST_SIDE, round(side * chance.uniform(least, 0.97))) for side in picture.size)
    left = chance.randint(0, max(0, picture.width - width))
    top = chance.randint(0, max(0, picture.height - height))
    return picture.crop((left, top, min(left + width, picture.width), min(top + height, picture.height)))


def mirrored(picture: Image.Image, _: Random) -> Image.Image:
    return ImageOps.mirror(picture)


def upside_down(picture: Image.Image, _: Random) -> Image.Image:
    return ImageOps.flip(picture)


def quarter_turned(picture: Image.Image, chance: Random) -> Image.Image:
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(chance.choice(turns))


def rotated(picture: Image.Image, chance: Random) -> Image.Image:
    """Turned by up to 40 degrees: on a ground, with its corners kept or not, or cut to what is covered."""
    degrees = chance.choice((-1, 1)) * (
        chance.uniform(1, 15) if chance.random() < 0.6 else chance.uniform(15, 40)
    )
    way = chance.random()
    turned = picture.rotate(degrees, Image.Resampling.BILINEAR, expand=way > 0.6, fillcolor=colour(chance))
    if way > 0.3:
        return turned
    # The largest upright rectangle of the same shape inside the turned one.
    angle, (width, height) = math.radians(abs(degrees)), picture.size
    longer, shorter = max(width, height), min(width, height)
    scale = shorter / (longer * math.sin(angle) + shorter * math.cos(angle))
    edge_x, edge_y = (round(side * (1 - scale) / 2) for side in (width, height))
    return turned.crop((edge_x, edge_y, width - edge_x, height - edge_y))


def stretched(picture: Image.Image, chance: Random) -> Image.Image:
    scale = chance.uniform(0.6, 0.95)
    return _scaled(picture, scale, 1) if chance.random() < 0.5 else _scaled(picture, 1, scale)


def tilted(picture: Image.Image, chance: Random) -> Image.Image:
    """Seen from aside: its corners move by up to a quarter of its sides."""
    reach = chance.uniform(0.05, 0.25)
    moved = [(chance.uniform(0, reach), chance.uniform(0, reach)) for _ in range(4)]
    (width, height), inward = picture.size, chance.random() < 0.6
    sign = -1 if inward else 1
    corners = ((0, 0), (0, 1), (1, 1), (1, 0))
    quad: list[float] = []
    for (x, y), (dx, dy) in zip(corners, moved, strict=True):
        quad += [(x + sign * (dx if x == 0 else -dx)) * width, (y + sign * (dy if y == 0 else -dy)) * height]
    return warped(picture, picture.size, quad, colour(chance))


def warped(
    picture: Image.Image, size: tuple[int, int], quad: Sequence[float], ground: Colour | int
) -> Image.Image:
    """A picture of `size` whose corners, from the upper left down and around, show the points of `quad`."""
    width, height = size
    places = [(0, 0), (0, height), (width, height), (width, 0)]
    rows, values = [], []
    for (x, y), (u, v) in zip(places, zip(quad[::2], quad[1::2], strict=True), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    coefficients = np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist()
    return picture.transform(
        size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR, fillcolor=ground
    )


# --- colour


def enhanced(picture: Image.Image, chance: Random) -> Image.Image:
    """Brighter or darker, more or less contrast and colour."""
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if chance.random() < 0.7:
            picture = kind(picture).enhance(math.exp(chance.uniform(-0.7, 0.6)))
    return picture


def grey(picture: Image.Image, _: Random) -> Image.Image:
    return picture.convert("L").convert("RGB")


def tinted(picture: Image.Image, chance: Random) -> Image.Image:
    """Each channel on a curve of its own."""
    tables = []
    for _ in range(3):
        power, scale = math.exp(chance.uniform(-0.5, 0.5)), chance.uniform(0.65, 1.25)
        tables += [min(255, round(255 * scale * (value / 255) ** power)) for value in range(256)]
    return picture.point(tables)


def hue_turned(picture: Image.Image, chance: Random) -> Image.Image:
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(chance.randrange(12, 244))
    return Image.fromarray(hsv, "HSV").convert("RGB")


def channels_swapped(picture: Image.Image, chance: Random) -> Image.Image:
    bands = list(picture.split())
    chance.shuffle(bands)
    return Image.merge("RGB", bands)


def inverted(picture: Image.Image, _: Random) -> Image.Image:
    return ImageOps.invert(picture)


def two_toned(picture: Image.Image, chance: Random) -> Image.Image:
    """Two colours and what lies between them; sepia is one of these."""
    dark, light = ([chance.randrange(low, high) for _ in range(3)] for low, high in ((0, 110), (140, 256)))
    if chance.random() < 0.2:
        dark, light = light, dark
    luma = ImageOps.autocontrast(picture.convert("L"), cutoff=1)
    tables = [
        [round(a + (b - a) * value / 255) for value in range(256)] for a, b in zip(dark, light, strict=True)
    ]
    return Image.merge("RGB", [luma.point(table) for table in tables])


def posterised(picture: Image.Image, chance: Random) -> Image.Image:
    if chance.random() < 0.4:
        return ImageOps.solarize(picture, chance.randrange(80, 220))
    return ImageOps.posterize(picture, chance.randint(1, 3))


def thresholded(picture: Image.Image, chance: Random) -> Image.Image:
    """Black and white alone, dithered or at a threshold near its median."""
    luma = picture.convert("L")
    if chance.random() < 0.5:
        return luma.convert("1").convert("RGB")
    middle = float(np.median(np.asarray(luma))) + chance.uniform(-30, 30)
    return luma.point([255 if value > middle else 0 for value in range(256)]).convert("RGB")


def equalised(picture: Image.Image, chance: Random) -> Image.Image:
    return ImageOps.equalize(picture) if chance.random() < 0.5 else ImageOps.autocontrast(picture, cutoff=5)


# --- quality


def recompressed(picture: Image.Image, chance: Random) -> Image.Image:
    return through_jpeg(picture, chance.randint(4, 60))


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality)
    return Image.open(target).convert("RGB")


def shrunk(picture: Image.Image, chance: Random) -> Image.Image:
    """Down to 20 to 100 px and, half of the time, up again."""
    side = chance.randint(20, 100)
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    small = small.resize((max(small.width, 8), max(small.height, 8)))
    if chance.random() < 0.5:
        return small
    ways = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    return small.resize(picture.size, chance.choice(ways))


def blurred(picture: Image.Image, chance: Random) -> Image.Image:
    sigma = max(picture.size) * math.exp(chance.uniform(math.log(0.004), math.log(0.03)))
    if chance.random() < 0.7:
        return picture.filter(ImageFilter.GaussianBlur(sigma))
    return picture.filter(ImageFilter.BoxBlur((2 * sigma, 0) if chance.random() < 0.5 else (0, 2 * sigma)))


def noisy(picture: Image.Image, chance: Random) -> Image.Image:
    random = np.random.default_rng(chance.getrandbits(32))
    pixels = np.asarray(picture)
    if chance.random() < 0.25:
        hit = random.random(pixels.shape[:2], np.float32) < chance.uniform(0.01, 0.12)
        specks = random.integers(0, 2, pixels.shape[:2], np.uint8) * np.uint8(255)
        return Image.fromarray(np.where(hit[..., None], specks[..., None], pixels))
    noise = random.standard_normal(pixels.shape, np.float32) * np.float32(chance.uniform(6, 45))
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def smoothed(picture: Image.Image, chance: Random) -> Image.Image:
    """As painted, drawn or sharpened."""
    way = chance.random()
    if way < 0.4:
        return picture.filter(ImageFilter.MedianFilter(5))
    if way < 0.6:
        return picture.filter(ImageFilter.EMBOSS if chance.random() < 0.3 else ImageFilter.CONTOUR)
    return picture.filter(ImageFilter.UnsharpMask(3, chance.randint(150, 500), 2))


def mosaic(picture: Image.Image, chance: Random) -> Image.Image:
    """Square blocks, 14 to 40 along the longer side."""
    blocks = chance.randint(14, 40)
    small = picture.copy()
    small.thumbnail((blocks, blocks), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def halftone(picture: Image.Image, chance: Random) -> Image.Image:
    """A screen of dots as in print, of one ink or of each colour at an angle of its own."""
    period, (width, height) = chance.uniform(3.5, 9), picture.size
    y, x = np.mgrid[:height, :width].astype(np.float32)

    def screen(angle: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        c, s = math.cos(angle) * 2 * math.pi / period, math.sin(angle) * 2 * math.pi / period
        waves: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = np.cos(c * x + s * y) + np.cos(
            c * y - s * x
        )
        return 127.5 + 60 * waves

    if chance.random() < 0.5:
        dots = np.asarray(picture.convert("L")) > screen(chance.uniform(0, math.pi / 2))
        return Image.fromarray(dots.astype(np.uint8) * np.uint8(255)).convert("RGB")
    pixels, first = np.asarray(picture), chance.uniform(0, math.pi / 2)
    inks = [pixels[..., band] > screen(first + band * math.pi / 6) for band in range(3)]
    return Image.fromarray(np.stack(inks, axis=2).astype(np.uint8) * np.uint8(255))


def few_colours(picture: Image.Image, chance: Random) -> Image.Image:
    return picture.quantize(chance.choice((4, 8, 16, 32)), Image.Quantize.FASTOCTREE).convert("RGB")


# --- laid over it


def captioned(picture: Image.Image, chance: Random) -> Image.Image:
    """One to three lines of text anywhere."""
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    for _ in range(chance.choice((1, 1, 2, 3))):
        size = max(7, round(copy.height * chance.uniform(0.05, 0.2)))
        place = (copy.width * chance.uniform(-0.05, 0.5), copy.height * chance.uniform(0, 0.85))
        edge = chance.choice((0, 1, max(1, size // 10)))
        pen.text(
            place,
            words(chance),
            colour(chance),
            font=font(size),
            stroke_width=edge,
            stroke_fill=colour(chance),
        )
    return copy


def stickered(picture: Image.Image, chance: Random) -> Image.Image:
    """Discs, faces, stars and patches."""
    copy = picture.copy()
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        size = max(6, round(min(copy.size) * chance.uniform(0.1, 0.45)))
        left, top = (round(chance.uniform(-0.3 * size, side - 0.7 * size)) for side in copy.size)
        draw_sticker(ImageDraw.Draw(copy), (left, top), size, chance)
    return copy


def draw_sticker(pen: ImageDraw.ImageDraw, place: tuple[int, int], size: int, chance: Random) -> None:
    (left, top), kind = place, chance.random()
    box = (left, top, left + size, top + size)
    if kind < 0.45:
        pen.ellipse(box, colour(chance), colour(chance), max(1, size // 12))
        if chance.random() < 0.6:
            ink, dot = colour(chance), max(1, size // 10)
            for x in (0.33, 0.67):
                eye_x, eye_y = left + x * size, top + 0.36 * size
                pen.ellipse((eye_x - dot, eye_y - dot, eye_x + dot, eye_y + dot), ink)
            mouth = (left + size * 0.25, top + size * 0.35, left + size * 0.75, top + size * 0.8)
            pen.arc(mouth, 20, 160, ink, max(1, size // 14))
    elif kind < 0.7:
        points, inner = chance.randint(4, 9), chance.uniform(0.35, 0.8)
        middle_x, middle_y = left + size / 2, top + size / 2
        corners = []
        for number in range(2 * points):
            radius, angle = size / 2 * (inner if number % 2 else 1), math.pi * number / points
            corners.append((middle_x + radius * math.sin(angle), middle_y - radius * math.cos(angle)))
        pen.polygon(corners, colour(chance), colour(chance))
    else:
        pen.rounded_rectangle(box, size * chance.uniform(0, 0.4), colour(chance))
        if chance.random() < 0.6:
            pen.text(
                (left + size * 0.1, top + size * 0.3), words(chance)[:6], colour(chance), font=font(size / 3)
            )


def occluded(picture: Image.Image, chance: Random) -> Image.Image:
    """A part is hidden behind a flat or noisy area: up to half of each side, or a strip."""
    copy = picture.copy()
    width, height = (max(2, round(side * chance.uniform(0.2, 0.55))) for side in copy.size)
    if chance.random() < 0.3:
        width, height = (copy.width, height // 2) if chance.random() < 0.5 else (width // 2, copy.height)
    left, top = chance.randint(0, copy.width - width), chance.randint(0, copy.height - height)
    if chance.random() < 0.3:
        random = np.random.default_rng(chance.getrandbits(32))
        copy.paste(Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)), (left, top))
    elif chance.random() < 0.3:
        box = (left, top, left + width, top + height)
        copy.paste(copy.crop(box).filter(ImageFilter.BoxBlur(max(width, height) / 6)), box)
    else:
        copy.paste(colour(chance), (left, top, left + width, top + height))
    return copy


def watermarked(picture: Image.Image, chance: Random) -> Image.Image:
    """Words in a grid, half transparent and slanted."""
    side, size = round(1.5 * max(picture.size)), max(7, round(min(picture.size) * chance.uniform(0.05, 0.12)))
    tile = Image.new("L", (round(size * chance.uniform(3, 7)), round(size * chance.uniform(1.6, 4))))
    ImageDraw.Draw(tile).text((0, 0), words(chance)[:10], round(255 * chance.uniform(0.3, 0.8)), font(size))
    rows, columns = side // tile.height + 1, side // tile.width + 1
    sheet = Image.fromarray(np.tile(np.asarray(tile), (rows, columns))).rotate(
        chance.uniform(-45, 45), Image.Resampling.BILINEAR
    )
    left, top = (sheet.width - picture.width) // 2, (sheet.height - picture.height) // 2
    copy = picture.copy()
    mask = sheet.crop((left, top, left + picture.width, top + picture.height))
    copy.paste(colour(chance), (0, 0, *picture.size), mask)
    return copy


def scribbled(picture: Image.Image, chance: Random) -> Image.Image:
    """Lines by hand, boxes and arrows."""
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    for _ in range(chance.randint(1, 6)):
        points = [
            (chance.uniform(0, copy.width), chance.uniform(0, copy.height))
            for _ in range(chance.randint(2, 7))
        ]
        pen.line(points, colour(chance), chance.randint(1, max(2, copy.width // 25)), joint="curve")
    return copy


def lit(picture: Image.Image, chance: Random) -> Image.Image:
    """A flare, a shadow or a vignette across it."""
    (width, height), angle = picture.size, chance.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x / width - chance.uniform(0.2, 0.8), y / height - chance.uniform(0.2, 0.8)
    if chance.random() < 0.5:
        light = math.cos(angle) * x + math.sin(angle) * y
    else:
        light = chance.choice((-1, 1)) * (np.sqrt(x * x + y * y) - 0.4)
    pixels = np.asarray(picture) * (1 + chance.uniform(0.4, 1.3) * light[..., None])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


# --- parts


def words(chance: Random) -> str:
    """Letters that look like one to four words."""
    return " ".join(
        "".join(chance.choices(LETTERS, k=chance.randint(2, 8))) for _ in range(chance.randint(1, 4))
    )


@lru_cache(maxsize=64)
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; opening it costs more than writing a word."""
    return ImageFont.load_default(max(5, round(size)))


def colour(chance: Random) -> Colour:
    if chance.random() < 0.5:
        return chance.choice(((0, 0, 0), (255, 255, 255)))
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _scaled(picture: Image.Image, width: float, height: float) -> Image.Image:
    size = (max(8, round(picture.width * width)), max(8, round(picture.height * height)))
    return picture.resize(size, Image.Resampling.BILINEAR)


SHAPES: tuple[tuple[Change, float], ...] = (
    (cropped, 5),
    (mirrored, 2),
    (upside_down, 0.7),
    (quarter_turned, 1),
    (rotated, 4),
    (stretched, 1),
    (tilted, 1.5),
)
COLOURS: tuple[tuple[Change, float], ...] = (
    (enhanced, 4),
    (grey, 1.5),
    (tinted, 1.5),
    (hue_turned, 0.7),
    (channels_swapped, 0.3),
    (inverted, 1.4),
    (two_toned, 1),
    (posterised, 0.6),
    (thresholded, 0.6),
    (equalised, 0.5),
)
OVERLAYS: tuple[tuple[Change, float], ...] = (
    (captioned, 2.5),
    (stickered, 2.5),
    (occluded, 1.5),
    (watermarked, 1.2),
    (scribbled, 0.8),
    (lit, 1),
)
QUALITIES: tuple[tuple[Change, float], ...] = (
    (recompressed, 3),
    (shrunk, 2),
    (blurred, 2),
    (noisy, 1.5),
    (smoothed, 0.6),
    (mosaic, 0.8),
    (halftone, 1),
    (few_colours, 0.6),
)
"""Edits of each kind with how often each is drawn."""
