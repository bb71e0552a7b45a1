"""Hamming distance and exact joins on packed hashes, in memory bounded by blocks of pairs.

Codes are uint8 [n, bytes], one packed hash per row; a distance counts differing bits. Joins are exact at
every radius and stream their pairs sorted by a, then by b.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.codes import (
    BLOCK_PAIRS,
    Code,
    Codes,
    HammingBlock,
    Rows,
    check_codes,
    check_join,
    distances,
    packed_words,
)
from twinlens.engine.errors import InvalidValue
from twinlens.engine.near_codes import near_join


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
    return near_join(codes, codes, radius, block, threads, later=True)


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
    return near_join(left, right, radius, block, threads, later=False)


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
    distance = np.concatenate([np.empty(0, np.uint8), *parts])
    index = np.argsort(distance, kind="stable")[:k]
    return Nearest(index.astype(np.int64), distance[index].astype(np.int32))


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
