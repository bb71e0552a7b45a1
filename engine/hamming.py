"""Hamming distance and exact joins on packed hashes, in memory bounded by a block of pairs.

Codes are uint8 [n, bytes], one packed hash per row; a distance counts differing bits. Joins are exact at
every radius and stream their pairs sorted by a, then by b.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue

Codes: TypeAlias = NDArray[np.uint8]
"""uint8 [n, bytes], one packed hash per row."""

Code: TypeAlias = NDArray[np.uint8]
"""uint8 [bytes], one packed hash."""

Rows: TypeAlias = NDArray[np.int64]
"""int64 [n], row numbers."""

Words: TypeAlias = NDArray[np.uint64]
"""uint64 [words, n], codes padded with zeros: the same word of all codes lies side by side."""

BLOCK_PAIRS = 1 << 18
"""Pairs compared at a time unless told otherwise: their temporaries fit a processor's cache."""

_MAX_BYTES = 8191
_PROBE_WORDS = 4
_FEW = 1 / 16


@dataclass(frozen=True, slots=True, eq=False)
class HammingBlock:
    """Consecutive pairs of a join, at least one.

    Attributes:
        a: int64 [pairs], rows of the left codes.
        b: int64 [pairs], rows of the right codes.
        distance: int32 [pairs], in bits.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    distance: NDArray[np.int32]


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
    return _distances(packed_words(a), packed_words(b)).astype(np.int32)


def self_join(codes: Codes, radius: int, block: int = BLOCK_PAIRS) -> Iterator[HammingBlock]:
    """All pairs of rows a < b at most `radius` bits apart.

    Args:
        codes: uint8 [n, bytes].
        radius: in bits; 0 finds equal codes by sorting them.
        block: at most so many pairs are compared, and yielded, at a time.

    Raises:
        InvalidValue: not codes, a negative radius, or a block below 1.
    """
    check_codes(codes, codes)
    check_join(radius, block)
    if radius == 0:
        return _equal(codes, codes, block, later=True)
    words = packed_words(codes)
    return _near(words, words, radius, block, later=True)


def join(left: Codes, right: Codes, radius: int, block: int = BLOCK_PAIRS) -> Iterator[HammingBlock]:
    """All pairs of a left row a and a right row b at most `radius` bits apart.

    Arguments and errors are those of `self_join`; the codes must be of one length.
    """
    check_codes(left, right)
    check_join(radius, block)
    if radius == 0:
        return _equal(left, right, block, later=False)
    return _near(packed_words(left), packed_words(right), radius, block, later=False)


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
        _distances(wanted, stored[:, start : start + BLOCK_PAIRS])[0]
        for start in range(0, len(codes), BLOCK_PAIRS)
    ]
    distance = np.concatenate([np.empty(0, np.uint16), *parts])
    index = np.argsort(distance, kind="stable")[:k]
    return Nearest(index.astype(np.int64), distance[index].astype(np.int32))


def check_codes(left: Codes, right: Codes) -> None:
    """Raise InvalidValue unless both are codes, of one length."""
    for codes in (left, right):
        if codes.dtype != np.uint8 or codes.ndim != 2 or not 1 <= codes.shape[1] <= _MAX_BYTES:
            raise InvalidValue(f"codes are uint8 [n, bytes], not {codes.dtype} {list(codes.shape)}")
    if left.shape[1] != right.shape[1]:
        raise InvalidValue(f"codes of {left.shape[1]} and of {right.shape[1]} bytes cannot be compared")


def check_join(radius: int, block: int) -> None:
    """Raise InvalidValue for a negative radius or a block without a pair."""
    if radius < 0:
        raise InvalidValue(f"a radius counts bits, 0 or more, not {radius}")
    if block < 1:
        raise InvalidValue(f"a block holds at least one pair, not {block}")


def packed_words(codes: Codes) -> Words:
    """Pad and transpose; words that are far apart in the picture come first, since they tell most."""
    count, width = codes.shape
    padded = np.zeros((count, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = codes
    words = padded.view(np.uint64).T
    spread = np.argsort(np.arange(len(words)) % _PROBE_WORDS, kind="stable")
    return np.ascontiguousarray(words[spread])


def _distances(left: Words, right: Words) -> NDArray[np.uint16]:
    """uint16 [n, m]: wide enough for _MAX_BYTES, narrow enough to be fast."""
    total = np.zeros((left.shape[1], right.shape[1]), np.uint16)
    for left_word, right_word in zip(left, right, strict=True):
        total += np.bitwise_count(left_word[:, np.newaxis] ^ right_word)
    return total


def _near(left: Words, right: Words, radius: int, block: int, *, later: bool) -> Iterator[HammingBlock]:
    """Compare tile by tile; `later` keeps a < b.

    A tile is either whole rows or a part of one row, so its pairs need no sorting.
    """
    rows, columns = left.shape[1], right.shape[1]
    row = 0
    while row < rows:
        first = row + 1 if later else 0
        height = max(1, block // max(1, columns - first))
        for column in range(first, columns, block):
            a, b, distance = _within(left[:, row : row + height], right[:, column : column + block], radius)
            a, b = a + row, b + column
            kept = a < b if later else np.ones(len(a), bool)
            if kept.any():
                yield HammingBlock(a[kept], b[kept], distance[kept])
        row += height


def _within(left: Words, right: Words, radius: int) -> tuple[Rows, Rows, NDArray[np.int32]]:
    """The pairs of one tile: a few words first, the others only where those leave a chance."""
    probed = _distances(left[:_PROBE_WORDS], right[:_PROBE_WORDS]).ravel()
    pairs = np.flatnonzero(probed <= radius)
    rest_left, rest_right = left[_PROBE_WORDS:], right[_PROBE_WORDS:]
    if len(pairs) > _FEW * len(probed):
        distance = probed + _distances(rest_left, rest_right).ravel()
        pairs = np.flatnonzero(distance <= radius)
        return (*np.divmod(pairs, right.shape[1]), distance[pairs].astype(np.int32))
    a, b = np.divmod(pairs, right.shape[1])
    rest = np.bitwise_count(rest_left[:, a] ^ rest_right[:, b]).sum(axis=0, dtype=np.int32)
    distance = probed[pairs] + rest
    kept = distance <= radius
    return a[kept], b[kept], distance[kept]


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
