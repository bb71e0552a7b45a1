"""Measure how often `is_enlargement` sees an enlargement, and how often it takes a real larger copy for one.

    python -m scripts.measure_upscales [FOLDER...]

Originals are scikit-image's photographs and the pictures that the folders hold, reduced to 800 px at most.
Each is enlarged in four ways by several factors and written as PNG and JPEG: these should be found. And each
is compared with its own reductions, written in the same ways: these should not.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.make_demo import photographs
from twinlens.engine.detail import is_enlargement
from twinlens.engine.types import Rgb

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SMALLEST_SIDE, LARGEST_SIDE = 200, 800
FACTORS = (1.25, 1.5, 2.0, 3.0)
KERNELS = ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")
QUALITIES: tuple[int | None, ...] = (None, 95, 80)

Case = tuple[str, float, str]
"""What was done, by which factor, and how the larger copy was written."""


def originals(folders: list[Path]) -> Iterator[Image.Image]:
    """Pictures, none of them large."""
    paths = [*photographs(), *(path for folder in folders for path in sorted(folder.rglob("*")))]
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or path.is_symlink():
            continue
        with Image.open(path) as file:
            picture = file.convert("RGB")
        if min(picture.size) >= SMALLEST_SIDE:
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
            yield picture


def scaled(picture: Image.Image, factor: float, kernel: str) -> Image.Image:
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling[kernel])


def written(picture: Image.Image, quality: int | None) -> Rgb:
    """Pixels of the file that a picture becomes: a PNG, or a JPEG of some quality."""
    if quality is None:
        return np.asarray(picture)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def cases(picture: Image.Image) -> Iterator[tuple[Case, bool]]:
    """What was tried with one picture, and whether it was said to be an enlargement."""
    for quality in QUALITIES:
        file = "PNG" if quality is None else f"JPEG {quality}"
        plain = written(picture, quality)
        for factor in FACTORS:
            for kernel in KERNELS:
                larger = written(scaled(picture, factor, kernel), quality)
                yield (f"enlarged, {kernel.lower()}", factor, file), is_enlargement(larger, plain) is True
                if kernel != "NEAREST":
                    smaller = written(scaled(picture, 1 / factor, kernel), quality)
                    yield (
                        ("reduced: the larger one is real", factor, file),
                        is_enlargement(plain, smaller) is True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    pictures = list(originals(parser.parse_args().folders))
    tried: Counter[Case] = Counter()
    said: Counter[Case] = Counter()
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda picture: list(cases(picture)), pictures):
            for case, answer in found:
                tried[case] += 1
                said[case] += answer
    print(f"{len(pictures)} pictures\n")
    files = sorted({case[2] for case in tried}, reverse=True)
    print(f"| % said to be enlargements | factor | {' | '.join(files)} |")
    print(f"|---|--:|{'--:|' * len(files)}")
    for what, factor in sorted({case[:2] for case in tried}):
        shares = (100 * said[what, factor, file] / tried[what, factor, file] for file in files)
        print(f"| {what} | {factor:g} | {' | '.join(f'{share:.0f}' for share in shares)} |")


if __name__ == "__main__":
    main()
