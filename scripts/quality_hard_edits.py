"""Edits that everyone is weak at: memes, photographed screens, collages, quarter turns, and the like.

The harder set of the quality benchmark, in the form of `scripts/quality_edits.py`.
"""

from __future__ import annotations

import math
from functools import partial
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from scripts.quality_edits import (
    WORDS,
    Colour,
    Family,
    Setting,
    cut,
    drawn_colour,
    edited_often,
    filled,
    sized,
    write,
)

Corners = list[tuple[float, float]]


def captioned_meme(picture: Image.Image, setting: Setting) -> Image.Image:
    """Caption bars above and below, or words across the picture in white capitals."""
    if setting.chance.random() < 0.4:
        size = setting.between(0.09, 0.16) * picture.height
        copy = picture
        for height in (0.1, 0.9):
            words = setting.chance.choice(WORDS).upper()
            copy = write(copy, words, (picture.width / 2, height * picture.height), size, (255, 255, 255), 3)
        return copy
    above = round(setting.between(0.15, 0.5) * picture.height)
    below = setting.chance.choice((0, round(above * 0.6)))
    paper, ink = setting.chance.choice((((255, 255, 255), (0, 0, 0)), ((0, 0, 0), (255, 255, 255))))
    card = Image.new("RGB", (picture.width, picture.height + above + below), paper)
    card.paste(picture, (0, above))
    size = min(above * 0.3, picture.width / 14)
    for line in range(2):
        place = (picture.width / 2, above * (0.3 + 0.4 * line))
        card = write(card, setting.chance.choice(WORDS), place, size, ink)
    return card


def face(size: int, chance: Random) -> Image.Image:
    """A face as emoji have it: RGBA [size, size]."""
    large = Image.new("RGBA", (4 * size, 4 * size))
    pen, unit = ImageDraw.Draw(large), 4 * size / 100
    skin = chance.choice(((255, 205, 50), (255, 160, 60), (120, 200, 90), (240, 90, 90)))
    pen.ellipse(
        (2 * unit, 2 * unit, 98 * unit, 98 * unit), fill=(*skin, 255), outline=(90, 60, 0, 255), width=4
    )
    for x in (32, 68):
        pen.ellipse(((x - 7) * unit, 28 * unit, (x + 7) * unit, 50 * unit), fill=(60, 35, 10, 255))
    if chance.random() < 0.5:
        pen.chord((25 * unit, 45 * unit, 75 * unit, 85 * unit), 0, 180, fill=(120, 30, 30, 255))
    else:
        pen.arc(
            (28 * unit, 60 * unit, 72 * unit, 95 * unit),
            190,
            350,
            fill=(60, 35, 10, 255),
            width=round(5 * unit),
        )
    return large.resize((size, size), Image.Resampling.LANCZOS)


def under_faces(picture: Image.Image, setting: Setting) -> Image.Image:
    """Two to eight emoji over the picture."""
    copy = picture.copy()
    for _ in range(round(setting.between(2, 8))):
        size = max(8, round(setting.chance.uniform(0.15, setting.between(0.2, 0.4)) * min(picture.size)))
        sticker = face(size, setting.chance)
        place = (
            setting.chance.randint(0, picture.width - size),
            setting.chance.randint(0, picture.height - size),
        )
        copy.paste(sticker, place, sticker)
    return copy


def under_stickers(picture: Image.Image, setting: Setting) -> Image.Image:
    """Other pictures cut out to discs and tilted cards, stuck on it with a white rim."""
    copy = picture.copy()
    for filler in setting.fillers[: round(setting.between(1, 3))]:
        side = max(12, round(setting.between(0.25, 0.45) * min(picture.size)))
        sticker = filled(filler, side, side).convert("RGBA")
        mask = Image.new("L", (side, side))
        pen = ImageDraw.Draw(mask)
        if setting.chance.random() < 0.5:
            pen.ellipse((0, 0, side - 1, side - 1), fill=255)
        else:
            pen.rounded_rectangle((0, 0, side - 1, side - 1), side / 6, fill=255)
        rim = Image.new("RGBA", (side, side), (255, 255, 255, 255))
        rim.paste(sticker, mask=mask.filter(ImageFilter.MinFilter(2 * max(1, side // 40) + 1)))
        rim.putalpha(mask)
        tilted = rim.rotate(setting.chance.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)
        place = (
            setting.chance.randint(0, max(0, picture.width - tilted.width)),
            setting.chance.randint(0, max(0, picture.height - tilted.height)),
        )
        copy.paste(tilted, place, tilted)
    return copy


def warped(picture: Image.Image, corners: Corners, size: tuple[int, int], fill: Colour) -> Image.Image:
    """The picture with its corners (top left, top right, bottom right, bottom left) at places of a canvas."""
    width, height = picture.size
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    plane = np.linalg.solve(np.array(rows, float), np.array(values, float))
    return picture.transform(
        size, Image.Transform.PERSPECTIVE, plane.tolist(), Image.Resampling.BICUBIC, fillcolor=fill
    )


def drawn_corners(width: int, height: int, reach: float, chance: Random) -> Corners:
    """The corners of a box, each moved inwards by up to a share of its sides."""
    across, down = ([chance.uniform(0, reach) * side for _ in range(4)] for side in (width, height))
    return [
        (across[0], down[0]),
        (width - across[1], down[1]),
        (width - across[2], height - down[2]),
        (across[3], height - down[3]),
    ]


def seen_askew(picture: Image.Image, setting: Setting) -> Image.Image:
    """In perspective, on a plain ground."""
    corners = drawn_corners(picture.width, picture.height, setting.between(0.12, 0.35), setting.chance)
    return warped(picture, corners, picture.size, drawn_colour(setting.chance))


def photographed_screen(picture: Image.Image, setting: Setting) -> Image.Image:
    """A photograph of a screen in a dim room: bezel, perspective, moiré, glare, colour cast, blur."""
    chance = setting.chance
    lit = np.asarray(picture, np.float32)
    y, x = np.mgrid[0 : picture.height, 0 : picture.width].astype(np.float32)
    pitch, tilt = chance.uniform(2.2, 5), chance.uniform(-0.4, 0.4)
    waves = np.sin(2 * np.pi * (x + tilt * y) / pitch) * np.sin(2 * np.pi * (y - tilt * x) / (pitch * 1.1))
    lit *= 1 + setting.between(0.04, 0.18) * waves[..., None]
    centre = chance.uniform(0, picture.width), chance.uniform(0, picture.height)
    reach = 0.3 * max(picture.size)
    glare = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * reach**2))
    lit += setting.between(20, 110) * glare[..., None]
    lit *= np.array([chance.uniform(0.8, 1.1) for _ in range(3)], np.float32)
    screen = Image.fromarray(lit.clip(0, 255).astype(np.uint8))
    rim = round(0.04 * max(picture.size))
    device = ImageOps.expand(screen, rim, (18, 18, 20))
    room = setting.between(1.05, 1.5)
    size = round(device.width * room), round(device.height * room)
    margin = (size[0] - device.width) / 2, (size[1] - device.height) / 2
    corners = [
        (left + margin[0], top + margin[1])
        for left, top in drawn_corners(*device.size, setting.between(0.03, 0.12), chance)
    ]
    wall = (chance.randint(20, 110), chance.randint(20, 100), chance.randint(15, 90))
    return warped(device, corners, size, wall).filter(ImageFilter.GaussianBlur(setting.between(0.4, 1.4)))


def picture_in_picture(picture: Image.Image, setting: Setting) -> Image.Image:
    """The picture in front of another that fills the ground: 60 to 20 % of the area are its own."""
    share = setting.between(0.6, 0.2) ** 0.5
    ground = filled(setting.fillers[0], round(picture.width / share), round(picture.height / share))
    left = setting.chance.randint(0, ground.width - picture.width)
    ground.paste(picture, (left, setting.chance.randint(0, ground.height - picture.height)))
    return ground


def collage(picture: Image.Image, setting: Setting) -> Image.Image:
    """One of two to six pictures in a grid."""
    across, down = ((2, 1), (2, 2), (3, 2))[min(2, int(setting.strength * 3))]
    gap = setting.chance.choice((0, 4, 10))
    sheet = Image.new(
        "RGB",
        (across * (picture.width + gap) + gap, down * (picture.height + gap) + gap),
        drawn_colour(setting.chance),
    )
    own = setting.chance.randrange(across * down)
    others = iter(setting.fillers)
    for cell in range(across * down):
        shown = picture if cell == own else filled(next(others), *picture.size)
        left = gap + cell % across * (picture.width + gap)
        sheet.paste(shown, (left, gap + cell // across * (picture.height + gap)))
    return sized(sheet, sheet.width / across**0.5, sheet.height / across**0.5)


def feed_screenshot(picture: Image.Image, setting: Setting) -> Image.Image:
    """A telephone's screen: status bar, the post with the picture, its text, the start of the next post."""
    chance = setting.chance
    width = picture.width
    above = round(width * 0.2)
    height = max(round(width * setting.between(1.3, 2.1)), above + picture.height)
    dark = chance.random() < 0.5
    paper, ink = ((0, 0, 0), (225, 225, 225)) if dark else ((255, 255, 255), (30, 30, 30))
    screen = Image.new("RGB", (width, height), paper)
    screen = write(
        screen,
        f"{chance.randrange(24)}:{chance.randrange(60):02}",
        (width * 0.1, width * 0.03),
        width * 0.04,
        ink,
    )
    pen = ImageDraw.Draw(screen)
    pen.ellipse((width * 0.03, width * 0.08, width * 0.13, width * 0.18), fill=drawn_colour(chance))
    screen = write(screen, chance.choice(WORDS), (width * 0.4, width * 0.13), width * 0.045, ink)
    screen.paste(picture, (0, above))
    foot = above + picture.height
    pen = ImageDraw.Draw(screen)
    for place in range(3):
        left = width * (0.04 + 0.12 * place)
        pen.ellipse(
            (left, foot + width * 0.03, left + width * 0.07, foot + width * 0.1), outline=ink, width=3
        )
    for line in range(3):
        y, length = foot + width * (0.16 + 0.05 * line), chance.uniform(0.4, 0.9) * width
        pen.line((width * 0.04, y, length, y), fill=ink, width=max(2, width // 90))
    rest = foot + round(width * 0.36)
    if rest + 8 < height:
        screen.paste(filled(setting.fillers[0], width, height - rest), (0, rest))
    return screen


def quarter_turned(picture: Image.Image, setting: Setting) -> Image.Image:
    """By 90, 180 or 270 degrees; stronger ones are cut by up to a tenth as well."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return cut(picture.transpose(setting.chance.choice(turns)), setting.between(1, 0.9), setting.chance)


def upside_down(picture: Image.Image, setting: Setting) -> Image.Image:
    return cut(ImageOps.flip(picture), setting.between(1, 0.9), setting.chance)


def cropped_hard(picture: Image.Image, setting: Setting) -> Image.Image:
    """Takes 60 to 80 % of the area away."""
    return cut(picture, setting.between(0.4, 0.2), setting.chance)


def other_colours(picture: Image.Image, setting: Setting) -> Image.Image:
    """Inverted, or in two colours."""
    if setting.chance.random() < 0.5:
        return ImageChops.blend(ImageOps.invert(picture), picture, 0.25 * (1 - setting.strength))
    dark = tuple(setting.chance.randrange(0, 110) for _ in range(3))
    light = tuple(setting.chance.randrange(140, 256) for _ in range(3))
    toned = ImageOps.colorize(ImageOps.grayscale(picture), dark, light)
    return ImageOps.posterize(toned, 8 - round(setting.between(0, 5)))


def halftoned(picture: Image.Image, setting: Setting) -> Image.Image:
    """Printed in dots on a turned raster."""
    grey = np.asarray(ImageOps.grayscale(picture), np.float32) / 255
    y, x = np.mgrid[0 : picture.height, 0 : picture.width].astype(np.float32)
    pitch = setting.between(0.008, 0.022) * max(picture.size)
    angle = math.radians(setting.chance.choice((15, 45, 75)))
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    raster = (np.cos(2 * np.pi * u / pitch) * np.cos(2 * np.pi * v / pitch) + 1) / 2
    dots = ((grey - raster) * 6 + 0.5).clip(0, 1) * 255
    return Image.fromarray(dots.astype(np.uint8)).convert("RGB")


def blurred_hard(picture: Image.Image, setting: Setting) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(setting.between(0.015, 0.04) * max(picture.size)))


def pixelated(picture: Image.Image, setting: Setting) -> Image.Image:
    """A mosaic of 48 to 16 blocks across."""
    blocks = round(setting.between(48, 16))
    small = picture.resize(
        (blocks, max(1, round(blocks * picture.height / picture.width))), Image.Resampling.BOX
    )
    return small.resize(picture.size, Image.Resampling.NEAREST)


def occluded(picture: Image.Image, setting: Setting) -> Image.Image:
    """Boxes of one colour over 15 to 50 % of it."""
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    count = setting.chance.randint(1, 3)
    side = (setting.between(0.15, 0.5) / count) ** 0.5
    for _ in range(count):
        width, height = side * picture.width, side * picture.height
        left = setting.chance.uniform(0, picture.width - width)
        top = setting.chance.uniform(0, picture.height - height)
        pen.rectangle((left, top, left + width, top + height), fill=drawn_colour(setting.chance))
    return copy


def watermarked(picture: Image.Image, setting: Setting) -> Image.Image:
    """The same words all over it, slanted and half transparent."""
    step = setting.between(0.35, 0.16) * max(picture.size)
    side = 2 * max(picture.size)
    layer, words = Image.new("L", (side, side)), f"stock {setting.chance.randrange(10**6)}"
    pen, font = ImageDraw.Draw(layer), ImageFont.load_default(max(8, step * 0.2))
    for line in range(round(side / (step * 0.6)) + 1):
        for place in range(round(side / step) + 1):
            across = (place + line % 2 / 2) * step
            pen.text((across, line * step * 0.6), words, 255, font, anchor="mm")
    turned = layer.rotate(setting.chance.choice((-30, 30, 45)), Image.Resampling.BICUBIC)
    left, top = (side - picture.width) // 2, (side - picture.height) // 2
    mask = turned.crop((left, top, left + picture.width, top + picture.height))
    strength = setting.between(0.25, 0.65)
    faint = mask.point([round(level * strength) for level in range(256)])
    copy = picture.copy()
    copy.paste(setting.chance.choice(((255, 255, 255), (30, 30, 30))), (0, 0, *picture.size), faint)
    return copy


HARD = (
    Family("meme", captioned_meme),
    Family("emoji", under_faces),
    Family("stickers", under_stickers, fillers=3),
    Family("perspective", seen_askew),
    Family("photographed screen", photographed_screen),
    Family("picture in picture", picture_in_picture, fillers=1),
    Family("collage", collage, fillers=5),
    Family("feed screenshot", feed_screenshot, fillers=1),
    Family("quarter turn", quarter_turned),
    Family("upside down", upside_down),
    Family("crop to 20 %", cropped_hard),
    Family("inversion, duotone", other_colours),
    Family("halftone", halftoned),
    Family("heavy blur", blurred_hard),
    Family("mosaic", pixelated),
    Family("occlusion", occluded),
    Family("watermark grid", watermarked),
    Family("four edits at once", partial(edited_often, times=4)),
)
"""Eighteen harder families."""
