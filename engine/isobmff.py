"""EXIF inside ISO base media files (AVIF), ISO/IEC 14496-12 section 8.11.

libavif applies the orientation itself. Pillow then parses the EXIF block as well and warns where it
is corrupt, so the block is read here and hidden from Pillow by renaming its item type in place.
"""

from __future__ import annotations

from collections.abc import Iterator

_MOST_ITEMS = 10_000


def split_exif(data: bytes) -> tuple[bytes, bytes]:
    """The EXIF block (empty if there is none) and the same file with its EXIF items renamed."""
    meta = next((span for kind, *span in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        return b"", data
    boxes = {kind: (start, end) for kind, start, end in _boxes(data, meta[0] + 4, meta[1])}
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return b"", data
    items = dict(_exif_items(data, *boxes[b"iinf"]))
    hidden = bytearray(data)
    for at in items.values():
        hidden[at : at + 4] = b"skip"
    block = next((_payload(data, *boxes[b"iloc"], item) for item in items), b"")
    # ExifDataBlock: a 32-bit offset to the TIFF header, then the block (ISO/IEC 23008-12, A.2.1).
    return block[4 + int.from_bytes(block[:4], "big") :], bytes(hidden)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the contents of the boxes in a span; stops where they make no sense."""
    for _ in range(_MOST_ITEMS):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size


def _exif_items(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(item id, offset of its type) of the entries in `iinf` that are EXIF."""
    entries = start + (6 if data[start : start + 1] == b"\0" else 8)
    for kind, at, _ in _boxes(data, entries, end):
        wide = 2 if data[at : at + 1] == b"\3" else 0
        if kind == b"infe" and data[at + 8 + wide : at + 12 + wide] == b"Exif":
            yield int.from_bytes(data[at + 4 : at + 6 + wide], "big"), at + 8 + wide


def _payload(data: bytes, start: int, end: int, item: int) -> bytes:
    """The first extent of an item, by `iloc`; empty if it is not at a plain file offset."""
    fields = _Fields(data, start, end)
    version = fields.take(1)
    fields.take(3)
    sizes = fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    for _ in range(min(fields.take(wide), _MOST_ITEMS)):
        id_ = fields.take(wide)
        method = fields.take(2) & 15 if version else 0
        fields.take(2)
        base = fields.take(base_size)
        for extent in range(fields.take(2)):
            if fields.at > end:
                return b""
            fields.take(index_size if version else 0)
            offset, length = base + fields.take(offset_size), fields.take(length_size)
            if id_ == item and extent == 0 and method == 0:
                return data[offset : offset + length]
    return b""


class _Fields:
    """Big-endian numbers, one after the other; zeros beyond the end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, size: int) -> int:
        value = int.from_bytes(self.data[self.at : min(self.at + size, self.end)], "big")
        self.at += size
        return value
