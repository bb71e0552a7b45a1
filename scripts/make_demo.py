"""Make the demo collection: real photographs, seeded variants of them, and three broken files.

The photographs are those that the scikit-image wheel ships. Every third one gets variants, named
after what was done to it, so that a reader of the result sees what was found and what was not.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

SEED = 20240607
VARIED_EVERY = 3
SMALLEST_SIDE = 200
PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


def reencoded(image: Image.Image, chance: random.Random) -> Image.Image:
    return image


def resized(image: Image.Image, chance: random.Random) -> Image.Image:
    factor = chance.uniform(0.4, 0.7)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, chance: random.Random) -> Image.Image:
    left, top, right, bottom = (chance.uniform(0.02, 0.08) for _ in range(4))
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def grey(image: Image.Image, chance: random.Random) -> Image.Image:
    return image.convert("L").convert("RGB")


def rotated(image: Image.Image, chance: random.Random) -> Image.Image:
    return image.rotate(chance.choice((-2, 2)), Image.Resampling.BICUBIC)


def captioned(image: Image.Image, chance: random.Random) -> Image.Image:
    copy = image.copy()
    size = max(12, copy.height // 14)
    place = (copy.width // 20, round(copy.height * chance.uniform(0.75, 0.88)))
    ImageDraw.Draw(copy).text(
        place, "holiday 2024", fill="white", stroke_width=2, stroke_fill="black", font_size=size
    )
    return copy


VARIANTS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "reencoded": reencoded,
    "resized": resized,
    "cropped": cropped,
    "grey": grey,
    "rotated": rotated,
    "captioned": captioned,
}


def photographs() -> list[Path]:
    """The photographs of the scikit-image wheel, found without importing it."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit("the demo needs scikit-image: run scripts/setup demo")
    folder = Path(spec.origin).parent / "data"
    return sorted(path for path in folder.iterdir() if path.suffix in PHOTOGRAPHS and is_large(path))


def is_large(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) >= SMALLEST_SIDE


def write_broken(folder: Path, sample: bytes) -> None:
    (folder / "broken-empty.jpg").write_bytes(b"")
    (folder / "broken-truncated.jpg").write_bytes(sample[: len(sample) // 2])
    (folder / "broken-text.png").write_text("This is not a picture.\n")


def make_demo(folder: Path) -> None:
    """Fill `folder`; the same files every time."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(SEED)
    sources = photographs()
    for number, path in enumerate(sources):
        (folder / path.name).write_bytes(path.read_bytes())
        if number % VARIED_EVERY:
            continue
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for name, edit in VARIANTS.items():
            edit(image, chance).save(folder / f"{path.stem}-{name}.jpg", quality=chance.randint(60, 85))
    largest_jpeg = max(
        (folder / p.name for p in sources if p.suffix == ".jpg"), key=lambda p: p.stat().st_size
    )
    write_broken(folder, largest_jpeg.read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="is made if it is not there")
    make_demo(parser.parse_args().folder)
