"""catalog.sqlite: images, failures, pairs and decisions. The only module with SQL.

An image's `row` is its place in vectors.f16. Rows are never reused: a removed or changed image
leaves its old row behind. A `unit` is the lowest row with the very same values; pairs are kept
between units, so that 50,000 copies of one file are one entry and not their square.
Similarities are stored as whole millionths, which is what they are rounded to.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.downloads import Downloads
from twinlens.engine.entries import is_url, path_of
from twinlens.engine.errors import (
    DatasetCorrupt,
    DatasetLocked,
    DatasetUnfinished,
    FormatTooNew,
    NotADataset,
    StorageFull,
)
from twinlens.engine.join import PairBlock
from twinlens.engine.linkage import lowest_micro
from twinlens.engine.similarity import MICRO, spans
from twinlens.engine.storage import is_writable, storage_errors

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sources (
        number INTEGER PRIMARY KEY,
        location BLOB NOT NULL UNIQUE,
        root BLOB NOT NULL
    );
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        row INTEGER NOT NULL UNIQUE,
        unit INTEGER,
        source INTEGER REFERENCES sources(number),
        relative BLOB NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        digest BLOB,
        pixel_digest BLOB,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        format TEXT NOT NULL,
        exif_tags INTEGER NOT NULL,
        sharpness REAL NOT NULL,
        contrast REAL NOT NULL,
        brightness REAL NOT NULL,
        signature BLOB,
        low_information INTEGER NOT NULL,
        bmh1 BLOB,
        phash BLOB,
        UNIQUE (source, relative)
    ) WITHOUT ROWID;
    CREATE INDEX images_by_digest ON images (digest);
    CREATE INDEX images_by_unit ON images (unit);
    CREATE TABLE failures (
        source INTEGER NOT NULL REFERENCES sources(number),
        relative BLOB NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        stage TEXT NOT NULL,
        reason TEXT NOT NULL,
        retryable INTEGER NOT NULL,
        PRIMARY KEY (source, relative)
    ) WITHOUT ROWID;
    CREATE TABLE joined (
        unit INTEGER PRIMARY KEY,
        nearest INTEGER,
        millionths INTEGER
    );
    CREATE TABLE pairs (
        a INTEGER NOT NULL,
        b INTEGER NOT NULL,
        millionths INTEGER NOT NULL,
        PRIMARY KEY (a, b)
    ) WITHOUT ROWID;
    CREATE TABLE rejections (
        a TEXT NOT NULL,
        b TEXT NOT NULL,
        PRIMARY KEY (a, b)
    ) WITHOUT ROWID;
    """,
    "CREATE TABLE kept (id TEXT PRIMARY KEY) WITHOUT ROWID;",
)
"""What makes format n + 1 out of format n; no statement holds a semicolon."""

_ROWS_AT_ONCE = 65_536
"""Rows of a table that are objects at a time."""

_KEPT_SINCE = 2
"""The format that first has the table of kept images."""

_RECORD = """id, row, unit, root, relative, size, mtime_ns, digest, pixel_digest, width, height, format,
    exif_tags, sharpness, contrast, brightness, low_information, location"""


# Listed files that are neither images as they are known nor failures for good; `:retry` those.
_UNREAD = """FROM listed AS l
    LEFT JOIN images AS i ON i.source = :source AND i.relative = l.relative
        AND i.size = l.size AND i.mtime_ns = l.mtime_ns
    LEFT JOIN failures AS f ON f.source = :source AND f.relative = l.relative
        AND f.size = l.size AND f.mtime_ns = l.mtime_ns AND NOT f.retryable
    WHERE i.id IS NULL AND (f.relative IS NULL OR :retry)"""


LOOKS = np.dtype(
    [
        ("unit", np.int64),
        ("contents", np.int64),
        ("size", np.int64),
        ("brightness", np.float32),
        ("jpeg", np.bool_),
    ]
)
"""A unit: how many different bytes its files are, and of one of them, where they are one: width and height as
one number, mean brightness, and whether they are a JPEG."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset.

    Attributes:
        id: UUIDv5, stable over runs and moves.
        row: its row in vectors.f16.
        unit: the lowest row with the same values; None until the rows were joined.
        path: absolute path as `os.fsdecode` gives it, or its URL; the id where there is no file.
        size: of the file, bytes.
        mtime_ns: its modification time, nanoseconds since the epoch.
        digest: of its bytes; None where there is no file.
        pixel_digest: of its decoded pixels; None until needed.
        width: upright, px.
        height: upright, px.
        format: "jpeg", "png", ...
        exif_tags: how many.
        sharpness: variance of the Laplacian at a common size.
        contrast: spread of its colours; decides low_information.
        brightness: mean luma, 0 to 255.
        low_information: flat, blank or nearly constant.
        source: absolute path of the folder or list it came from; empty where there is no file.
        download: where the file of a URL lies; empty for any other image.
    """

    id: str
    row: int
    unit: int | None
    path: str
    size: int
    mtime_ns: int
    digest: bytes | None
    pixel_digest: bytes | None
    width: int
    height: int
    format: str
    exif_tags: int
    sharpness: float
    contrast: float
    brightness: float
    low_information: bool
    source: str = ""
    download: str = ""

    @property
    def file(self) -> str:
        """Where its bytes lie."""
        return self.download or self.path


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image about to be committed; the fields are those of `ImageRecord`."""

    id: str
    row: int
    source: int | None
    relative: bytes
    size: int
    mtime_ns: int
    digest: bytes | None
    pixel_digest: bytes | None
    width: int
    height: int
    format: str
    exif_tags: int
    sharpness: float
    contrast: float
    brightness: float
    signature: bytes | None
    low_information: bool
    bmh1: bytes | None
    phash: bytes | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that is not part of the dataset, and why.

    Attributes:
        path: absolute path as `os.fsdecode` gives it.
        stage: "scan", "fetch", "open", "read", "identify", "limits", "decode" or "prepare".
        reason: one sentence.
        retryable: True if the same file may be read later.
    """

    path: str
    stage: str
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a source lists: relative path, size in bytes, modification time."""

    relative: bytes
    size: int
    mtime_ns: int


class Catalog:
    """The catalog of the dataset in one folder."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, *, read_only: bool) -> None:
        self._db = connection
        self._places: dict[bytes, str] = {}
        self.folder = folder
        self._downloads = Downloads(folder)
        self._read_only = read_only
        self._closed = False

    # -- life ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, meta: dict[str, str]) -> Catalog:
        """Make an empty catalog with these entries; a kill on the way leaves no catalog."""
        path = catalog_path(folder)
        fresh = path.with_name("catalog.new")
        fresh.unlink(missing_ok=True)
        with storage_errors(folder):
            with closing(_connect(f"{fresh.absolute().as_uri()}?mode=rwc")) as db:
                _migrate(db)
                db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            os.replace(fresh, path)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Catalog:
        """Open the catalog of `folder`.

        One of an older format is brought to the newest where it can be written; elsewhere it is read as
        it is.

        Raises:
            NotADataset: there is none.
            DatasetUnfinished: the folder cannot be written and a write-ahead log waits in it.
            DatasetLocked: an older TwinLens writes to it, so that its format cannot be changed.
            FormatTooNew: written by a newer TwinLens.
            DatasetCorrupt: not a catalog.
        """
        path = catalog_path(folder)
        if not path.is_file():
            raise NotADataset(
                f"{folder} holds no dataset: make one with `twinlens index SOURCE --dataset {folder}`"
            )
        immutable = read_only and not is_writable(folder)
        if immutable and _has_log(path):
            raise DatasetUnfinished(
                f"{folder} is read-only and its last writer did not finish: "
                "open it once where it can be written"
            )
        mode = "mode=ro&immutable=1" if immutable else "mode=ro" if read_only else "mode=rw"
        with storage_errors(folder):
            db = _connect(f"{path.absolute().as_uri()}?{mode}")
            try:
                _check_version(db, folder)
                if not read_only:
                    db.execute("PRAGMA journal_mode = WAL")
                    _migrate_unlocked(db, folder)
            except BaseException:
                db.close()
                raise
        return cls(db, folder, read_only=read_only)

    def close(self) -> None:
        """Fold the write-ahead log into the catalog and close it; harmless when it is closed."""
        if self._closed:
            return
        self._closed = True
        try:
            # A full disk leaves the log where it is: nothing is lost, and the next close folds it in.
            with suppress(StorageFull), storage_errors(self.folder):
                if not self._read_only:
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside visible at once, or none of them."""
        with storage_errors(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the catalog inside, whatever another process writes meanwhile."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def count_failures(self, source: int) -> int:
        """How many files of a source failed."""
        return self._number("SELECT count(*) FROM failures WHERE source = ?", (source,)) or 0

    # -- meta ---------------------------------------------------------------------------------

    def meta(self, key: str, default: str | None = None) -> str:
        """One entry.

        Raises:
            DatasetCorrupt: no such entry and no default.
        """
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            if default is None:
                raise DatasetCorrupt(f"the catalog in {self.folder} lacks {key!r}: restore it or index again")
            return default
        return str(found[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write one entry."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def next_generation(self) -> None:
        """Count one change of what the dataset holds or answers."""
        self.set_meta("generation", str(int(self.meta("generation", "0")) + 1))

    # -- sources ------------------------------------------------------------------------------

    def source(self, location: Path, root: Path) -> int:
        """The number of a source, new or known.

        A root that holds this dataset is remembered relative to it, so that both can move together.
        """
        known = self._db.execute("SELECT number FROM sources WHERE location = ?", (self._stored(location),))
        if (found := known.fetchone()) is not None:
            return int(found[0])
        added = self._db.execute(
            "INSERT INTO sources (location, root) VALUES (?, ?)", (self._stored(location), self._stored(root))
        )
        return int(added.lastrowid or 0)

    def sources(self) -> list[tuple[int, Path, Path]]:
        """All sources: number, location (a folder or a list of paths), root of their relative paths."""
        rows = self._db.execute("SELECT number, location, root FROM sources ORDER BY number")
        return [(number, Path(self._resolved(loc)), Path(self._resolved(root))) for number, loc, root in rows]

    def _stored(self, path: Path) -> bytes:
        if self.folder.is_relative_to(path):
            return os.fsencode(os.path.relpath(path, self.folder))
        return os.fsencode(path)

    def _resolved(self, stored: bytes) -> str:
        """Asked for every record, and there are as few answers as sources."""
        if (found := self._places.get(stored)) is None:
            found = self._places[stored] = os.path.normpath(os.path.join(self.folder, os.fsdecode(stored)))
        return found

    # -- listing: what a source holds now against what the catalog knows --------------------------

    def list_files(self, files: Iterable[Listed]) -> None:
        """Remember what a source lists, in its order; replaces the last listing."""
        self._db.execute("DROP TABLE IF EXISTS temp.listed")
        self._db.execute(
            "CREATE TEMP TABLE listed (position INTEGER PRIMARY KEY, relative BLOB NOT NULL UNIQUE,"
            " size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL)"
        )
        rows = ((file.relative, file.size, file.mtime_ns) for file in files)
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO listed (relative, size, mtime_ns) VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def count_listed(self) -> int:
        """How many files the listing holds."""
        return int(self._db.execute("SELECT count(*) FROM listed").fetchone()[0])

    def to_read(self, source: int, after: int, limit: int, *, retry_failed: bool) -> list[tuple[int, Listed]]:
        """The next listed files that are new, changed or worth another try, with their positions."""
        rows = self._db.execute(
            f"SELECT position, l.relative, l.size, l.mtime_ns {_UNREAD}"
            " AND position > :after ORDER BY position LIMIT :limit",
            {"source": source, "retry": retry_failed, "after": after, "limit": limit},
        )
        return [(position, Listed(*rest)) for position, *rest in rows]

    def count_to_read(self, source: int, *, retry_failed: bool) -> int:
        """How many files `to_read` will hand out in all."""
        parameters = {"source": source, "retry": retry_failed}
        return self._number(f"SELECT count(*) {_UNREAD}", parameters) or 0

    def vanished(self, source: int) -> list[tuple[str, bytes, bytes | None]]:
        """Images of a source that it does not list any more: id, relative path, digest; by row."""
        rows = self._db.execute(
            "SELECT id, relative, digest FROM images WHERE source = ?"
            " AND relative NOT IN (SELECT relative FROM listed) ORDER BY row",
            (source,),
        )
        return [(id_, bytes(relative), digest) for id_, relative, digest in rows]

    def touched_digests(self, source: int) -> set[bytes]:
        """Digests of images whose file has another size or time now."""
        rows = self._db.execute(
            "SELECT digest FROM images AS i JOIN listed AS l ON l.relative = i.relative WHERE i.source = ?"
            " AND (i.size != l.size OR i.mtime_ns != l.mtime_ns)",
            (source,),
        )
        return {bytes(digest) for (digest,) in rows if digest is not None}

    def count_source_images(self, source: int) -> int:
        """How many images came from a source."""
        return self._number("SELECT count(*) FROM images WHERE source = ?", (source,)) or 0

    def forget_failures(self, source: int) -> None:
        """Drop the failures of files that the source does not list any more."""
        self._db.execute(
            "DELETE FROM failures WHERE source = ? AND relative NOT IN (SELECT relative FROM listed)",
            (source,),
        )

    def known_below(self, source: int, folder: bytes) -> list[tuple[Listed, str, str, bool]]:
        """Images and failures of a source below a folder, by path: file, stage, reason, retryable.

        Stage and reason of an image are empty.
        """
        rows = self._db.execute(
            "SELECT relative, size, mtime_ns, '', '', 0 FROM images WHERE source = :source"
            " AND relative > :first AND relative < :end"
            " UNION ALL SELECT relative, size, mtime_ns, stage, reason, retryable FROM failures"
            " WHERE source = :source AND relative > :first AND relative < :end ORDER BY relative",
            # "0" is the byte after "/".
            {"source": source, "first": folder + b"/", "end": folder + b"0"},
        )
        return [(Listed(*file), stage, why, bool(re)) for *file, stage, why, re in rows]

    # -- images -------------------------------------------------------------------------------

    def add_images(self, images: Sequence[NewImage]) -> None:
        """Write images; one with a known id replaces what was there, decisions stay."""
        fields = NewImage.__slots__
        marks = ", ".join("?" for _ in fields)
        self._db.executemany(
            f"INSERT OR REPLACE INTO images ({', '.join(fields)}) VALUES ({marks})",
            [tuple(getattr(image, field) for field in fields) for image in images],
        )
        self._db.executemany(
            "DELETE FROM failures WHERE source = ? AND relative = ?", [(i.source, i.relative) for i in images]
        )

    def move_image(self, id_: str, source: int, file: Listed) -> None:
        """Give an image another path; its id, row and decisions stay."""
        self._db.execute(
            "UPDATE images SET source = ?, relative = ?, size = ?, mtime_ns = ? WHERE id = ?",
            (source, file.relative, file.size, file.mtime_ns, id_),
        )

    def remove_images(self, ids: Iterable[str]) -> None:
        """Forget images; their rows stay behind, and units that nobody shares lose their pairs."""
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (unit INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM temp.gone")
        for id_ in ids:
            self._db.execute(
                "INSERT OR IGNORE INTO gone SELECT unit FROM images WHERE id = ? AND unit NOT NULL", (id_,)
            )
            self._db.execute("DELETE FROM images WHERE id = ?", (id_,))
        self._db.execute("DELETE FROM gone WHERE unit IN (SELECT unit FROM images WHERE unit NOT NULL)")
        self._db.execute(
            "DELETE FROM pairs WHERE a IN (SELECT unit FROM gone) OR b IN (SELECT unit FROM gone)"
        )
        self._db.execute("DELETE FROM joined WHERE unit IN (SELECT unit FROM gone)")
        self._db.execute(
            "UPDATE joined SET nearest = NULL, millionths = NULL WHERE nearest IN (SELECT unit FROM gone)"
        )

    def add_failure(self, source: int, file: Listed, stage: str, reason: str, *, retryable: bool) -> None:
        """Write why a file is not part of the dataset; an image that it was is forgotten."""
        self._db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
            (source, file.relative, file.size, file.mtime_ns, stage, reason, retryable),
        )
        if (known := self.find_path(source, file.relative)) is not None:
            self.remove_images([known])

    def images(self) -> list[ImageRecord]:
        """All images, ordered by id."""
        return self._records("ORDER BY id")

    def images_of_unit(self, unit: int) -> list[ImageRecord]:
        """The images of one unit, ordered by id."""
        return self._records("WHERE unit = ? ORDER BY id", unit)

    def looks(self) -> NDArray[np.void]:
        """What the informative images of each unit look like, `LOOKS` [u], by unit."""
        rows = self._db.execute(
            "SELECT unit, count(DISTINCT digest), max(width) << 32 | max(height), max(brightness),"
            " max(format = 'jpeg') FROM images"
            " WHERE unit NOT NULL AND digest NOT NULL AND NOT low_information GROUP BY unit"
        )
        return np.fromiter(rows, LOOKS)

    def find(self, id_: str) -> ImageRecord | None:
        """The image of that id."""
        return next(iter(self._records("WHERE id = ?", id_)), None)

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each image that is there."""
        found: dict[str, int] = {}
        for id_ in ids:
            if (
                row := self._db.execute("SELECT row FROM images WHERE id = ?", (id_,)).fetchone()
            ) is not None:
                found[id_] = int(row[0])
        return found

    def find_path(self, source: int, relative: bytes) -> str | None:
        """The id of the image at that place."""
        row = self._db.execute(
            "SELECT id FROM images WHERE source = ? AND relative = ?", (source, relative)
        ).fetchone()
        return None if row is None else str(row[0])

    def digest_of(self, id_: str) -> bytes | None:
        """The byte digest of an image."""
        row = self._db.execute("SELECT digest FROM images WHERE id = ?", (id_,)).fetchone()
        return None if row is None else row[0]

    def row_of_digest(self, digest: bytes) -> int | None:
        """The lowest row of an image with these bytes."""
        return self._number("SELECT min(row) FROM images WHERE digest = ?", (digest,))

    def has_id(self, id_: str) -> bool:
        """True if an image has this id."""
        return self._db.execute("SELECT 1 FROM images WHERE id = ?", (id_,)).fetchone() is not None

    def count_images(self) -> int:
        """How many images the dataset holds."""
        return self._number("SELECT count(*) FROM images", ()) or 0

    def failures(self) -> list[Failure]:
        """All failures, by path."""
        rows = self._db.execute(
            "SELECT root, relative, stage, reason, retryable FROM failures JOIN sources ON number = source"
            " ORDER BY source, relative"
        )
        return [Failure(self._path(root, rel), stage, why, bool(re)) for root, rel, stage, why, re in rows]

    def signature(self, id_: str) -> bytes | None:
        """The 16 x 16 luma signature of an image."""
        row = self._db.execute("SELECT signature FROM images WHERE id = ?", (id_,)).fetchone()
        return None if row is None else row[0]

    def signatures(self) -> Iterator[tuple[str, bytes]]:
        """The 16 x 16 luma signatures of all images that have one, by id."""
        yield from self._db.execute("SELECT id, signature FROM images WHERE signature NOT NULL ORDER BY id")

    def signatures_of_units(self, units: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        """The signature of an informative image of each of some units, where they have one."""
        rows = self._db.execute(
            "SELECT unit, signature FROM images WHERE unit IN (SELECT value FROM json_each(?))"
            " AND signature NOT NULL AND digest NOT NULL AND NOT low_information GROUP BY unit",
            (json.dumps(units.tolist()),),
        )
        yield from rows

    def set_pixel_digests(self, digests: Iterable[tuple[bytes, bytes]]) -> None:
        """Write digests of decoded pixels: (byte digest, pixel digest)."""
        written = ((pixel_digest, digest) for digest, pixel_digest in digests)
        self._db.executemany("UPDATE images SET pixel_digest = ? WHERE digest = ?", written)

    def hashes(self) -> dict[str, tuple[bytes, bytes]]:
        """bmh1 and phash, packed, of every image that has them, by id."""
        rows = self._db.execute("SELECT id, bmh1, phash FROM images WHERE bmh1 NOT NULL")
        return {id_: (bmh1, phash) for id_, bmh1, phash in rows}

    def set_hashes(self, hashes: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Write packed hashes: (id, bmh1, phash)."""
        written = ((bmh1, phash, id_) for id_, bmh1, phash in hashes)
        self._db.executemany("UPDATE images SET bmh1 = ?, phash = ? WHERE id = ?", written)

    def _records(self, clauses: str, *parameters: object) -> list[ImageRecord]:
        rows = self._db.execute(
            f"SELECT {_RECORD} FROM images LEFT JOIN sources ON number = source {clauses}", parameters
        )
        return [self._record(row) for row in rows]

    def _record(self, row: Sequence[Any]) -> ImageRecord:
        id_, place, unit, root, relative, *facts, low_information, location = row
        path = relative.decode() if root is None else self._path(root, relative)
        source = "" if location is None else sys.intern(self._resolved(location))
        download = str(self._downloads.place(relative)) if root is not None and is_url(relative) else ""
        fields: list[Any] = [id_, place, unit, path, *facts, bool(low_information), source, download]
        return ImageRecord(*fields)

    def _path(self, root: bytes, relative: bytes) -> str:
        return path_of(self._resolved(root), relative)

    # -- units, pairs, nearest ----------------------------------------------------------------

    def set_units(self, units: NDArray[np.int64]) -> None:
        """Write every image's unit: `units[row]`."""
        row, unit = self._numbers("SELECT row, ifnull(unit, -1) FROM images", 2)
        changed = row[unit != units[row]]
        pairs = zip(units[changed].tolist(), changed.tolist(), strict=True)
        self._db.executemany("UPDATE images SET unit = ? WHERE row = ?", pairs)

    def informative_units(self) -> NDArray[np.int64]:
        """Units that at least one image with information belongs to, int64 [n]."""
        query = "SELECT DISTINCT unit FROM images WHERE unit NOT NULL AND NOT low_information"
        return self._numbers(query, 1).ravel()

    def add_pairs(self, block: PairBlock) -> None:
        """Write pairs of units."""
        millionths = np.rint(block.similarity * 1e6).astype(np.int64)
        for span in spans(0, len(millionths), _ROWS_AT_ONCE):
            columns = (block.a[span], block.b[span], millionths[span])
            rows = zip(*(column.tolist() for column in columns), strict=True)
            self._db.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", rows)

    def drop_pairs_below(self, similarity: float) -> None:
        """Forget pairs below a similarity."""
        self._db.execute("DELETE FROM pairs WHERE millionths < ?", (round(similarity * 1e6),))

    def nth_similarity(self, n: int) -> float:
        """Similarity of the n-th most similar pair that is kept, counted from 0."""
        # Counted, since SQLite would sort them all.
        counts = np.zeros(MICRO + 1, np.int64)
        rows = self._db.execute("SELECT millionths FROM pairs")
        while chunk := rows.fetchmany(_ROWS_AT_ONCE):
            counts += np.bincount(np.array(chunk, np.int64).ravel(), minlength=len(counts))
        at_or_above = counts[::-1].cumsum()
        similarity: float = max(0, MICRO - int(np.searchsorted(at_or_above, n, "right"))) / MICRO
        return similarity

    def count_pairs(self) -> int:
        """How many pairs of units are kept."""
        return self._number("SELECT count(*) FROM pairs", ()) or 0

    def pairs(self, threshold: float, block: int = _ROWS_AT_ONCE) -> Iterator[PairBlock]:
        """The pairs of units at or above a threshold, by (a, b), in blocks."""
        lowest = lowest_micro(threshold)
        rows = self._db.execute(
            "SELECT a, b, millionths FROM pairs WHERE millionths >= ? ORDER BY a, b", (lowest,)
        )
        while chunk := rows.fetchmany(block):
            columns = np.array(chunk, dtype=np.int64)
            yield PairBlock(columns[:, 0], columns[:, 1], columns[:, 2] / 1e6)

    def set_joined(self, units: NDArray[np.int64]) -> None:
        """Remember units whose pairs are complete; their nearest others follow."""
        self._db.executemany("INSERT OR IGNORE INTO joined (unit) VALUES (?)", ((u,) for u in units.tolist()))

    def joined(self) -> NDArray[np.int64]:
        """Units whose pairs are complete, int64 [n], rising."""
        return self._numbers("SELECT unit FROM joined ORDER BY unit", 1).ravel()

    def set_nearest(
        self, units: NDArray[np.int64], others: NDArray[np.int64], similarity: NDArray[np.float64]
    ) -> None:
        """Write the nearest other unit of each unit."""
        millionths = np.rint(similarity * 1e6).astype(np.int64)
        rows = zip(others.tolist(), millionths.tolist(), units.tolist(), strict=True)
        self._db.executemany("UPDATE joined SET nearest = ?, millionths = ? WHERE unit = ?", rows)

    def nearest(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Joined units: int64 [n], their nearest others: int64 [n], -1 unknown, similarities: float64 [n]."""
        units, others, millionths = self._numbers(
            "SELECT unit, ifnull(nearest, -1), ifnull(millionths, 0) FROM joined ORDER BY unit", 3
        )
        return units, others, millionths / 1e6

    # -- decisions ----------------------------------------------------------------------------

    def reject(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember pairs of images that are not duplicates of each other."""
        self._db.executemany(
            "INSERT OR IGNORE INTO rejections VALUES (?, ?)", ((min(pair), max(pair)) for pair in pairs)
        )

    def unreject(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Forget rejections."""
        self._db.executemany(
            "DELETE FROM rejections WHERE a = ? AND b = ?", ((min(pair), max(pair)) for pair in pairs)
        )

    def rejections(self) -> list[tuple[str, str]]:
        """All rejections, by id, the smaller id first."""
        return [(a, b) for a, b in self._db.execute("SELECT a, b FROM rejections ORDER BY a, b")]

    def keep(self, ids: Iterable[str]) -> None:
        """Remember images that are to be kept."""
        self._db.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((id_,) for id_ in ids))

    def unkeep(self, ids: Iterable[str]) -> None:
        """Forget that images are to be kept."""
        self._db.executemany("DELETE FROM kept WHERE id = ?", ((id_,) for id_ in ids))

    def kept(self) -> list[str]:
        """Ids of images that are to be kept, by id; also of images that are gone, should they return."""
        if _format(self._db) < _KEPT_SINCE:
            return []
        return [id_ for (id_,) in self._db.execute("SELECT id FROM kept ORDER BY id")]

    def _numbers(self, query: str, columns: int) -> NDArray[np.int64]:
        """What a query selects, int64 [columns, n], without a Python object for each row."""
        rows = np.fromiter(self._db.execute(query), np.dtype((np.int64, (columns,))))
        return np.ascontiguousarray(rows.T)

    def _number(self, query: str, parameters: Sequence[object] | Mapping[str, object]) -> int | None:
        value = self._db.execute(query, parameters).fetchone()[0]
        return None if value is None else int(value)


def catalog_path(folder: Path) -> Path:
    """Where the catalog of a dataset folder lies."""
    return folder / "catalog.sqlite"


def _connect(uri: str) -> sqlite3.Connection:
    # autocommit: transactions are begun and ended by name, in `Catalog.transaction` alone.
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _check_version(db: sqlite3.Connection, folder: Path) -> None:
    version = _format(db)
    if version > len(MIGRATIONS):
        raise FormatTooNew(
            f"{folder} has catalog format {version}, this TwinLens knows up to {len(MIGRATIONS)}: "
            "update TwinLens"
        )
    if version == 0:
        raise DatasetCorrupt(f"{catalog_path(folder)} is not a TwinLens catalog")


def _format(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate_unlocked(db: sqlite3.Connection, folder: Path) -> None:
    try:
        _migrate(db)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise DatasetLocked(f"{folder} is being written by an older TwinLens: wait for it") from error


def _migrate(db: sqlite3.Connection) -> None:
    """Bring a catalog to the newest format; of two that try at once, the second finds it done."""
    while _format(db) < len(MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")
        # Read again under the lock. `executescript` would end the transaction before it starts.
        if (version := _format(db)) < len(MIGRATIONS):
            for statement in MIGRATIONS[version].split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")
        db.execute("COMMIT")
