"""The hashes of collections in memory, and the nearest among them.

A table holds 144 bytes a record: its row number, its phash and its bmh1, as columns of 64-bit words, so
that the same word of all records lies side by side. It is a copy of what a file holds: it can be dropped
at any time, and whoever reads it brings it up to the file's state first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import BMH1_BYTES, PHASH_BYTES, PackedHash
from twinlens.service.matching.distances import HashType

BLOCK_RECORDS = 1 << 16
"""Records compared at a time: their temporaries fit a processor's cache."""

_WORD = 8
_BMH1_WORDS = -(-BMH1_BYTES // _WORD)
_COLUMNS = {HashType.PHASH: slice(1, 2), HashType.BMH1: slice(2, 2 + _BMH1_WORDS)}
_HEIGHT = 2 + _BMH1_WORDS
_OBJECTS = 1024
"""Bytes of what lies around a table, so that a million empty ones are not free."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """The hashes of a collection at one moment, in insertion order.

    Attributes:
        columns: uint64 [18, n]: row numbers, rising; phash; bmh1 padded with zeros.
    """

    columns: NDArray[np.uint64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row numbers, int64 [n], rising."""
        rows: NDArray[np.int64] = self.columns[0].view(np.int64)
        return rows

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.intp]:
        """Where these rows, all of them here, lie."""
        places: NDArray[np.intp] = np.searchsorted(self.rows, rows)
        return places

    def distances(
        self, query: PackedHash, kind: HashType, places: NDArray[np.intp] | None = None
    ) -> NDArray[np.uint16]:
        """Hamming distances to a query in bits, uint16 [n], or of the given places only.

        Raises:
            InvalidValue: the query is no hash of this kind.
        """
        words, wanted = self.columns[_COLUMNS[kind]], _query_words(query, kind)
        count = words.shape[1] if places is None else len(places)
        total = np.zeros(count, np.uint16)
        for start in range(0, count, BLOCK_RECORDS):
            part = slice(start, start + BLOCK_RECORDS)
            block = words[:, part] if places is None else words[:, places[part]]
            for word, wanted_word in zip(block, wanted, strict=True):
                total[part] += np.bitwise_count(word ^ wanted_word)
        return total


def nearest_places(
    distance: NDArray[np.uint16], *, k: int | None = None, radius: int | None = None
) -> NDArray[np.intp]:
    """Places of the k smallest distances of at most `radius`, rising, equal ones in their order.

    Raises:
        InvalidValue: k or radius is negative.
    """
    for name, value in (("k", k), ("a radius", radius)):
        if value is not None and value < 0:
            raise InvalidValue(f"{name} must be 0 or more, not {value}")
    reach = len(distance) and int(distance.max())
    if k is not None and k < len(distance):
        reach = int(np.searchsorted(np.bincount(distance).cumsum(), k))
    near = np.flatnonzero(distance <= min(reach, reach if radius is None else radius))
    return near[np.argsort(distance[near], kind="stable")[:k]]


class CodeTable:
    """The hashes of one collection; grows in place, and what `codes` gave stays as it was."""

    def __init__(self) -> None:
        self._columns = np.empty((_HEIGHT, 0), np.uint64)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """Memory that it takes, room to grow included."""
        return self._columns.nbytes + _OBJECTS

    @property
    def last_row(self) -> int:
        """The highest row number, 0 where there is none."""
        return int(self._columns[0, self._length - 1]) if self._length else 0

    def codes(self) -> Codes:
        """What it holds now; later changes do not touch it."""
        return Codes(self._columns[:, : self._length])

    def reserve(self, count: int) -> None:
        """Make room for so many records more."""
        wanted = self._length + count
        if wanted > self._columns.shape[1]:
            # The first load takes what it needs; growing adds a quarter, so that appending stays linear.
            grown = np.empty((_HEIGHT, max(wanted, self._length * 5 // 4)), np.uint64)
            grown[:, : self._length] = self._columns[:, : self._length]
            self._columns = grown

    def append(self, rows: Sequence[int], bmh1: Sequence[bytes], phash: Sequence[bytes]) -> None:
        """Add records; their row numbers rise and are above `last_row`."""
        self.reserve(len(rows))
        part = self._columns[:, self._length : self._length + len(rows)]
        part[0] = rows
        part[_COLUMNS[HashType.PHASH]] = _words(phash, PHASH_BYTES)
        part[_COLUMNS[HashType.BMH1]] = _words(bmh1, BMH1_BYTES)
        self._length += len(rows)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Drop all records but these; rising row numbers, those above `last_row` are passed over."""
        known = rows[rows <= self.last_row]
        self._columns = self._columns[:, self.codes().places(known)]
        self._length = len(known)


def _words(packed: Sequence[bytes], width: int) -> NDArray[np.uint64]:
    """Hashes of `width` bytes as words, uint64 [words, n]."""
    padded = np.zeros((len(packed), -(-width // _WORD) * _WORD), np.uint8)
    padded[:, :width] = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), width)
    return padded.view(np.uint64).T


def _query_words(query: PackedHash, kind: HashType) -> NDArray[np.uint64]:
    width = kind.bits // 8
    if query.dtype != np.uint8 or query.shape != (width,):
        raise InvalidValue(f"a {kind} hash is uint8 [{width}], not {query.dtype} {list(query.shape)}")
    return _words([query.tobytes()], width)[:, 0]


@dataclass(slots=True, eq=False)
class CachedCodes:
    """The hashes of one collection and the state of the file that they show.

    Attributes:
        lock: held while a state of the file is looked up and the hashes are brought to it.
        table: the hashes.
        collection: its number.
        inserted: records ever inserted in that state.
        deleted: records ever deleted.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    table: CodeTable = field(default_factory=CodeTable)
    collection: int = 0
    inserted: int = 0
    deleted: int = 0


class CodeCache:
    """Hashes of the collections used last, all together within a limit. Threads may share it.

    Args:
        limit: bytes. A collection that is larger alone is loaded anew for each use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], CachedCodes] = {}

    @property
    def nbytes(self) -> int:
        """Memory that all of them take."""
        with self._lock:
            return self._sum()

    def of(self, owner: str, name: str) -> CachedCodes:
        """The hashes of a collection as far as they are held; it counts as used last."""
        with self._lock:
            cached = self._held.pop((owner, name), None) or CachedCodes()
            self._held[owner, name] = cached
            return cached

    def drop(self, owner: str, name: str) -> None:
        """Forget a collection."""
        with self._lock:
            self._held.pop((owner, name), None)

    def trim(self) -> None:
        """Drop those not used for longest until the limit holds."""
        with self._lock:
            excess = self._sum() - self._limit
            while excess > 0:
                oldest = self._held.pop(next(iter(self._held)))
                excess -= oldest.table.nbytes

    def _sum(self) -> int:
        return sum(cached.table.nbytes for cached in self._held.values())
