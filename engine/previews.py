"""thumbs/: small previews, made from the pixels that are decoded anyway, one after the other in one file.

Making a file for each of 200,000 images would cost more than decoding half of them. Previews lie in
previews.jpgs, and previews.places says where: two numbers for each row of the dataset, first byte and length.
Both are only appended to; what a killed run left is never pointed at.

They are kept as JPEGs, which cost a tenth of a WebP to make; WebPs are made of the few that a program asks
for one by one. Datasets of earlier versions kept a file for each id; those are handed out, too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

LONGEST_SIDE = 200
_KEPT_QUALITY, _SHOWN_QUALITY = 75, 70

_EFFORT = 0
"""Of 6: a third of the time of the usual 4, for a fifth more bytes at the same distance to the picture."""

_EARLIER = "jpg", "webp"

_PLACE = np.dtype("<i8")
_PLACE_BYTES = 2 * _PLACE.itemsize


def encode_preview(picture: Image.Image) -> bytes:
    """A JPEG of at most `LONGEST_SIDE` px of an RGB image.

    Whole blocks of pixels are averaged, which takes a third of the time of a filter for the very size.
    """
    preview = picture.reduce(-(-max(picture.size) // LONGEST_SIDE))
    out = io.BytesIO()
    preview.save(out, "JPEG", quality=_KEPT_QUALITY)
    return out.getvalue()


class Previews:
    """The previews of one dataset folder, by row; one process at a time writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "thumbs"
        self._pictures = self._folder / "previews.jpgs"
        self._places = self._folder / "previews.places"

    def write(self, first: int, previews: Sequence[bytes]) -> None:
        """Keep the previews of rows from `first` on; whatever these rows had before is forgotten."""
        os.makedirs(self._folder, exist_ok=True)
        with open(self._pictures, "ab") as pictures, _writable(self._places) as places:
            lengths = np.array([len(preview) for preview in previews], _PLACE)
            starts = pictures.seek(0, os.SEEK_END) + np.cumsum(lengths) - lengths
            pictures.write(b"".join(previews))
            pictures.flush()
            places.seek(first * _PLACE_BYTES)
            places.write(np.stack([starts, lengths], axis=1).astype(_PLACE).tobytes())

    def read(self, row: int, id_: str) -> bytes | None:
        """The preview of an image as it is kept, None where there is none: a JPEG, or a WebP of long ago."""
        with suppress(OSError):
            if kept := self._kept(row):
                return kept
        for suffix in _EARLIER:
            with suppress(OSError):
                return self._earlier(id_, suffix).read_bytes()
        return None

    def read_webp(self, row: int, id_: str) -> bytes | None:
        """The preview of an image as WebP, None where there is none."""
        with suppress(OSError):
            return None if (kept := self.read(row, id_)) is None else _as_webp(kept)
        return None

    def remove(self, row: int, id_: str) -> None:
        """Drop the preview of an image: its bytes are overwritten with zeros."""
        start, length = self._place(row)
        if length:
            with _writable(self._pictures) as pictures:
                pictures.seek(start)
                pictures.write(bytes(length))
            with _writable(self._places) as places:
                places.seek(row * _PLACE_BYTES)
                places.write(bytes(_PLACE_BYTES))
        for suffix in _EARLIER:
            self._earlier(id_, suffix).unlink(missing_ok=True)

    def _kept(self, row: int) -> bytes:
        start, length = self._place(row)
        if not length:
            return b""
        with open(self._pictures, "rb") as file:
            file.seek(start)
            kept = file.read(length)
        return kept if len(kept) == length else b""

    def _place(self, row: int) -> tuple[int, int]:
        """First byte and length of the preview of a row; length 0 where there is none."""
        with suppress(FileNotFoundError), open(self._places, "rb") as file:
            file.seek(row * _PLACE_BYTES)
            if len(found := file.read(_PLACE_BYTES)) == _PLACE_BYTES:
                start, length = np.frombuffer(found, _PLACE)
                return int(start), int(length)
        return 0, 0

    def _earlier(self, id_: str, suffix: str) -> Path:
        return self._folder / id_[-2:] / f"{id_}.{suffix}"


def _as_webp(data: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "WEBP":
            return data
        image.save(out, "WEBP", quality=_SHOWN_QUALITY, method=_EFFORT)
    return out.getvalue()


def _writable(path: Path) -> BinaryIO:
    """Open a file to write anywhere in it; made if it is not there."""
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
