"""What a format reader hands to the decoder: an image whose header is read and no pixel decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinlens.engine.exif import Exif
from twinlens.engine.types import Rgb


class Damaged(Exception):
    """The bytes break the rules of their format; the message says where, without a full stop."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A header that was read, and the way to its pixels.

    Attributes:
        width: of the stored image, before its orientation is applied, px.
        height: likewise, px.
        exif: orientation and number of tags.
        pixels: decodes; takes `min_side` of the decode policy, returns uint8 [h, w, 3] as stored.
        buffer: pixels that decoding allocates beyond the image: a canvas, a tile.
        transparent: True if it stores transparency, which decoding drops.
    """

    width: int
    height: int
    exif: Exif
    pixels: Callable[[int | None], Rgb]
    buffer: int = 0
    transparent: bool = False
