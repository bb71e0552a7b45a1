"""A SQLite file of the service: opening, transactions, and what its errors mean to the operator.

One connection writes, one transaction at a time; readers have connections of their own and see the state
in which their transaction began, whatever is written meanwhile (WAL). A commit is on disk when it returns
(synchronous = FULL).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twinlens.engine.errors import NotAStore, ServiceError, StorageFull
from twinlens.engine.storage import FULL, room_left

_WAIT_SECONDS = 30
_PAUSE_SECONDS = 0.02
_IDLE_READERS = 8
# SQLITE_ERROR is a table that is not there; text that is no UTF-8 comes without a code.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_UNDECODABLE = "Could not decode to UTF-8"
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LITTLE_ROOM = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """What such a file holds.

    Attributes:
        application: SQLite's application_id, which tells it from other databases.
        migrations: SQL from each version to the next, the first of which makes the tables.
        content: what is in it, for messages.
    """

    application: int
    migrations: tuple[str, ...]
    content: str


class Database:
    """The file at `path`, made with its folder if there is none. Threads may share it.

    Every method raises:
        NotAStore: the file is damaged, newer than this version, or something else.
        StorageFull: no room is left on its disk.
        ServiceError: it cannot be read or written, or is closed.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self._layout = layout
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with self._errors():
            _make_file(path)
            self._writer = self._connect()
            try:
                _prepare(self._writer, path, layout)
            except BaseException:
                self._writer.close()
                raise

    def close(self) -> None:
        """Wait for the transaction that writes, and close; harmless when it is closed."""
        with self._writing, self._lock:
            if self._closed:
                return
            self._closed = True
            for reader in self._idle:
                reader.close()
            # The last connection that is closed folds the log into the file, where there is room.
            self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the file, the one at its first query."""
        with self._errors():
            reader = self._reader()
            try:
                reader.execute("BEGIN")
                yield reader
                reader.execute("COMMIT")
            except BaseException:
                reader.close()
                raise
            self._give_back(reader)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Make all changes inside durable at once, or none of them."""
        with self._errors(), self._writing:
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _reader(self) -> sqlite3.Connection:
        with self._lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        reader = self._connect()
        reader.execute("PRAGMA query_only = ON")
        return reader

    def _give_back(self, reader: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append(reader)
                return
        reader.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceError(f"the {self._layout.content} are closed: the server is stopping")

    def _connect(self) -> sqlite3.Connection:
        # autocommit: transactions are begun and ended by name, above alone.
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise self._full() from error
            raise ServiceError(f"{self.path} cannot be opened: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise self._damaged(error) from error
        except sqlite3.DatabaseError as error:
            if (meaning := self._meaning(error)) is None:
                raise
            raise meaning from error

    def _meaning(self, error: sqlite3.DatabaseError) -> Exception | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # A small disk without room fails SQLite's shared memory file as an I/O error before it says "full".
        failed = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        if code == sqlite3.SQLITE_FULL or (failed and room_left(self.path.parent) < _LITTLE_ROOM):
            return self._full()
        if code in _DAMAGED or str(error).startswith(_UNDECODABLE):
            return self._damaged(error)
        if code in _HELD:
            return ServiceError(f"another process has held {self.path} for {_WAIT_SECONDS} s: end it")
        if code in _UNWRITABLE:
            return ServiceError(
                f"{self.path} cannot be written: give this user the right to, with its folder"
            )
        if code == sqlite3.SQLITE_IOERR:
            return ServiceError(f"the disk of {self.path} fails: {error}")
        return None

    def _full(self) -> StorageFull:
        return StorageFull(
            f"no room left in the server's data folder {self.path.parent}: free some space and send the "
            "same request again"
        )

    def _damaged(self, error: Exception) -> NotAStore:
        return NotAStore(f"{self.path} is damaged ({error}): restore it, or move it away to begin anew")


def _make_file(path: Path) -> None:
    """An empty file that only its owner can read; SQLite gives its log the same rights."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _prepare(db: sqlite3.Connection, path: Path, layout: Layout) -> None:
    """Bring a file to this version, however many processes do so at once.

    SQLite does not wait for others while it begins a write-ahead log: two that wait might wait for each
    other. So whoever comes second tries again.
    """
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            _bring_up_to_date(db, path, layout)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _HELD or time.monotonic() > until:
                raise
            if db.in_transaction:
                db.execute("ROLLBACK")
            time.sleep(_PAUSE_SECONDS)


def _bring_up_to_date(db: sqlite3.Connection, path: Path, layout: Layout) -> None:
    """Check whose file it is before anything is changed, then make what is missing."""
    application, version, tables = _signature(db)
    if (application, tables) != (0, 0) and application != layout.application:
        raise NotAStore(f"{path} is not a file of {layout.content}: move it away")
    if version > len(layout.migrations):
        raise NotAStore(
            f"{path} has format {version}, this TwinLens knows up to {len(layout.migrations)}: update it"
        )
    db.execute("PRAGMA journal_mode = WAL")
    if version == len(layout.migrations):
        return
    db.execute("BEGIN IMMEDIATE")
    # Another process may have done it while this one waited.
    _, version, _ = _signature(db)
    script = ";".join(layout.migrations[version:])
    stamps = f"PRAGMA application_id = {layout.application}; PRAGMA user_version = {len(layout.migrations)}"
    # executescript commits what is open before it begins, so the statements are run one by one.
    for statement in f"{script};{stamps}".split(";"):
        db.execute(statement)
    db.execute("COMMIT")


def _signature(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Whose file it is, its version, and how many tables it has."""
    found = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    return tuple(found)
