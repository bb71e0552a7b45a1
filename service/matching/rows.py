"""Records and their rows: the SQL of collections, within transactions that the caller holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import Hashes
from twinlens.service.matching.codes import CachedCodes, Codes, CodeTable
from twinlens.service.matching.filters import Predicate
from twinlens.service.nesting import nests_deeper

MAX_DEPTH = 200
"""Levels of objects and arrays in the fields of a record."""

Row = tuple[Any, ...]

_CHUNK = 2000
_RECORD = "row, id, width, height, bmh1, phash, fields"


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        id: any text, unique in its collection.
        fields: what else the caller sent, JSON.
        width: of its image, upright, px.
        height: upright, px.
        hashes: of its image.
    """

    id: str
    fields: dict[str, Any]
    width: int
    height: int
    hashes: Hashes


class Insertion(StrEnum):
    """What became of a record that was to be inserted."""

    INSERTED = "inserted"
    DUPLICATE = "duplicate"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection in one state.

    Attributes:
        number: its key, never used again.
        inserted: records ever inserted.
        deleted: records ever deleted.
    """

    number: int
    inserted: int
    deleted: int

    @property
    def size(self) -> int:
        """How many records it holds."""
        return self.inserted - self.deleted


# -- values ----------------------------------------------------------------------------------------


def text(value: str, what: str) -> str:
    """The value, if SQLite can hold it.

    Raises:
        InvalidValue: it holds half a surrogate pair.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{what} is Unicode text, and {value!r} holds half a surrogate pair") from None
    return value


def fields_text(id_: str, fields: dict[str, Any]) -> str:
    """Fields as they are stored: ASCII, so that even half surrogate pairs come back.

    Raises:
        InvalidValue: they nest too deep.
    """
    # Python reads and writes JSON recursively: what goes in must come out, however deep the caller stands.
    if nests_deeper(fields, MAX_DEPTH):
        raise InvalidValue(f"the fields of record {id_!r} nest more than {MAX_DEPTH} levels")
    return json.dumps(fields, ensure_ascii=True)


def row_of(record: Record) -> Row:
    """A record as it is stored, from its id on.

    Raises:
        InvalidValue: it cannot be stored.
    """
    hashes = (record.hashes.bmh1.tobytes(), record.hashes.phash.tobytes())
    fields = fields_text(record.id, record.fields)
    return (text(record.id, "an id"), record.width, record.height, *hashes, fields)


def document(record: Record) -> dict[str, Any]:
    """A record as filters see it and as it is answered: all but its hashes."""
    return _document(record.id, record.fields, record.width, record.height)


def _document(id_: str, fields: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    return {"_id": id_, **fields, "_width": width, "_height": height}


def _record(row: Row) -> Record:
    _, id_, width, height, bmh1, phash, fields = row
    hashes = Hashes(np.frombuffer(bmh1, np.uint8), np.frombuffer(phash, np.uint8))
    return Record(id_, json.loads(fields), width, height, hashes)


# -- collections -----------------------------------------------------------------------------------


def find(db: sqlite3.Connection, owner: str, name: str) -> Collection | None:
    """A collection as it is now, None before its first insert."""
    key = (text(owner, "an owner"), text(name, "the name of a collection"))
    query = "SELECT number, inserted, deleted FROM collections WHERE owner = ? AND name = ?"
    found = db.execute(query, key).fetchone()
    return None if found is None else Collection(*found)


def make(db: sqlite3.Connection, owner: str, name: str) -> Collection:
    """A collection as it is now, made if there was none."""
    if (found := find(db, owner, name)) is not None:
        return found
    made = db.execute("INSERT INTO collections (owner, name) VALUES (?, ?)", (owner, name))
    return Collection(made.lastrowid or 0, 0, 0)


def count_changes(db: sqlite3.Connection, collection: int, *, inserted: int = 0, deleted: int = 0) -> None:
    """Tell those who remember a collection that it has changed."""
    db.execute(
        "UPDATE collections SET inserted = inserted + ?, deleted = deleted + ? WHERE number = ?",
        (inserted, deleted, collection),
    )


def give(db: sqlite3.Connection, old_owner: str, new_owner: str) -> int:
    """Give all collections of one owner to another, forgetting empty ones; how many were given.

    Raises:
        InvalidValue: both have a collection of the same name.
    """
    owners = (text(old_owner, "an owner"), text(new_owner, "an owner"))
    db.execute("DELETE FROM collections WHERE inserted = deleted AND owner IN (?, ?)", owners)
    taken = db.execute(
        "SELECT name FROM collections WHERE owner = ? INTERSECT"
        " SELECT name FROM collections WHERE owner = ? ORDER BY name",
        owners,
    ).fetchone()
    if taken is not None:
        raise InvalidValue(f"{new_owner!r} has a collection {taken[0]!r} already: delete one of the two")
    return db.execute("UPDATE collections SET owner = ? WHERE owner = ?", owners[::-1]).rowcount


# -- records ---------------------------------------------------------------------------------------


def insert(db: sqlite3.Connection, collection: int, row: Row, *, full: bool) -> Insertion:
    """Insert what `row_of` made, unless its id is there or the collection is full."""
    if full:
        known = db.execute("SELECT 1 FROM records WHERE collection = ? AND id = ?", (collection, row[0]))
        return Insertion.FULL if known.fetchone() is None else Insertion.DUPLICATE
    added = db.execute(
        "INSERT INTO records (collection, id, width, height, bmh1, phash, fields)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, id) DO NOTHING",
        (collection, *row),
    )
    return Insertion.INSERTED if added.rowcount == 1 else Insertion.DUPLICATE


def get(db: sqlite3.Connection, collection: int, id_: str) -> Record | None:
    """The record of an id."""
    query = f"SELECT {_RECORD} FROM records WHERE collection = ? AND id = ?"
    found = db.execute(query, (collection, id_)).fetchone()
    return None if found is None else _record(found)


def merge(db: sqlite3.Connection, collection: int, id_: str, fields: dict[str, Any]) -> Record | None:
    """Set fields of a record, others stay; the record after the change."""
    if (known := get(db, collection, id_)) is None:
        return None
    merged = fields_text(id_, known.fields | fields)
    db.execute("UPDATE records SET fields = ? WHERE collection = ? AND id = ?", (merged, collection, id_))
    return get(db, collection, id_)


def delete(db: sqlite3.Connection, collection: int, id_: str) -> bool:
    """Delete a record; False if there was none."""
    gone = db.execute("DELETE FROM records WHERE collection = ? AND id = ?", (collection, id_))
    return gone.rowcount == 1


def fetch(db: sqlite3.Connection, rows: Iterable[int]) -> list[Record]:
    """The records in these rows."""
    query = f"SELECT {_RECORD} FROM records WHERE row = ?"
    return [_record(db.execute(query, (row,)).fetchone()) for row in rows]


def chunk(db: sqlite3.Connection, collection: int, after: int) -> tuple[list[Record], int]:
    """The next records after a row, and the last of their rows; none at the end."""
    rows = _chunk(db, _RECORD, collection, after)
    return [_record(row) for row in rows], rows[-1][0] if rows else after


def numbers(
    db: sqlite3.Connection, collection: int, where: Predicate | None = None, start: int = 0
) -> Iterator[int]:
    """Row numbers, rising, of records that a filter lets through, from the start-th on."""
    if where is not None:
        return islice(_filtered(db, collection, where), start, None)
    query = "SELECT row FROM records WHERE collection = ? ORDER BY row LIMIT -1 OFFSET ?"
    return (row for (row,) in db.execute(query, (collection, start)))


def numbers_array(
    db: sqlite3.Connection, collection: int, where: Predicate | None = None
) -> NDArray[np.int64]:
    """Row numbers, int64 [n], rising, of records that a filter lets through."""
    return np.fromiter(numbers(db, collection, where), np.int64)


def _filtered(db: sqlite3.Connection, collection: int, where: Predicate) -> Iterator[int]:
    query = "SELECT row, id, width, height, fields FROM records WHERE collection = ? ORDER BY row"
    for row, id_, width, height, fields in db.execute(query, (collection,)):
        if where(_document(id_, json.loads(fields), width, height)):
            yield row


def _chunk(db: sqlite3.Connection, columns: str, collection: int, after: int) -> list[Row]:
    return db.execute(
        f"SELECT {columns} FROM records WHERE collection = ? AND row > ? ORDER BY row LIMIT ?",
        (collection, after, _CHUNK),
    ).fetchall()


# -- codes -----------------------------------------------------------------------------------------


def load(db: sqlite3.Connection, collection: Collection, cached: CachedCodes) -> Codes:
    """Bring remembered hashes to the state that `db` sees, reading only what is new."""
    if collection.number != cached.collection:
        cached.table, cached.collection, cached.inserted, cached.deleted = (
            CodeTable(),
            collection.number,
            0,
            0,
        )
    table = cached.table
    if collection.deleted != cached.deleted:
        table.keep(numbers_array(db, collection.number))
    if collection.inserted != cached.inserted:
        table.reserve(collection.size - len(table))
        while found := _chunk(db, "row, bmh1, phash", collection.number, table.last_row):
            rows, bmh1, phash = zip(*found, strict=True)
            table.append(rows, bmh1, phash)
    cached.inserted, cached.deleted = collection.inserted, collection.deleted
    return table.codes()
