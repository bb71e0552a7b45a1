"""What every file of a dataset shares: the errors of a disk, and whether it can be written."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twinlens.engine.errors import DatasetCorrupt, DatasetReadOnly, StorageFull

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk and of SQLite into those of the dataset in `folder`.

    Raises:
        StorageFull: no room left, or over quota.
        DatasetReadOnly: the folder cannot be written.
        DatasetCorrupt: SQLite says that the catalog is damaged.
    """
    full = f"no room left for the dataset in {folder}: free some space and run the same command again"
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(full) from error
        if error.errno in UNWRITABLE:
            raise DatasetReadOnly(f"the dataset in {folder} cannot be written: {error.strerror}") from error
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        # A tmpfs without room fails SQLite's shared memory file as an I/O error before it says "full".
        if primary == sqlite3.SQLITE_FULL or (
            primary == sqlite3.SQLITE_IOERR and room_left(folder) < 1 << 20
        ):
            raise StorageFull(full) from error
        if primary == sqlite3.SQLITE_READONLY:
            raise DatasetReadOnly(f"the dataset in {folder} cannot be written") from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DatasetCorrupt(
                f"the catalog in {folder} is damaged ({error}): restore it or index again"
            ) from error
        raise


def room_left(folder: Path) -> int:
    """Bytes that this process may still write below `folder`."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def is_writable(folder: Path) -> bool:
    """True if files can be made in `folder`; false on a read-only mount, whatever its mode bits say."""
    return os.access(folder, os.W_OK | os.X_OK)
