from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from threading import Semaphore
from typing import Any, TypeVar

import pytest

from twinlens.engine.errors import DecodeError, InvalidValue
from twinlens.service.explore.batching import BatchFailed, Closing, MicroBatcher

T = TypeVar("T")
SECONDS = 30


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is set by hand; it tells everything that it would have logged."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.complaints.append(context))

    def time(self) -> float:
        return self.now


class Gate:
    """Work that waits to be let through batch by batch, and remembers what it was given.

    The answer to a number is ten times the number.
    """

    def __init__(self, answer: Callable[[Sequence[int]], Sequence[int | Exception]] | None = None) -> None:
        self.batches: list[list[int]] = []
        self._answer = answer or (lambda numbers: [10 * number for number in numbers])
        self._begun, self._open = Semaphore(0), Semaphore(0)

    def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(numbers))
        self._begun.release()
        assert self._open.acquire(timeout=SECONDS)
        return self._answer(numbers)

    async def begins(self) -> None:
        """Wait until a batch has begun that nobody waited for yet."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=SECONDS)

    def let(self, batches: int = 1) -> None:
        self._open.release(batches)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a clock that stands still; fail if it hangs or anything was to be logged."""
    loop = Clock()

    def give_up() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel("it hangs")

    watchdog = threading.Timer(SECONDS, loop.call_soon_threadsafe, [give_up])
    watchdog.start()
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            result = runner.run(main)
            gc.collect()
    finally:
        watchdog.cancel()
    assert loop.complaints == []
    return result


def batcher(
    work: Callable[[Sequence[int]], Sequence[int | Exception]],
    *,
    most: int = 100,
    threads: int = 1,
    waits: list[Sequence[float]] | None = None,
) -> MicroBatcher[int, int]:
    """One that adds the waits of each batch to a list."""
    told = [] if waits is None else waits
    return MicroBatcher(work, most=most, threads=threads, on_batch=told.append)


async def asking(batch: MicroBatcher[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    """Tasks that have asked and wait."""
    tasks = [asyncio.create_task(batch.ask(number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: Sequence[Awaitable[int]]) -> list[int | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


# How queries become batches


def test_a_query_is_answered() -> None:
    async def main() -> None:
        gate = Gate()
        gate.let()
        batch = batcher(gate)
        assert await batch.ask(4) == 40
        await batch.aclose()

    run(main())


def test_while_one_batch_is_worked_on_the_next_gathers() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2, 3, 4)
        gate.let(2)
        assert await outcomes(tasks) == [10, 20, 30, 40]
        assert gate.batches == [[1], [2, 3, 4]]
        await batch.aclose()

    run(main())


def test_a_batch_has_its_most_and_queries_keep_their_order() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate, most=2)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2, 3, 4, 5, 6)
        gate.let(4)
        assert await outcomes(tasks) == [10, 20, 30, 40, 50, 60]
        assert gate.batches == [[1], [2, 3], [4, 5], [6]]
        await batch.aclose()

    run(main())


def test_queries_of_one_moment_are_one_batch() -> None:
    async def main() -> None:
        gate = Gate()
        gate.let()
        batch = batcher(gate)
        assert await outcomes(await asking(batch, 1, 2, 3)) == [10, 20, 30]
        assert gate.batches == [[1, 2, 3]]
        await batch.aclose()

    run(main())


def test_threads_that_are_free_share_what_waits() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate, threads=2)
        tasks = await asking(batch, 1, 2, 3)
        await gate.begins()
        await gate.begins()
        assert sorted(gate.batches) == [[1, 2], [3]]
        tasks += await asking(batch, 4, 5, 6)
        gate.let()
        # One thread is free again, the other still works: it takes all.
        await gate.begins()
        assert gate.batches[2] == [4, 5, 6]
        gate.let(2)
        assert await outcomes(tasks) == [10, 20, 30, 40, 50, 60]
        await batch.aclose()

    run(main())


def test_it_tells_how_long_each_query_of_a_batch_waited() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clock)
        gate, waits = Gate(), list[Sequence[float]]()
        batch = batcher(gate, waits=waits)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2)
        loop.now = 3.0
        tasks += await asking(batch, 3)
        loop.now = 4.0
        gate.let(2)
        await outcomes(tasks)
        assert waits == [[0], [4, 1]]
        await batch.aclose()

    run(main())


def test_work_runs_on_a_thread_that_is_not_the_servers() -> None:
    threads: set[int] = set()

    def work(numbers: Sequence[int]) -> list[int]:
        threads.add(threading.get_ident())
        return [10 * number for number in numbers]

    async def main() -> None:
        batch = batcher(work, most=3)
        assert await outcomes(await asking(batch, *range(300))) == [10 * number for number in range(300)]
        await batch.aclose()

    run(main())
    assert len(threads) == 1 and threads != {threading.get_ident()}


# Work that fails


def test_a_failure_reaches_every_query_of_its_batch_and_no_other() -> None:
    failure = RuntimeError("out of memory")

    def fails_at_two(numbers: Sequence[int]) -> list[int]:
        if 2 in numbers:
            raise failure
        return [10 * number for number in numbers]

    async def main() -> None:
        gate = Gate(fails_at_two)
        batch = batcher(gate, most=3)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2, 3, 4, 5)
        gate.let(3)
        assert await outcomes(tasks) == [10, failure, failure, failure, 50]
        await batch.aclose()

    run(main())


def test_a_query_can_fail_alone() -> None:
    failure = DecodeError("it is damaged", stage="decode")

    async def main() -> None:
        gate = Gate(lambda numbers: [failure if number == 2 else 10 * number for number in numbers])
        gate.let()
        batch = batcher(gate, most=3)
        assert await outcomes(await asking(batch, 1, 2, 3)) == [10, failure, 30]
        await batch.aclose()

    run(main())


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
def test_another_number_of_answers_fails_them_all(answers: list[int]) -> None:
    async def main() -> None:
        gate = Gate(lambda numbers: answers)
        gate.let()
        batch = batcher(gate, most=2)
        for outcome in await outcomes(await asking(batch, 1, 2)):
            assert isinstance(outcome, BatchFailed)
            assert str(outcome) == f"2 queries got {len(answers)} answers: look at the model"
        await batch.aclose()

    run(main())


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError(), GeneratorExit()]
)
@pytest.mark.parametrize("alone", [False, True])
def test_what_would_end_the_server_or_hang_a_request_is_a_failure(error: Any, alone: bool) -> None:
    def ends(numbers: Sequence[int]) -> list[int]:
        if alone:
            return [10, error]
        raise error

    async def main() -> None:
        gate = Gate(ends)
        gate.let()
        batch = batcher(gate, most=2)
        first, second = await outcomes(await asking(batch, 1, 2))
        assert isinstance(second, BatchFailed) and type(error).__name__ in str(second)
        assert second.__cause__ is error
        assert first == 10 if alone else first is second
        await batch.aclose()

    run(main())


def test_a_failure_tells_each_request_where_it_was_and_not_where_others_were() -> None:
    def fails(numbers: Sequence[int]) -> list[int]:
        raise RuntimeError("out of memory")

    async def depth(asked: asyncio.Task[int]) -> int:
        try:
            await asked
        except RuntimeError as error:
            names = []
            traceback = error.__traceback__
            while traceback is not None:
                names.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            assert names.count("fails") == 1
            return len(names)
        raise AssertionError

    async def main() -> None:
        batch = batcher(fails, most=8)
        depths = await asyncio.gather(*map(depth, await asking(batch, *range(8))))
        assert len({*depths}) == 1
        await batch.aclose()

    run(main())


# Requests that go away


def test_a_query_that_is_cancelled_in_time_is_never_worked_on_and_gives_its_place_up() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2, 3, 4)
        tasks[2].cancel()
        await asyncio.sleep(0)
        tasks += await asking(batch, 5)
        gate.let(2)
        await asyncio.wait(tasks)
        assert [task.cancelled() or task.result() for task in tasks] == [10, 20, True, 40, 50]
        assert gate.batches == [[1], [2, 4, 5]]
        await batch.aclose()

    run(main())


def test_a_query_that_is_cancelled_while_a_batch_begins_is_left_out_of_it() -> None:
    async def main() -> None:
        gate = Gate()
        gate.let()
        batch = batcher(gate, most=3)
        first, second = await asking(batch, 1, 2)
        first.cancel()
        assert await batch.ask(3) == 30
        assert (await second, gate.batches) == (20, [[2, 3]])
        await batch.aclose()

    run(main())


def test_a_batch_of_which_nobody_is_left_is_not_begun() -> None:
    async def main() -> None:
        gate = Gate()
        gate.let()
        batch = batcher(gate)
        (gone,) = await asking(batch, 1)
        gone.cancel()
        await asyncio.wait([gone])
        (stays,) = await asking(batch, 2)
        assert (await stays, gate.batches) == (20, [[2]])
        await batch.aclose()

    run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_a_query_that_is_cancelled_during_the_work_disturbs_no_other(fails: bool) -> None:
    failure = RuntimeError("out of memory")

    def work(numbers: Sequence[int]) -> list[int]:
        if fails:
            raise failure
        return [10 * number for number in numbers]

    async def main() -> None:
        gate = Gate(work)
        batch = batcher(gate, most=3)
        tasks = await asking(batch, 1, 2, 3)
        await gate.begins()
        tasks[1].cancel()
        gate.let()
        first, second, third = await outcomes(tasks)
        assert isinstance(second, asyncio.CancelledError)
        assert [first, third] == ([failure, failure] if fails else [10, 30])
        await batch.aclose()

    run(main())


def test_a_failure_that_comes_together_with_a_cancellation_is_not_logged() -> None:
    class Late(RuntimeError):
        pass

    def fails(numbers: Sequence[int]) -> list[int]:
        raise Late

    async def main() -> None:
        batch = batcher(fails, most=2)
        tasks: list[asyncio.Task[int]] = []

        async def first() -> int:
            with pytest.raises(Late):
                await batch.ask(1)
            # The other has its failure by now, and has not seen it yet.
            tasks[1].cancel()
            return 1

        tasks += [asyncio.create_task(first()), asyncio.create_task(batch.ask(2))]
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        tasks.clear()
        await batch.aclose()

    run(main())


def test_whatever_goes_away_and_whenever_everyone_else_gets_the_own_answer() -> None:
    chance = random.Random(20240607)

    async def main() -> None:
        batch = batcher(lambda numbers: [10 * number for number in numbers], most=7)
        tasks: list[asyncio.Task[int]] = []
        for number in range(2000):
            tasks.append(asyncio.create_task(batch.ask(number)))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        await asyncio.wait(tasks)
        answers = {number: task.result() for number, task in enumerate(tasks) if not task.cancelled()}
        assert answers == {number: 10 * number for number in answers}
        assert 500 < len(answers) < 2000
        await batch.aclose()

    run(main())


# The end


def test_closing_fails_what_waits_and_lets_the_work_end() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate)
        tasks = await asking(batch, 1)
        await gate.begins()
        tasks += await asking(batch, 2, 3)
        closing = asyncio.create_task(batch.aclose())
        with pytest.raises(Closing, match="shutting down"):
            await tasks[1]
        assert not closing.done()
        gate.let()
        await closing
        first, _, third = await outcomes(tasks)
        assert first == 10 and isinstance(third, Closing)
        assert gate.batches == [[1]]

    run(main())


def test_closing_fails_a_query_that_is_about_to_begin() -> None:
    async def main() -> None:
        gate = Gate()
        batch = batcher(gate)
        (task,) = await asking(batch, 1)
        await batch.aclose()
        with pytest.raises(Closing):
            await task
        assert gate.batches == []

    run(main())


def test_closing_twice_is_closing_and_nothing_is_taken_after_it() -> None:
    async def main() -> None:
        batch = batcher(Gate())
        await batch.aclose()
        await batch.aclose()
        with pytest.raises(Closing):
            await batch.ask(1)

    run(main())


def test_closing_ends_the_thread() -> None:
    def workers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("batch")}

    before = workers()

    async def main() -> MicroBatcher[int, int]:
        batch = batcher(lambda numbers: [*numbers])
        assert await batch.ask(1) == 1
        (thread,) = workers() - before
        await batch.aclose()
        await asyncio.to_thread(thread.join, SECONDS)
        assert not thread.is_alive()
        return batch

    # Held here: a batcher that is gone ends its thread in any case.
    assert run(main())


@pytest.mark.parametrize(("most", "threads"), [(0, 1), (1, 0)])
def test_senseless_bounds_are_refused(most: int, threads: int) -> None:
    with pytest.raises(InvalidValue, match=f"most={most}, threads={threads}"):
        batcher(lambda numbers: [*numbers], most=most, threads=threads)
