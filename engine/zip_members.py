"""Members of a zip archive, read by the standard library within bounds on its table of contents."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from twinlens.engine.archive_members import (
    CHUNK_BYTES,
    ArchiveDamaged,
    ArchiveRefused,
    Member,
    MemberDamaged,
    Place,
)
from twinlens.engine.refusals import one_line

_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 1024
"""What a table of contents may have for each member that is allowed; real ones have about a hundred."""

_HEADER_BYTES = 30
_ENCRYPTED, _PATCHED, _STRONGLY_ENCRYPTED, _UTF8 = 0x1, 0x20, 0x40, 0x800
_DOS_FOLDER = 0x10
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class ZipArchive:
    """An open zip archive.

    Attributes:
        members: all of them, folders too.

    Args:
        path: where it lies.
        max_members: most entries that it may have.
        advice: what to do about one that has more.

    Raises:
        ArchiveDamaged: it has no table of contents that can be read.
        ArchiveRefused: it has more than `max_members`, or several members share bytes.
    """

    def __init__(self, path: Path, *, max_members: int, advice: str = "split it") -> None:
        self._file = _Guarded(io.FileIO(path), max_members, advice)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._file.is_guarded = False
            self._file.check(len(self._zip.infolist()))
            _check_apart(self._zip.infolist())
            self.members = [self._member(info) for info in self._zip.infolist()]
        except _DAMAGE as error:
            self._file.close()
            raise ArchiveDamaged(f"its table of contents cannot be read ({one_line(error)})") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
        self._file.close()

    def _member(self, info: zipfile.ZipInfo) -> Member:
        name = _name(info)
        is_folder = name.replace("\\", "/").endswith("/") or bool(info.external_attr & _DOS_FOLDER)
        place = Place(info.header_offset, info.compress_size, info.compress_type, info.CRC)
        return Member(name, info.file_size, place, lambda: self._read(info), is_folder, _refusal(info))

    def _read(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        left = info.file_size
        if not 0 <= info.header_offset < os.fstat(self._file.fileno()).st_size:
            raise MemberDamaged("it is damaged: its place is not in the archive")
        try:
            with self._zip.open(info) as file:
                while chunk := file.read(CHUNK_BYTES):
                    left -= len(chunk)
                    yield chunk
        except _DAMAGE as error:
            raise MemberDamaged(f"it is damaged ({one_line(error)})") from error
        if left:
            raise MemberDamaged(f"it is damaged: {left:,} of its {info.file_size:,} bytes are missing")


class _Guarded(io.BufferedReader):
    """A zip file whose table of contents may have so many entries.

    `zipfile` reads the table at one go and makes an object of each entry before anybody can count them.
    """

    def __init__(self, raw: io.FileIO, max_members: int, advice: str) -> None:
        super().__init__(raw)
        self._advice = advice
        self._max_members = max_members
        self.is_guarded = True

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; refuses what is too large a table."""
        if not self.is_guarded or size is None or size < 0:
            return super().read(size)
        most = (self._max_members + 64) * _ENTRY_BYTES
        if size > most:
            raise ArchiveRefused(f"its table of contents has {size:,} bytes, and at most {most:,} are read")
        data = super().read(size)
        self.check(data.count(_ENTRY))
        return data

    def check(self, entries: int) -> None:
        if entries > self._max_members:
            raise ArchiveRefused(f"{too_many_members(self._max_members)}: {self._advice}")


def too_many_members(most: int) -> str:
    """What an archive of too many members is told."""
    return f"it has more than {most:,} members"


def _check_apart(infos: list[zipfile.ZipInfo]) -> None:
    """Small bombs grow large by members that are made of the same bytes.

    Source: D. Fifield, "A better zip bomb", WOOT 2019.
    """
    end = None
    for info in sorted(infos, key=lambda info: info.header_offset):
        if end is not None and info.header_offset < end:
            raise ArchiveRefused("several of its members share bytes, as in a zip bomb: pack the files again")
        end = info.header_offset + _HEADER_BYTES + info.compress_size


def _name(info: zipfile.ZipInfo) -> str:
    """Programs write UTF-8 without saying so, which `zipfile` takes for the code page of DOS."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _refusal(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(kind):
        return "it is a symbolic link: only files are unpacked"
    if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        return "it is a device, pipe or socket: only files are unpacked"
    if info.flag_bits & (_ENCRYPTED | _STRONGLY_ENCRYPTED):
        return "it is encrypted: pack it without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & _PATCHED:
        return f"it is compressed by method {info.compress_type}, which is not read: use deflate"
    return None
