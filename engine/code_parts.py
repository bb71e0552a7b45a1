"""Near codes by parts of their bits: only codes that nearly agree in some part are compared.

Cut codes into m = r // (t + 1) + 1 parts. Two codes that differ by more than t bits in every part differ by
m (t + 1) > r bits or more, so each pair within r bits is within t bits in some part (pigeonhole; Norouzi,
Punjani and Fleet, Fast exact search in Hamming space with multi-index hashing, PAMI 2014). Where that is
more than r + 1, the last parts need to agree in all but t - 1 bits only. Codes of one value in a part are a
bucket; a bucket is compared with those whose values differ by at most t bits.

Large buckets are compared as tiles, each at the cost of a few calls. Rows of small ones are looked up: for
each mask of at most t bits, all of them at once meet the rows whose value differs by that mask.

How much all that saves depends on the codes: `cheapest_parts` counts on a sample of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from math import comb
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
    Words,
    joined,
    near_pairs,
    packed_words,
    verified,
)
from twinlens.engine.pipeline import lots

Keys: TypeAlias = NDArray[np.uint16]
"""uint16 [parts, n], the value of each part of each code."""

_WIDTHS = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16)
_TOLERANCES = (0, 1, 2)
_SAMPLE_ROWS = 4096
_SAMPLE_PARTS = 5
_BUCKET_COSTS = 400_000
"""Words that are compared in the time that a bucket takes beside its comparisons, measured."""
_LOOKUP_COST, _MEETING_COST = 8.0, 12.0
"""Of looking up one row with one mask, and of comparing a pair that so meets, likewise."""
_MASK_COSTS = 100_000
"""Of the calls that look up all rows with one mask, beside what they do for each row."""
_SMALL_BUCKET = 1 << 15
"""Pairs up to which a bucket is looked up."""
_LOOKED_UP = 1 << 16
"""Rows that are looked up at a time."""
_FEW_ROWS = 256
"""Of so few, all pairs that are left are compared at once."""


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

    def tolerances(self, radius: int) -> list[int]:
        """Of each part, -1 where it need not be looked at: with one more bit in each, pairs are too far."""
        spare = self._spare(radius)
        return [self.tolerance] * (self.count - spare) + [self.tolerance - 1] * spare

    def count_masks(self, radius: int) -> int:
        """How many masks there are of all parts."""
        # Those of so many bits as the tolerance are left out where it is one less.
        last = comb(self.width, self.tolerance)
        return self.count * len(self.masks(self.tolerance)) - self._spare(radius) * last

    def _spare(self, radius: int) -> int:
        """In how many parts one bit less may differ."""
        return min(self.count, self.count * (self.tolerance + 1) - radius - 1)

    def masks(self, tolerance: int) -> Rows:
        """What two values of a part within a tolerance differ by, 0 first."""
        chosen = (bits for n in range(tolerance + 1) for bits in combinations(range(self.width), n))
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
            masks = parts.count_masks(radius)
            lookups = masks * (_MASK_COSTS + half * _LOOKUP_COST * len(left))
            # What already costs too much by its buckets and its lookups alone need not be counted.
            if count * width <= bits and min(count * _BUCKET_COSTS * stripes, lookups) < least:
                pairs, buckets = _work(parts, *samples, (len(left), len(right)))
                pairs *= masks / (count * len(parts.masks(tolerance)))
                tiles = half * pair_cost * pairs + _BUCKET_COSTS * buckets * stripes
                cost = min(tiles, lookups + half * _MEETING_COST * pairs)
                best, least = (parts, cost) if cost < least else (best, least)
    return best, least


def _work(parts: Parts, left: Codes, right: Codes, sizes: tuple[int, int]) -> tuple[float, float]:
    """How many pairs are compared, in how many buckets, estimated from samples of both sides."""
    counted = range(0, parts.count, max(1, parts.count // _SAMPLE_PARTS))
    values = 1 << parts.width
    buckets, share = 0.0, 0.0
    for left_keys, right_keys in zip(parts.keys(left, counted), parts.keys(right, counted), strict=True):
        here, there = (np.bincount(keys, minlength=values) for keys in (left_keys, right_keys))
        near = sum(there[np.arange(values) ^ mask] for mask in parts.masks(parts.tolerance))
        # A sampled row meets itself, which says nothing of the others. A bucket is compared with all of
        # itself, with others once.
        met = int(here @ near)
        if left is right:
            met += int(here @ here) - 2 * len(left)
        share += met / max(1, len(left) * len(right))
        buckets += min(values, np.count_nonzero(here) * sizes[0] / max(1, len(left)))
    each = parts.count / len(counted)
    return each * share * sizes[0] * sizes[1], each * buckets


@dataclass(frozen=True)
class _Buckets:
    """Rows of one side by the value of one part.

    Attributes:
        keys: uint16 [n], the value of each row.
        rows: int64 [n], ordered by value.
        start: int64 [values + 1], where each value starts among them.
    """

    keys: NDArray[np.uint16]
    rows: Rows
    start: Rows

    @classmethod
    def of(cls, keys: NDArray[np.uint16], values: int) -> _Buckets:
        start = np.zeros(values + 1, np.int64)
        np.cumsum(np.bincount(keys, minlength=values), out=start[1:])
        return cls(keys, np.argsort(keys, kind="stable"), start)

    @property
    def sizes(self) -> Rows:
        return np.diff(self.start)


@dataclass(frozen=True, eq=False)
class _Screened:
    """Codes ordered by their value in one part.

    Attributes:
        words: uint64 [screened words, n].
        rows: int64 [n].
        keys: int64 [n], their values.
        start: int64 [values + 1], where each value starts.
    """

    words: Words
    rows: Rows
    keys: Rows
    start: Rows

    @classmethod
    def of(cls, side: Side, buckets: _Buckets, screen: int) -> _Screened:
        words = side.words[:screen].take(buckets.rows, axis=1)
        return cls(words, buckets.rows, buckets.keys[buckets.rows].astype(np.int64), buckets.start)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Screened:
        return _Screened(self.words[:, chosen], self.rows[chosen], self.keys[chosen], self.start)


def _pairs_of_part(
    left: Side, right: Side, parts: Parts, part: int, looking: Looking, *, later: bool
) -> Iterator[HammingBlock]:
    """Near pairs that meet in one part and in none before it.

    Of one side with itself, rows meet from the one with the lower value.
    """
    tolerances = parts.tolerances(looking.radius)
    masks, values = parts.masks(tolerances[part]), 1 << parts.width
    if not len(masks):
        return
    ours = _Buckets.of(left.keys[part], values)
    theirs = ours if later else _Buckets.of(right.keys[part], values)
    sizes = theirs.sizes
    met = sum(sizes[np.arange(values) ^ mask] for mask in masks)
    is_large = ours.sizes * met > _SMALL_BUCKET
    tiles = (
        found
        for value in np.flatnonzero(is_large).tolist()
        for found in _compared(left, right, ours, theirs, value, masks, looking, later=later)
    )
    all_ours = _Screened.of(left, ours, looking.screen)
    all_theirs = all_ours if later else _Screened.of(right, theirs, looking.screen)
    small = all_ours[~is_large[all_ours.keys]]
    lookups = (
        found
        for mask in masks.tolist()
        for found in _looked_up(small, all_theirs, sizes, mask, looking.radius, later=later)
    )
    exact = (
        verified(left.words, right.words, joined(lot), looking.screen, looking.radius)
        for lot in lots(lookups, BLOCK_PAIRS)
    )
    for found in chain(tiles, exact):
        if later:
            # Rows of one value meet in both orders, those of two values in one.
            one_value = ours.keys[found.a] == ours.keys[found.b]
            found = _ordered(found[~one_value | (found.a < found.b)])
        if len(found):
            yield found[~_met_before(left.keys, right.keys, found, tolerances[:part])]


def _compared(
    left: Side,
    right: Side,
    ours: _Buckets,
    theirs: _Buckets,
    value: int,
    masks: Rows,
    looking: Looking,
    *,
    later: bool,
) -> Iterator[HammingBlock]:
    """Near pairs of the rows of one value and all that they meet, tile by tile."""
    partners = value ^ masks
    if later:
        partners = partners[partners >= value]
    own = ours.rows[ours.start[value] : ours.start[value + 1]]
    met = theirs.rows[_ranges(theirs.start[partners], theirs.start[partners + 1])]
    height = max(1, BLOCK_PAIRS // max(1, len(met)))
    for row in range(0, len(own), height):
        # Of one side with itself, they meet themselves first.
        for column in range(row if later else 0, len(met), BLOCK_PAIRS):
            a, b = own[row : row + height], met[column : column + BLOCK_PAIRS]
            yield near_pairs(left.words, right.words, a, b, looking)


def _looked_up(
    ours: _Screened, theirs: _Screened, sizes: Rows, mask: int, radius: int, *, later: bool
) -> Iterator[HammingBlock]:
    """Pairs near in the screened words, of rows and those whose value differs by one mask.

    Every row meets its first partner, those that have one more the second, and so on: no pair is written
    down before it is compared. What a few rows with many partners have left is written down.
    """
    for first in range(0, len(ours.rows), _LOOKED_UP):
        keys = ours.keys[first : first + _LOOKED_UP]
        partners = keys ^ mask
        # Of one side with itself from the lower value, that without the highest bit of the mask.
        a = np.flatnonzero(partners >= keys) if later else np.arange(len(keys))
        partners = partners.take(a)
        left = sizes.take(partners)
        meets = np.flatnonzero(left)
        a, b, left = a.take(meets) + first, theirs.start.take(partners.take(meets)), left.take(meets)
        while len(a) > _FEW_ROWS:
            yield _near(ours, theirs, a, b, radius)
            more = np.flatnonzero(left > 1)
            a, b, left = a.take(more), b.take(more) + 1, left.take(more) - 1
        # At least one row at a time: with buckets of more pairs than a block rows are not looked up.
        for some in _runs(left, BLOCK_PAIRS):
            partner = _ranges(b[some], b[some] + left[some])
            yield _near(ours, theirs, np.repeat(a[some], left[some]), partner, radius)


def _near(ours: _Screened, theirs: _Screened, a: Rows, b: Rows, radius: int) -> HammingBlock:
    distance = np.bitwise_count(ours.words[0].take(a) ^ theirs.words[0].take(b))
    for word, other in zip(ours.words[1:], theirs.words[1:], strict=True):
        distance = distance + np.bitwise_count(word.take(a) ^ other.take(b)).astype(np.uint16)
    near = np.flatnonzero(distance <= radius)
    return HammingBlock(ours.rows[a[near]], theirs.rows[b[near]], distance[near].astype(np.int32))


def _ordered(pairs: HammingBlock) -> HammingBlock:
    return HammingBlock(np.minimum(pairs.a, pairs.b), np.maximum(pairs.a, pairs.b), pairs.distance)


def _ranges(start: Rows, stop: Rows) -> Rows:
    """range(start, stop) of each, one after the other."""
    length = stop - start
    up_to = np.cumsum(length)
    total = int(up_to[-1]) if len(up_to) else 0
    return np.repeat(start - (up_to - length), length) + np.arange(total)


def _runs(lengths: Rows, most: int) -> Iterator[slice]:
    """Slices of rows whose lengths add up to `most`, or a single row."""
    up_to = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        done = int(up_to[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(up_to, done + most, "right")))
        yield slice(first, last)
        first = last


def _met_before(left: Keys, right: Keys, pairs: HammingBlock, tolerances: list[int]) -> NDArray[np.bool_]:
    met = np.zeros(len(pairs), np.bool_)
    for part, tolerance in enumerate(tolerances):
        met |= np.bitwise_count(left[part][pairs.a] ^ right[part][pairs.b]) <= tolerance
    return met
