"""A small SQLite file for secrets: only its owner can read it, and several processes share it.

It is made by the first change and followed from call to call: one that was made, changed or replaced by
another process counts at once.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlens.engine.errors import NotAStore, ServiceError

_WAIT_SECONDS = 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ADVICE = ": run as the owner of its folder, or choose another folder with --home or TWINLENS_HOME"


@dataclass(frozen=True, slots=True)
class Layout:
    """What such a file holds.

    Attributes:
        application: SQLite's application_id, which tells it from other databases.
        version: of the tables; a file with a higher one is refused.
        tables: SQL that makes them.
    """

    application: int
    version: int
    tables: str


class PrivateDatabase:
    """One such file. Threads may share it.

    Every method but `close` raises:
        NotAStore: the file is damaged, newer than this version, or something else.
        ServiceError: it cannot be read or written, or others can read it and it is not ours to close.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self._layout = layout
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def rows(self, query: str, *values: str | bytes) -> list[Any]:
        """What a query finds; nothing where there is no file."""
        with self._lock, _service_errors(self.path):
            db = self._follow()
            return [] if db is None else db.execute(query, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Make all changes inside last, through a power cut as well, or none of them."""
        with self._lock, _service_errors(self.path):
            db = self._follow() or self._make()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            self._let_go()

    def _follow(self) -> sqlite3.Connection | None:
        """The file that is there now, open; None if there is none."""
        try:
            state = os.stat(self.path)
        except FileNotFoundError:
            self._let_go()
            return None
        _make_private(self.path, state)
        if self._db is None or (state.st_dev, state.st_ino) != self._opened:
            self._let_go()
            self._db = _open(self.path, self._layout)
            self._opened = state.st_dev, state.st_ino
        return self._db

    def _make(self) -> sqlite3.Connection:
        _make_file(self.path, self._layout)
        if (db := self._follow()) is None:
            raise ServiceError(f"{self.path} was removed while it was made: try again")
        return db

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = self._opened = None


def _make_file(path: Path, layout: Layout) -> None:
    """Make the file with empty tables.

    It gets its name only when it is whole, and never takes the place of one that another process made
    meanwhile. So a file without tables is damage, and must not read as one that holds nothing yet.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".new", dir=path.parent)
    os.close(descriptor)
    mark = f"PRAGMA application_id = {layout.application}; PRAGMA user_version = {layout.version};"
    try:
        with closing(_connect(Path(fresh))) as db:
            db.executescript(f"BEGIN; {layout.tables} {mark} COMMIT;")
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)


def _make_private(path: Path, state: os.stat_result) -> None:
    """See that nobody but the owner can open the file; SQLite gives its mode to the journal as well."""
    if not stat.S_ISREG(state.st_mode):
        raise NotAStore(f"{path} is not a file: move it away")
    if not state.st_mode & _OTHERS:
        return
    with suppress(OSError):
        os.chmod(path, 0o600)
    if os.stat(path).st_mode & _OTHERS:
        raise ServiceError(
            f"{path} holds secrets, others can read it, and this process cannot change that: "
            f"run `chmod 600 {path}` as its owner, or choose another folder with --home"
        )


def _open(path: Path, layout: Layout) -> sqlite3.Connection:
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    db = _connect(path)
    try:
        if db.execute("PRAGMA application_id").fetchone()[0] != layout.application:
            raise NotAStore(f"{path} is not a file of TwinLens: move it away, or choose another --home")
        if (version := db.execute("PRAGMA user_version").fetchone()[0]) > layout.version:
            raise NotAStore(f"{path} was written by a newer TwinLens (format {version}): update TwinLens")
        if (said := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise NotAStore(_damaged(path, said))
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(
        where, uri=True, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    # A rollback journal leaves one file to protect. EXTRA also syncs the folder when the journal goes:
    # one that comes back after a power cut would take back a change that was promised.
    db.execute("PRAGMA synchronous = EXTRA")
    db.execute("PRAGMA secure_delete = ON")
    return db


@contextmanager
def _service_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a disk and of SQLite into those of the service."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE if error.errno in _FORBIDDEN else ""
        raise ServiceError(f"{path} cannot be used ({error.strerror}){advice}") from error
    except sqlite3.DatabaseError as error:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if primary in _DAMAGED:
            raise NotAStore(_damaged(path, error)) from error
        advice = _ADVICE if primary in _UNWRITABLE else ""
        raise ServiceError(f"{path} cannot be used ({error}){advice}") from error


def _damaged(path: Path, why: object) -> str:
    return f"{path} is damaged ({why}): restore it from a copy, or move it away"
