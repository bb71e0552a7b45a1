"""Near codes by parts of their bits: only codes that nearly agree in some part are compared.

Cut codes into m = r // (t + 1) + 1 parts. Two codes that differ by more than t bits in every part differ by
m (t + 1) > r bits or more, so each pair within r bits is within t bits in some part (pigeonhole; Norouzi,
Punjani and Fleet, Fast exact search in Hamming space with multi-index hashing, PAMI 2014). Codes of one
value in a part are a bucket; a bucket is compared with those whose values differ by at most t bits.

How much that saves depends on the codes: `cheapest_parts` counts on a sample of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.codes import BLOCK_PAIRS, Codes, HammingBlock, Rows, Words, near_pairs

Keys: TypeAlias = NDArray[np.uint16]
"""uint16 [parts, n], the value of each part of each code."""

_WIDTHS = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16)
_TOLERANCES = (0, 1, 2)
_SAMPLE_ROWS = 4096
_SAMPLE_PARTS = 5
_BUCKET_COSTS = 60_000
"""Pairs that are compared in the time that a bucket costs beside its comparisons."""


@dataclass(frozen=True)
class Parts:
    """How codes are cut.

    Attributes:
        count: parts of each code.
        tolerance: bits in which a part may differ.
        width: bits of each part, at most 16.
    """

    count: int
    tolerance: int
    width: int

    @property
    def masks(self) -> Rows:
        """What two values of a part within the tolerance differ by, 0 first."""
        chosen = (bits for n in range(self.tolerance + 1) for bits in combinations(range(self.width), n))
        return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.int64)

    def keys(self, codes: Codes, parts: range | None = None) -> Keys:
        """The values of all or some parts.

        Bits of one part lie far apart, since neighbours in the hash of a picture are mostly alike.
        """
        parts = range(self.count) if parts is None else parts
        step = 8 * codes.shape[1] // self.width
        columns = np.ascontiguousarray(codes.T)
        keys = np.zeros((len(parts), len(codes)), np.uint16)
        for key, part in zip(keys, parts, strict=True):
            for place in range(self.width):
                byte, bit = divmod(place * step + part * (step // self.count), 8)
                key |= ((columns[byte] >> bit) & 1).astype(np.uint16) << place
        return keys


def cheapest_parts(left: Codes, right: Codes, radius: int) -> Parts | None:
    """The parts that leave least to do, None where comparing all pairs costs less.

    Args:
        left: uint8 [n, bytes]; may be `right`.
        right: uint8 [m, bytes].
        radius: in bits.
    """
    bits = 8 * left.shape[1]
    best, least = None, float(len(left)) * len(right)
    samples = [codes[:: max(1, len(codes) // _SAMPLE_ROWS)] for codes in (left, right)]
    for tolerance in _TOLERANCES:
        count = radius // (tolerance + 1) + 1
        for width in _WIDTHS:
            parts = Parts(count, tolerance, width)
            # Every part costs its buckets: what already costs too much by them need not be counted.
            if count * width <= bits and count * _BUCKET_COSTS < least:
                cost = _cost(parts, *samples, (len(left), len(right)))
                best, least = (parts, cost) if cost < least else (best, least)
    return best


def _cost(parts: Parts, left: Codes, right: Codes, sizes: tuple[int, int]) -> float:
    """Pairs to compare, estimated from samples, and what the buckets cost, in pairs."""
    counted = range(0, parts.count, max(1, parts.count // _SAMPLE_PARTS))
    values = 1 << parts.width
    buckets, share = 0.0, 0.0
    for left_keys, right_keys in zip(parts.keys(left, counted), parts.keys(right, counted), strict=True):
        here, there = (np.bincount(keys, minlength=values) for keys in (left_keys, right_keys))
        near = sum(there[np.arange(values) ^ mask] for mask in parts.masks)
        # A sampled row meets itself, which says nothing of the others.
        met = int(here @ near) - (len(left) if left is right else 0)
        share += met / max(1, len(left) * len(right))
        buckets += min(values, sizes[0], np.count_nonzero(here) * sizes[0] / max(1, len(left)))
    return parts.count / len(counted) * (share * sizes[0] * sizes[1] + buckets * _BUCKET_COSTS)


@dataclass(frozen=True, eq=False)
class Side:
    """Codes as they are compared: words [words, n] and keys [parts, n]."""

    words: Words
    keys: Keys

    def __getitem__(self, rows: slice) -> Side:
        return Side(self.words[:, rows], self.keys[:, rows])

    def __len__(self) -> int:
        return self.words.shape[1]


def pairs_of_part(
    left: Side, right: Side, parts: Parts, part: int, radius: int, *, later: bool
) -> Iterator[HammingBlock]:
    """Near pairs that meet in one part and in none before it, in no order.

    Args:
        left: codes.
        right: codes.
        parts: how they were cut.
        part: which part.
        radius: in bits.
        later: both are the same codes; each pair comes once, a < b.
    """
    masks, values = parts.masks, 1 << parts.width
    rows, start = _buckets(left.keys[part], values)
    others, other_start = (rows, start) if later else _buckets(right.keys[part], values)
    for value in np.flatnonzero(np.diff(start)).tolist():
        own = rows[start[value] : start[value + 1]]
        partners = value ^ masks
        if later:
            partners = partners[partners >= value]
        met = others[_ranges(other_start[partners], other_start[partners + 1])]
        height = max(1, BLOCK_PAIRS // max(1, len(met)))
        for row in range(0, len(own), height):
            # A bucket meets itself first, so that what lies before `row` was met already.
            for column in range(row if later else 0, len(met), BLOCK_PAIRS):
                a, b = own[row : row + height], met[column : column + BLOCK_PAIRS]
                near = near_pairs(left.words.take(a, axis=1), right.words.take(b, axis=1), radius)
                found = HammingBlock(a[near.a], b[near.b], near.distance)
                if later:
                    found = _ordered(found[near.a + row < near.b + column])
                if len(found):
                    yield found[~_met_before(left.keys, right.keys, found, part, parts.tolerance)]


def _buckets(keys: NDArray[np.uint16], values: int) -> tuple[Rows, Rows]:
    """Rows by value, and where each value starts among them, int64 [values + 1]."""
    start = np.zeros(values + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=values), out=start[1:])
    return np.argsort(keys, kind="stable"), start


def _ranges(start: Rows, stop: Rows) -> Rows:
    """range(start, stop) of each, one after the other."""
    length = stop - start
    up_to = np.cumsum(length)
    return np.repeat(start - (up_to - length), length) + np.arange(up_to[-1])


def _ordered(pairs: HammingBlock) -> HammingBlock:
    return HammingBlock(np.minimum(pairs.a, pairs.b), np.maximum(pairs.a, pairs.b), pairs.distance)


def _met_before(left: Keys, right: Keys, pairs: HammingBlock, part: int, tolerance: int) -> NDArray[np.bool_]:
    differing = np.bitwise_count(left[:part, pairs.a] ^ right[:part, pairs.b])
    met: NDArray[np.bool_] = (differing <= tolerance).any(axis=0)
    return met
