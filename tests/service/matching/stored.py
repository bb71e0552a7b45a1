"""Records to store, and what the store must answer about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twinlens.engine.hashing import Hashes, PackedHash
from twinlens.service.matching.collections import Record
from twinlens.service.matching.distances import HashType


def hashes(seed: int, spread: int = 5) -> Hashes:
    """One of `spread` different pairs of hashes, near and far ones, so that ties are common."""
    rng = np.random.default_rng(seed % spread)
    bmh1 = rng.integers(0, 256, 121, dtype=np.uint8) & rng.integers(0, 256, 121, dtype=np.uint8)
    bmh1[-1] &= 1
    return Hashes(bmh1, rng.integers(0, 256, 8, dtype=np.uint8))


def record(id_: str, seed: int = 0, **fields: Any) -> Record:
    return Record(id_, fields, width=10 + seed, height=20 + seed, hashes=hashes(seed))


def facts(each: Record | None) -> object:
    """A record as something that can be compared."""
    if each is None:
        return None
    return (
        each.id,
        each.fields,
        each.width,
        each.height,
        each.hashes.bmh1.tobytes(),
        each.hashes.phash.tobytes(),
    )


def ids(records: Sequence[Record]) -> list[str]:
    return [each.id for each in records]


def differing(a: PackedHash, b: PackedHash) -> int:
    return (int.from_bytes(a.tobytes()) ^ int.from_bytes(b.tobytes())).bit_count()


def brute_force(
    records: Sequence[Record], query: PackedHash, kind: HashType, k: int | None, radius: int | None
) -> list[tuple[str, int]]:
    distances = [(each.id, differing(kind.of(each.hashes), query)) for each in records]
    near = [pair for pair in distances if radius is None or pair[1] <= radius]
    return sorted(near, key=lambda pair: pair[1])[:k]
