"""Collections of Qt resources, for what reads them."""

from __future__ import annotations

import struct


def resource_collection(files: dict[str, bytes]) -> bytes:
    """A collection of the third version: a root and files in it, nothing compressed."""
    names, data, offsets = b"", b"", []
    for name, content in files.items():
        offsets.append((len(names), len(data)))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHIIQ", 0, 2, len(files), 1, 0)
    for name_offset, data_offset in offsets:
        tree += struct.pack(">IHHHIQ", name_offset, 0, 0, 0, data_offset, 0)
    start = 24
    header = struct.pack(">4sIIIII", b"qres", 3, start, start + len(tree), start + len(tree) + len(data), 0)
    return header + tree + data + names
