"""Groups of copies of real photographs, of which somebody knows which one to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageOps
from pillow_heif import from_pillow

from scripts.make_demo import photographs

Resampling = Image.Resampling
Edit = Callable[[Image.Image], Image.Image]

RULES = "format=heic,sharpness,path"
"""HEIC, then the sharpest, then the first path."""

KEPT = "2-right"
"""How the file that is to be kept is named."""


def photograph(name: str) -> Image.Image:
    """One of scikit-image's photographs."""
    (path,) = (path for path in photographs() if path.stem == name)
    with Image.open(path) as file:
        return file.convert("RGB")


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    """Write a picture in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".heic":
        from_pillow(image).save(path, **options)
    else:
        image.save(path, **options)
    return path


def same(image: Image.Image) -> Image.Image:
    """The picture itself."""
    return image


def scaled(image: Image.Image, factor: float, resampling: Resampling = Resampling.BICUBIC) -> Image.Image:
    """A picture of another size."""
    return image.resize((round(image.width * factor), round(image.height * factor)), resampling)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """A picture out of focus."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The middle of a picture, which has this share of its width and height."""
    across, down = round(image.width * (1 - share) / 2), round(image.height * (1 - share) / 2)
    return image.crop((across, down, image.width - across, image.height - down))


def framed(image: Image.Image) -> Image.Image:
    """A picture on a white ground."""
    return ImageOps.expand(image, 40, "white")


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """A picture, rotated, with black corners."""
    return image.rotate(degrees, Resampling.BICUBIC)


def upended(image: Image.Image) -> Image.Image:
    """A picture turned by a right angle."""
    return image.transpose(Image.Transpose.ROTATE_90)


def screenshot(image: Image.Image, factor: float = 1.0) -> Image.Image:
    """A viewer's window: a title bar with words, the picture on a plain ground, a status line."""
    shown = scaled(image, factor) if factor != 1 else image
    width, height = shown.width * 5 // 4, shown.height * 5 // 4
    window = Image.new("RGB", (width, height), (238, 238, 240))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, width, height // 20), fill=(60, 60, 70))
    draw.text((8, 4), "IMG_2041.jpg   File  Edit  View", fill="white", font_size=max(height // 30, 9))
    draw.text((8, height - height // 24), "1 of 12", fill="black", font_size=max(height // 40, 8))
    window.paste(shown, ((width - shown.width) // 2, (height - shown.height) // 2))
    return window


FINE: dict[str, Any] = {"quality": 90}
GROUPS: dict[str, tuple[str, dict[str, tuple[Edit, dict[str, Any]]]]] = {
    "HEIC before JPEG": (
        "astronaut",
        {f"{KEPT}.heic": (same, FINE), "1-better.jpg": (same, {"quality": 97})},
    ),
    "HEIC before what is sharper and larger": (
        "brick",
        {
            f"{KEPT}.heic": (lambda image: blurred(scaled(image, 0.7), 1), {"quality": 60}),
            "1-original.png": (same, {}),
        },
    ),
    "the sharper HEIC": (
        "camera",
        {
            f"{KEPT}.heic": (same, FINE),
            "1-blurred.heic": (lambda image: blurred(image, 2), FINE),
            "1-sharp.jpg": (same, {"quality": 97}),
        },
    ),
    "before what is blurred": (
        "gravel",
        {f"{KEPT}.jpg": (same, FINE), "1-blurred.jpg": (lambda image: blurred(image, 2), {"quality": 98})},
    ),
    "before its thumbnail": (
        "chelsea",
        {f"{KEPT}.jpg": (same, FINE), "1-half.png": (lambda image: scaled(image, 0.5), {})},
    ),
    "before its compression": (
        "clock_motion",
        {f"{KEPT}.jpg": (same, FINE), "1-small.jpg": (same, {"quality": 15})},
    ),
    "the first path of identical files": (
        "coffee",
        {f"{KEPT}.jpg": (same, FINE), "3-copy.jpg": (same, FINE)},
    ),
    "the first path of identical pictures": (
        "coins",
        {f"{KEPT}.png": (same, {}), "3-copy.bmp": (same, {})},
    ),
    "before its enlargement": (
        "grass",
        {
            f"{KEPT}.png": (same, {}),
            "1-double.png": (lambda image: scaled(image, 2, Resampling.BILINEAR), {}),
        },
    ),
    "before its enlargement, compressed": (
        "hubble_deep_field",
        {
            f"{KEPT}.jpg": (lambda image: scaled(image, 0.5), {"quality": 92}),
            "1-triple.jpg": (lambda image: scaled(scaled(image, 0.5), 3, Resampling.LANCZOS), FINE),
        },
    ),
    "before a screenshot of it": (
        "ihc",
        {f"{KEPT}.jpg": (same, FINE), "1-screenshot.png": (screenshot, {})},
    ),
    "before a smaller screenshot of it": (
        "motorcycle_left",
        {f"{KEPT}.jpg": (same, FINE), "1-screenshot.png": (lambda image: screenshot(image, 0.75), {})},
    ),
    "before a rotated copy": (
        "moon",
        {f"{KEPT}.jpg": (same, FINE), "1-turned.jpg": (lambda image: turned(image, 3), FINE)},
    ),
    "upright or upended, the first path": (
        "rocket",
        {f"{KEPT}.jpg": (same, FINE), "3-upended.jpg": (upended, FINE)},
    ),
    "before a crop": (
        "retina",
        {
            f"{KEPT}.jpg": (same, FINE),
            "1-crop.png": (lambda image: cropped(image, 0.85), {}),
            "1-framed crop.png": (lambda image: framed(cropped(image, 0.8)), {}),
        },
    ),
}
"""Fifteen groups: a photograph, and by the name of each file what was done to it and how it was written.

The names of those that must go come first in order, so that nothing is kept by chance, but where the path is
what is to decide.
"""


def save_groups(folder: Path) -> dict[str, Path]:
    """Each group in a folder of its own; the file of each that is to be kept, by the name of the group."""
    right = {}
    for name, (source, files) in GROUPS.items():
        original = photograph(source)
        for file, (edit, options) in files.items():
            path = save(edit(original), folder / name / file, **options)
            if path.stem == KEPT:
                right[name] = path
    return right
