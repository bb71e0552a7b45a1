"""Queries of many requests, answered together: a model takes a batch in little more time than one query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from twinlens.engine.errors import InvalidValue, ServiceError
from twinlens.service.bodies import Busy

Q = TypeVar("Q")
A = TypeVar("A")


class BatchFailed(ServiceError):
    """The work on a batch of queries broke its contract: a fault of the server, not of a query."""


class Closing(ServiceError):
    """The server is being shut down, and this query was not begun."""


class MicroBatcher(Generic[Q, A]):
    """Gathers queries and works on them in batches, in the order in which they came.

    While one batch is worked on, the next gathers. All queries must come from one event loop.

    Args:
        work: takes the queries of a batch and returns an answer for each, in order; an exception in the
            place of an answer is raised for that query alone. Runs on one thread of its own.
        most: queries in a batch.
        waiting: queries that wait to be begun; one more is refused.
        seconds: how long a query waits for company before it is begun, if nothing is worked on.

    Raises:
        InvalidValue: no query fits into a batch or may wait, or the time is negative.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        most: int,
        waiting: int,
        seconds: float,
    ) -> None:
        if most < 1 or waiting < 1 or not seconds >= 0:
            raise InvalidValue(
                f"most={most}, waiting={waiting}, seconds={seconds}: "
                "give at least one query to a batch and to the queue, and no negative time"
            )
        self._work = work
        self._most = most
        self._waiting = waiting
        self._seconds = seconds
        self._queue: dict[asyncio.Future[A], tuple[Q, float]] = {}
        """What waits, in order, with its query and the time at which it waited long enough."""
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[list[A | Exception]] | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        # The thread starts with its first task. Where there is no room for one, this fails, not a query.
        self._thread.submit(int)

    async def ask(self, query: Q) -> A:
        """The answer to a query; who is cancelled before it is begun costs no work.

        Raises:
            Busy: as many queries as may wait do so.
            Closing: closed before it was begun.
            BatchFailed: `work` gave another number of answers, or ended its thread.
            Exception: what `work` raised for the batch, or returned for this query.
        """
        if self._closed:
            raise _closing()
        if len(self._queue) >= self._waiting:
            raise Busy(f"{len(self._queue):,} queries wait already: try again in a second")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._queue[answer] = query, loop.time() + self._seconds
        self._consider()
        try:
            return await answer
        finally:
            self._queue.pop(answer, None)

    async def aclose(self) -> None:
        """Fail what waits, let the batch that is worked on end, and end the thread."""
        self._closed = True
        for answer in self._queue:
            if not answer.done():
                answer.set_exception(_closing())
        self._queue.clear()
        try:
            if self._running is not None:
                await asyncio.wait([self._running])
        finally:
            self._thread.shutdown(wait=False)

    def _consider(self) -> None:
        """Begin a batch if there is reason to, else see that it is begun in time."""
        if self._running is not None or not self._queue:
            return
        if len(self._queue) >= self._most:
            self._begin()
        elif self._timer is None:
            _, due = next(iter(self._queue.values()))
            self._timer = asyncio.get_running_loop().call_at(due, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch: dict[asyncio.Future[A], Q] = {}
        while self._queue and len(batch) < self._most:
            answer = next(iter(self._queue))
            query, _ = self._queue.pop(answer)
            if not answer.done():
                batch[answer] = query
        if batch:
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._thread, _outcomes, self._work, [*batch.values()])
            self._running.add_done_callback(partial(self._deliver, [*batch]))

    def _deliver(self, answers: list[asyncio.Future[A]], done: asyncio.Future[list[A | Exception]]) -> None:
        self._running = None
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
