"""Seeded cuts of real photographs: as many different images as a measurement needs."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from scripts.make_demo import photographs

SEED = 20240607
JPEG_QUALITY = 88

Size = tuple[int, int]
Cut = tuple[Image.Image, Size, tuple[float, float, float, float]]


def save_cuts(folder: Path, count: int, size: Size) -> None:
    """`count` JPEGs of one size, in a new folder."""
    folder.mkdir(parents=True)

    def save(job: tuple[int, Cut]) -> None:
        number, cut = job
        pixels(cut).save(folder / f"{number:06}.jpg", quality=JPEG_QUALITY)

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, enumerate(cuts(count, lambda: size))))


def encoded_cuts(count: int, smallest: int, largest: int, seed: int = SEED) -> list[bytes]:
    """`count` files with sides from `smallest` to `largest`; every tenth is a PNG, the others are JPEGs."""
    sides = random.Random(seed)

    def size() -> Size:
        return sides.randint(smallest, largest), sides.randint(smallest, largest)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(encoded, enumerate(cuts(count, size, seed))))


def encoded(job: tuple[int, Cut]) -> bytes:
    number, cut = job
    target = io.BytesIO()
    if number % 10:
        pixels(cut).save(target, "JPEG", quality=JPEG_QUALITY)
    else:
        pixels(cut).save(target, "PNG")
    return target.getvalue()


def cuts(count: int, size: Callable[[], Size], seed: int = SEED) -> Iterator[Cut]:
    """Where to cut: a photograph, the size of the result, and the part of the photograph."""
    chance = random.Random(seed)
    sources: Sequence[Image.Image] = [Image.open(path).convert("RGB") for path in photographs()]
    for _ in range(count):
        source = chance.choice(sources)
        x, y, scale = chance.random(), chance.random(), chance.uniform(0.4, 1.0)
        width, height = source.width * scale, source.height * scale
        left, top = x * (source.width - width), y * (source.height - height)
        yield source, size(), (left, top, left + width, top + height)


def pixels(cut: Cut) -> Image.Image:
    source, size, box = cut
    return source.resize(size, Image.Resampling.BICUBIC, box)
