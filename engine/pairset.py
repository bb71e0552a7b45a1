"""A set of unordered pairs of row numbers that can be looked up by block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue

Numbers: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

_SHIFT = 32
_LOW_BITS = (1 << _SHIFT) - 1


class PairSet:
    """Unordered pairs of different row numbers below `n`.

    Each pair is held in both directions as a sorted key (first << 32 | second), so that the partners
    of a row are one run of keys.

    Args:
        pairs: (i, j) in either order, repeats allowed.
        n: how many rows there are, at most 2**31.

    Raises:
        InvalidValue: a pair names a row twice or one that is not there.
    """

    def __init__(self, pairs: Iterable[tuple[int, int]], n: int) -> None:
        ends = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
        bad = (ends[:, 0] == ends[:, 1]) | (ends < 0).any(axis=1) | (ends >= n).any(axis=1)
        if bad.any():
            i, j = ends[bad][0]
            raise InvalidValue(f"({i}, {j}) is not a pair of two different images numbered below {n}")
        self.n = n
        self._keys: Numbers = np.unique(_key(np.concatenate([ends, ends[:, ::-1]])))

    def __len__(self) -> int:
        return len(self._keys) // 2

    def pairs(self) -> tuple[Numbers, Numbers]:
        """The two ends of each pair once, lower first, in ascending order: int64 [len], int64 [len]."""
        first, second = self._keys >> _SHIFT, self._keys & _LOW_BITS
        return first[first < second], second[first < second]

    def members(self) -> Mask:
        """Which rows are in a pair at all: bool [n]."""
        mask = np.zeros(self.n, dtype=bool)
        mask[self._keys >> _SHIFT] = True
        return mask

    def contains(self, a: Numbers, b: Numbers) -> Mask:
        """Which of the pairs (a[k], b[k]) are in the set: bool [k]."""
        if not len(self):
            return np.zeros(len(a), dtype=bool)
        keys = _key(np.stack([a, b], axis=1))
        return np.searchsorted(self._keys, keys, "right") > np.searchsorted(self._keys, keys, "left")

    def positions(self, a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
        """Where the pairs lie in the block a x b: all (p, q) with the pair (a[p], b[q]) in the set."""
        if not len(self):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        p, run = expand(
            np.searchsorted(self._keys, a << _SHIFT), np.searchsorted(self._keys, (a + 1) << _SHIFT)
        )
        partners = self._keys[run] & _LOW_BITS
        order = np.argsort(b, kind="stable")
        starts = np.searchsorted(b, partners, "left", sorter=order)
        stops = np.searchsorted(b, partners, "right", sorter=order)
        found, q = expand(starts, stops)
        return p[found], order[q]


def _key(ends: Numbers) -> Numbers:
    return (ends[:, 0] << _SHIFT) | ends[:, 1]


def expand(starts: Numbers, stops: Numbers) -> tuple[Numbers, Numbers]:
    """Write out the ranges [starts[k], stops[k]): the k of each element, and the element."""
    lengths = stops - starts
    owners = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return owners, np.arange(len(owners)) - before[owners] + starts[owners]
