"""Files inside Qt's binary resource collections (.rcc), in which some programs keep their pictures.

The layout is that of rcc's own writer: a header, a tree of nodes, names and data, all big-endian
(https://code.qt.io/cgit/qt/qtbase.git/tree/src/tools/rcc/rcc.cpp). Entries that are compressed are
passed over: pictures are not, since they would not get smaller.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"qres"
HEADER = struct.Struct(">4sIIII")
COMPRESSED, DIRECTORY, COMPRESSED_ZSTD = 1, 2, 4


def read_resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each uncompressed file, in the order of the tree.

    Raises:
        ValueError: the file is no resource collection.
    """
    data = path.read_bytes()
    magic, version, tree, contents, names = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError(f"{path} is no Qt resource collection: it starts with {magic!r}")
    size = 14 if version < 2 else 22

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        place = tree + node * size
        name_offset, flags, first, second = struct.unpack_from(">IHII", data, place)
        name = _name(data, names + name_offset) if node else ""
        if flags & DIRECTORY:
            for child in range(second, second + first):
                yield from walk(child, f"{folder}{name}/" if name else "")
        elif not flags & (COMPRESSED | COMPRESSED_ZSTD):
            start = contents + second
            (length,) = struct.unpack_from(">I", data, start)
            yield folder + name, data[start + 4 : start + 4 + length]

    yield from walk(0, "")


def _name(data: bytes, place: int) -> str:
    (length,) = struct.unpack_from(">H", data, place)
    return data[place + 6 : place + 6 + 2 * length].decode("utf-16-be")
