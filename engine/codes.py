"""Packed hashes and how far apart they are: what the joins of `hamming` and `leaders` are made of.

Codes are uint8 [n, bytes], one packed hash per row; a distance counts differing bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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

Chosen: TypeAlias = Rows | slice
"""Which codes: by their numbers, or those from a start on."""

Bits: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""[n, m], a number of bits of each pair."""

BLOCK_PAIRS = 1 << 18
"""Pairs compared at a time unless told otherwise: their temporaries fit a processor's cache."""

_MAX_BYTES = 8191
_SPREAD = 4
_STEP = 4
_FEW = 1 / 16
_UINT8_WORDS = 3
_CACHED_PAIRS = 1 << 15
_SAMPLE = 512
_SCREEN_WORDS = (1, 2, 3, 4, 6, 8)
_NUMBER_BITS = 63
_SURVIVOR_COSTS = 50
"""Words that are compared in the time that a pair takes which the screen lets pass, measured."""


@dataclass(frozen=True, slots=True, eq=False)
class HammingBlock:
    """Pairs of a left and a right code.

    Attributes:
        a: int64 [pairs], rows of the left codes.
        b: int64 [pairs], rows of the right codes.
        distance: int32 [pairs], in bits.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    distance: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | Rows) -> HammingBlock:
        return HammingBlock(self.a[chosen], self.b[chosen], self.distance[chosen])

    def moved(self, a: int, b: int) -> HammingBlock:
        """The same pairs where the left rows start at `a` and the right ones at `b`."""
        return HammingBlock(self.a + a, self.b + b, self.distance)


@dataclass(frozen=True, slots=True)
class Packing:
    """How a pair is one number, which sorts by a, then by b, and is a fifth of its size in a block.

    Attributes:
        first: what `a` is counted from.
        column_bits: of b.
        distance_bits: of the distance.
    """

    first: int
    column_bits: int
    distance_bits: int

    @classmethod
    def of(cls, first: int, columns: int, radius: int) -> Packing:
        """For pairs of rows from `first` on and so many columns, at most `radius` bits apart."""
        return cls(first, columns.bit_length(), radius.bit_length())

    @property
    def most_rows(self) -> int:
        """How many rows there is room for."""
        return 1 << max(0, _NUMBER_BITS - self.column_bits - self.distance_bits)

    def pack(self, pairs: HammingBlock) -> Rows:
        """One number for each pair, int64 [pairs]."""
        packed: Rows = ((pairs.a - self.first) << self.column_bits | pairs.b) << self.distance_bits
        packed |= pairs.distance
        return packed

    def unpack(self, packed: Rows) -> HammingBlock:
        """The pairs of such numbers."""
        distance = packed & ((1 << self.distance_bits) - 1)
        places = packed >> self.distance_bits
        a = (places >> self.column_bits) + self.first
        return HammingBlock(a, places & ((1 << self.column_bits) - 1), distance.astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """Pairs in order, by a, then by b; slices of them are blocks.

    Attributes:
        packing: of each pair.
        packed: int64 [pairs].
    """

    packing: Packing
    packed: Rows

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, chosen: slice) -> HammingBlock:
        return self.packing.unpack(self.packed[chosen])


def in_order(packed: Sequence[Rows], *, runs: bool = False) -> Rows:
    """All numbers of some arrays, sorted; `runs` says that each array is and they need only be merged."""
    together: Rows = np.concatenate([np.empty(0, np.int64), *packed])
    together.sort(kind="stable" if runs else None)
    return together


def joined(blocks: Sequence[HammingBlock]) -> HammingBlock:
    """Several blocks as one, in their order."""
    nothing = HammingBlock(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))
    a, b, distance = zip(*((each.a, each.b, each.distance) for each in (nothing, *blocks)), strict=True)
    return HammingBlock(np.concatenate(a), np.concatenate(b), np.concatenate(distance))


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a join: words [words, n], and keys [parts, n] where codes are compared by parts."""

    words: Words
    keys: NDArray[np.uint16]

    def __getitem__(self, rows: slice) -> Side:
        return Side(self.words[:, rows], self.keys[:, rows])

    def __len__(self) -> int:
        return int(self.words.shape[1])


@dataclass(frozen=True)
class Looking:
    """How pairs are looked for.

    Attributes:
        radius: bits up to which a pair is near.
        screen: words that are compared of all pairs; the others only where those leave a chance.
    """

    radius: int
    screen: int


class Way(Protocol):
    """A way of finding near pairs, in no order."""

    def side(self, codes: Codes) -> Side:
        """Codes as this way compares them."""
        ...

    def jobs(
        self, left: Side, right: Side, looking: Looking, *, later: bool
    ) -> Sequence[Callable[[], Iterator[HammingBlock]]]:
        """What finds each near pair once, in no order, in any number of threads.

        `later` says that both sides are the same codes; of those, pairs are a < b.
        """
        ...


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
    spread = np.argsort(np.arange(len(words)) % _SPREAD, kind="stable")
    return np.ascontiguousarray(words[spread])


def distances(left: Words, right: Words) -> Bits:
    """Differing bits of all pairs, [n, m]: uint8 for up to three words, else uint16.

    Row by row in a buffer that stays in the processor's cache.
    """
    rows, columns = left.shape[1], right.shape[1]
    total = np.zeros((rows, columns), np.uint8 if len(left) <= _UINT8_WORDS else np.uint16)
    height = max(1, min(rows, _CACHED_PAIRS // max(1, columns)))
    differing = np.empty((height, columns), np.uint64)
    few, one = np.empty((2, height, columns), np.uint8)
    for row in range(0, rows, height):
        part = left[:, row : row + height]
        size = part.shape[1]
        for first in range(0, len(left), _UINT8_WORDS):
            for word in range(first, min(first + _UINT8_WORDS, len(left))):
                np.bitwise_xor(part[word][:, np.newaxis], right[word], out=differing[:size])
                np.bitwise_count(differing[:size], out=few[:size] if word == first else one[:size])
                if word > first:
                    few[:size] += one[:size]
            total[row : row + size] += few[:size]
    return total


def weights(words: Words) -> Rows:
    """Ones of each code; codes within r bits of each other have weights within r."""
    ones: Rows = np.bitwise_count(words).sum(axis=0, dtype=np.int64)
    return ones


def screen_words(left: Words, right: Words, radius: int) -> int:
    """How many words of all pairs to compare before looking closer: what is fastest for these codes.

    Hashes of pictures differ less in one word than random ones do, and need more. Tried on the pairs of a
    sample whose weights are close enough.
    """
    ours, theirs = (words[:, :: max(1, words.shape[1] // _SAMPLE)] for words in (left, right))
    close = np.abs(weights(ours)[:, np.newaxis] - weights(theirs)) <= radius
    counts = sorted({min(words, len(left)) for words in (*_SCREEN_WORDS, len(left))})
    costs = []
    for words in counts:
        passed = np.count_nonzero((distances(ours[:words], theirs[:words]) <= radius) & close)
        costs.append(words + _SURVIVOR_COSTS * passed / max(1, int(np.count_nonzero(close))))
    return counts[int(np.argmin(costs))]


def expected_pairs(left: Words, right: Words, radius: int, *, later: bool) -> float:
    """How many pairs are near, estimated from samples; `later` says that both are the same codes."""
    ours, theirs = (words[:, :: max(1, words.shape[1] // _SAMPLE)] for words in (left, right))
    near = int(np.count_nonzero(distances(ours, theirs) <= radius))
    compared = int(ours.shape[1]) * int(theirs.shape[1])
    if later:
        near, compared = near - int(ours.shape[1]), compared - int(ours.shape[1])
    pairs = int(left.shape[1]) * int(right.shape[1]) * (0.5 if later else 1.0)
    return pairs * near / max(1, compared)


def near_pairs(left: Words, right: Words, a: Chosen, b: Chosen, looking: Looking) -> HammingBlock:
    """The near pairs of one tile, in the order of its rows and columns; may be none.

    Args:
        left: uint64 [words, n].
        right: uint64 [words, m].
        a: which codes of `left`.
        b: which codes of `right`.
        looking: which pairs are near, and how they are looked for.
    """
    screen, radius = looking.screen, looking.radius
    distance = distances(_chosen(left[:screen], a), _chosen(right[:screen], b))
    near = distance <= radius
    if screen < len(left) and np.count_nonzero(near) > _FEW * near.size:
        return near_pairs(left, right, a, b, Looking(radius, len(left)))
    pairs = np.flatnonzero(near)
    row, column = np.divmod(pairs, max(1, near.shape[1]))
    rows, columns = _numbers(a, row), _numbers(b, column)
    bits = distance.ravel()[pairs].astype(np.int32)
    return verified(left, right, HammingBlock(rows, columns, bits), screen, radius)


def verified(left: Words, right: Words, pairs: HammingBlock, screen: int, radius: int) -> HammingBlock:
    """Those pairs that are near in all words, in their order.

    Args:
        left: uint64 [words, n].
        right: uint64 [words, m].
        pairs: with their distances in the first `screen` words.
        screen: words.
        radius: in bits.
    """
    rows, columns, bits = pairs.a, pairs.b, pairs.distance
    for word in range(screen, len(left), _STEP):
        part = slice(word, word + _STEP)
        differing = left[part].take(rows, axis=1) ^ right[part].take(columns, axis=1)
        bits = bits + np.bitwise_count(differing).sum(axis=0, dtype=np.int32)
        kept = bits <= radius
        rows, columns, bits = rows[kept], columns[kept], bits[kept]
    return HammingBlock(rows, columns, bits)


def _chosen(words: Words, chosen: Chosen) -> Words:
    return words[:, chosen] if isinstance(chosen, slice) else words.take(chosen, axis=1)


def _numbers(chosen: Chosen, places: Rows) -> Rows:
    return places + chosen.start if isinstance(chosen, slice) else chosen[places]
