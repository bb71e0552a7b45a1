"""Exports that were asked for, remembered over restarts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from twinlens.service.database import Database
from twinlens.service.explore.datasets import now
from twinlens.service.explore.failures import NotFound

_COLUMNS = "id, dataset, owner, created, request, status, progress, entities, message"


class TaskStatus(StrEnum):
    """How far an export is, in the words of the dialect."""

    INIT = "INIT"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported.

    Attributes:
        file_name: of the ZIP, without its extension.
        fmt: "json" or "parquet".
        include_images: put the originals into it.
        question: a question to explore (`ExploreQuery.canonical`); its answer is exported.
        media: ids of images, where some were chosen by hand; None means the answer to the question.
        base: by which URL the client knows this server.
        owner_name: who asks, for the head of the export.
    """

    file_name: str
    fmt: str
    include_images: bool
    question: str
    media: Sequence[str] | None
    base: str
    owner_name: str


@dataclass(frozen=True, slots=True)
class ExportTask:
    """One export.

    Attributes:
        id: UUID.
        dataset: whose.
        owner: the key that asked for it.
        created: as the dialect writes times.
        request: what is exported.
        status: how far it is.
        progress: 0 to 100.
        entities: images it holds.
        message: why it failed or was rejected.
    """

    id: str
    dataset: str
    owner: str
    created: str
    request: ExportRequest
    status: TaskStatus
    progress: float
    entities: int
    message: str | None


class ExportTasks:
    """The exports of all datasets. Threads may share it; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, dataset: str, owner: str, request: ExportRequest) -> ExportTask:
        """A new export."""
        id_ = str(uuid.uuid4())
        with self._database.writing() as db:
            db.execute(
                "INSERT INTO exports (id, dataset, owner, created, request, status)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (id_, dataset, owner, now(), json.dumps(asdict(request)), TaskStatus.INIT),
            )
        return self.find(dataset, id_)

    def find(self, dataset: str, id_: str) -> ExportTask:
        """One export.

        Raises:
            NotFound: the dataset has no such export.
        """
        with self._database.reading() as db:
            query = f"SELECT {_COLUMNS} FROM exports WHERE id = ? AND dataset = ?"
            found = db.execute(query, (id_, dataset)).fetchone()
        if found is None:
            raise NotFound(f"Export task {id_[:100]} not found")
        return _task(found)

    def unfinished(self) -> list[ExportTask]:
        """Exports that an earlier server did not finish, the oldest first."""
        with self._database.reading() as db:
            query = f"SELECT {_COLUMNS} FROM exports WHERE status = ? ORDER BY created"
            return [_task(found) for found in db.execute(query, (TaskStatus.INIT,))]

    def set_progress(self, task: ExportTask, progress: float, entities: int) -> None:
        """Write how far it is."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE exports SET progress = ?, entities = ? WHERE id = ?", (progress, entities, task.id)
            )

    def end(self, task: ExportTask, status: TaskStatus, message: str | None, entities: int) -> None:
        """Write how it ended."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE exports SET status = ?, progress = ?, message = ?, entities = ? WHERE id = ?",
                (status, 100.0 if status is TaskStatus.COMPLETED else 0.0, message, entities, task.id),
            )

    def take_old(self, dataset: str, days: int) -> list[str]:
        """Forget exports that ended days ago; their ids."""
        before = (
            (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None).isoformat(timespec="microseconds")
        )
        with self._database.writing() as db:
            found = db.execute(
                "SELECT id FROM exports WHERE dataset = ? AND created < ? AND status != ?",
                (dataset, before, TaskStatus.INIT),
            ).fetchall()
            db.executemany("DELETE FROM exports WHERE id = ?", found)
        return [id_ for (id_,) in found]


def _task(found: Sequence[Any]) -> ExportTask:
    id_, dataset, owner, created, request, status, progress, entities, message = found
    fields: Mapping[str, Any] = json.loads(request)
    return ExportTask(
        id_,
        dataset,
        owner,
        created,
        ExportRequest(**fields),
        TaskStatus(status),
        progress,
        entities,
        message,
    )
