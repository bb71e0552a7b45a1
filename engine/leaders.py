"""Greedy leader clustering of packed hashes: what stays when near copies are removed in order.

Rows are taken in order. Each joins the first kept row within the radius, or else is kept itself. So every
removed row is within the radius of the row that replaces it, and kept rows are farther than that from one
another (Hartigan, Clustering Algorithms, 1975: the leader algorithm).

Kept rows look forward: a few at a time are compared with all rows after them, and rows that were taken are
left out of what follows. Without near pairs that compares each pair once, as a join does; the denser the
rows, the fewer comparisons are left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.codes import BLOCK_PAIRS, Codes, Rows, Words, check_codes, check_join, packed_words

_SCREEN_WORDS = 4
_UINT8_WORDS = 3
_STRANGERS_DIFFER = 32
"""Bits of a word in which unrelated codes differ: a radius above that lets a screen of them pass."""
_FEW = 1 / 16
_SPENT = 1 / 8


def leaders(codes: Codes, radius: int, block: int = BLOCK_PAIRS) -> NDArray[np.int64]:
    """The row that each row joins: the first kept row at most `radius` bits away.

    Args:
        codes: uint8 [n, bytes].
        radius: in bits; 0 joins equal codes only, in linear time.
        block: at most so many pairs are compared at a time.

    Returns:
        int64 [n]; a kept row joins itself, and no row joins a later one.

    Raises:
        InvalidValue: not codes, a negative radius, or a block below 1.
    """
    check_codes(codes, codes)
    check_join(radius, block)
    first = _first_equal(codes)
    if radius == 0:
        return first
    distinct = np.flatnonzero(first == np.arange(len(codes)))
    joined = np.arange(len(codes))
    joined[distinct] = distinct[_sieve(packed_words(codes[distinct]), radius, block)]
    return joined[first]


def _first_equal(codes: Codes) -> Rows:
    """The first row with the same code as each row: equal codes share their leader."""
    width = codes.shape[1]
    data = codes.tobytes()
    seen: dict[bytes, int] = {}
    rows = (seen.setdefault(data[row * width : (row + 1) * width], row) for row in range(len(codes)))
    return np.fromiter(rows, np.int64, len(codes))


def _sieve(words: Words, radius: int, block: int) -> Rows:
    """The leader of each column, none equal to another."""
    columns = np.arange(words.shape[1])
    leader = columns.copy()
    while len(columns):
        joined, passed = _sweep(words, radius, block)
        leader[columns] = columns[joined]
        left = passed + np.flatnonzero(joined[passed:] == np.arange(passed, len(columns)))
        columns, words = columns[left], words.take(left, axis=1)
    return leader


def _sweep(words: Words, radius: int, block: int) -> tuple[Rows, int]:
    """Let kept columns take theirs, until so many are taken that it pays to leave them out.

    Returns:
        What each column has joined so far, itself included; how many columns are decided for good.
    """
    count = words.shape[1]
    joined = np.arange(count)
    taken = np.zeros(count, np.bool_)
    passed = 0
    while passed < count and np.count_nonzero(taken) <= _SPENT * count:
        height = max(1, block // (count - passed))
        head = passed + np.flatnonzero(~taken[passed : passed + height])
        # Either one tile or parts of a single row: no tile waits for what another one decides.
        for column in range(passed, count, block):
            a, b = _near(words, head, column, min(column + block, count), radius)
            free = (a < b) & ~taken[b]
            if free.any():
                a, b = _taken(a[free], b[free], count)
                joined[b] = a
                taken[b] = True
        passed += height
    return joined, min(passed, count)


def _taken(a: Rows, b: Rows, count: int) -> tuple[Rows, Rows]:
    """Of near pairs a < b, sorted by a, those in which a is kept and the first to be near b.

    A column that nothing still open could take is kept for sure, and so is what it takes. The lowest one
    always is such a column, so that each round decides something; independent pairs take one round.
    """
    taken = np.zeros(count, np.bool_)
    open_a, open_b = a, b
    while len(open_a):
        doubtful = np.zeros(count, np.bool_)
        doubtful[open_b] = True
        taken[open_b[~doubtful[open_a]]] = True
        still = ~(taken[open_a] | taken[open_b])
        open_a, open_b = open_a[still], open_b[still]
    kept = ~taken[a]
    once, first = np.unique(b[kept], return_index=True)
    return a[kept][first], once


def _near(words: Words, head: Rows, start: int, stop: int, radius: int) -> tuple[Rows, Rows]:
    """Pairs of a column in `head` and one from `start` to `stop` within the radius, sorted.

    A few words first, all of them only where those leave many pairs a chance.
    """
    left, right = words.take(head, axis=1), words[:, start:stop]
    for few, count in ((_SCREEN_WORDS, _differences), (2 * _SCREEN_WORDS, _distances)):
        if radius < few * _STRANGERS_DIFFER:
            pairs = np.flatnonzero(count(left[:few], right[:few]) <= radius)
            if len(pairs) <= _FEW * len(head) * (stop - start):
                row, column = np.divmod(pairs, stop - start)
                a, b = head[row], start + column
                differing = np.bitwise_count(words.take(a, axis=1) ^ words.take(b, axis=1))
                near = differing.sum(axis=0, dtype=np.int32) <= radius
                return a[near], b[near]
    row, column = np.divmod(np.flatnonzero(_distances(left, right) <= radius), stop - start)
    return head[row], start + column


def _distances(left: Words, right: Words) -> NDArray[np.uint16]:
    """Differing bits of all pairs, uint16 [left, right]."""
    total = np.zeros((left.shape[1], right.shape[1]), np.uint16)
    for start in range(0, len(left), _UINT8_WORDS):
        part = slice(start, start + _UINT8_WORDS)
        total += _differences(left[part], right[part])
    return total


def _differences(left: Words, right: Words) -> NDArray[np.uint8]:
    """Differing bits of a few words modulo 256: exact for three, never too many for four.

    Sums of one dtype are faster than those that widen.
    """
    total = np.zeros((left.shape[1], right.shape[1]), np.uint8)
    differing = np.empty(total.shape, np.uint64)
    for left_word, right_word in zip(left, right, strict=True):
        np.bitwise_xor(left_word[:, np.newaxis], right_word, out=differing)
        total += np.bitwise_count(differing)
    return total
