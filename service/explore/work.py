"""Jobs: what is to be indexed, in the order it was asked for, remembered over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from twinlens.service.database import Database
from twinlens.service.explore.failures import Conflict, NotFound


class Task(StrEnum):
    """Why a dataset is indexed."""

    CREATE = "DATASET_CREATION"
    ADD = "MEDIA_ADDITION"
    REINDEX = "REINDEX"


class JobState(StrEnum):
    """How far a job is. A failed one is tried again when the server starts, and when it is asked for."""

    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        number: rises with time.
        dataset: whose.
        task: why.
        compare: compare what was added at once; otherwise that waits for a reindex.
    """

    number: int
    dataset: str
    task: Task
    compare: bool


class WorkList:
    """The jobs of all datasets; at most one of a dataset is not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, dataset: str, task: Task, *, compare: bool) -> Job:
        """Ask for a job; one that failed is replaced by it.

        Raises:
            Conflict: the dataset has one that waits or runs.
        """
        with self._database.writing() as db:
            busy = db.execute(
                "SELECT task FROM jobs WHERE dataset = ? AND state IN (?, ?)",
                (dataset, JobState.WAITING, JobState.RUNNING),
            ).fetchone()
            if busy is not None:
                raise Conflict(f"Operation '{_OPERATIONS[task]}' is blocked while {busy[0]} task is running")
            db.execute("DELETE FROM jobs WHERE dataset = ?", (dataset,))
            added = db.execute(
                "INSERT INTO jobs (dataset, task, compare, state) VALUES (?, ?, ?, ?)",
                (dataset, task, compare, JobState.WAITING),
            )
            return Job(int(added.lastrowid or 0), dataset, task, compare)

    def open_task(self, dataset: str) -> Task | None:
        """Why a dataset is being indexed, or waits to be; None if it is not."""
        query = "SELECT task FROM jobs WHERE dataset = ? AND state IN (?, ?)"
        with self._database.reading() as db:
            found = db.execute(query, (dataset, JobState.WAITING, JobState.RUNNING)).fetchone()
        return None if found is None else Task(found[0])

    def join(self, dataset: str, *, compare: bool) -> bool:
        """Let a job that waits do more; False if the dataset has none that waits."""
        with self._database.writing() as db:
            joined = db.execute(
                "UPDATE jobs SET compare = compare OR ? WHERE dataset = ? AND state = ?",
                (compare, dataset, JobState.WAITING),
            )
            return joined.rowcount > 0

    def begin(self, job: Job) -> Job:
        """Write that a job runs; what it is to do by now.

        Raises:
            NotFound: its dataset was deleted.
        """
        with self._database.writing() as db:
            db.execute("UPDATE jobs SET state = ? WHERE number = ?", (JobState.RUNNING, job.number))
            found = db.execute("SELECT compare FROM jobs WHERE number = ?", (job.number,)).fetchone()
        if found is None:
            raise NotFound("Dataset not found")
        return replace(job, compare=bool(found[0]))

    def waiting(self) -> Sequence[Job]:
        """Jobs that wait, the first asked for first."""
        query = "SELECT number, dataset, task, compare FROM jobs WHERE state = ? ORDER BY number"
        with self._database.reading() as db:
            found = db.execute(query, (JobState.WAITING,)).fetchall()
        return [Job(number, dataset, Task(task), bool(compare)) for number, dataset, task, compare in found]

    def set_state(self, job: Job, state: JobState, error: str | None = None) -> None:
        """Write how far a job is."""
        with self._database.writing() as db:
            db.execute("UPDATE jobs SET state = ?, error = ? WHERE number = ?", (state, error, job.number))

    def resume(self) -> None:
        """After a start: what ran runs again, and what failed gets another try."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, error = NULL WHERE state IN (?, ?)",
                (JobState.WAITING, JobState.RUNNING, JobState.FAILED),
            )


_OPERATIONS = {Task.CREATE: "process_files", Task.ADD: "add_media", Task.REINDEX: "reindex"}
