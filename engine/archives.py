"""What an archive of images holds: zip, tar, and tar compressed by gzip, bzip2, xz or Zstandard.

It is read where it lies, nothing is unpacked to disk, and the kind of an archive is told by its content.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from twinlens.engine.archive_members import ArchiveDamaged, ArchiveRefused, Member, Place, ReadThrough
from twinlens.engine.archive_names import member_path
from twinlens.engine.decompression import FORMATS, Decompressed, Zstandard
from twinlens.engine.tar_members import BLOCK_BYTES, PlainStream, Stream, is_tar, tar_members, whole_tar
from twinlens.engine.zip_headers import local_members
from twinlens.engine.zip_members import ZipArchive, too_many_members

MAX_MEMBERS = 1_000_000
"""Members of one archive; the table of contents of the archive at hand is held in memory."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BOMB_RATIO, _BOMB_BYTES = 100, 1 << 30
"""A tar may unpack to a gigabyte, and beyond that to so many times its size; images hardly shrink."""

_COPY = "copy or download it again"
_SPLIT = "split it into several"


@dataclass(frozen=True, slots=True)
class Held:
    """A file in an archive.

    Attributes:
        path: below the archive, "/" between its parts; never leads out of it.
        occurrence: 1, or more for one of several with this path.
        size: unpacked bytes.
        place: where they lie.
        refusal: why it is not read; None for a file that can be.
    """

    path: bytes
    size: int
    place: Place
    refusal: str | None
    occurrence: int = 1


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds.

    Attributes:
        members: its files in their order; of several with one path, all but the first are refused.
        places: those that can be read, by path.
        is_compressed: they can only be read one after the other.
        damage: why not all of it is here, one sentence; None for a whole archive.
    """

    members: tuple[Held, ...]
    places: Mapping[bytes, Held]
    is_compressed: bool
    damage: str | None


def contents_of(archive: bytes, status: os.stat_result) -> Contents:
    """What an archive holds; asked again soon, an archive that did not change is not listed again.

    Args:
        archive: absolute path.
        status: what `os.stat` says of it.

    Raises:
        OSError: it cannot be opened or read.
    """
    # Several threads that come to the next archive at once must not all list it.
    with _LISTING:
        return _contents(archive, status.st_size, status.st_mtime_ns)


_LISTING = threading.Lock()


@lru_cache(maxsize=4)
def _contents(archive: bytes, size: int, mtime_ns: int) -> Contents:
    listing = _Listing()
    with open(archive, "rb") as file:
        try:
            with opened_members(archive, file) as (members, stream):
                listing.is_compressed = isinstance(stream, _Bounded)
                listing.take_all(members, stream)
        except ArchiveRefused as error:
            listing.damage = str(error)
        except ArchiveDamaged as error:
            listing.damage = f"it cannot be read ({error}): {_COPY}"
            file.seek(0)
            if file.read(4) == _ZIP[0]:
                file.seek(0)
                listing.take_all(local_members(stream := PlainStream(file)), stream)
    return Contents(tuple(listing.held), listing.places, listing.is_compressed, listing.damage)


class _Listing:
    """The files of one archive, as they are found."""

    def __init__(self) -> None:
        self.is_compressed = False
        self.damage: str | None = None
        self.held: list[Held] = []
        self.places: dict[bytes, Held] = {}
        self._repeated: Counter[bytes] = Counter()

    def take_all(self, members: Iterable[Member], stream: Stream | None) -> None:
        """Take the members up to where the archive breaks off: each once all of it was seen."""
        last: Held | None = None
        try:
            for held in held_files(members):
                self._take(last)
                last = held
        except ArchiveDamaged as error:
            assert stream is not None, "a table of contents does not break off"
            if last is not None and last.place.offset + last.place.stored <= stream.tell():
                self._take(last)
                last = None
            self.damage = self._broken_off(error, stream.tell(), last)
        else:
            self._take(last)

    def _take(self, held: Held | None) -> None:
        if held is None:
            return
        if held.refusal is None and held.path in self.places:
            self._repeated[held.path] += 1
            reason = (
                "the archive holds this path several times, and the first is read: give each its own name"
            )
            held = replace(held, refusal=reason, occurrence=1 + self._repeated[held.path])
        elif held.refusal is None:
            self.places[held.path] = held
        self.held.append(held)

    def _broken_off(self, error: ArchiveDamaged, end: int, inside: Held | None) -> str:
        unpacked = "unpacked " if self.is_compressed else ""
        where = f" inside {os.fsdecode(inside.path)}" if inside is not None else ""
        return (
            f"it ends after {end:,} {unpacked}bytes{where} ({error}): the {len(self.held):,} files "
            f"before that were found, the rest is missing; {_COPY}"
        )


def held_files(members: Iterable[Member]) -> Iterator[Held]:
    """The files among the members of an archive.

    Raises:
        ArchiveRefused: there are too many members.
    """
    for count, member in enumerate(members, start=1):
        if count > MAX_MEMBERS:
            raise ArchiveRefused(f"{too_many_members(MAX_MEMBERS)}: {_SPLIT}")
        if not member.is_folder:
            yield held_file(member)


def held_file(member: Member) -> Held:
    """A member under a path that is safe to print and to join."""
    path, refusal = member_path(member.name)
    return Held(path, member.size, member.place, refusal or member.refusal)


@contextmanager
def opened_members(archive: bytes, file: BinaryIO) -> Iterator[tuple[Iterable[Member], Stream | None]]:
    """The members of an archive, and the stream that they come from; None for a zip.

    Raises:
        ArchiveDamaged: its beginning or its table of contents cannot be read.
        ArchiveRefused: it is of a kind that is not read.
    """
    head = file.read(BLOCK_BYTES)
    file.seek(0)
    if not head:
        raise ArchiveRefused(f"the file is empty (0 bytes): {_COPY}")
    if (compressed := opened_stream(file, head)) is not None:
        yield whole_tar(compressed), compressed
    elif head.startswith(_ZIP) or (not is_tar(head) and zipfile.is_zipfile(file)):
        with ZipArchive(Path(os.fsdecode(archive)), max_members=MAX_MEMBERS, advice=_SPLIT) as opened:
            yield opened.members, None
    elif is_tar(head):
        plain = PlainStream(file)
        yield tar_members(plain), plain
    else:
        raise ArchiveRefused(
            f"it is no zip or tar archive (its bytes begin {head[:8].hex(' ')}): "
            "pack the files as .zip, .tar or .tar.gz"
        )


def opened_stream(file: BinaryIO, head: bytes) -> _Bounded | None:
    """The unpacked bytes of a compressed tar, None for any other file."""
    size = os.fstat(file.fileno()).st_size
    if head.startswith(Zstandard.MAGIC):
        return _Bounded(Zstandard(file), size)
    new = next((new for magic, new in FORMATS.items() if head.startswith(magic)), None)
    return None if new is None else _Bounded(Decompressed(file, new), size)


class _Bounded(ReadThrough):
    """A compressed tar, up to where only a bomb would go on."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._most = max(_BOMB_BYTES, _BOMB_RATIO * size)

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        if self._stream.tell() > self._most:
            raise ArchiveRefused(
                f"it unpacks to more than {self._most:,} bytes, as a zip bomb does: unpack it yourself"
            )
        return data

    def tell(self) -> int:
        return self._stream.tell()
