"""An ordered parallel map that never runs far ahead of whoever reads it, and small things put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Piece = TypeVar("Piece", bound=Sized)


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


def lots(pieces: Iterable[Piece], least: int) -> Iterator[list[Piece]]:
    """The same pieces, as many together as make up a length of `least`; the last ones may be shorter."""
    held: list[Piece] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= least:
            yield held
            held, length = [], 0
    if held:
        yield held
