"""What `range` and `answer_distances` count: one unit, one rounding, for every method that compares hashes.

The documented example [0.0, 0.1, 26.0] is 0, 1 and 252 differing bits of the 968 that bmh1 prints, in
percent with one decimal.
"""

from __future__ import annotations

import math
from enum import StrEnum

from twinlens.engine.hashing import BMH1_BYTES, PHASH_BYTES, Hashes, PackedHash
from twinlens.service.settings import DistanceUnit


class HashType(StrEnum):
    """Which of the two hashes is compared."""

    BMH1 = "bmh1"
    PHASH = "phash"

    @property
    def bits(self) -> int:
        """Bits that are printed, and that a distance is a share of."""
        return 8 * {HashType.BMH1: BMH1_BYTES, HashType.PHASH: PHASH_BYTES}[self]

    def of(self, hashes: Hashes) -> PackedHash:
        """The packed hash of this type, uint8 [121] or [8]."""
        return hashes.bmh1 if self is HashType.BMH1 else hashes.phash


def distance(differing: int, kind: HashType, unit: DistanceUnit) -> float:
    """A Hamming distance as it is answered: percent with one decimal, or bits."""
    if unit is DistanceUnit.BITS:
        return float(differing)
    return round(100 * differing / kind.bits, 1)


def radius(range: float, kind: HashType, unit: DistanceUnit) -> int:
    """The largest Hamming distance whose `distance` is at most `range`, a number from 0.

    Whoever filters by an answered distance gets the same records: the rounded value is compared.
    """
    if range >= distance(kind.bits, kind, unit):
        return kind.bits
    bits = range if unit is DistanceUnit.BITS else (range + 0.05) * kind.bits / 100
    differing = min(kind.bits, math.floor(bits) + 1)
    while distance(differing, kind, unit) > range:
        differing -= 1
    return differing
