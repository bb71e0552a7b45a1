"""Make tests/golden/hashes: tiny pictures in many encodings, with bmh1 and phash as OpenCV gives them.

Run it in the development environment, from anywhere: `python scripts/make_golden_hashes.py`. The
pictures are seeded; their bytes depend on the versions of Pillow and of its codecs, so commit pictures
and MANIFEST.json together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "hashes"
ORIENTATION = 0x0112


def scene(width: int, height: int, seed: int) -> Image.Image:
    """A picture with smooth parts, edges, texture and no symmetry."""
    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    picture = clouds.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y, radius = (int(value) for value in rng.integers(4, min(width, height) // 2, 3))
        color = tuple(int(level) for level in rng.integers(0, 256, 3))
        draw.ellipse((x, y, x + radius, y + radius), fill=color)
    grain = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def save_turned(picture: Image.Image, orientation: int, path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.save(path, quality=80, exif=exif)


def deep(picture: Image.Image) -> Image.Image:
    """16-bit grey."""
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257 - 100)


def translucent(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def pictures() -> dict[str, Callable[[Path], None]]:
    """File names and how each is written."""
    photo, wide, tall = scene(96, 72, 1), scene(131, 37, 2), scene(17, 90, 3)
    by_name: dict[str, Callable[[Path], None]] = {
        "color.jpg": lambda path: photo.save(path, quality=85),
        "progressive.jpg": lambda path: wide.save(path, quality=70, progressive=True),
        "grey.jpg": lambda path: tall.convert("L").save(path, quality=90),
        "cmyk.jpg": lambda path: photo.convert("CMYK").save(path, quality=90),
        "color.png": lambda path: tall.save(path),
        "palette.png": lambda path: photo.quantize(32).save(path),
        "one_bit.png": lambda path: photo.convert("1").save(path),
        "grey_16_bit.png": lambda path: deep(wide).save(path),
        "alpha.png": lambda path: translucent(tall).save(path),
        "one_pixel.png": lambda path: Image.new("RGB", (1, 1), (12, 200, 99)).save(path),
        "flat.png": lambda path: Image.new("RGB", (40, 30), (255, 255, 255)).save(path),
        "exact_size.png": lambda path: photo.resize((256, 256)).quantize(16).save(path),
        "color.webp": lambda path: photo.save(path, quality=80),
        "palette.gif": lambda path: wide.save(path),
        "color.bmp": lambda path: tall.save(path),
        "lzw.tif": lambda path: tall.quantize(64).convert("RGB").save(path, compression="tiff_lzw"),
    }
    by_name |= {f"exif_{turn}.jpg": partial(save_turned, wide, turn) for turn in range(1, 9)}
    return by_name


def opencv_hashes(path: Path) -> dict[str, str]:
    """What OpenCV makes of the file, each byte most significant bit first."""
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    img_hash: Any = cv2.img_hash  # its stubs lack what follows
    hashers = {"bmh1": img_hash.BlockMeanHash_create(mode=1), "phash": img_hash.PHash_create()}
    return {
        name: "".join(f"{byte:08b}" for byte in hasher.compute(bgr)[0]) for name, hasher in hashers.items()
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, write in pictures().items():
        write(FOLDER / name)
    manifest = {
        "script": "scripts/make_golden_hashes.py",
        "reference": f"OpenCV {cv2.__version__}: imdecode, BlockMeanHash mode 1, PHash",
        "hashes": {name: opencv_hashes(FOLDER / name) for name in sorted(pictures())},
    }
    (FOLDER / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
