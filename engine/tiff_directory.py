"""Image file directories of TIFF 6.0 and BigTIFF: read one, write one behind the file."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from twinlens.engine.encoded import Damaged

_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Size of one value of each type."""
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MOST_ENTRIES = 4_096
_MOST_BYTES = 2**20
"""Of the values of one tag: offsets of 131,072 tiles at least."""

Field: TypeAlias = tuple[int, bytes]
"""Type and values of one entry, in the byte order of the file."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Some entries of a directory.

    Attributes:
        order: "<" or ">".
        big: BigTIFF, whose offsets have 64 bits.
        fields: by tag.
    """

    order: str
    big: bool
    fields: Mapping[int, Field]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Values of an integer tag; empty if it is absent or of another type."""
        kind, raw = self.fields.get(tag, (0, b""))
        if kind not in _INTEGERS:
            return ()
        return struct.unpack(f"{self.order}{len(raw) // _BYTES[kind]}{_INTEGERS[kind]}", raw)

    def number(self, tag: int, default: int) -> int:
        """First value of an integer tag."""
        return (self.numbers(tag) or (default,))[0]

    def changed(self, changes: Mapping[int, tuple[int, ...]]) -> Directory:
        """A directory with these values; no values drop a tag."""
        kind = 16 if self.big else 4
        dropped = {tag for tag, values in changes.items() if not values}
        fields = {tag: field for tag, field in self.fields.items() if tag not in dropped}
        for tag in changes.keys() - dropped:
            values = changes[tag]
            fields[tag] = kind, struct.pack(f"{self.order}{len(values)}{_INTEGERS[kind]}", *values)
        return replace(self, fields=fields)


def read_directory(data: bytes, wanted: frozenset[int]) -> tuple[Directory, frozenset[int]]:
    """Wanted fields of the first directory, and the tags of all that it has.

    Raises:
        Damaged: the directory, or a value that is wanted, does not lie inside the file.
    """
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    word, count_word, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    step = 12 + 2 * (room - 4)
    try:
        (at,) = struct.unpack_from(order + word, data, room)
        (count,) = struct.unpack_from(order + count_word, data, at)
        at += struct.calcsize(count_word)
        if count > _MOST_ENTRIES or at + step * count > len(data):
            raise Damaged("its directory is cut off")
        entries = struct.iter_unpack(f"{order}HH{word}{room}s", data[at : at + step * count])
    except (struct.error, OverflowError):
        raise Damaged("its directory lies outside the file") from None
    fields: dict[int, Field] = {}
    tags = set()
    for tag, kind, values, field in entries:
        tags.add(tag)
        if tag in wanted and tag not in fields and kind in _BYTES:
            fields[tag] = kind, _values(data, order + word, tag, values * _BYTES[kind], field)
    return Directory(order, big, fields), frozenset(tags)


def _values(data: bytes, word: str, tag: int, size: int, field: bytes) -> bytes:
    if size <= len(field):
        return field[:size]
    if size > _MOST_BYTES:
        raise Damaged(f"its tag {tag} has {size:,} bytes of values, more than any real file")
    (offset,) = struct.unpack(word, field)
    if offset + size > len(data):
        raise Damaged(f"the values of its tag {tag} lie outside the file")
    return data[offset : offset + size]


def with_directory(data: bytes, directory: Directory) -> bytes:
    """The file with another first and only directory, written behind it."""
    word, count_word, room = ("Q", "Q", 8) if directory.big else ("I", "H", 4)
    order, fields = directory.order, directory.fields
    at = len(data) + len(data) % 2
    behind = at + struct.calcsize(count_word) + (12 + 2 * (room - 4)) * len(fields) + room
    entries, values, used = [], [], 0
    for tag, (kind, raw) in sorted(fields.items()):
        field = raw.ljust(room, b"\0")
        if len(raw) > room:
            field = struct.pack(order + word, behind + used)
            values.append(raw + b"\0" * (len(raw) % 2))
            used += len(values[-1])
        entries.append(struct.pack(f"{order}HH{word}", tag, kind, len(raw) // _BYTES[kind]) + field)
    head = data[:room] + struct.pack(order + word, at)
    padding = b"\0" * (at - len(data))
    count = struct.pack(order + count_word, len(fields))
    return b"".join([head, data[len(head) :], padding, count, *entries, bytes(room), *values])
