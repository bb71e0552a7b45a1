"""Near pairs of two sets of codes, by the cheapest of four ways, in all cores, streamed in order.

Counting the bits of all with all needs no more memory than its blocks and gives pairs in order. The other
ways compare far fewer pairs (`code_parts`, `code_weights`) or compare them faster (`code_products`), and find
them in no order, so their pairs are held and sorted: those of all left rows at once if they are few, else
stripe by stripe; products always go by strips of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from twinlens.engine.code_parts import cheapest_parts
from twinlens.engine.code_products import HEIGHT, Products, products_cost
from twinlens.engine.code_weights import Weights, weights_cost
from twinlens.engine.codes import (
    Codes,
    HammingBlock,
    Looking,
    Packing,
    Rows,
    Side,
    Sorted,
    Way,
    Words,
    expected_pairs,
    in_order,
    near_pairs,
    packed_words,
    screen_words,
)
from twinlens.engine.cores import usable_cores
from twinlens.engine.pipeline import Item, Result, ordered_map

_HELD_BLOCKS = 16
"""Blocks of pairs that may wait to be sorted."""

_PACKED_BLOCKS = 48
"""Likewise where each pair is one number, and so many, put side by side, take no more than those blocks."""

_MOST_STRIPES = 64
"""In lower stripes there is too little to choose from: then pairs are so many that all are compared."""

_LEAST_HEIGHT = 16
"""In lower strips most of a tile would be empty."""

_WAIT = 2
_UNEVEN = 1.3
_PASS_COST = 0.3
"""Of looking at the result for a pair, in words."""

_WORTHWHILE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class _Threads:
    """Threads that compare, and how many results at most wait for their turn."""

    pool: Executor
    ahead: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of their items."""
        return (result for _, result in ordered_map(self.pool, function, items, ahead=self.ahead))


def near_join(
    left: Codes, right: Codes, radius: int, block: int, threads: int | None, *, later: bool
) -> Iterator[HammingBlock]:
    """All pairs at most `radius` bits apart, sorted, at most `block` at a time, never none.

    Args:
        left: uint8 [n, bytes].
        right: uint8 [m, bytes].
        radius: in bits, above 0.
        block: pairs.
        threads: that compare; all cores if None.
        later: both are the same codes; only pairs a < b.
    """
    threads = threads or usable_cores()
    radius = min(radius, 8 * left.shape[1])  # Codes differ in no more bits than they have.
    words = packed_words(left)
    other_words = words if later else packed_words(right)
    looking = Looking(radius, screen_words(words, other_words, radius))
    room = _PACKED_BLOCKS * block
    stripes = stripes_for(expected_pairs(words, other_words, radius, later=later), room)
    way = cheapest_way(left, right, looking, stripes)
    row = 0
    with ThreadPoolExecutor(threads) as pool:
        workers = _Threads(pool, threads + _WAIT)
        sorted_pairs: Iterable[tuple[int, Sorted]] = ()
        if isinstance(way, Products):
            most = _HELD_BLOCKS * block // workers.ahead
            sorted_pairs = _strips(way, words, other_words, radius, most, workers, later=later)
        elif way:
            sorted_pairs = _stripes(way, left, right, looking, stripes, room, workers, later=later)
        for stop, found in sorted_pairs:
            row = stop
            yield from (found[start : start + block] for start in range(0, len(found), block))
        look = partial(_tile, words, other_words, looking, block, later)
        tiles = _tiles(row, len(left), len(right), block, later=later)
        for near in workers.map(look, tiles):
            if len(near):
                yield near


def stripes_for(pairs: float, room: int) -> int:
    """Stripes whose pairs there is room for, if pairs are spread evenly or a little worse."""
    return max(1, math.ceil(_UNEVEN * pairs / room))


def cheapest_way(left: Codes, right: Codes, looking: Looking, stripes: int = 1) -> Way | Products | None:
    """What costs least for these codes, None for counting bits of all with all."""
    pair_cost = looking.screen + _PASS_COST
    # Behind the first stripe, each compares its buckets twice: with itself and with what comes later.
    parts, least = cheapest_parts(
        left, right, looking.radius, pair_cost, stripes if stripes == 1 else 2 * stripes
    )
    everything = pair_cost * len(left) * len(right) * (0.5 if left is right else 1.0)
    way: Way | Products | None = parts
    by_weight = weights_cost(left, right, looking.radius, pair_cost)
    if by_weight < min(least, _WORTHWHILE * everything):
        way, least = Weights(), by_weight
    products = products_cost(packed_words(left), packed_words(right), looking.radius, later=left is right)
    return products[0] if products is not None and products[1] < least else way


def _strips(
    products: Products,
    left: Words,
    right: Words,
    radius: int,
    room: int,
    threads: _Threads,
    *,
    later: bool,
) -> Iterator[tuple[int, Sorted]]:
    """Sorted pairs of strips of left rows, and the row behind each; ends where they are too many."""
    row, height, count = 0, HEIGHT, left.shape[1]
    while row < count and height >= _LEAST_HEIGHT:
        rows = range(row, count, height)
        strips = products.strips(left, right, radius, rows, room, later=later)
        for found in threads.map(lambda look: look(), strips):
            if found is None:
                height //= 2
                break
            row = min(row + height, count)
            yield row, found


def _stripes(
    way: Way,
    left: Codes,
    right: Codes,
    looking: Looking,
    stripes: int,
    room: int,
    threads: _Threads,
    *,
    later: bool,
) -> Iterator[tuple[int, Sorted]]:
    """Sorted pairs of stripes of left rows, and the row behind each; ends where they are too many."""
    ours = way.side(left)
    theirs = ours if later else way.side(right)
    row = 0
    while row < len(ours) and stripes <= _MOST_STRIPES:
        packing = Packing.of(row, len(right), looking.radius)
        height = min(_height(len(ours), row, stripes, later=later), packing.most_rows)
        stripe = slice(row, min(row + height, len(ours)))
        looks = _looks(way, ours, theirs, stripe, looking, later=later)
        found = _held(threads.map(partial(_packed, packing, room), looks), room)
        if found is None:
            stripes *= 2
            continue
        row = stripe.stop
        yield row, Sorted(packing, in_order(found, runs=True))


def _height(rows: int, row: int, stripes: int, *, later: bool) -> int:
    """Rows from a row on that have one in so many of all pairs, at least one.

    Of one side with itself, a row meets what comes later: pairs are as the area of a triangle.
    """
    if not later:
        return -(-rows // stripes)
    ahead = rows - row
    return max(1, math.ceil(ahead - math.sqrt(max(0.0, ahead**2 - rows**2 / stripes))))


def _looks(
    way: Way, left: Side, right: Side, stripe: slice, looking: Looking, *, later: bool
) -> Iterator[Callable[[], Iterator[HammingBlock]]]:
    """What finds the near pairs of a stripe of left rows, in any number of threads."""
    ours, start = left[stripe], stripe.stop if later else 0
    for look in way.jobs(ours, right[start:], looking, later=False):
        yield partial(_moved, look, stripe.start, start)
    if later:
        for look in way.jobs(ours, ours, looking, later=True):
            yield partial(_moved, look, stripe.start, stripe.start)


def _moved(look: Callable[[], Iterator[HammingBlock]], row: int, column: int) -> Iterator[HammingBlock]:
    return (found.moved(row, column) for found in look())


def _packed(packing: Packing, room: int, look: Callable[[], Iterator[HammingBlock]]) -> Rows | None:
    """Packed pairs, sorted, None where they are more than there is room for."""
    held = _held((packing.pack(found) for found in look()), room)
    return None if held is None else in_order(held)


def _held(found: Iterable[Rows | None], room: int) -> list[Rows] | None:
    """All of what is found, None where something is None or there is no room."""
    held: list[Rows] = []
    for each in found:
        if each is None or len(each) > room:
            return None
        room -= len(each)
        held.append(each)
    return held


def _tiles(row: int, rows: int, columns: int, block: int, *, later: bool) -> Iterator[tuple[int, int, int]]:
    """First row, height and first column of each tile from a row on.

    A tile is either whole rows or a part of one row, so its pairs need no sorting.
    """
    while row < rows:
        first = row + 1 if later else 0
        height = max(1, block // max(1, columns - first))
        yield from ((row, height, column) for column in range(first, columns, block))
        row += height


def _tile(
    left: Words, right: Words, looking: Looking, block: int, later: bool, tile: tuple[int, int, int]
) -> HammingBlock:
    row, height, column = tile
    rows = slice(row, min(row + height, left.shape[1]))
    columns = slice(column, min(column + block, right.shape[1]))
    found = near_pairs(left, right, rows, columns, looking)
    return found[found.a < found.b] if later else found
