"""Where copies turn up, for training: frames, memes, screenshots, collages, screens that were photographed.

A scene may hold another picture, a stranger, which gives it its ground or its company.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from scripts.descriptor_edits import colour, draw_sticker, font, warped, words

Stranger: TypeAlias = Callable[[Random], Image.Image]
Scene: TypeAlias = Callable[[Image.Image, Random, Stranger], Image.Image]


def bordered(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """Borders of one colour, alike on all sides or not, up to 40 % of a side."""
    widest = chance.choice((0.06, 0.15, 0.4))
    width, height = picture.size
    if chance.random() < 0.4:
        left = right = above = below = round(max(width, height) * chance.uniform(0.02, widest))
    else:
        left, right = (round(width * chance.choice((0.0, chance.uniform(0, widest)))) for _ in range(2))
        above, below = (round(height * chance.choice((0.0, chance.uniform(0, widest)))) for _ in range(2))
    framed = Image.new("RGB", (width + left + right, height + above + below), colour(chance))
    framed.paste(picture, (left, above))
    if chance.random() < 0.3:
        inset = max(1, min(left, above) // 2)
        box = (inset, inset, framed.width - inset, framed.height - inset)
        ImageDraw.Draw(framed).rectangle(box, outline=colour(chance), width=max(1, inset // 2))
    return framed


def letterboxed(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """In the middle of a blurred, larger copy of itself, or of black, to another shape."""
    shape = chance.choice((9 / 16, 1.0, 16 / 9, 4 / 5))
    width, height = picture.size
    size = (max(width, round(height * shape)), max(height, round(width / shape)))
    if chance.random() < 0.6:
        ground = picture.resize(size).filter(ImageFilter.GaussianBlur(max(size) / 25))
    else:
        ground = Image.new("RGB", size, colour(chance))
    ground.paste(picture, ((size[0] - width) // 2, (size[1] - height) // 2))
    return ground


def meme(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """Bars with words above, below or both, or large words on it."""
    width, height = picture.size
    above, below = (round(height * chance.choice((0, chance.uniform(0.12, 0.4)))) for _ in range(2))
    ground, ink = chance.choice((("white", "black"), ("black", "white"), (colour(chance), colour(chance))))
    sheet = Image.new("RGB", (width, height + above + below), ground)
    sheet.paste(picture, (0, above))
    pen = ImageDraw.Draw(sheet)
    for top, bar in ((0, above), (height + above, below)):
        if bar:
            paragraph(pen, (0, top, width, top + bar), ink, chance)
        elif chance.random() < 0.5:
            size = max(8, round(height * chance.uniform(0.08, 0.16)))
            place = (width * 0.05, above + (height - 1.4 * size if top else 0.02 * height))
            edge = max(1, size // 10)
            text = words(chance).upper()
            pen.text(place, text, "white", font=font(size), stroke_width=edge, stroke_fill="black")
    return sheet


def window(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """As a program shows it on a screen: bars, buttons, a side panel, some ground around."""
    width, height = picture.size
    unit = max(3, max(picture.size) // 28)
    left, right = (unit * chance.choice((0, 0, 1, 3, 8, 18)) for _ in range(2))
    above, below = unit * chance.randint(1, 8), unit * chance.choice((0, 1, 2, 5, 9))
    size = (width + left + right, height + above + below)
    ground, bar, ink = theme(chance)
    screen = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, size[0], unit + unit // 2), bar)
    for number in range(chance.randint(0, 4)):
        x = unit // 2 + number * round(unit * 1.4)
        pen.ellipse((x, unit // 4, x + unit, unit // 4 + unit), colour(chance))
    pen.text((size[0] * chance.uniform(0.2, 0.5), unit // 4), words(chance), ink, font=font(unit))
    for edge, wide in ((0, left), (size[0] - right, right)):
        if wide > 2 * unit:
            paragraph(pen, (edge, above, edge + wide, size[1] - below), ink, chance, unit * 0.8)
    if above > 3 * unit:
        paragraph(pen, (0, 2 * unit, size[0], above), ink, chance, unit * 0.8)
    if below:
        pen.rectangle((0, size[1] - below, size[0], size[1]), bar)
    screen.paste(picture, (left, above))
    return _on_desktop(screen, chance, stranger) if chance.random() < 0.35 else screen


def feed(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """A post on a telephone: a head with a name, the picture, buttons, words, part of the next post."""
    ground, bar, ink = theme(chance)
    width = picture.width + 2 * chance.choice((0, 0, picture.width // 20))
    unit = max(4, width // 18)
    above, below = unit * chance.randint(2, 8), unit * chance.randint(2, 12)
    sheet = Image.new("RGB", (width, above + picture.height + below), ground)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, width, unit), bar)
    head = above - 2 * unit
    pen.ellipse((unit // 2, head, unit // 2 + round(1.7 * unit), head + round(1.7 * unit)), colour(chance))
    pen.text((3 * unit, head), words(chance), ink, font=font(unit * 0.8))
    if above > 5 * unit:
        paragraph(pen, (0, round(1.2 * unit), width, head), ink, chance, unit * 0.8)
    bottom = above + picture.height
    for number in range(chance.randint(2, 5)):
        draw_sticker(pen, (unit // 2 + number * 2 * unit, bottom + unit // 3), unit, chance)
    paragraph(pen, (0, bottom + 2 * unit, width, sheet.height), ink, chance, unit * 0.8)
    if below > 8 * unit and chance.random() < 0.6:
        other = stranger(chance).resize((width, width))
        sheet.paste(other, (0, bottom + 6 * unit))
    sheet.paste(picture, ((width - picture.width) // 2, above))
    return sheet


def page(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """On a page with text, as in a document or an article."""
    width, height = picture.size
    margin = round(width * chance.uniform(0.05, 0.2))
    above, below = (round(height * chance.uniform(0.1, 0.6)) for _ in range(2))
    ground, _bar, ink = theme(chance)
    sheet = Image.new("RGB", (width + 2 * margin, height + above + below), ground)
    pen, size = ImageDraw.Draw(sheet), max(6, width // 28)
    paragraph(pen, (margin, 2, width + margin, above), ink, chance, size)
    paragraph(pen, (margin, above + height, width + margin, sheet.height), ink, chance, size)
    sheet.paste(picture, (margin, above))
    return sheet


def pasted(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """A picture in a picture: on a stranger, on 25 to 80 % of its area, upright or slightly turned."""
    ground = stranger(chance)
    area = ground.width * ground.height * chance.uniform(0.25, 0.8)
    shape = picture.width / picture.height
    width, height = math.sqrt(area * shape), math.sqrt(area / shape)
    # What is as wide as a panorama would stick out of an upright ground.
    fit = min(1.0, ground.width / width, ground.height / height)
    size = (max(16, round(width * fit)), max(16, round(height * fit)))
    left, top = (
        chance.randint(0, max(0, whole - part)) for whole, part in zip(ground.size, size, strict=True)
    )
    inner, mask = picture.resize(size, Image.Resampling.BILINEAR), Image.new("L", size, 255)
    if chance.random() < 0.25:
        degrees = chance.uniform(-20, 20)
        inner, mask = (layer.rotate(degrees, Image.Resampling.BILINEAR) for layer in (inner, mask))
    scene = ground.copy()
    scene.paste(inner, (left, top), mask)
    return scene


def with_inset(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """A stranger covers a corner or some part of it, opaque or half transparent."""
    size = tuple(max(8, round(side * chance.uniform(0.2, 0.55))) for side in picture.size)
    inset = stranger(chance).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = (chance.randint(0, whole - part) for whole, part in zip(picture.size, size, strict=True))
    opacity = 255 if chance.random() < 0.7 else chance.randint(90, 200)
    mask = Image.new("L", inset.size, opacity)
    if chance.random() < 0.4:
        mask = Image.new("L", inset.size)
        ImageDraw.Draw(mask).ellipse((0, 0, *inset.size), opacity)
    scene = picture.copy()
    scene.paste(inset, (left, top), mask)
    return scene


def collage(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """One of two to four pictures side by side."""
    columns, rows = chance.choice(((2, 1), (1, 2), (2, 1), (1, 2), (2, 2), (3, 1)))
    gap, (width, height) = chance.choice((0, 2, 6)), picture.size
    whole = (columns * width + (columns + 1) * gap, rows * height + (rows + 1) * gap)
    sheet = Image.new("RGB", whole, colour(chance))
    mine = chance.randrange(columns * rows)
    for cell in range(columns * rows):
        place = (gap + cell % columns * (width + gap), gap + cell // columns * (height + gap))
        sheet.paste(picture if cell == mine else stranger(chance).resize((width, height)), place)
    return sheet


def photographed(picture: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    """A photograph of a screen or of a print: aslant, lit unevenly, with the screen's own pattern."""
    width, height = picture.size
    pixels = np.asarray(picture).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if chance.random() < 0.7:
        period, angle = chance.uniform(2.2, 12), chance.uniform(0, math.pi)
        wave = np.sin((math.cos(angle) * x + math.sin(angle) * y) * 2 * math.pi / period)
        pixels = pixels * (1 + chance.uniform(0.05, 0.3) * wave[..., None])
    slope = chance.uniform(-0.5, 0.5) * (x / width - 0.5) + chance.uniform(-0.5, 0.5) * (y / height - 0.5)
    pixels = pixels * (chance.uniform(0.7, 1.15) + slope[..., None]) + chance.uniform(0, 40)
    screen = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    edge, reach = chance.uniform(0, 0.22), chance.uniform(0, 0.15)
    corners = []
    for x_side, y_side in ((0, 0), (0, 1), (1, 1), (1, 0)):
        out_x, out_y = (edge + chance.uniform(-reach, reach) for _ in range(2))
        corners += [
            (x_side + (out_x if x_side else -out_x)) * width,
            (y_side + (out_y if y_side else -out_y)) * height,
        ]
    shot = warped(screen, (width, height), corners, colour(chance))
    if edge > 0.05 and chance.random() < 0.5:
        ground = ImageEnhance.Brightness(stranger(chance).resize((width, height))).enhance(0.6)
        ground.paste(shot, (0, 0), warped(Image.new("L", picture.size, 255), (width, height), corners, 0))
        shot = ground
    return shot.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.2)))


def _on_desktop(screen: Image.Image, chance: Random, stranger: Stranger) -> Image.Image:
    wide, high = (round(side * chance.uniform(1.05, 1.5)) for side in screen.size)
    if chance.random() < 0.5:
        desktop = stranger(chance).resize((wide, high), Image.Resampling.BILINEAR)
    else:
        desktop = Image.new("RGB", (wide, high), colour(chance))
    bar = max(2, high // 25)
    desktop.paste(colour(chance), (0, high - bar, wide, high))
    desktop.paste(screen, (chance.randint(0, wide - screen.width), chance.randint(0, high - screen.height)))
    return desktop


def theme(chance: Random) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    """Ground, bar and ink: light, dark, or of any colour."""
    way = chance.random()
    shade = chance.randint(0, 45)
    if way < 0.45:
        return (255 - shade,) * 3, (235 - shade,) * 3, (30, 30, 30)
    if way < 0.8:
        return (shade,) * 3, (25 + shade,) * 3, (225, 225, 225)
    return colour(chance), colour(chance), colour(chance)


def paragraph(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    ink: tuple[int, int, int] | str,
    chance: Random,
    size: float | None = None,
) -> None:
    """Lines of words that fill a box from its top."""
    left, top, right, bottom = box
    high = size or max(7.0, min((bottom - top) * chance.uniform(0.25, 0.6), (right - left) / 8))
    y = top + 0.15 * high
    while y + high < bottom:
        room = int((right - left) / (0.5 * high))
        text = " ".join(words(chance) for _ in range(1 + room // 12))[: max(1, room - 1)]
        pen.text((left + 0.4 * high, y), text, ink, font=font(high))
        y += 1.35 * high


SCENES: tuple[tuple[Scene, float], ...] = (
    (bordered, 3),
    (letterboxed, 0.8),
    (meme, 2),
    (window, 3.5),
    (feed, 2),
    (page, 0.8),
    (pasted, 2),
    (with_inset, 2.2),
    (collage, 0.6),
    (photographed, 1.5),
)
"""Scenes with how often each is drawn."""
