"""The originals of an export, copied into its archive one after the other."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from twinlens.engine.decode import read_bytes
from twinlens.engine.errors import DecodeError, ServiceError
from twinlens.engine.refusals import kind_refusal, unreadable_refusal
from twinlens.service.explore.export_items import MediaItem
from twinlens.service.explore.export_names import ArchiveNames
from twinlens.service.table import shown

HELD_BYTES = 8 * 2**20
"""Larger originals wait on disk until they were read to their end."""

_CHUNK = 1 << 20
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class ExportStopped(ServiceError):
    """The export was told to stop; nothing of it is left."""


class OriginalCopier:
    """Copies originals into a ZIP; those that cannot be read are remembered and left out.

    An original is read to its end before its entry begins, so that no entry holds half a file.

    Args:
        archive: to write to. It holds about 500 bytes of memory for each image until it is closed.
        folder: where an original that is not held in memory waits, in a file without a name.
        stop: true when the export is to end.

    Attributes:
        copied: how many images the archive holds.
        failures: what export_errors.json tells: media_id, file_path and reason of each that it lacks.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: Path, stop: Callable[[], bool]) -> None:
        self.copied = 0
        self.failures: list[dict[str, str]] = []
        self._archive = archive
        self._folder = folder
        self._stop = stop
        self._names = ArchiveNames()

    def place(self, item: MediaItem) -> str | None:
        """Copy one original; its path in the archive, None if it cannot be read.

        Raises:
            ExportStopped: it was told to stop.
            OSError: the archive cannot be written.
        """
        with SpooledTemporaryFile(HELD_BYTES, dir=str(self._folder)) as held:
            try:
                for chunk in _chunks(item.source):
                    held.write(chunk)
                    check(self._stop)
            except _Unreadable as error:
                self.failures.append(
                    {"media_id": item.media_id, "file_path": shown(item.file_path), "reason": str(error)}
                )
                return None
            path = self._names.path(item.file_name, item.media_id)
            size = held.tell()
            held.seek(0)
            with self._archive.open(entry(path, size=size), "w") as out:
                copy(held, out, self._stop)
        self.copied += 1
        return path


def entry(path: str, *, deflated: bool = False, size: int = 0) -> zipfile.ZipInfo:
    """An entry that is the same whenever and wherever it is made; `size` in bytes if it is known."""
    made = zipfile.ZipInfo(path)
    made.create_system = 3
    made.external_attr = 0o100644 << 16
    made.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    made.file_size = size
    return made


def copy(source: IO[bytes], out: IO[bytes], stop: Callable[[], bool]) -> None:
    """Copy what is left of a file.

    Raises:
        ExportStopped: `stop` says so.
    """
    while chunk := source.read(_CHUNK):
        check(stop)
        out.write(chunk)


def check(stop: Callable[[], bool]) -> None:
    """Go on, or not.

    Raises:
        ExportStopped: `stop` says so.
    """
    if stop():
        raise ExportStopped("the export was stopped before its end: start it again for the whole of it")


class _Unreadable(Exception):
    """The message is one sentence for a person."""


def _chunks(path: Path | None) -> Iterator[bytes]:
    """The bytes of a regular file, or of a file in an archive."""
    if path is None:
        raise _Unreadable("the dataset holds no original of it")
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if (refusal := kind_refusal(status.st_mode)) is not None:
                raise _Unreadable(refusal)
            while chunk := file.read(_CHUNK):
                yield chunk
            changed = file.tell() != status.st_size
    except NotADirectoryError:
        try:
            yield read_bytes(path)
        except DecodeError as error:
            raise _Unreadable(error.reason) from error
        return
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _OWN_TROUBLE:
            raise
        raise _Unreadable(unreadable_refusal(error)) from error
    if changed:
        raise _Unreadable("the file changed while it was read: export again when nothing writes to it")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
