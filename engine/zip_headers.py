"""Local headers of a zip archive: where a member's bytes begin, and what a cut archive still holds.

Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", 4.3.7 and 4.5.3.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from twinlens.engine.archive_members import ArchiveDamaged, Member, MemberDamaged, Place, as_text
from twinlens.engine.tar_members import PlainStream, exactly

_LOCAL = struct.Struct("<4s5H3I2H")
_MAGIC = b"PK\x03\x04"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_IN_ZIP64 = 0xFFFFFFFF


def read_placed(file: BinaryIO, place: Place, size: int) -> bytes:
    """The unpacked bytes of one member.

    Raises:
        MemberDamaged: they are not what the table of contents says.
    """
    descriptor = file.fileno()
    header = os.pread(descriptor, _LOCAL.size, place.offset)
    if len(header) < _LOCAL.size or not header.startswith(_MAGIC):
        raise MemberDamaged("it is damaged: its place is not in the archive")
    *_, name_bytes, extra_bytes = _LOCAL.unpack(header)
    stored = os.pread(descriptor, place.stored, place.offset + _LOCAL.size + name_bytes + extra_bytes)
    data = stored if place.method == _STORED else _inflated(stored, size)
    if len(data) != size or zlib.crc32(data) != place.crc:
        raise MemberDamaged("it is damaged: its checksum in the archive does not hold")
    return data


def local_members(stream: PlainStream) -> Iterator[Member]:
    """Members of a zip without its table of contents, by what stands before each of them.

    Raises:
        ArchiveDamaged: on iteration, where that ends.
    """
    while True:
        offset = stream.tell()
        header = stream.read(_LOCAL.size)
        if not header.startswith(_MAGIC):
            raise ArchiveDamaged("its table of contents is missing")
        if len(header) < _LOCAL.size:
            raise ArchiveDamaged("the archive is cut off")
        _, _, flags, method, _, _, crc, stored, size, name_bytes, extra_bytes = _LOCAL.unpack(header)
        name = as_text(exactly(stream, name_bytes))
        extra = exactly(stream, extra_bytes)
        if flags & _SIZES_FOLLOW:
            raise ArchiveDamaged(
                "its table of contents is missing, and its members do not say how long they are"
            )
        if _IN_ZIP64 in (stored, size):
            size, stored = _zip64(extra)
        refusal = None
        if flags & _ENCRYPTED:
            refusal = "it is encrypted: pack it without a password"
        elif method not in (_STORED, _DEFLATED):
            refusal = f"it is compressed by method {method}, which is not read: use deflate"
        yield Member(
            name, size, Place(offset, stored, method, crc), lambda: iter(()), name.endswith("/"), refusal
        )
        stream.skip(stored)


def _inflated(stored: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, size + 1)
    except zlib.error as error:
        raise MemberDamaged(f"it is damaged ({error})") from error


def _zip64(extra: bytes) -> tuple[int, int]:
    """Unpacked and stored size."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and length >= 16 and at + 20 <= len(extra):
            size, stored = struct.unpack_from("<2Q", extra, at + 4)
            return int(size), int(stored)
        at += 4 + length
    raise ArchiveDamaged("a header gives no size that can be")
