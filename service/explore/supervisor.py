"""Indexing beside the requests: a process for each job, watched, its end written down.

The API goes on answering while a job runs, and a process that crashes takes nothing with it: its dataset says
ERROR and why, and the next start of the server, or the next request for the same work, goes on from what was
committed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twinlens.engine.errors import TwinLensError
from twinlens.service.explore.annotation_files import Annotation, is_annotation_file, read_annotations
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, Status
from twinlens.service.explore.failures import Conflict, NotFound
from twinlens.service.explore.intake import Intake
from twinlens.service.explore.work import Job, JobState, Task, WorkList
from twinlens.service.explore.worker import Order
from twinlens.service.settings import Settings

log = logging.getLogger("twinlens.service")
_LAST_WORDS = 40
_LONGEST_LINE = 1 << 20
_INDEXED = 90
"""Progress when all images are embedded; comparing them takes the rest."""


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
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier server left, and wait for more."""
        await asyncio.to_thread(self._work.resume)
        self._loop = asyncio.create_task(self._serve())
        self._wake.set()

    async def aclose(self) -> None:
        """End all processes; their jobs go on at the next start."""
        tasks = [*self._running.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, row: DatasetRow, task: Task, *, compare: bool) -> None:
        """Ask for a job.

        Raises:
            Conflict: the dataset has one that waits or runs.
        """
        await asyncio.to_thread(self._submit, row, task, compare)
        self._wake.set()

    def _submit(self, row: DatasetRow, task: Task, compare: bool) -> None:
        self._work.add(row.id, task, compare=compare)
        self._datasets.set_status(row.id, Status.READ_ONLY if row.ready else Status.INDEXING)

    async def abandon(self, dataset: str) -> None:
        """End the job of a dataset that is being deleted."""
        if (task := self._running.get(dataset)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                jobs = await asyncio.to_thread(self._work.waiting)
            except TwinLensError:
                log.exception("the list of jobs cannot be read")
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
            await asyncio.to_thread(self._prepare, job, row)
            done = await self._watch(job, row)
            await asyncio.to_thread(self._finish, job, row, done)
        except NotFound:
            return
        except TwinLensError as error:
            await asyncio.to_thread(self._fail, job, str(error))
        except OSError as error:
            await asyncio.to_thread(self._fail, job, f"the index process could not be run: {error}")
        except Exception:
            log.exception("a job failed in a way that nobody expected")
            await asyncio.to_thread(self._fail, job, "the server failed at this job: its log says more")

    def _prepare(self, job: Job, row: DatasetRow) -> None:
        self._work.set_state(job, JobState.RUNNING)
        self._datasets.set_status(row.id, Status.READ_ONLY if row.ready else Status.INDEXING)
        self._intake.settle(row.id)
        for source in self._datasets.sources(row.id):
            self._intake.annotate(row.id, _annotations_in(source, self._settings.max_annotation_rows))

    async def _watch(self, job: Job, row: DatasetRow) -> dict[str, int]:
        """Run the process of a job; what it found.

        Raises:
            IndexingFailed: it failed or crashed.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "twinlens.service.explore.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        assert process.stdin and process.stdout and process.stderr
        last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        listener = asyncio.create_task(_listen(process.stderr, last_words))
        try:
            process.stdin.write(self._order(job, row).encode() + b"\n")
            with suppress(ConnectionError):
                await process.stdin.drain()
            said = await self._follow(process.stdout, job)
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            listener.cancel()
        if "done" in said:
            return {name: int(number) for name, number in said["done"].items()}
        if last_words:
            log.error("index process", extra={"fields": {"dataset": row.id, "stderr": "".join(last_words)}})
        raise IndexingFailed(said.get("failed") or _crash(code))

    def _order(self, job: Job, row: DatasetRow) -> str:
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
        ).to_json()

    async def _follow(self, output: asyncio.StreamReader, job: Job) -> dict[str, Any]:
        """Write down how far the process is; its last word."""
        progress = -1
        last: dict[str, Any] = {}
        while line := await output.readline():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "progress" in said:
                if (percent := _percent(said["progress"])) != progress:
                    progress = percent
                    await asyncio.to_thread(self._datasets.set_progress, job.dataset, percent)
            else:
                last = said
        return last

    def _finish(self, job: Job, row: DatasetRow, done: dict[str, int]) -> None:
        self._work.set_state(job, JobState.DONE)
        status = Status.READY if job.compare else Status.PARTIAL_INDEX
        again = not self._intake.is_settled(row.id)
        if again:
            # Uploads that were handed over meanwhile.
            status = Status.READ_ONLY
        self._datasets.set_status(row.id, status, progress=100, images=done["images"])
        if again:
            with suppress(Conflict):
                self._work.add(row.id, Task.ADD, compare=True)

    def _fail(self, job: Job, reason: str) -> None:
        log.error("indexing failed", extra={"fields": {"dataset": job.dataset, "reason": reason}})
        self._work.set_state(job, JobState.FAILED, reason)
        self._datasets.set_status(job.dataset, Status.ERROR, error=reason)


class IndexingFailed(TwinLensError):
    """The process of a job failed or crashed; the message says how."""


def _percent(progress: dict[str, object]) -> int:
    done, total = int(str(progress["done"])), int(str(progress["total"]))
    share = done / total if total else 1.0
    if progress["stage"] == "index":
        return int(_INDEXED * share)
    return _INDEXED if share < 1.0 else 99


def _crash(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        how = f"was ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
    else:
        how = f"ended with code {code}"
    return f"the index process {how}: its work so far is kept, and goes on when the server starts again"


def _annotations_in(source: Path, most: int) -> list[Annotation]:
    return [
        annotation
        for entry in sorted(source.iterdir())
        if entry.is_file() and is_annotation_file(entry.name)
        for annotation in read_annotations(entry, entry.name, max_rows=most)
    ]


async def _listen(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    with suppress(ValueError):
        while line := await stream.readline():
            lines.append(line.decode(errors="replace"))
