"""Near codes by parts of their bits: only codes that nearly agree in some part are compared.

Cut codes into m = r // (t + 1) + 1 parts. Two codes that differ by more than t bits in every part differ by
m (t + 1) > r bits or more, so each pair within r bits is within t bits in some part (pigeonhole; Norouzi,
Punjani and Fleet, Fast exact search in Hamming space with multi-index hashing, PAMI 2014). Codes of one
value in a part are a bucket; a bucket is compared with those whose values differ by at most t bits.

How much that saves depends on the codes: `cheapest_parts` counts on a sample of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.codes import (
    BLOCK_PAIRS,
    Codes,
    HammingBlock,
    Looking,
    Rows,
    Side,
    near_pairs,
    packed_words,
)

Keys: TypeAlias = NDArray[np.uint16]
"""uint16 [parts, n], the value of each part of each code."""

_WIDTHS = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16)
_TOLERANCES = (0, 1, 2)
_SAMPLE_ROWS = 4096
_SAMPLE_PARTS = 5
_BUCKET_COSTS = 400_000
"""Words that are compared in the time that a bucket takes beside its comparisons, measured."""


@dataclass(frozen=True)
class Parts:
    """A way to find near pairs: how codes are cut.

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

    def keys(self, codes: Codes, parts: range) -> Keys:
        """The values of some parts.

        Bits of one part lie far apart, since neighbours in the hash of a picture are mostly alike.
        """
        step = 8 * codes.shape[1] // self.width
        columns = np.ascontiguousarray(codes.T)
        keys = np.zeros((len(parts), len(codes)), np.uint16)
        for key, part in zip(keys, parts, strict=True):
            for place in range(self.width):
                byte, bit = divmod(place * step + part * (step // self.count), 8)
                key |= ((columns[byte] >> bit) & 1).astype(np.uint16) << place
        return keys

    def side(self, codes: Codes) -> Side:
        """Codes with the values of all parts."""
        return Side(packed_words(codes), self.keys(codes, range(self.count)))

    def jobs(
        self, left: Side, right: Side, looking: Looking, *, later: bool
    ) -> list[Callable[[], Iterator[HammingBlock]]]:
        """One for each part."""
        return [
            partial(_pairs_of_part, left, right, self, part, looking, later=later)
            for part in range(self.count)
        ]


def cheapest_parts(
    left: Codes, right: Codes, radius: int, pair_cost: float, stripes: int
) -> tuple[Parts | None, float]:
    """The parts that leave least to do, None where they cost more than comparing all pairs.

    Args:
        left: uint8 [n, bytes]; may be `right`.
        right: uint8 [m, bytes].
        radius: in bits.
        pair_cost: of comparing two codes, in words.
        stripes: of left codes that are compared one after the other, each in buckets of its own.

    Returns:
        The parts, and what they or all pairs cost, in words.
    """
    bits, half = 8 * left.shape[1], 0.5 if left is right else 1.0
    best, least = None, half * pair_cost * len(left) * len(right)
    sample = left[:: max(1, len(left) // _SAMPLE_ROWS)]
    samples = sample, sample if left is right else right[:: max(1, len(right) // _SAMPLE_ROWS)]
    for tolerance in _TOLERANCES:
        count = radius // (tolerance + 1) + 1
        for width in _WIDTHS:
            parts = Parts(count, tolerance, width)
            # Every part costs its buckets: what already costs too much by them need not be counted.
            if count * width <= bits and count * _BUCKET_COSTS * stripes < least:
                pairs, buckets = _work(parts, *samples, (len(left), len(right)))
                cost = half * pair_cost * pairs + _BUCKET_COSTS * buckets * stripes
                best, least = (parts, cost) if cost < least else (best, least)
    return best, least


def _work(parts: Parts, left: Codes, right: Codes, sizes: tuple[int, int]) -> tuple[float, float]:
    """How many pairs are compared, in how many buckets, estimated from samples of both sides."""
    counted = range(0, parts.count, max(1, parts.count // _SAMPLE_PARTS))
    values = 1 << parts.width
    buckets, share = 0.0, 0.0
    for left_keys, right_keys in zip(parts.keys(left, counted), parts.keys(right, counted), strict=True):
        here, there = (np.bincount(keys, minlength=values) for keys in (left_keys, right_keys))
        near = sum(there[np.arange(values) ^ mask] for mask in parts.masks)
        # A sampled row meets itself, which says nothing of the others. A bucket is compared with all of
        # itself, with others once.
        met = int(here @ near)
        if left is right:
            met += int(here @ here) - 2 * len(left)
        share += met / max(1, len(left) * len(right))
        buckets += min(values, np.count_nonzero(here) * sizes[0] / max(1, len(left)))
    each = parts.count / len(counted)
    return each * share * sizes[0] * sizes[1], each * buckets


def _pairs_of_part(
    left: Side, right: Side, parts: Parts, part: int, looking: Looking, *, later: bool
) -> Iterator[HammingBlock]:
    """Near pairs that meet in one part and in none before it."""
    masks, values = parts.masks, 1 << parts.width
    keys = left.keys[part]
    rows, start = _buckets(keys, values)
    others, other_start = (rows, start) if later else _buckets(right.keys[part], values)
    for value in np.flatnonzero(np.diff(start)).tolist():
        own = rows[start[value] : start[value + 1]]
        partners = value ^ masks
        if later:
            partners = partners[partners >= value]
        met = others[_ranges(other_start[partners], other_start[partners + 1])]
        for found in _bucket(left, right, own, met, looking, later=later):
            if later:
                # Rows of one value meet in both orders, those of two values in one.
                one_value = keys[found.a] == keys[found.b]
                found = _ordered(found[~one_value | (found.a < found.b)])
            if len(found):
                yield found[~_met_before(left.keys, right.keys, found, part, parts.tolerance)]


def _bucket(
    left: Side, right: Side, own: Rows, met: Rows, looking: Looking, *, later: bool
) -> Iterator[HammingBlock]:
    """Near pairs of a bucket and the rows it meets; `later` says that it meets itself first."""
    height = max(1, BLOCK_PAIRS // max(1, len(met)))
    for row in range(0, len(own), height):
        for column in range(row if later else 0, len(met), BLOCK_PAIRS):
            a, b = own[row : row + height], met[column : column + BLOCK_PAIRS]
            yield near_pairs(left.words, right.words, a, b, looking)


def _ordered(pairs: HammingBlock) -> HammingBlock:
    return HammingBlock(np.minimum(pairs.a, pairs.b), np.maximum(pairs.a, pairs.b), pairs.distance)


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


def _met_before(left: Keys, right: Keys, pairs: HammingBlock, part: int, tolerance: int) -> NDArray[np.bool_]:
    differing = np.bitwise_count(left[:part, pairs.a] ^ right[:part, pairs.b])
    met: NDArray[np.bool_] = (differing <= tolerance).any(axis=0)
    return met
