"""thumbs/: small previews, one file per image, made from the pixels that are decoded anyway.

They are kept as JPEGs, which cost a tenth of a WebP to make, and handed out as WebP, which is made of the few
that somebody looks at. Datasets of earlier versions kept WebP files; those are handed out as they are.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from twinlens.engine.types import Rgb

LONGEST_SIDE = 200
_KEPT_QUALITY, _SHOWN_QUALITY = 80, 75


def encode_preview(rgb: Rgb) -> bytes:
    """A JPEG of at most `LONGEST_SIDE` px of a uint8 [height, width, 3] image.

    Whole blocks of pixels are averaged, which takes a third of the time of a filter for the very size.
    """
    image = Image.fromarray(rgb)
    preview = image.reduce(-(-max(image.size) // LONGEST_SIDE))
    out = io.BytesIO()
    preview.save(out, "JPEG", quality=_KEPT_QUALITY)
    return out.getvalue()


class Previews:
    """The previews of one dataset folder, spread over 256 folders by the end of the id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "thumbs"

    def path(self, id_: str) -> Path:
        """Where the preview of an image lies, whether or not it is there."""
        return self._folder / id_[-2:] / f"{id_}.jpg"

    def write(self, id_: str, data: bytes) -> None:
        """Keep a preview."""
        path = os.path.join(self._folder, id_[-2:], f"{id_}.jpg")
        try:
            _write(path, data)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(path, data)

    def read(self, id_: str) -> bytes | None:
        """The preview of an image as WebP, None where there is none."""
        try:
            return _as_webp(self.path(id_).read_bytes())
        except OSError:
            pass
        try:
            return self._earlier(id_).read_bytes()
        except OSError:
            return None

    def remove(self, id_: str) -> None:
        """Drop the preview of an image."""
        self.path(id_).unlink(missing_ok=True)
        self._earlier(id_).unlink(missing_ok=True)

    def _earlier(self, id_: str) -> Path:
        return self.path(id_).with_suffix(".webp")


def _as_webp(data: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "WEBP", quality=_SHOWN_QUALITY)
    return out.getvalue()


def _write(path: str, data: bytes) -> None:
    # Unbuffered and without pathlib: half the time, and there is one call for every image.
    with open(path, "wb", buffering=0) as file:
        file.write(data)
