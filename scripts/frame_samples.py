"""What the frame finder learns from: training pictures in scenes, and where in them they lie.

A scene is made three times from the same seed: with the picture, and with two chequers that are each other's
negative. Where those two differ, the picture is. One that was turned, or is seen from aside, stands in what
fills its corners. Pictures without a scene, edited in other ways, are wholly in the picture: what is pasted
on one is no picture in a frame. Neither is a block of text on a page of nothing else, or a stripe of a flag:
pages and flags are drawn among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from scripts.descriptor_batches import CHANGES, LARGEST_EDITED, drawn
from scripts.descriptor_edits import (
    colour,
    cropped,
    draw_sticker,
    font,
    rotated,
    through_jpeg,
    tilted,
    words,
)
from scripts.descriptor_pictures import Pictures, open_pictures
from scripts.descriptor_scenes import (
    Scene,
    Stranger,
    bordered,
    collage,
    feed,
    letterboxed,
    meme,
    page,
    paragraph,
    pasted,
    photographed,
    theme,
    window,
    with_inset,
)
from twinlens.models.copy_descriptor import squashed
from twinlens.models.frames import CELLS, SIDE


def turned(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """Rotated, with its corners filled or cut away."""
    return rotated(picture, chance)


def seen_from_aside(picture: Image.Image, chance: Random, _: Stranger) -> Image.Image:
    """In perspective."""
    return tilted(picture, chance)


FRAMES: tuple[tuple[Scene, float], ...] = (
    (bordered, 3),
    (letterboxed, 1),
    (meme, 2),
    (window, 4),
    (feed, 3),
    (page, 1),
    (pasted, 3),
    (photographed, 1.5),
    (turned, 5),
    (seen_from_aside, 1.5),
)
OTHERS: tuple[tuple[Scene, float], ...] = ((collage, 1), (with_inset, 1))
"""Scenes that frame a picture, and others, with how often each is drawn."""

UPRIGHT = {
    **CHANGES,
    "shape": [(change, often) for change, often in CHANGES["shape"] if change not in (rotated, tilted)],
}
"""Edits by kind, without those that are scenes here."""

FRAMED, OTHER_SCENE = 0.64, 0.16
"""How many samples are framed, and how many of the rest have another scene."""

EDITS_BEFORE, CUT, PLAIN, DRAWN = 0.15, 0.15, 0.25, 0.12
"""How often a framed picture is edited in each way and its scene cut; another is not edited, or is drawn."""

AFTERWARDS = (("overlay", 0.15), ("colour", 0.2), ("quality", 0.3))
"""How often a scene is edited in each way."""

KINDS = ("shape", "colour", "overlay", "quality")
KINDS_ALONE = ("shape", "shape", "colour", "overlay", "overlay", "quality")
CHEQUER = 6
DIFFERENT = 60
"""Levels of a colour by which places of the two chequers differ."""

PART = 250
"""Pictures that a process edits at a time."""


@dataclass(frozen=True)
class Samples:
    """Squares and where their pictures lie.

    Attributes:
        squares: uint8 [n, 96, 96, 3].
        cells: uint8 [n, 24, 24], which share of each cell the picture has, times 255.
    """

    squares: NDArray[np.uint8]
    cells: NDArray[np.uint8]


def made(folder: Path, chosen: NDArray[np.int64], seed: str, rounds: int, processes: int) -> Samples:
    """So many samples of each chosen picture of a folder of small pictures, in an order without meaning."""
    parts = [chosen[start : start + PART] for start in range(0, len(chosen), PART)]
    work = [(part, f"{seed} {number}") for number in range(rounds) for part in parts]
    with get_context("spawn").Pool(processes) as pool:
        some = pool.starmap(partial(_samples_of, folder, chosen), work, chunksize=1)
    return Samples(np.concatenate([each.squares for each in some]), np.concatenate([e.cells for e in some]))


def _samples_of(folder: Path, strangers: NDArray[np.int64], chosen: NDArray[np.int64], seed: str) -> Samples:
    pictures = open_pictures(folder)
    squares = np.empty((len(chosen), SIDE, SIDE, 3), np.uint8)
    cells = np.empty((len(chosen), CELLS, CELLS), np.uint8)
    for number, index in enumerate(chosen.tolist()):
        shown, mask = sample(pictures, index, strangers, Random(f"{seed} {index}"))
        squares[number] = squashed(np.asarray(shown), SIDE)
        cells[number] = np.asarray(mask.resize((CELLS, CELLS), Image.Resampling.BOX))
    return Samples(squares, cells)


def sample(
    pictures: Pictures, index: int, strangers: NDArray[np.int64], chance: Random
) -> tuple[Image.Image, Image.Image]:
    """An edited picture, RGB, and a mask of its size, L: white where the picture is."""

    def stranger(chance: Random) -> Image.Image:
        return pictures.image(int(strangers[chance.randrange(len(strangers))]))

    picture = pictures.image(index)
    if chance.random() >= FRAMED:
        if chance.random() < DRAWN:
            picture = chance.choice((text_page, flag))(chance)
        for _ in range(0 if chance.random() < PLAIN else chance.randint(1, 2)):
            picture = _changed(picture, chance.choice(KINDS_ALONE), chance)
        if chance.random() < OTHER_SCENE:
            picture = drawn(OTHERS, chance)(picture, chance, stranger).convert("RGB")
        return picture, Image.new("L", picture.size, 255)
    for kind in KINDS:
        if chance.random() < EDITS_BEFORE:
            picture = _changed(picture, kind, chance)
    scene, seed = drawn(FRAMES, chance), chance.getrandbits(48)
    shown = scene(picture, Random(seed), stranger).convert("RGB")
    chequers = [scene(_chequer(picture.size, odd), Random(seed), stranger) for odd in (0, 1)]
    mask = _difference(chequers)
    if mask is None:
        # Too small to be made out, or blurred away.
        return shown, Image.new("L", shown.size, 255)
    if chance.random() < CUT:
        seed = chance.getrandbits(48)
        shown, mask = (cropped(each, Random(seed)) for each in (shown, mask))
    for kind, often in AFTERWARDS:
        if chance.random() < often:
            shown = _changed(shown, kind, chance)
    return (through_jpeg(shown, chance.randint(30, 95)) if chance.random() < 0.5 else shown), mask


def text_page(chance: Random) -> Image.Image:
    """A page of words alone: one or two columns below a title."""
    width, height = chance.randint(150, 256), chance.randint(150, 256)
    ground, _, ink = theme(chance)
    sheet = Image.new("RGB", (width, height), ground)
    pen, size, margin = ImageDraw.Draw(sheet), chance.uniform(5, 14), width * chance.uniform(0, 0.15)
    top = margin
    if chance.random() < 0.6:
        pen.text((margin, top), words(chance), ink, font=font(1.6 * size))
        top += 3 * size
    columns = chance.choice((1, 1, 2))
    room = (width - margin * (columns + 1)) / columns
    for column in range(columns):
        left = margin + column * (room + margin)
        bottom = height - margin - chance.choice((0, 0, chance.uniform(0, 0.5))) * height
        for _ in range(chance.randint(1, 4)):
            end = top + (bottom - top) * chance.uniform(0.3, 1)
            paragraph(pen, (left, top, left + room, end), ink, chance, size)
    return sheet


def flag(chance: Random) -> Image.Image:
    """Stripes of a few colours, some with a sign on them."""
    width, height = chance.randint(150, 256), chance.randint(100, 200)
    sheet, count, across = Image.new("RGB", (width, height)), chance.randint(2, 5), chance.random() < 0.5
    pen, edges = ImageDraw.Draw(sheet), [0.0, *sorted(chance.random() for _ in range(count - 1)), 1.0]
    if chance.random() < 0.6:
        edges = [number / count for number in range(count + 1)]
    for low, high in pairwise(edges):
        box = (0, low * height, width, high * height) if across else (low * width, 0, high * width, height)
        pen.rectangle(box, colour(chance))
    if chance.random() < 0.5:
        size = round(height * chance.uniform(0.2, 0.6))
        draw_sticker(pen, (chance.randint(0, width - size), chance.randint(0, height - size)), size, chance)
    return sheet


def _changed(picture: Image.Image, kind: str, chance: Random) -> Image.Image:
    changed = drawn(UPRIGHT[kind], chance)(picture, chance).convert("RGB")
    changed.thumbnail((LARGEST_EDITED, LARGEST_EDITED), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return changed


def _chequer(size: tuple[int, int], odd: int) -> Image.Image:
    """Black and white squares: a blurred copy of it is grey everywhere, as is one of its negative."""
    width, height = size
    y, x = np.mgrid[:height, :width] // CHEQUER
    return Image.fromarray(((x + y + odd) % 2).astype(np.uint8) * np.uint8(255)).convert("RGB")


def _difference(chequers: Sequence[Image.Image]) -> Image.Image | None:
    """Where two pictures of one size differ: a mask, L, of the convex shape around it, without specks."""
    one, other = (np.asarray(each.convert("RGB")).astype(np.int16) for each in chequers)
    different = Image.fromarray(
        (np.abs(one - other).max(axis=2) > DIFFERENT).astype(np.uint8) * np.uint8(255)
    )
    # Edges of the chequers' squares differ less: closed first, then what is left of specks is taken away.
    whole = np.asarray(different.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(5))) > 0
    rows = np.flatnonzero(whole.any(axis=1))
    if not len(rows):
        return None
    first, last = whole.argmax(axis=1), whole.shape[1] - 1 - whole[:, ::-1].argmax(axis=1)
    ends = {(int(column[row]), int(row)) for row in rows for column in (first, last)}
    mask = Image.new("L", different.size)
    ImageDraw.Draw(mask).polygon(_around(sorted(ends)), fill=255)
    return mask.filter(ImageFilter.MaxFilter(3))


def _around(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Corners of the smallest convex shape that holds all points, which are sorted (Andrew's chains)."""
    if len(points) < 3:
        return points
    corners: list[tuple[int, int]] = []
    for way in (points, points[::-1]):
        chain: list[tuple[int, int]] = []
        for x, y in way:
            while len(chain) > 1 and not _turns_left(chain[-2], chain[-1], (x, y)):
                chain.pop()
            chain.append((x, y))
        corners += chain[:-1]
    return corners


def _turns_left(start: tuple[int, int], middle: tuple[int, int], end: tuple[int, int]) -> bool:
    (x, y), (u, v) = ((to[0] - start[0], to[1] - start[1]) for to in (middle, end))
    return x * v > y * u
