"""Queries of many requests, answered together: a model takes a batch in little more time than one query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from twinlens.engine.errors import InvalidValue, ServiceError

Q = TypeVar("Q")
A = TypeVar("A")


class BatchFailed(ServiceError):
    """The work on a batch of queries broke its contract: a fault of the server, not of a query."""


class Closing(ServiceError):
    """The server is being shut down, and this query was not begun."""


class MicroBatcher(Generic[Q, A]):
    """Works on queries in batches, in the order in which they came.

    A query that finds a thread free is begun at once: alone, it waits for nobody. While all threads work,
    queries gather, and a thread that is free again takes its share of all that wait. All queries must come
    from one event loop.

    Args:
        work: takes the queries of a batch and returns an answer for each, in order; an exception in the
            place of an answer is raised for that query alone. Runs on the threads.
        most: queries in a batch.
        threads: batches that are worked on at a time.
        on_batch: is told of each batch that begins how long each of its queries waited, in seconds.

    Raises:
        InvalidValue: no query fits into a batch, or no thread works.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        most: int,
        threads: int,
        on_batch: Callable[[Sequence[float]], None],
    ) -> None:
        if most < 1 or threads < 1:
            raise InvalidValue(
                f"most={most}, threads={threads}: give at least one query to a batch, and a thread"
            )
        self._work = work
        self._most = most
        self._on_batch = on_batch
        self._queue: dict[asyncio.Future[A], tuple[Q, float]] = {}
        """What waits, in order, with its query and the time at which it came."""
        self._is_due = False
        self._running: set[asyncio.Future[list[A | Exception]]] = set()
        self._free = threads
        self._closed = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batch")
        # A thread starts with its first task. Where there is no room for one, this fails, not a query.
        self._threads.submit(int)

    async def ask(self, query: Q) -> A:
        """The answer to a query; who is cancelled before it is begun costs no work.

        Raises:
            Closing: closed before it was begun.
            BatchFailed: `work` gave another number of answers, or ended its thread.
            Exception: what `work` raised for the batch, or returned for this query.
        """
        if self._closed:
            raise _closing()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._queue[answer] = query, loop.time()
        self._consider()
        try:
            return await answer
        finally:
            self._queue.pop(answer, None)

    async def aclose(self) -> None:
        """Fail what waits, let the batches that are worked on end, and end the threads."""
        self._closed = True
        for answer in self._queue:
            if not answer.done():
                answer.set_exception(_closing())
        self._queue.clear()
        try:
            if self._running:
                await asyncio.wait(self._running)
        finally:
            self._threads.shutdown(wait=False)

    def _consider(self) -> None:
        """See that a batch begins, if a thread is free: with all that come in this turn of the event loop."""
        if self._free and self._queue and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_due = False
        loop = asyncio.get_running_loop()
        waiting = [answer for answer in self._queue if not answer.done()]
        # Other threads that are free take as much.
        taken = waiting[: min(self._most, -(-len(waiting) // self._free))]
        if not taken:
            return
        begun = [self._queue.pop(answer) for answer in taken]
        self._on_batch([loop.time() - came for _, came in begun])
        self._free -= 1
        running: asyncio.Future[list[A | Exception]] = loop.run_in_executor(
            self._threads, _outcomes, self._work, [query for query, _ in begun]
        )
        self._running.add(running)
        running.add_done_callback(partial(self._deliver, taken))
        self._consider()

    def _deliver(self, answers: list[asyncio.Future[A]], done: asyncio.Future[list[A | Exception]]) -> None:
        self._running.discard(done)
        self._free += 1
        for answer, outcome in zip(answers, done.result(), strict=True):
            if answer.done():
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        self._consider()


def _outcomes(
    work: Callable[[Sequence[Q]], Sequence[A | Exception]], queries: list[Q]
) -> list[A | Exception]:
    """An answer or an exception for each query, whatever the work does."""
    count = len(queries)
    try:
        outcomes = list(work(queries))
    except BaseException as error:
        return [_raisable(error)] * count
    if len(outcomes) != count:
        return [BatchFailed(f"{count} queries got {len(outcomes)} answers: look at the model")] * count
    return [_raisable(outcome) if isinstance(outcome, BaseException) else outcome for outcome in outcomes]


def _raisable(error: BaseException) -> Exception:
    """The error, or one in its place that a request can raise without ending the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    failed = BatchFailed(f"the work on a batch ended with {error!r}")
    failed.__cause__ = error
    return failed


def _closing() -> Closing:
    return Closing("the server is shutting down: ask again when it is back")
