"""Datasets that the server knows: whose they are, in which state, and who else may see them."""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from twinlens.service.database import Database
from twinlens.service.explore.failures import Conflict, Forbidden, NotFound

_MOUNTS = uuid.UUID("6f0f5f8e-3a0e-5a57-9c53-0c1a2f7f4a11")
_COLUMNS = (
    "id, owner, name, description, kind, folder, created, status, progress, images, error, ready, edition"
)


class Status(StrEnum):
    """The life of a dataset, as clients read it in `status_new`."""

    DRAFT = "DRAFT"
    INDEXING = "INDEXING"
    READY = "READY"
    READ_ONLY = "READ ONLY"
    PARTIAL_INDEX = "PARTIAL INDEX"
    ERROR = "ERROR"


BROWSABLE = (Status.READY, Status.READ_ONLY, Status.PARTIAL_INDEX)
"""States in which a dataset answers questions."""


class Kind(StrEnum):
    """Where the images of a dataset lie."""

    UPLOAD = "upload"
    FOLDER = "folder"
    MOUNT = "mount"


class Role(StrEnum):
    """What a caller may do with a dataset."""

    OWNER = "owner"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One dataset.

    Attributes:
        id: UUID.
        owner: the api_key that made it; "" where there were no keys.
        name, description: for people.
        kind: uploaded here, a folder of the operator, or a dataset made on the command line.
        folder: its dataset folder (catalog, vectors, index, previews).
        created: UTC, naive ISO 8601 with microseconds, as the dialect writes it.
        status: see `Status`.
        progress: 0 to 100.
        images: how many it holds.
        error: why it failed; None unless the status is ERROR.
        ready: True once it answered questions.
        edition: counts changes of tags and labels.
    """

    id: str
    owner: str
    name: str
    description: str
    kind: Kind
    folder: Path
    created: str
    status: Status
    progress: int
    images: int
    error: str | None
    ready: bool
    edition: int


@dataclass(frozen=True, slots=True)
class Share:
    """A key that may see a dataset, and as what."""

    api_key: str
    role: Role


class DatasetStore:
    """The datasets in the data folder. Threads may share it; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def secret(self, name: str) -> bytes:
        """32 random bytes, made once."""
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secrets.token_bytes(32)))
            return bytes(db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()[0])

    # -- life ---------------------------------------------------------------------------------

    def create(self, owner: str, name: str, kind: Kind, folders: Path, *, status: Status) -> DatasetRow:
        """A new dataset, its folder below `folders`."""
        id_ = str(uuid.uuid4())
        return self._insert(id_, owner, name, kind, folders / id_ / "index", status)

    def mount(self, owner: str, folder: Path, images: int) -> DatasetRow:
        """A dataset made on the command line: the same id for the same folder at every start."""
        id_ = str(uuid.uuid5(_MOUNTS, str(folder)))
        name = folder.parent.name if folder.name.startswith(".") else folder.name
        with self._database.writing() as db:
            known = db.execute("SELECT 1 FROM datasets WHERE id = ?", (id_,)).fetchone()
            if known:
                db.execute("UPDATE datasets SET owner = ?, error = NULL WHERE id = ?", (owner, id_))
        if not known:
            self._insert(id_, owner, name or str(folder), Kind.MOUNT, folder, Status.READY)
        self.set_status(id_, Status.READY, progress=100, images=images)
        return self.find(id_)

    def _insert(
        self, id_: str, owner: str, name: str, kind: Kind, folder: Path, status: Status
    ) -> DatasetRow:
        moment = now()
        with self._database.writing() as db:
            db.execute(
                "INSERT INTO datasets (id, owner, name, kind, folder, created, updated, status, ready)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id_, owner, name, kind, str(folder), moment, moment, status, status is Status.READY),
            )
            return _find(db, id_)

    def find(self, id_: str) -> DatasetRow:
        """The dataset of that id.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as db:
            return _find(db, id_)

    def exists(self, id_: str) -> bool:
        """True if there is a dataset of that id."""
        with self._database.reading() as db:
            return db.execute("SELECT 1 FROM datasets WHERE id = ?", (id_,)).fetchone() is not None

    def for_caller(self, id_: str, caller: str, *, change: bool) -> DatasetRow:
        """The dataset of that id, if the caller may see it, or change it.

        Raises:
            NotFound: there is none, or the caller may not know of it.
            Forbidden: the caller may see it and wants to change it.
        """
        with self._database.reading() as db:
            row = _find(db, id_)
            if row.owner == caller:
                return row
            shared = db.execute(
                "SELECT 1 FROM shares WHERE dataset = ? AND grantee = ?", (row.id, caller)
            ).fetchone()
        if not shared:
            raise NotFound("Dataset not found")
        if change:
            raise Forbidden(
                "this dataset is shared with your key to be seen, not changed: ask its owner to do that"
            )
        return row

    def of_caller(self, caller: str) -> list[DatasetRow]:
        """All datasets that the caller may see, the newest first."""
        query = (
            f"SELECT {_COLUMNS} FROM datasets WHERE owner = :caller"
            " OR id IN (SELECT dataset FROM shares WHERE grantee = :caller) ORDER BY created DESC, id"
        )
        with self._database.reading() as db:
            return [_row(found) for found in db.execute(query, {"caller": caller})]

    def all(self) -> list[DatasetRow]:
        """All datasets, whoever owns them."""
        with self._database.reading() as db:
            return [_row(found) for found in db.execute(f"SELECT {_COLUMNS} FROM datasets ORDER BY id")]

    def set_status(
        self,
        id_: str,
        status: Status,
        *,
        progress: int = 0,
        images: int | None = None,
        error: str | None = None,
    ) -> None:
        """Write the state; no such dataset is no error: it was deleted meanwhile."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE datasets SET status = ?, progress = ?, images = ifnull(?, images), error = ?,"
                " ready = ready OR ?, updated = ? WHERE id = ?",
                (status, progress, images, error, status in BROWSABLE, now(), id_),
            )

    def set_progress(self, id_: str, progress: int) -> None:
        """Write how far it is, 0 to 100."""
        with self._database.writing() as db:
            db.execute("UPDATE datasets SET progress = ? WHERE id = ?", (progress, id_))

    def delete(self, id_: str) -> None:
        """Forget a dataset and all that hangs on it; its files are the caller's to remove."""
        with self._database.writing() as db:
            db.execute("DELETE FROM datasets WHERE id = ?", (id_,))

    def adopt(self, previous: str, owner: str) -> None:
        """Give all datasets of one owner to another."""
        with self._database.writing() as db:
            db.execute("UPDATE datasets SET owner = ? WHERE owner = ?", (owner, previous))

    # -- sources ------------------------------------------------------------------------------

    def add_source(self, id_: str, path: Path) -> None:
        """Remember a folder of images that the dataset is made of."""
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (id_, str(path)))

    def sources(self, id_: str) -> list[Path]:
        """Folders of images that the dataset is made of."""
        with self._database.reading() as db:
            found = db.execute("SELECT path FROM sources WHERE dataset = ? ORDER BY path", (id_,))
            return [Path(path) for (path,) in found]

    # -- sharing ------------------------------------------------------------------------------

    def share(self, row: DatasetRow, grantee: str) -> None:
        """Let another key see a dataset.

        Raises:
            Conflict: it is the key of its owner.
        """
        if grantee == row.owner:
            raise Conflict("the dataset is yours already: share it with another key")
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO shares VALUES (?, ?)", (row.id, grantee))

    def unshare(self, row: DatasetRow, grantee: str) -> None:
        """Take that back; harmless where it was not shared."""
        with self._database.writing() as db:
            db.execute("DELETE FROM shares WHERE dataset = ? AND grantee = ?", (row.id, grantee))

    def shares(self, row: DatasetRow) -> Sequence[Share]:
        """Who may see it, its owner first."""
        with self._database.reading() as db:
            found = db.execute("SELECT grantee FROM shares WHERE dataset = ? ORDER BY grantee", (row.id,))
            viewers = [Share(grantee, Role.VIEWER) for (grantee,) in found]
        return [Share(row.owner, Role.OWNER), *viewers]


def check_browsable(row: DatasetRow) -> None:
    """See that a dataset answers questions.

    Raises:
        Conflict: it does not; the message says in which state it is.
    """
    if row.status not in BROWSABLE:
        why = f" ({row.error})" if row.error else ""
        raise Conflict(f"Dataset {row.id} is {row.status}{why}: it can be asked when it is READY")


def now() -> str:
    """The time as the dialect writes it: UTC, naive ISO 8601 with microseconds."""
    return moment_text(datetime.now(UTC))


def moment_text(moment: datetime) -> str:
    """A time in UTC as the dialect writes it."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def canonical_id(text: str) -> str:
    """A UUID in its usual form.

    Raises:
        NotFound: it is none, so that nothing goes by it.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound("Dataset not found") from None


def _find(db: sqlite3.Connection, id_: str) -> DatasetRow:
    found = db.execute(f"SELECT {_COLUMNS} FROM datasets WHERE id = ?", (canonical_id(id_),)).fetchone()
    if found is None:
        raise NotFound("Dataset not found")
    return _row(found)


def _row(found: Sequence[object]) -> DatasetRow:
    id_, owner, name, description, kind, folder, created, status, *rest = found
    progress, images, error, ready, edition = rest
    return DatasetRow(
        id=str(id_),
        owner=str(owner),
        name=str(name),
        description=str(description),
        kind=Kind(str(kind)),
        folder=Path(str(folder)),
        created=str(created),
        status=Status(str(status)),
        progress=int(str(progress)),
        images=int(str(images)),
        error=None if error is None else str(error),
        ready=bool(ready),
        edition=int(str(edition)),
    )
