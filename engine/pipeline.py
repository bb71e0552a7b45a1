"""Work that is done ahead of whoever reads its results, but never far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Any = object()


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) in the order of `items`, computed in a pool.

    At most `ahead` results wait at any time, so memory does not grow with the number of items.
    An exception of `function` reaches the reader at its item; leaving early cancels what is queued.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def read_ahead(items: Iterable[Item], *, ahead: int) -> Iterator[Item]:
    """Yield items that another thread makes, at most `ahead` of them in advance.

    Whatever making them changes is left to that thread until the last was read. An exception reaches the
    reader in its place; leaving early stops at the item that is being made.
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, _END) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, source, _END))
                yield item
        finally:
            for future in waiting:
                future.cancel()
