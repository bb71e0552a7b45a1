"""EXIF, read only as far as it is needed: which way is up, and how many tags there are.

Pillow's own reader warns about corrupt tags, and warnings cannot be silenced per thread; this one
never fails. Layout: TIFF 6.0 section 2, EXIF 2.32 section 4.6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from twinlens.engine.types import Rgb

ORIENTATION = 0x0112
EXIF_POINTER = 0x8769
GPS_POINTER = 0x8825

Entry: TypeAlias = tuple[int, int, bytes]
"""Type, count and the value field of one directory entry."""


@dataclass(frozen=True, slots=True)
class Exif:
    """What the decoder wants to know.

    Attributes:
        orientation: 1 to 8 as EXIF numbers them; 1 is upright.
        tags: tags of IFD0 and of the Exif and GPS directories, without the two pointers.
    """

    orientation: int = 1
    tags: int = 0


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block, with or without the six bytes that name it; a corrupt one counts as absent."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return Exif()
    first = directory(block, order, *struct.unpack_from(order + "I", block, 4))
    inner = [directory(block, order, number(first, tag, order)) for tag in (EXIF_POINTER, GPS_POINTER)]
    pointers = (EXIF_POINTER in first) + (GPS_POINTER in first)
    tags = len(first) - pointers + sum(len(entries) for entries in inner)
    return Exif(orientation(number(first, ORIENTATION, order)), tags)


def directory(block: bytes, order: str, at: int) -> dict[int, Entry]:
    """Entries of the directory at an offset; empty if it does not lie inside the block."""
    if not 8 <= at <= len(block) - 2:
        return {}
    (count,) = struct.unpack_from(order + "H", block, at)
    if at + 2 + 12 * count > len(block):
        return {}
    entries = struct.iter_unpack(order + "HHI4s", block[at + 2 : at + 2 + 12 * count])
    return {tag: (kind, size, field) for tag, kind, size, field in entries}


def number(entries: dict[int, Entry], tag: int, order: str) -> int:
    """A tag that holds one SHORT or LONG; 0 if it is absent or holds anything else."""
    kind, count, field = entries.get(tag, (0, 0, b""))
    if count != 1 or kind not in (3, 4):
        return 0
    (value,) = struct.unpack_from(order + {3: "H", 4: "I"}[kind], field)
    return int(value)


def orientation(value: int) -> int:
    """An orientation as EXIF numbers them; whatever is outside 1 to 8 is upright."""
    return value if 1 <= value <= 8 else 1


def upright(pixels: Rgb, orientation: int) -> Rgb:
    """Turn and mirror pixels [h, w, 3] as their orientation says; C-contiguous."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::across])
