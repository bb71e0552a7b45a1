"""Real photographs, those that scikit-image ships, and edits of them whose likeness is known."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

SIDE = 320
ORIGINALS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "motorcycle_right.png", "retina.jpg"),
    "rocket.jpg",
)
CATS = tuple(f"chelsea-q{quality}.jpg" for quality in range(50, 94, 4))
"""Eleven copies of one cat, each compressed in another way."""

BLANK = ("blank-1.png", "blank-2.png", "blank-grey.png")
"""Flat pictures: the first two are one file, the third has another colour."""

LABELS = """\
filename,label,caption
astronaut.jpg,person,an astronaut in an orange suit
astronaut-again.jpg,person,
astronaut-smaller.jpg,person,
astronaut-smaller.jpg,edited,
chelsea.jpg,cat,a cat looks at the camera
chelsea.jpg,animal,
chelsea-q50.jpg,cat,
camera.jpg,person,a man with a camera on a tripod
motorcycle_left.jpg,vehicle,two motorcycles in a workshop
rocket.jpg,vehicle,a rocket at night
coffee.jpg,"cup, full","a ""strong"" coffee"
"""
"""Of `image_annotations.csv`."""


def photographs() -> dict[str, bytes]:
    """Files by name: twelve photographs, edits named after them, flat pictures."""
    pictures = {Path(name).stem: _load(name) for name in ORIGINALS}
    files = {f"{stem}.jpg": jpeg(picture) for stem, picture in pictures.items()}
    for stem in ("astronaut", "brick", "coffee"):
        width, height = pictures[stem].size
        files[f"{stem}-smaller.jpg"] = jpeg(pictures[stem].resize((width * 3 // 4, height * 3 // 4)))
        files[f"{stem}-again.jpg"] = jpeg(pictures[stem], 60)
        inner = (width // 12, height // 12, width - width // 12, height - height // 12)
        files[f"{stem}-cropped.jpg"] = jpeg(pictures[stem].crop(inner))
    files["astronaut-copy.jpg"] = files["astronaut.jpg"]
    files |= {name: jpeg(pictures["chelsea"], int(name[-6:-4])) for name in CATS}
    files["rocket-dark.jpg"] = jpeg(ImageEnhance.Brightness(pictures["rocket"]).enhance(0.2))
    files["coins-blurred.jpg"] = jpeg(pictures["coins"].filter(ImageFilter.GaussianBlur(6)))
    files |= dict.fromkeys(BLANK[:2], _png(Image.new("RGB", (64, 48), "white")))
    files[BLANK[2]] = _png(Image.new("RGB", (64, 48), "grey"))
    return files


def with_labels(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files and one with labels and captions of some of them."""
    return {**files, "image_annotations.csv": LABELS.encode()}


def jpeg(picture: Image.Image, quality: int = 94) -> bytes:
    """A JPEG file."""
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality)
    return target.getvalue()


def _png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def _load(name: str) -> Image.Image:
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None, "the tests need scikit-image: run scripts/setup dev"
    with Image.open(Path(spec.origin).parent / "data" / name) as file:
        picture = file.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    return picture
