"""Members of a tar archive, one after the other, from a stream of any length in bounded memory.

The standard library parses headers. It does not walk the archive: it reads extended headers of any size into
memory, and takes a damaged header for the end.

Source: POSIX.1-2017, "pax Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from twinlens.engine.archive_members import CHUNK_BYTES, CUT_OFF, ArchiveDamaged, Member, Place, as_text

BLOCK_BYTES = 512
_MAX_HEADER_BYTES = 1 << 20
_RECORD = re.compile(rb"(\d{1,9}) ")
_SPARSE, _SPARSE_NAME = b"GNU.sparse.", b"GNU.sparse.name"
_KNOWN_RECORDS = (b"path", b"size", _SPARSE_NAME)

_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_PAX, _PAX_OF_SOLARIS, _PAX_OF_ALL = tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = {
    tarfile.LNKTYPE: "it is a hard link",
    tarfile.SYMTYPE: "it is a symbolic link",
    tarfile.CHRTYPE: "it is a device",
    tarfile.BLKTYPE: "it is a device",
    tarfile.FIFOTYPE: "it is a pipe",
    tarfile.DIRTYPE: None,
}


class Stream(Protocol):
    """Where an archive comes from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end."""
        ...

    def skip(self, size: int, /) -> None:
        """Pass by so many bytes; raises `ArchiveDamaged` if there are fewer."""
        ...

    def tell(self) -> int:
        """How many bytes were read or passed by."""
        ...


class PlainStream:
    """An archive that is not compressed: what is skipped is not read."""

    def __init__(self, file: BinaryIO) -> None:
        """Starts where the file stands."""
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end."""
        return self._file.read(size)

    def skip(self, size: int, /) -> None:
        """Pass by so many bytes; raises `ArchiveDamaged` if there are fewer."""
        end = self._file.tell() + size
        self._file.seek(min(end, self._size))
        if end > self._size:
            raise ArchiveDamaged(CUT_OFF)

    def tell(self) -> int:
        """How many bytes were read or passed by."""
        return self._file.tell()


def is_tar(head: bytes) -> bool:
    """True if these are the first bytes of a tar archive, maybe of an empty one."""
    try:
        return _is_end(head[:BLOCK_BYTES]) or bool(_parsed(head[:BLOCK_BYTES]))
    except ArchiveDamaged:
        return False


def tar_members(stream: Stream) -> Iterator[Member]:
    """Members in their order; data that is not read is skipped.

    Raises:
        ArchiveDamaged: on iteration, where the archive breaks off or a header is none.
    """
    extended = _Extended()
    header = _first_header(stream)
    while header is not None:
        kind, size = header.type, header.size
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_SOLARIS, _PAX_OF_ALL):
            extended.take(kind, _payload(stream, size))
            header = _header(stream)
            continue
        data = _Data(stream, 0 if kind in _WITHOUT_DATA else extended.size(size))
        yield Member(
            extended.name(header.name),
            data.left,
            Place(stream.tell(), data.left),
            data.read,
            kind == tarfile.DIRTYPE,
            _refusal(kind, extended),
        )
        data.skip()
        header, extended = _header(stream), _Extended()


def whole_tar(stream: Stream) -> Iterator[Member]:
    """The members of a tar archive, and then all that is left of the stream.

    The checksum of what was unpacked stands at the end of a compressed file.

    Raises:
        ArchiveDamaged: as for `tar_members`.
    """
    yield from tar_members(stream)
    while stream.read(CHUNK_BYTES):
        pass


class _Extended:
    """What extended headers say about the member that follows them."""

    def __init__(self) -> None:
        self.is_sparse = False
        self._long_name: bytes | None = None
        self._records: dict[bytes, bytes] = {}

    def take(self, kind: bytes, payload: bytes) -> None:
        if kind == _LONG_NAME:
            self._long_name = payload.split(b"\0", 1)[0]
        elif kind in (_PAX, _PAX_OF_SOLARIS):
            for key, value in _records(payload):
                self.is_sparse |= key.startswith(_SPARSE)
                if key in _KNOWN_RECORDS:
                    self._records[key] = value

    def name(self, short: str) -> str:
        given = self._records.get(_SPARSE_NAME) or self._records.get(b"path") or self._long_name
        return as_text(given if given is not None else short.encode("utf-8", "surrogateescape"))

    def size(self, short: int) -> int:
        given = self._records.get(b"size")
        if given is None:
            return short
        if not given.isdigit() or len(given) > 18:
            raise ArchiveDamaged("the archive is damaged: a header gives no size that can be")
        return int(given)


@dataclass(slots=True)
class _Data:
    """The bytes of one member."""

    stream: Stream
    left: int
    padding: int = 0

    def __post_init__(self) -> None:
        self.padding = -self.left % BLOCK_BYTES

    def read(self) -> Iterator[bytes]:
        while self.left:
            chunk = exactly(self.stream, min(self.left, CHUNK_BYTES))
            self.left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        self.stream.skip(self.left)
        self.stream.skip(self.padding)


def _first_header(stream: Stream) -> tarfile.TarInfo | None:
    block = stream.read(BLOCK_BYTES)
    if not is_tar(block):
        raise ArchiveDamaged("it holds no tar archive")
    return _whole(block, stream)


def _header(stream: Stream) -> tarfile.TarInfo | None:
    """The next header with what belongs to it; None at the end mark."""
    block = stream.read(BLOCK_BYTES)
    if not block:
        raise ArchiveDamaged("the archive ends without its end mark: members may be missing")
    return _whole(block, stream)


def _whole(block: bytes, stream: Stream) -> tarfile.TarInfo | None:
    if _is_end(block):
        return None
    header = _parsed(block)
    if header.type == tarfile.GNUTYPE_SPARSE:
        more = block[482]
        while more:
            more = exactly(stream, BLOCK_BYTES)[504]
    return header


def _is_end(block: bytes) -> bool:
    return len(block) == BLOCK_BYTES and not any(block)


def _parsed(block: bytes) -> tarfile.TarInfo:
    if len(block) < BLOCK_BYTES:
        raise ArchiveDamaged(CUT_OFF)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ArchiveDamaged(f"the archive is damaged from here on ({error})") from error
    if header.size < 0:
        raise ArchiveDamaged("the archive is damaged from here on (a negative size)")
    return header


def _refusal(kind: bytes, extended: _Extended) -> str | None:
    if extended.is_sparse or kind == tarfile.GNUTYPE_SPARSE:
        what: str | None = "it is a sparse file"
    else:
        what = None if kind in _FILES else _WITHOUT_DATA.get(kind, "it is of an unknown kind")
    return what and f"{what}: only plain files are unpacked"


def _payload(stream: Stream, size: int) -> bytes:
    if size > _MAX_HEADER_BYTES:
        raise ArchiveDamaged(
            f"the archive has a header of {size:,} bytes, and {_MAX_HEADER_BYTES:,} are read"
        )
    payload = exactly(stream, size)
    exactly(stream, -size % BLOCK_BYTES)
    return payload


def _records(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each line "LENGTH KEY=VALUE"."""
    start = 0
    while start < len(payload) and payload[start]:
        found = _RECORD.match(payload, start)
        end = start + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(payload):
            raise ArchiveDamaged("the archive is damaged from here on (an extended header that is none)")
        key, _, value = payload[found.end() : end - 1].partition(b"=")
        yield key, value
        start = end


def exactly(stream: Stream, size: int) -> bytes:
    """So many bytes; raises `ArchiveDamaged` if there are fewer."""
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise ArchiveDamaged(CUT_OFF)
    return data
