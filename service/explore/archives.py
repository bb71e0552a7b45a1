"""Archives of images, unpacked within limits: zip, tar, and tar compressed by gzip, bzip2 or xz."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twinlens.engine.archive_members import (
    ArchiveDamaged,
    ArchiveRefused,
    Member,
    MemberDamaged,
    ReadThrough,
)
from twinlens.engine.decompression import FORMATS, Decompressed
from twinlens.engine.storage import storage_errors
from twinlens.engine.tar_members import BLOCK_BYTES, PlainStream, Stream, is_tar, whole_tar
from twinlens.engine.zip_members import ZipArchive, too_many_members
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.staging import Staging, safe_parts, shown

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MAX_DEPTH = 32
_MAX_PATH_BYTES = 1024
_SPLIT = "split it, or raise TWINLENS_MAX_UPLOAD_FILES"
_HEADERS_BYTES = 4096
"""What a tar may have for each member beside its data."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may hold.

    Attributes:
        max_members: entries, folders and hidden files too.
        max_file_bytes: of one unpacked file.
        max_bytes: of all unpacked files together.
    """

    max_members: int
    max_file_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A member that was not unpacked, or the rest of an archive.

    Attributes:
        name: its path in the archive, or the name of the archive.
        reason: one sentence for a person, without the name.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of an archive.

    Attributes:
        files: where they lie, in the order of the archive.
        left_out: what does not lie there; folders, hidden files and `__MACOSX` are not mentioned.
    """

    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


def unpack(archive: Path, name: str, folder: Path, limits: ArchiveLimits) -> Unpacked:
    """Write the files of an archive below a folder; they are on disk, past every cache, when this returns.

    The kind is told by content. Members keep their folders; a second one of a path lies below `folder/2`,
    and so on. Links, devices, encrypted and damaged members are left out. Of a tar that breaks off, what
    comes before that is kept. Archives in archives are files like any other.

    Args:
        archive: where it lies.
        name: how messages call it.
        folder: exists, and only this call writes to it; after an error it is as it was.
        limits: what it may hold.

    Raises:
        BadRequest: not an archive, damaged as a whole, or more than the limits allow.
        StorageFull: no room left in `folder`.
        DatasetReadOnly: `folder` cannot be written.
    """
    unpacking = _Unpacking(name, folder, limits)
    with storage_errors(folder):
        try:
            with _members(archive, limits) as members:
                unpacking.take_all(members)
            return unpacking.finish()
        except ArchiveDamaged as error:
            unpacking.discard()
            raise BadRequest(f"{shown(name)} cannot be unpacked: {error}") from error
        except (BadRequest, ArchiveRefused) as error:
            unpacking.discard()
            raise BadRequest(f"{shown(name)} is not unpacked: {error}") from error
        except BaseException:
            unpacking.discard()
            raise


class _Unpacking:
    """One archive on its way to a folder."""

    def __init__(self, name: str, folder: Path, limits: ArchiveLimits) -> None:
        self._name = name
        self._limits = limits
        self._staging = Staging(folder)
        self._files: list[Path] = []
        self._left_out: list[LeftOut] = []
        self._members = 0
        self._bytes = 0

    def take_all(self, members: Iterable[Member]) -> None:
        if isinstance(members, list):
            self._check_size(sum(member.size for member in members if _is_taken(member)))
        where = self._name
        try:
            for member in members:
                where = _called(member)
                self._take(member)
                where = self._name
        except ArchiveDamaged as error:
            if not self._members:
                raise
            self._left_out.append(LeftOut(where, str(error)))

    def finish(self) -> Unpacked:
        self._staging.sync()
        return Unpacked(tuple(self._files), tuple(self._left_out))

    def discard(self) -> None:
        self._staging.discard()

    def _take(self, member: Member) -> None:
        self._members += 1
        if max(self._members, self._staging.folders) > self._limits.max_members:
            raise BadRequest(f"{too_many_members(self._limits.max_members)}: {_SPLIT}")
        if not _is_taken(member):
            if not member.is_folder and not _is_hidden(member):
                self._left_out.append(LeftOut(_called(member), _reason(member)))
            return
        if member.size > self._limits.max_file_bytes:
            raise BadRequest(
                f"{shown(_called(member))} in it has more than {self._limits.max_file_bytes:,} bytes: "
                "leave it out, or raise TWINLENS_MAX_UPLOAD_FILE_BYTES"
            )
        self._bytes += member.size
        self._check_size(self._bytes)
        self._write(member)

    def _write(self, member: Member) -> None:
        path, file = self._staging.create(safe_parts(member.name))
        try:
            with file:
                for chunk in member.read():
                    file.write(chunk)
        except MemberDamaged as error:
            self._staging.remove(path)
            self._left_out.append(LeftOut(_called(member), str(error)))
        except ArchiveDamaged:
            self._staging.remove(path)
            raise
        else:
            self._files.append(path)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise BadRequest(_too_large(self._limits))


class _Bounded(ReadThrough):
    """A stream that may have so many bytes: what is skipped takes time too."""

    def __init__(self, stream: Stream, limits: ArchiveLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._left = limits.max_bytes + (limits.max_members + 256) * _HEADERS_BYTES

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadRequest(_too_large(self._limits))
        return data

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _members(archive: Path, limits: ArchiveLimits) -> Iterator[Iterable[Member]]:
    """The members of an archive of any kind."""
    with archive.open("rb") as file:
        head = file.read(BLOCK_BYTES)
        file.seek(0)
        new = next((new for magic, new in FORMATS.items() if head.startswith(magic)), None)
        if new is not None:
            yield whole_tar(_Bounded(Decompressed(file, new), limits))
        elif head.startswith(_ZIP) or (not is_tar(head) and zipfile.is_zipfile(file)):
            with ZipArchive(archive, max_members=limits.max_members, advice=_SPLIT) as opened:
                yield opened.members
        elif is_tar(head):
            yield whole_tar(_Bounded(PlainStream(file), limits))
        else:
            raise BadRequest("it is no zip or tar archive: pack the files as .zip, .tar or .tar.gz")


def _is_taken(member: Member) -> bool:
    return not member.is_folder and not _is_hidden(member) and _reason(member) == ""


def _is_hidden(member: Member) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in safe_parts(member.name))


def _reason(member: Member) -> str:
    """Why a file is left out; empty if it is not."""
    parts = safe_parts(member.name)
    if not parts:
        return "its name leads to no file"
    if len(parts) > _MAX_DEPTH or len("/".join(parts).encode()) > _MAX_PATH_BYTES:
        return f"its path has more than {_MAX_DEPTH} parts or {_MAX_PATH_BYTES:,} bytes"
    return member.refusal or ""


def _called(member: Member) -> str:
    return "/".join(safe_parts(member.name)) or shown(member.name)


def _too_large(limits: ArchiveLimits) -> str:
    return (
        f"it unpacks to more than {limits.max_bytes:,} bytes: split it, or raise TWINLENS_MAX_UNPACKED_BYTES"
    )
