"""Packed hashes and how far apart they are: what the joins of `hamming` and `leaders` are made of.

Codes are uint8 [n, bytes], one packed hash per row; a distance counts differing bits.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_SPREAD = 4
_STEP = 2
_FEW = 1 / 16


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


def joined(blocks: Sequence[HammingBlock]) -> HammingBlock:
    """Several blocks as one, in their order."""
    nothing = HammingBlock(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))
    a, b, distance = zip(*((each.a, each.b, each.distance) for each in (nothing, *blocks)), strict=True)
    return HammingBlock(np.concatenate(a), np.concatenate(b), np.concatenate(distance))


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


def distances(left: Words, right: Words) -> NDArray[np.uint16]:
    """Differing bits of all pairs, uint16 [n, m]: wide enough for the longest codes."""
    total = np.zeros((left.shape[1], right.shape[1]), np.uint16)
    for start in range(0, len(left), _STEP):
        total += _differences(left[start : start + _STEP], right[start : start + _STEP])
    return total


def near_pairs(left: Words, right: Words, radius: int) -> HammingBlock:
    """The pairs of one tile at most `radius` bits apart, sorted; may be none.

    A few words of all pairs first, until few pairs have a chance left; then the other words of those.
    """
    seen = min(max(1, radius // 64), len(left))
    total = distances(left[:seen], right[:seen]) if seen > 1 else _differences(left[:1], right[:1])
    near = total <= radius
    while seen < len(left) and np.count_nonzero(near) > _FEW * near.size:
        part = slice(seen, seen + _STEP)
        total = total.astype(np.uint16) + _differences(left[part], right[part])
        near = total <= radius
        seen = min(seen + _STEP, len(left))
    pairs = np.flatnonzero(near)
    a, b = np.divmod(pairs, max(1, right.shape[1]))
    distance = total.ravel()[pairs].astype(np.int32)
    if seen < len(left):
        distance += np.bitwise_count(left[seen:].take(a, axis=1) ^ right[seen:].take(b, axis=1)).sum(
            axis=0, dtype=np.int32
        )
        kept = distance <= radius
        a, b, distance = a[kept], b[kept], distance[kept]
    return HammingBlock(a, b, distance)


def _differences(left: Words, right: Words) -> NDArray[np.uint8]:
    """Differing bits of one or two words of all pairs, uint8 [n, m]."""
    differing = left[0][:, np.newaxis] ^ right[0]
    total = np.bitwise_count(differing)
    for left_word, right_word in zip(left[1:], right[1:], strict=True):
        np.bitwise_xor(left_word[:, np.newaxis], right_word, out=differing)
        total += np.bitwise_count(differing)
    return total
