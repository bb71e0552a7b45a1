"""Hamming distance and exact joins on packed hashes, in memory bounded by a block of pairs.

Joins are exact at every radius and stream their pairs sorted by a, then by b. Where few codes are near, only
codes that agree in a part of their bits are compared (`code_parts`), else all with all.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.code_parts import Parts, Side, cheapest_parts, pairs_of_part
from twinlens.engine.codes import (
    BLOCK_PAIRS,
    Code,
    Codes,
    HammingBlock,
    Rows,
    check_codes,
    check_join,
    distances,
    joined,
    near_pairs,
    packed_words,
)
from twinlens.engine.errors import InvalidValue
from twinlens.engine.pipeline import ordered_map

_HELD_BLOCKS = 8
"""Blocks of pairs that wait to be sorted, where codes are compared by parts."""
_MOST_STRIPES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The codes nearest to a query, nearest first, equally near ones by index.

    Attributes:
        index: int64 [k], rows of the codes.
        distance: int32 [k], in bits.
    """

    index: NDArray[np.int64]
    distance: NDArray[np.int32]


def hamming(a: Codes, b: Codes) -> NDArray[np.int32]:
    """All distances between two sets of codes, int32 [len(a), len(b)].

    Raises:
        InvalidValue: not codes, or of different lengths.
    """
    check_codes(a, b)
    return distances(packed_words(a), packed_words(b)).astype(np.int32)


def self_join(
    codes: Codes, radius: int, block: int = BLOCK_PAIRS, threads: int | None = None
) -> Iterator[HammingBlock]:
    """All pairs of rows a < b at most `radius` bits apart.

    Args:
        codes: uint8 [n, bytes].
        radius: in bits; 0 finds equal codes by sorting them.
        block: at most so many pairs are yielded at a time, never none, and held a few times.
        threads: that compare; all cores by default.

    Raises:
        InvalidValue: not codes, a negative radius, or a block below 1.
    """
    check_codes(codes, codes)
    check_join(radius, block)
    if radius == 0:
        return _equal(codes, codes, block, later=True)
    return _Join(codes, codes, radius, block, later=True).pairs(threads)


def join(
    left: Codes, right: Codes, radius: int, block: int = BLOCK_PAIRS, threads: int | None = None
) -> Iterator[HammingBlock]:
    """All pairs of a left row a and a right row b at most `radius` bits apart.

    Arguments and errors are those of `self_join`; the codes must be of one length.
    """
    check_codes(left, right)
    check_join(radius, block)
    if radius == 0:
        return _equal(left, right, block, later=False)
    return _Join(left, right, radius, block, later=False).pairs(threads)


def nearest(query: Code, codes: Codes, k: int) -> Nearest:
    """The k codes nearest to one query, or all where there are fewer.

    Args:
        query: uint8 [bytes].
        codes: uint8 [n, bytes].
        k: at least 0.

    Raises:
        InvalidValue: not codes, of different lengths, or a negative k.
    """
    if k < 0:
        raise InvalidValue(f"k must be 0 or more, not {k}")
    check_codes(query[np.newaxis], codes)
    wanted, stored = packed_words(query[np.newaxis]), packed_words(codes)
    parts = [
        distances(wanted, stored[:, start : start + BLOCK_PAIRS])[0]
        for start in range(0, len(codes), BLOCK_PAIRS)
    ]
    distance = np.concatenate([np.empty(0, np.uint16), *parts])
    index = np.argsort(distance, kind="stable")[:k]
    return Nearest(index.astype(np.int64), distance[index].astype(np.int32))


@dataclass(frozen=True, eq=False)
class _Join:
    """A join at a radius above 0; `later` says that both sides are the same codes and keeps a < b."""

    left: Codes
    right: Codes
    radius: int
    block: int
    later: bool

    def pairs(self, threads: int | None) -> Iterator[HammingBlock]:
        """All pairs, sorted, in blocks."""
        threads = threads or os.cpu_count() or 1
        parts = cheapest_parts(self.left, self.right, self.radius)
        with ThreadPoolExecutor(threads) as pool:
            row = 0
            if parts is not None:
                row = yield from self._by_parts(parts, pool, threads)
            yield from self._all_with_all(row, pool, threads)

    def _by_parts(self, parts: Parts, pool: Executor, threads: int) -> Generator[HammingBlock, None, int]:
        """Stripes of left rows, so low that their pairs can be held and sorted.

        Returns:
            The row from which all are to be compared with all, since pairs are too many.
        """
        left = Side(packed_words(self.left), parts.keys(self.left))
        right = left if self.later else Side(packed_words(self.right), parts.keys(self.right))
        row, height = 0, len(left)
        while row < len(left) and height * _MOST_STRIPES >= len(left):
            stripe = slice(row, min(row + height, len(left)))
            found = self._stripe(left, right, stripe, parts, pool, threads)
            if found is None:
                height //= 2
                continue
            order = np.lexsort((found.b, found.a))
            for start in range(0, len(found), self.block):
                yield found[order[start : start + self.block]]
            row = stripe.stop
        return row

    def _stripe(
        self, left: Side, right: Side, stripe: slice, parts: Parts, pool: Executor, threads: int
    ) -> HammingBlock | None:
        """Pairs of some left rows, None where they are more than may be held."""
        most = _HELD_BLOCKS * self.block

        def look(task: tuple[int, bool]) -> HammingBlock | None:
            part, later = task
            start = stripe.stop if self.later and not later else stripe.start if later else 0
            others = right[stripe] if later else right[start:]
            found: list[HammingBlock] = []
            for pairs in pairs_of_part(left[stripe], others, parts, part, self.radius, later=later):
                found.append(pairs)
                if sum(map(len, found)) > most:
                    return None
            return joined(found).moved(stripe.start, start)

        kinds = (True, False) if self.later else (False,)
        tasks = [(part, later) for part in range(parts.count) for later in kinds]
        held: list[HammingBlock] = []
        for _, found in ordered_map(pool, look, tasks, ahead=threads + 1):
            if found is None or sum(map(len, held)) + len(found) > most:
                return None
            held.append(found)
        return joined(held)

    def _all_with_all(self, row: int, pool: Executor, threads: int) -> Iterator[HammingBlock]:
        """Tile by tile, from a left row on."""
        left, right = packed_words(self.left), packed_words(self.right)

        def look(corner: tuple[int, int, int]) -> HammingBlock:
            row, height, column = corner
            near = near_pairs(
                left[:, row : row + height], right[:, column : column + self.block], self.radius
            )
            found = near.moved(row, column)
            return found[found.a < found.b] if self.later else found

        for _, found in ordered_map(pool, look, self._tiles(row), ahead=threads + 1):
            if len(found):
                yield found

    def _tiles(self, row: int) -> Iterator[tuple[int, int, int]]:
        """First row, height and first column; whole rows or a part of one row, so pairs need no sorting."""
        columns = len(self.right)
        while row < len(self.left):
            first = row + 1 if self.later else 0
            height = max(1, self.block // max(1, columns - first))
            yield from ((row, height, column) for column in range(first, columns, self.block))
            row += height


def _equal(left: Codes, right: Codes, block: int, *, later: bool) -> Iterator[HammingBlock]:
    """Pairs at distance 0; `later` says that both are the same codes and keeps a < b."""
    group = _groups(left if later else np.concatenate([left, right]))
    left_group, right_group = group[: len(left)], group[len(group) - len(right) :]
    by_group = np.argsort(right_group, kind="stable")
    sorted_group = right_group[by_group]
    first = np.searchsorted(sorted_group, left_group, side="left")
    if later:
        first[by_group] = np.arange(1, len(by_group) + 1)
    matches = np.searchsorted(sorted_group, left_group, side="right") - first
    up_to = np.cumsum(matches)
    before = up_to - matches
    for start in range(0, int(matches.sum()), block):
        pair = np.arange(start, min(start + block, int(up_to[-1])))
        a = np.searchsorted(up_to, pair, side="right")
        b = by_group[first[a] + pair - before[a]]
        yield HammingBlock(a, b, np.zeros(len(pair), np.int32))


def _groups(codes: Codes) -> Rows:
    """A number per row, the same for equal rows only. int64 [n]."""
    words = packed_words(codes)
    order = np.lexsort(words)
    ordered = words[:, order]
    group = np.zeros(len(codes), np.int64)
    group[order[1:]] = np.cumsum((ordered[:, 1:] != ordered[:, :-1]).any(axis=0))
    return group
