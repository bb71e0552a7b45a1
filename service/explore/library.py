"""Open datasets: the generation that each of them answers from, and what was answered of it.

While a dataset is being indexed, it goes on answering from the generation that was there before. Everything
is computed once, however many requests ask for it at the same time, on threads beside the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import DatasetReadOnly
from twinlens.engine.issues import Measures
from twinlens.engine.previews import Previews
from twinlens.engine.types import Probe
from twinlens.service.explore.answers import Answer, AnswerLimits, answer
from twinlens.service.explore.datasets import DatasetRow, Status, check_browsable
from twinlens.service.explore.failures import Conflict
from twinlens.service.explore.notes import NoteBook
from twinlens.service.explore.query import ExploreQuery
from twinlens.service.explore.view import Generation, View

T = TypeVar("T")
_ANSWERS_KEPT = 32
_DATASETS_KEPT = 8


class _Closed(Exception):
    """A dataset was closed, for others or for good, before it came to a piece of work."""


@dataclass
class Shelf:
    """One open dataset. The lock is for its connection, which one thread uses at a time."""

    folder: Path
    data: Dataset
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False
    generation: Generation | None = None
    view: View | None = None
    answers: OrderedDict[Hashable, Answer] = field(default_factory=OrderedDict)

    def use(self, work: Callable[[Shelf], T]) -> T:
        """Do something that needs the connection.

        Raises:
            _Closed: there is none any more.
        """
        with self.lock:
            if self.closed:
                raise _Closed
            return work(self)

    def measure(self, images: Sequence[ImageRecord]) -> Measures:
        """What is stored of the look of images."""
        with contextlib.suppress(_Closed):
            return self.use(lambda shelf: shelf.data.measures(images))
        # An answer that takes long goes on from the generation that it began with.
        with Dataset.open(self.folder) as data:
            return data.measures(images)

    def close(self) -> None:
        """Let go of the connection; what was read stays good."""
        with self.lock, contextlib.suppress(Exception):
            self.closed = True
            self.data.close()


class Library:
    """The datasets that were asked for lately.

    Args:
        notes: what is noted of images.
        limits: what an answer may take.
        device: where joins run.
        workers: threads that compute.
    """

    def __init__(self, notes: NoteBook, limits: AnswerLimits, *, device: str, workers: int) -> None:
        self._notes = notes
        self._limits = limits
        self._device = device
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="explore")
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def aclose(self) -> None:
        """Let go of all datasets."""
        for task in list(self._under_way.values()):
            task.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for shelf in self._shelves.values():
            shelf.data.close()
        self._shelves.clear()

    async def run(self, work: Callable[[], T]) -> T:
        """Compute something beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def view(self, row: DatasetRow) -> View:
        """What a dataset answers from now.

        Raises:
            Conflict: it is in no state to answer.
            DatasetError: its folder cannot be used.
        """
        check_browsable(row)
        shelf = self._shelves.get(row.id)
        if shelf is not None and (view := _current(shelf, row)) is not None:
            self._shelves.move_to_end(row.id)
            return view
        return await self._once(("view", row.id, row.edition, row.status), lambda: self._view(row))

    async def answer(
        self, row: DatasetRow, view: View, query: ExploreQuery, probes: tuple[Probe, ...]
    ) -> Answer:
        """The answer to a question, from memory where it was asked before.

        Raises:
            TooManyPairs, Conflict: it is not served.
        """
        key = (view.snapshot.generation, view.edition, query.canonical())
        shelf = self._shelves.get(row.id)
        # Taken once: threads put another one in its place, and never change it.
        known = OrderedDict() if shelf is None else shelf.answers
        if key in known:
            known.move_to_end(key)
            return known[key]

        async def compute() -> Answer:
            found = await self.run(lambda: answer(view, query, probes, self._limits))
            known[key] = found
            while len(known) > _ANSWERS_KEPT:
                known.popitem(last=False)
            return found

        return await self._once(("answer", row.id, key), compute)

    async def change(self, row: DatasetRow, work: Callable[[Dataset], T]) -> T:
        """Let something write to a dataset.

        Raises:
            Conflict: it is being indexed, or its folder is read-only.
            DatasetError: its folder cannot be used.
        """
        if row.status is Status.READ_ONLY:
            raise Conflict(f"the dataset is {row.status}: wait until it is READY, then do it again")
        check_browsable(row)
        try:
            return await self._use(row, lambda shelf: work(shelf.data))
        except DatasetReadOnly:
            raise Conflict(
                "the files of this dataset are read-only here: nothing in it can be changed"
            ) from None

    async def ask(self, row: DatasetRow, work: Callable[[Dataset], T]) -> T:
        """Read something from a dataset that its view does not hold.

        Raises:
            DatasetError: its folder cannot be used.
        """
        return await self._use(row, lambda shelf: work(shelf.data))

    async def _use(self, row: DatasetRow, work: Callable[[Shelf], T]) -> T:
        """Let a thread use a dataset; one that was closed before its turn came is opened again."""
        while True:
            shelf = await self._shelf(row)
            with contextlib.suppress(_Closed):
                return await self.run(partial(shelf.use, work))

    def previews(self, row: DatasetRow) -> Previews:
        """Small pictures of the images of a dataset."""
        return Previews(row.folder)

    def forget(self, dataset: str) -> None:
        """Let go of a dataset that is gone."""
        if (shelf := self._shelves.pop(dataset, None)) is not None:
            self._pool.submit(shelf.close)

    async def _view(self, row: DatasetRow) -> View:
        return await self._use(row, lambda shelf: _read(shelf, row, self._notes))

    async def _shelf(self, row: DatasetRow) -> Shelf:
        if (shelf := self._shelves.get(row.id)) is None:
            shelf = await self._once(("open", row.id), lambda: self.run(lambda: self._open(row.folder)))
            shelf = self._shelves.setdefault(row.id, shelf)
        self._shelves.move_to_end(row.id)
        while len(self._shelves) > _DATASETS_KEPT:
            self._pool.submit(self._shelves.popitem(last=False)[1].close)
        return shelf

    def _open(self, folder: Path) -> Shelf:
        return Shelf(folder, Dataset.open(folder, device=self._device))

    async def _once(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """What several requests want at the same time is computed once."""
        if (task := self._under_way.get(key)) is None:
            task = asyncio.create_task(_run(compute))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # A client that gives up does not take the answer from the others.
        found: T = await asyncio.shield(task)
        return found


async def _run(compute: Callable[[], Awaitable[T]]) -> T:
    return await compute()


def _current(shelf: Shelf, row: DatasetRow) -> View | None:
    """The view that was read before, if it still holds. Never waits: this runs on the event loop."""
    if not shelf.lock.acquire(blocking=False):
        return None
    try:
        return shelf.view if _holds(shelf, row) and shelf.view and shelf.view.edition >= row.edition else None
    finally:
        shelf.lock.release()


def _holds(shelf: Shelf, row: DatasetRow) -> bool:
    """True if the generation that was read is the one to answer from."""
    held = shelf.generation
    if held is None:
        return False
    return row.status is Status.READ_ONLY or held.snapshot.generation == shelf.data.generation


def _read(shelf: Shelf, row: DatasetRow, notes: NoteBook) -> View:
    held = shelf.generation
    if held is None or not _holds(shelf, row):
        held = shelf.generation = Generation(shelf.data.copy_snapshot(), row.folder, shelf.measure)
    view = shelf.view
    if view is None or view.generation is not held or view.edition < row.edition:
        view = shelf.view = View(held, notes.read(row.id), row.edition)
        shelf.answers = OrderedDict()
    return view
