"""Indexing beside the requests: a process for each job, watched, its end written down.

The API goes on answering while a job runs, and a process that crashes takes nothing with it: its dataset says
ERROR and why, and the next start of the server, or the next request for the same work, goes on from what was
committed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from twinlens.engine.errors import StorageFull, TwinLensError
from twinlens.service.explore.annotation_files import Annotation, is_annotation_file
from twinlens.service.explore.annotation_process import annotations_of
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, Status
from twinlens.service.explore.failures import Conflict, NotFound
from twinlens.service.explore.index_process import run_index_process
from twinlens.service.explore.intake import Intake
from twinlens.service.explore.work import Job, JobState, Task, WorkList
from twinlens.service.explore.worker import NO_ROOM, Order
from twinlens.service.settings import Settings

log = logging.getLogger("twinlens.service")
T = TypeVar("T")
_SECONDS_TO_NEXT_TRY, _MOST_SECONDS_TO_NEXT_TRY = 2.0, 30.0
_AT_WORK = (Status.INDEXING, Status.READ_ONLY)


class Supervisor:
    """Runs the jobs of the work list, a few at a time.

    Args:
        settings: model, device, limits, and how many jobs run at a time.
        datasets: their states are written there.
        intake: moves uploads to where they are read.
        work: the list.
    """

    def __init__(
        self,
        settings: Settings,
        datasets: DatasetStore,
        intake: Intake,
        work: WorkList,
    ) -> None:
        """Starts nothing yet."""
        self._settings = settings
        self._datasets = datasets
        self._intake = intake
        self._work = work
        self._wake = asyncio.Event()
        # Held while jobs and states change together, so that no one reads one without the other.
        self._changing = threading.Lock()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier server left, and wait for more."""
        await asyncio.to_thread(self._resume)
        self._loop = asyncio.create_task(self._serve())
        self._wake.set()

    def _resume(self) -> None:
        """Give every dataset that waits for a job one, however an earlier server ended."""
        self._work.resume()
        waiting = {job.dataset for job in self._work.waiting()}
        for row in self._datasets.all():
            handed_over = not self._intake.is_settled(row.id)
            if row.id in waiting or handed_over or row.status in _AT_WORK:
                if row.id not in waiting:
                    # A kill came between what was asked for and its job, or between its job and its state.
                    self._work.add(row.id, Task.ADD if row.ready else Task.CREATE, compare=True)
                self._datasets.set_status(row.id, _at_work(row), progress=row.progress)

    async def aclose(self) -> None:
        """End all processes; their jobs go on at the next start."""
        tasks = [*self._running.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, dataset: str, task: Task, *, compare: bool, bring: Callable[[], T]) -> T:
        """Ask for a job.

        Args:
            dataset: whose.
            task: why.
            compare: compare what was added.
            bring: checks that the dataset may have a job, and hands over what it is for. No job begins or
                ends meanwhile.

        Returns:
            What `bring` returned.

        Raises:
            NotFound: the dataset is gone.
            Conflict: the dataset has a job that waits or runs.
        """
        brought = await asyncio.to_thread(self._submit, dataset, task, compare, bring)
        self._wake.set()
        return brought

    def _submit(self, dataset: str, task: Task, compare: bool, bring: Callable[[], T]) -> T:
        with self._changing:
            row = self._datasets.find(dataset)
            brought = bring()
            self._work.add(row.id, task, compare=compare)
            self._datasets.set_status(row.id, _at_work(row))
            return brought

    async def take_in(self, dataset: str) -> None:
        """Have uploads indexed that were handed over, by the job that waits or runs, or by a new one.

        Raises:
            NotFound: the dataset is gone.
        """
        await asyncio.to_thread(self._take_in, dataset)
        self._wake.set()

    def _take_in(self, dataset: str) -> None:
        with self._changing:
            row = self._datasets.find(dataset)
            if self._work.join(row.id, compare=True):
                return
            # A job that runs looks for what was handed over before it ends.
            with suppress(Conflict):
                self._work.add(row.id, Task.ADD if row.ready else Task.CREATE, compare=True)
                self._datasets.set_status(row.id, _at_work(row))

    async def abandon(self, dataset: str) -> None:
        """End the job of a dataset that is being deleted; nothing of it is at work when this returns."""
        if (task := self._running.get(dataset)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._wait_for_changes)

    def _wait_for_changes(self) -> None:
        """A task that was cancelled leaves its thread behind."""
        with self._changing:
            pass

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                jobs = await asyncio.to_thread(self._work.waiting)
            except TwinLensError:
                log.exception("the list of jobs cannot be read")
                await asyncio.sleep(_SECONDS_TO_NEXT_TRY)
                self._wake.set()
                continue
            for job in jobs:
                if len(self._running) < self._settings.index_processes and job.dataset not in self._running:
                    task = asyncio.create_task(self._run(job))
                    self._running[job.dataset] = task
                    task.add_done_callback(partial(self._ended, job.dataset))

    def _ended(self, dataset: str, task: asyncio.Task[None]) -> None:
        self._running.pop(dataset, None)
        self._wake.set()

    async def _run(self, job: Job) -> None:
        """One job from its start to its end, whatever that is."""
        try:
            row = await asyncio.to_thread(self._datasets.find, job.dataset)
            job = await asyncio.to_thread(self._prepare, job, row)
            done = await self._watch(job, row)
            await asyncio.to_thread(self._finish, job, row, done)
        except NotFound:
            return
        except StorageFull as error:
            await self._fail(job, str(error), told=NO_ROOM)
        except TwinLensError as error:
            await self._fail(job, str(error))
        except OSError as error:
            await self._fail(job, f"the index process could not be run: {error}")
        except Exception:
            log.exception("a job failed in a way that nobody expected")
            await self._fail(job, "the server failed at this job: its log says more")

    def _prepare(self, job: Job, row: DatasetRow) -> Job:
        with self._changing:
            job = self._work.begin(job)
            self._datasets.set_status(row.id, _at_work(row), progress=row.progress)
            self._intake.settle(row.id)
        for source in self._datasets.sources(row.id):
            self._intake.annotate(row.id, _annotations_in(source, self._settings.max_annotation_rows))
        return job

    async def _watch(self, job: Job, row: DatasetRow) -> dict[str, int]:
        """Run the process of a job; what it found.

        Raises:
            IndexingFailed: it failed or crashed.
        """
        begun_at = row.progress

        async def tell(percent: int) -> None:
            # A job that begins again goes on from where it was.
            reached = begun_at + percent * (100 - begun_at) // 100
            await asyncio.to_thread(self._datasets.set_progress, row.id, reached)

        return await run_index_process(self._order(job, row), tell)

    def _order(self, job: Job, row: DatasetRow) -> Order:
        sources = self._datasets.sources(row.id)
        if self._intake.images(row.id).is_dir():
            sources = [self._intake.images(row.id), *sources]
        return Order(
            folder=str(row.folder),
            sources=tuple(map(str, sources)),
            model=self._settings.model,
            device=self._settings.device,
            compare=job.compare,
            max_bytes=self._settings.max_upload_file_bytes,
            max_pixels=self._settings.max_image_pixels,
        )

    def _finish(self, job: Job, row: DatasetRow, done: dict[str, int]) -> None:
        with self._changing:
            if self._intake.is_settled(row.id):
                status = Status.READY if job.compare else Status.PARTIAL_INDEX
                self._datasets.set_status(row.id, status, progress=100, images=done["images"])
                self._work.set_state(job, JobState.DONE)
                return
            # Uploads that were handed over meanwhile.
            self._datasets.set_status(row.id, Status.READ_ONLY, images=done["images"])
            self._work.set_state(job, JobState.DONE)
            self._work.add(row.id, Task.ADD, compare=True)

    async def _fail(self, job: Job, reason: str, *, told: str | None = None) -> None:
        """Write down why a job failed, as soon as there is room to: a full disk is why jobs fail."""
        log.error("indexing failed", extra={"fields": {"dataset": job.dataset, "reason": reason}})
        seconds = _SECONDS_TO_NEXT_TRY
        while True:
            try:
                await asyncio.to_thread(self._write_failure, job, told or self._without_home(reason))
                return
            except TwinLensError as error:
                fields = {"dataset": job.dataset, "reason": str(error)}
                log.error("the end of a job cannot be written down", extra={"fields": fields})
                await asyncio.sleep(seconds)
                seconds = min(2 * seconds, _MOST_SECONDS_TO_NEXT_TRY)

    def _without_home(self, reason: str) -> str:
        """Clients need not know where the server keeps what it has; its log does."""
        return reason.replace(f"{self._settings.home}{os.sep}", "")

    def _write_failure(self, job: Job, reason: str) -> None:
        with self._changing:
            self._work.set_state(job, JobState.FAILED, reason)
            self._datasets.set_status(job.dataset, Status.ERROR, error=reason)


def _at_work(row: DatasetRow) -> Status:
    """The state of a dataset that has a job."""
    return Status.READ_ONLY if row.ready else Status.INDEXING


def _annotations_in(source: Path, most: int) -> list[Annotation]:
    try:
        # There may be very many other files, on a slow disk.
        named = sorted(entry for entry in source.iterdir() if is_annotation_file(entry.name))
    except OSError:
        # The process that reads the images says what is wrong with their folder.
        return []
    return [
        annotation
        for entry in named
        if entry.is_file()
        for annotation in annotations_of(entry, entry.name, max_rows=most)
    ]
