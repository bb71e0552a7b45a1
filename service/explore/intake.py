"""Uploads on their way into a dataset: received whole or not at all, kept in the order in which they came.

Below the folder of a dataset lie

    staging/TOKEN/            a request that is being received; gone with the next start
    uploads/TRANS/NUMBER/     requests of a transaction that were acknowledged
    images/TRANS/NUMBER/      those of transactions that were handed over to be indexed: what ingest reads

A request becomes part of its transaction by one rename and one commit; a transaction becomes part of the
dataset by one commit and one rename, which is made up for where a kill came between the two.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from twinlens.engine.errors import TwinLensError
from twinlens.engine.storage import storage_errors
from twinlens.service.database import Database
from twinlens.service.explore.annotation_files import Annotation
from twinlens.service.explore.failures import BadRequest, NotFound
from twinlens.service.explore.moves import folders_in, move, numbered, removed_on_failure

INCOMING = "incoming"
"""In place of a dataset: for requests that make one, or leave nothing."""

_ROWS_AT_ONCE = 10_000
_STAGING, _UPLOADS, _IMAGES = "staging", "uploads", "images"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request brings.

    Attributes:
        folder: where its files lie, below the staging folder.
        files: how many images are among them.
        digest: of names, sizes and content: a request that is sent again is the same one.
        annotations: labels and captions that came with it.
        left_out: what an archive held and was not taken: names and reasons.
    """

    folder: Path
    files: int
    digest: bytes
    annotations: tuple[Annotation, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


class Intake:
    """Transactions and their uploads.

    Args:
        database: where they are remembered.
        folders: where each dataset has a folder, named by its id.
    """

    def __init__(self, database: Database, folders: Path) -> None:
        self._database = database
        self._folders = folders

    def home(self, dataset: str) -> Path:
        """The folder of a dataset."""
        return self._folders / dataset

    def images(self, dataset: str) -> Path:
        """The folder that ingest reads."""
        return self.home(dataset) / _IMAGES

    def begin(self, dataset: str) -> int:
        """A new transaction."""
        with self._database.writing() as db:
            added = db.execute("INSERT INTO transactions (dataset) VALUES (?)", (dataset,))
            return int(added.lastrowid or 0)

    def check_open(self, dataset: str, number: int) -> None:
        """See that a transaction takes uploads.

        Raises:
            NotFound: there is none, or it was handed over already.
        """
        with self._database.reading() as db:
            if _processed(db, dataset, number):
                raise NotFound(f"transaction {number} was processed: begin another with GET .../data_files")

    @asynccontextmanager
    async def staging(self, dataset: str) -> AsyncIterator[Path]:
        """An empty folder for one request; what is left in it in the end is removed.

        Args:
            dataset: for which; `INCOMING` for none that there is by now.
        """
        folder = self.home(dataset) / _STAGING / uuid.uuid4().hex
        await asyncio.to_thread(self._make, folder)
        try:
            yield folder
        finally:
            await asyncio.to_thread(self._remove, folder, dataset)

    def _make(self, folder: Path) -> None:
        with storage_errors(self._folders):
            folder.mkdir(parents=True)

    def _remove(self, folder: Path, dataset: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(TwinLensError), self._database.reading() as db:
            if dataset != INCOMING and not _exists(db, dataset):
                # It was deleted meanwhile.
                shutil.rmtree(self.home(dataset), ignore_errors=True)

    def deliver(self, dataset: str, number: int, delivery: Delivery) -> int:
        """Make a request part of its transaction; it is on disk when this returns.

        A request that was received before without its client being told is recognised by its digest, so
        that sending it again does not double its images.

        Returns:
            Its number, for `answered`.

        Raises:
            NotFound: the transaction was handed over meanwhile.
        """
        with removed_on_failure() as folders, self._database.writing() as db:
            if _processed(db, dataset, number):
                raise NotFound(f"transaction {number} was processed: begin another with GET .../data_files")
            again = db.execute(
                "SELECT number FROM uploads WHERE trans = ? AND digest = ? AND NOT answered",
                (number, delivery.digest),
            ).fetchone()
            return int(again[0]) if again else self._take(db, dataset, number, delivery, folders)

    def deliver_at_once(self, dataset: str, delivery: Delivery) -> int:
        """Hand a request over as a transaction of its own; like `deliver`, it knows one that is sent again.

        Returns:
            Its number, for `answered`.

        Raises:
            BadRequest: it brings no image.
        """
        if not delivery.files:
            raise BadRequest("no image was sent: labels come with images, or by the calls of ingestion")
        with removed_on_failure() as folders, self._database.writing() as db:
            again = db.execute(
                "SELECT uploads.number FROM uploads JOIN transactions ON trans = transactions.number"
                " WHERE dataset = ? AND processed AND digest = ? AND NOT answered",
                (dataset, delivery.digest),
            ).fetchone()
            if again is not None:
                return int(again[0])
            begun = db.execute("INSERT INTO transactions (dataset, processed) VALUES (?, 1)", (dataset,))
            return self._take(db, dataset, int(begun.lastrowid or 0), delivery, folders)

    def _take(
        self, db: sqlite3.Connection, dataset: str, number: int, delivery: Delivery, placed: list[Path]
    ) -> int:
        added = db.execute(
            "INSERT INTO uploads (trans, digest, files) VALUES (?, ?, ?)",
            (number, delivery.digest, delivery.files),
        )
        upload = int(added.lastrowid or 0)
        _annotate(db, dataset, delivery.annotations)
        left_out = ((dataset, name, reason) for name, reason in delivery.left_out)
        db.executemany("INSERT OR REPLACE INTO left_out VALUES (?, ?, ?)", left_out)
        place = self.home(dataset) / _UPLOADS / str(number)
        with storage_errors(self.home(dataset)):
            place.mkdir(parents=True, exist_ok=True)
            placed.append(place / numbered(upload))
            move(delivery.folder, placed[-1])
        return upload

    def answered(self, upload: int) -> None:
        """The client was told: the same content from now on is another upload."""
        with self._database.writing() as db:
            db.execute("UPDATE uploads SET answered = 1 WHERE number = ?", (upload,))

    def left_out(self, dataset: str) -> list[tuple[str, str]]:
        """What archives held and was not taken: names and reasons."""
        with self._database.reading() as db:
            query = "SELECT name, reason FROM left_out WHERE dataset = ? ORDER BY name"
            return [(name, reason) for name, reason in db.execute(query, (dataset,))]

    def annotate(self, dataset: str, annotations: Iterable[Annotation]) -> None:
        """Remember labels and captions of files, some at a time: others write in between."""
        rows = iter(annotations)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            with self._database.writing() as db:
                _annotate(db, dataset, some)

    def hand_over(self, dataset: str, number: int) -> bool:
        """Let ingest have a transaction.

        Returns:
            False if it was handed over before.

        Raises:
            NotFound: no such transaction.
            BadRequest: nothing was uploaded.
        """
        with self._database.writing() as db:
            if _processed(db, dataset, number):
                return False
            files = db.execute("SELECT sum(files) FROM uploads WHERE trans = ?", (number,)).fetchone()[0]
            if not files:
                raise BadRequest(f"transaction {number} holds no image: upload files before processing it")
            db.execute("UPDATE transactions SET processed = 1 WHERE number = ?", (number,))
        return True

    def settle(self, dataset: str) -> None:
        """Move what was handed over to where ingest reads, before it does."""
        with self._database.reading() as db:
            handed_over = db.execute(
                "SELECT number FROM transactions WHERE dataset = ? AND processed ORDER BY number", (dataset,)
            ).fetchall()
        home = self.home(dataset)
        with storage_errors(home):
            (home / _IMAGES).mkdir(parents=True, exist_ok=True)
            for (number,) in handed_over:
                waiting = home / _UPLOADS / str(number)
                if waiting.is_dir():
                    move(waiting, home / _IMAGES / numbered(number))

    def holds_any(self, dataset: str) -> bool:
        """True if something was ever handed over."""
        with self._database.reading() as db:
            found = db.execute("SELECT 1 FROM transactions WHERE dataset = ? AND processed", (dataset,))
            return found.fetchone() is not None

    def is_settled(self, dataset: str) -> bool:
        """False if something was handed over since `settle`."""
        with self._database.reading() as db:
            handed_over = db.execute(
                "SELECT number FROM transactions WHERE dataset = ? AND processed", (dataset,)
            ).fetchall()
        waiting = {folder.name for folder in folders_in(self.home(dataset) / _UPLOADS)}
        return not any(str(number) in waiting for (number,) in handed_over)

    def tidy(self, dataset: str) -> None:
        """Remove what a killed server left: half-received requests, and files of no acknowledged one."""
        home = self.home(dataset)
        shutil.rmtree(home / _STAGING, ignore_errors=True)
        with self._database.reading() as db:
            known = db.execute(
                "SELECT trans, uploads.number FROM uploads JOIN transactions ON trans = transactions.number"
                " WHERE dataset = ?",
                (dataset,),
            ).fetchall()
        kept = {(str(trans), numbered(number)) for trans, number in known}
        for trans in folders_in(home / _UPLOADS):
            for upload in folders_in(trans):
                if (trans.name, upload.name) not in kept:
                    shutil.rmtree(upload, ignore_errors=True)


def _exists(db: sqlite3.Connection, dataset: str) -> bool:
    return db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset,)).fetchone() is not None


def _processed(db: sqlite3.Connection, dataset: str, number: int) -> bool:
    # SQLite has no larger integers, and no transaction has such a number.
    found = (
        db.execute(
            "SELECT processed FROM transactions WHERE number = ? AND dataset = ?", (number, dataset)
        ).fetchone()
        if number < 1 << 63
        else None
    )
    if found is None:
        raise NotFound(f"Transaction {number} not found")
    return bool(found[0])


def _annotate(db: sqlite3.Connection, dataset: str, annotations: Iterable[Annotation]) -> None:
    rows = [
        (dataset, each.filename, kind, text)
        for each in annotations
        for kind, text in (("label", each.label), ("caption", each.caption))
        if text is not None
    ]
    if rows:
        db.executemany("INSERT OR IGNORE INTO annotations VALUES (?, ?, ?, ?)", rows)
        db.execute("UPDATE datasets SET edition = edition + 1 WHERE id = ?", (dataset,))
