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
LARGEST_SOURCE = 1600

SUFFIXES = {".jpg", ".jpeg", ".png"}

Size = tuple[int, int]
Cut = tuple[Image.Image, Size, tuple[float, float, float, float]]


def save_cuts(folder: Path, count: int, size: Size, pictures: Sequence[Path] = ()) -> None:
    """`count` JPEGs of one size, in a new folder.

    They are cut from the pictures given, else from scikit-image's photographs.
    """
    folder.mkdir(parents=True)

    def save(job: tuple[int, Cut]) -> None:
        number, cut = job
        (folder / f"{number:06}.jpg").write_bytes(encoded(cut, "JPEG"))

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, enumerate(cuts(count, lambda: size, pictures=pictures))))


def photographs_of(count: int, size: Size) -> list[bytes]:
    """`count` JPEGs of one size."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda cut: encoded(cut, "JPEG"), cuts(count, lambda: size)))


def small_files(count: int, smallest: int, largest: int, seed: int = SEED) -> list[bytes]:
    """`count` files with sides from `smallest` to `largest`; every tenth is a PNG, the others are JPEGs."""
    sides = random.Random(seed)

    def size() -> Size:
        return sides.randint(smallest, largest), sides.randint(smallest, largest)

    def encode(job: tuple[int, Cut]) -> bytes:
        number, cut = job
        return encoded(cut, "JPEG" if number % 10 else "PNG")

    with ThreadPoolExecutor() as pool:
        return list(pool.map(encode, enumerate(cuts(count, size, seed))))


def encoded(cut: Cut, format: str) -> bytes:
    """A file; the quality of a PNG says nothing."""
    source, size, box = cut
    target = io.BytesIO()
    source.resize(size, Image.Resampling.BICUBIC, box).save(target, format, quality=JPEG_QUALITY)
    return target.getvalue()


def pictures_below(folders: Sequence[Path], smallest: Size) -> list[Path]:
    """Every picture of some size and of a usual kind below some folders, as far as its header tells."""

    def is_large(path: Path) -> bool:
        try:
            with Image.open(path) as image:
                large = image.width >= smallest[0] and image.height >= smallest[1]
                return large and image.mode in ("RGB", "L")
        except OSError:
            return False

    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return [path for path in paths if not path.is_symlink() and is_large(path)]


def cuts(
    count: int, size: Callable[[], Size], seed: int = SEED, pictures: Sequence[Path] = ()
) -> Iterator[Cut]:
    """Where to cut: a photograph, the size of the result, and the part of the photograph."""
    chance = random.Random(seed)
    sources: Sequence[Image.Image] = [_opened(path) for path in pictures or photographs()]
    for _ in range(count):
        source = chance.choice(sources)
        x, y, scale = chance.random(), chance.random(), chance.uniform(0.4, 1.0)
        width, height = source.width * scale, source.height * scale
        left, top = x * (source.width - width), y * (source.height - height)
        yield source, size(), (left, top, left + width, top + height)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as file:
        file.draft("RGB", (LARGEST_SOURCE, LARGEST_SOURCE))
        image = file.convert("RGB")
    image.thumbnail((LARGEST_SOURCE, LARGEST_SOURCE))
    return image
