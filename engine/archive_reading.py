"""Bytes of files in archives, by a path that leads into one: `photos.zip/trip/a.jpg`.

Members of a zip or a plain tar are read from their place. Of a compressed tar the archive is unpacked
up to the member, so that reading in the order of the archive unpacks it once.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from twinlens.engine.archive_members import ArchiveDamaged, ArchiveRefused, Member, MemberDamaged
from twinlens.engine.archives import Held, contents_of, held_file, opened_members
from twinlens.engine.errors import DecodeError
from twinlens.engine.zip_headers import read_placed

_RECENT_BYTES = 128 << 20
"""What was passed by lately in a compressed tar: threads that read it in order overtake each other."""


def find_archive(path: str | bytes | os.PathLike[str]) -> tuple[bytes, bytes, os.stat_result] | None:
    """The archive that a path leads into, the rest of the path, and what `os.stat` says of the archive.

    None where no part of the path is a regular file.

    Raises:
        OSError: the file system says no.
    """
    parts = os.path.abspath(os.fsencode(path)).split(b"/")
    for end in range(2, len(parts)):
        archive = b"/".join(parts[:end])
        status = os.stat(archive)
        if stat.S_ISREG(status.st_mode):
            return archive, b"/".join(parts[end:]), status
    return None


def is_in_archive(path: str) -> bool:
    """Whether a path leads through a file: into an archive, if anywhere."""
    try:
        os.stat(path)
    except NotADirectoryError:
        return True
    except (OSError, ValueError):
        pass
    return False


@dataclass(frozen=True, slots=True)
class FoundMember:
    """A file in an archive.

    Attributes:
        archive: absolute path.
        held: the file.
        status: what `os.stat` says of the archive.
        is_compressed: whether the archive can only be read in its order.
    """

    archive: bytes
    held: Held
    status: os.stat_result
    is_compressed: bool

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DecodeError: it is damaged.
            OSError: the archive cannot be read.
        """
        try:
            if self.is_compressed:
                sequence = _sequence(self.archive, self.status.st_size, self.status.st_mtime_ns)
                return sequence.read(self.held)
            return _placed(self.archive, self.held)
        except (MemberDamaged, ArchiveDamaged, ArchiveRefused) as error:
            raise DecodeError(f"{error}: pack it again", stage="read") from error


def find_member(path: str | bytes | os.PathLike[str]) -> FoundMember | None:
    """The file in an archive that a path names; None if the archive has none of that name, or is none.

    Raises:
        OSError: the archive cannot be read.
    """
    if (found := find_archive(path)) is None:
        return None
    archive, member, status = found
    contents = contents_of(archive, status)
    held = contents.places.get(member)
    return None if held is None else FoundMember(archive, held, status, contents.is_compressed)


def reading_order(path: str) -> tuple[bytes, int]:
    """A sort key by which files are read fast: members of one archive in its order."""
    try:
        found = find_member(path)
    except OSError:
        found = None
    return (os.fsencode(path), 0) if found is None else (found.archive, found.held.place.offset)


def _placed(archive: bytes, held: Held) -> bytes:
    with open(archive, "rb", buffering=0) as file:
        if held.place.crc is not None:
            return read_placed(file, held.place, held.size)
        data = os.pread(file.fileno(), held.size, held.place.offset)
    if len(data) != held.size:
        raise MemberDamaged("it is cut off")
    return data


@lru_cache(maxsize=2)
def _sequence(archive: bytes, size: int, mtime_ns: int) -> _Sequence:
    return _Sequence(archive)


class _Sequence:
    """A compressed tar that is read forward; what was passed by lately can be had again."""

    def __init__(self, archive: bytes) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._members: Iterator[tuple[Member, Held]] | None = None
        self._position = -1
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._recent_bytes = 0

    def read(self, wanted: Held) -> bytes:
        """The bytes of one member.

        Raises:
            ArchiveDamaged: the archive changed while it was read.
        """
        offset = wanted.place.offset
        with self._lock:
            if offset in self._recent:
                return self._recent[offset]
            if self._members is None or offset <= self._position:
                self._members, self._position = self._opened(), -1
            for member, held in self._members:
                self._position = held.place.offset
                if self._position == offset:
                    return b"".join(member.read())
                if held.refusal is None and held.size <= _RECENT_BYTES:
                    self._remember(self._position, b"".join(member.read()))
        raise ArchiveDamaged("the archive changed while it was read")

    def _opened(self) -> Iterator[tuple[Member, Held]]:
        with open(self._archive, "rb") as file, opened_members(self._archive, file) as (members, _):
            for member in members:
                yield member, held_file(member)

    def _remember(self, offset: int, data: bytes) -> None:
        self._recent_bytes += len(data) - len(self._recent.pop(offset, b""))
        self._recent[offset] = data
        while self._recent_bytes > _RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])
