"""Collections: records stored under the hashes of their images, each owner's apart, in one SQLite file.

A collection exists from its first insert; before that it is an empty one. Its order is the order of
insertion: an id that is deleted and inserted again goes to the end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import PackedHash
from twinlens.service.database import Database, Layout
from twinlens.service.matching import rows
from twinlens.service.matching.codes import CodeCache, nearest_places
from twinlens.service.matching.distances import HashType
from twinlens.service.matching.filters import Predicate
from twinlens.service.matching.rows import Insertion, Record

__all__ = ["CACHE_BYTES", "CollectionStore", "Insertion", "Record"]

CACHE_BYTES = 256 * 2**20
"""Memory for hashes unless told otherwise: those of 1.8 million records."""


_MIGRATIONS = (
    # Row numbers are never used again, so that they are the order of insertion. Hashes come before the
    # fields: long fields end on pages of their own, which loading the hashes then need not read.
    """
    CREATE TABLE collections (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        inserted INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (owner, name)
    );
    CREATE TABLE records (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        collection INTEGER NOT NULL REFERENCES collections(number),
        id TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        bmh1 BLOB NOT NULL CHECK (length(bmh1) = 121),
        phash BLOB NOT NULL CHECK (length(phash) = 8),
        fields TEXT NOT NULL,
        UNIQUE (collection, id)
    );
    CREATE INDEX records_in_order ON records (collection, row);
    """,
)

_LAYOUT = Layout(
    application=0x544C434F,  # "TLCO"
    migrations=_MIGRATIONS,
    content="image-matching collections",
)


class CollectionStore:
    """The collections in the file at `path`, which is made if there is none.

    Threads share a store, processes the file: what one has written the others see at their next call.
    Filters see a record as `{"_id": ..., its fields, "_width": ..., "_height": ...}`.

    Every method raises:
        InvalidValue: an id or a name that is not Unicode text, or a number outside what is served.
        NotAStore: the file is damaged, newer than this version, or something else.
        StorageFull: no room is left on its disk.
        ServiceError: it cannot be read or written, or is closed.

    Args:
        path: of the file.
        max_records: of one collection.
        cache_bytes: memory for hashes; collections not used for longest leave first.
    """

    def __init__(self, path: Path, *, max_records: int, cache_bytes: int = CACHE_BYTES) -> None:
        self._database = Database(path, _LAYOUT)
        self._max_records = max_records
        self._cache = CodeCache(cache_bytes)

    def close(self) -> None:
        """Wait for what is being written, and close; harmless when it is closed."""
        self._database.close()

    @property
    def cached_bytes(self) -> int:
        """Memory that hashes take now."""
        return self._cache.nbytes

    # -- changes ------------------------------------------------------------------------------

    def insert(self, owner: str, collection: str, records: Sequence[Record]) -> list[Insertion]:
        """Store records, all in one transaction; what is answered as inserted is on disk.

        A record whose id exists, or came earlier in the same call, is a duplicate and changes nothing.
        """
        stored = [rows.row_of(record) for record in records]
        if not stored:
            return []
        with self._database.writing() as db:
            made = rows.make(db, owner, collection)
            outcomes: list[Insertion] = []
            size = made.size
            for row in stored:
                outcomes.append(rows.insert(db, made.number, row, full=size >= self._max_records))
                size += outcomes[-1] is Insertion.INSERTED
            rows.count_changes(db, made.number, inserted=size - made.size)
        return outcomes

    def update(
        self, owner: str, collection: str, changes: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> list[Record | None]:
        """Set fields of records, others stay; all in one transaction.

        Returns:
            Each record after its change, None where there is none of that id.
        """
        wanted = [(rows.text(id_, "an id"), dict(fields)) for id_, fields in changes]
        with self._database.writing() as db:
            if (found := rows.find(db, owner, collection)) is None:
                return [None] * len(wanted)
            return [rows.merge(db, found.number, id_, fields) for id_, fields in wanted]

    def delete(self, owner: str, collection: str, ids: Sequence[str]) -> list[bool]:
        """Delete records, all in one transaction; False where there was none of that id."""
        wanted = [rows.text(id_, "an id") for id_ in ids]
        with self._database.writing() as db:
            if (found := rows.find(db, owner, collection)) is None:
                return [False] * len(wanted)
            gone = [rows.delete(db, found.number, id_) for id_ in wanted]
            rows.count_changes(db, found.number, deleted=sum(gone))
            return gone

    def adopt(self, old_owner: str, new_owner: str) -> int:
        """Give all collections of one owner to another; empty ones are forgotten.

        Returns:
            How many were given.

        Raises:
            InvalidValue: the new owner has a collection of the same name; nothing is given.
        """
        if old_owner == new_owner:
            return 0
        with self._database.writing() as db:
            return rows.give(db, old_owner, new_owner)

    # -- reading ------------------------------------------------------------------------------

    def get(self, owner: str, collection: str, ids: Sequence[str]) -> list[Record | None]:
        """The records of these ids, None where there is none."""
        wanted = [rows.text(id_, "an id") for id_ in ids]
        with self._database.reading() as db:
            if (found := rows.find(db, owner, collection)) is None:
                return [None] * len(wanted)
            return [rows.get(db, found.number, id_) for id_ in wanted]

    def count(self, owner: str, collection: str, where: Predicate | None = None) -> int:
        """How many records there are, or how many a filter lets through."""
        with self._database.reading() as db:
            if (found := rows.find(db, owner, collection)) is None:
                return 0
            return found.size if where is None else sum(1 for _ in rows.numbers(db, found.number, where))

    def nearest(
        self,
        owner: str,
        collection: str,
        query: PackedHash,
        kind: HashType,
        *,
        k: int | None = None,
        radius_bits: int | None = None,
        where: Predicate | None = None,
    ) -> list[tuple[Record, int]]:
        """The records nearest to a hash with their Hamming distances in bits; exact.

        Args:
            owner: whose collection.
            collection: its name.
            query: uint8 [121] for bmh1, [8] for phash.
            kind: which hash is compared.
            k: at most so many, after the filter; None for all.
            radius_bits: only those at most so far away; None for all.
            where: only those that it lets through.

        Returns:
            By distance, equally near ones in the order of insertion.
        """
        cached = self._cache.of(owner, collection)
        with self._database.reading() as db:
            # The lock is taken before the first query fixes the state that this transaction sees, so that
            # the hashes are never newer than the state of whoever holds it.
            with cached.lock:
                found = rows.find(db, owner, collection)
                codes = None if found is None else rows.load(db, found, cached)
            self._cache.trim()
            if found is None or codes is None:
                self._cache.drop(owner, collection)
                return []
            places = None if where is None else codes.places(rows.numbers_array(db, found.number, where))
            distance = codes.distances(query, kind, places)
            chosen = nearest_places(distance, k=k, radius=radius_bits)
            numbers = codes.rows[chosen if places is None else places[chosen]]
            return list(zip(rows.fetch(db, numbers.tolist()), distance[chosen].tolist(), strict=True))

    def sample(self, owner: str, collection: str, count: int, where: Predicate | None = None) -> list[Record]:
        """Some records at random, each at most once; all where there are fewer."""
        if count < 0:
            raise InvalidValue(f"a sample has 0 or more records, not {count}")
        with self._database.reading() as db:
            if (found := rows.find(db, owner, collection)) is None:
                return []
            numbers = rows.numbers_array(db, found.number, where).tolist()
            return rows.fetch(db, random.sample(numbers, min(count, len(numbers))))

    def page(
        self, owner: str, collection: str, size: int, page: int, where: Predicate | None = None
    ) -> tuple[list[Record], bool]:
        """One page of records in the order of insertion, and whether another one follows.

        Args:
            owner: whose collection.
            collection: its name.
            size: records on a page, at least 1.
            page: counted from 1.
            where: only those that it lets through.
        """
        if size < 1 or page < 1:
            raise InvalidValue(f"pages have 1 or more records and count from 1, not {size} and {page}")
        with self._database.reading() as db:
            found, start = rows.find(db, owner, collection), (page - 1) * size
            if found is None or start >= found.size:
                return [], False
            size = min(size, found.size)
            numbers = list(islice(rows.numbers(db, found.number, where, start), size + 1))
            return rows.fetch(db, numbers[:size]), len(numbers) > size

    def all(self, owner: str, collection: str, where: Predicate | None = None) -> Iterator[Record]:
        """All records in the order of insertion, some at a time.

        Whoever reads slowly holds nothing up. Records that are there from the beginning to the end come
        once each; those inserted or deleted meanwhile may come or not.
        """
        last = 0
        while True:
            with self._database.reading() as db:
                found = rows.find(db, owner, collection)
                records, last = ([], last) if found is None else rows.chunk(db, found.number, last)
            if not records:
                return
            yield from (each for each in records if where is None or where(rows.document(each)))
