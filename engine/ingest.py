"""Ingest: files in, rows and records out, in the order of their source.

One pool, a thread for each core, both looks at files and embeds batches, each on one core: nothing
waits for a barrier, and no core is asked for twice. Where several threads would wait for the interpreter's
lock, each has a process that decodes for it (`viewers`). Batches are committed one at a time, in order: the
rows are flushed to vectors.f16, then one transaction makes them count. A kill loses the at most two
batches that were being embedded, and the next run forms the same batches again, so that it ends with
the same dataset. What waits in memory is bounded by a few batches of prepared images.
"""

from __future__ import annotations

import os
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from twinlens.engine.archive_marks import ArchiveMarks
from twinlens.engine.archive_names import is_archive, is_shard
from twinlens.engine.catalog import Catalog, Listed, NewImage
from twinlens.engine.cores import usable_cores
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.downloads import Downloads
from twinlens.engine.embedding import embed_padded
from twinlens.engine.entries import is_url
from twinlens.engine.errors import DecodeError, SourceError
from twinlens.engine.join_plan import JoinMethod
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.previews import Previews
from twinlens.engine.sight import Known, Looker, See, Sight, seeing_here, wanted_for
from twinlens.engine.sources import SourceFailure, SourceFile, scan, source_root
from twinlens.engine.storage import storage_errors
from twinlens.engine.types import Embedder, Embeddings, Prepared
from twinlens.engine.vectors import Rows, VectorFile
from twinlens.engine.viewers import viewing

_CHUNK = 1024
_WAITING_BATCHES = 3
_EMBEDDING_BATCHES = 2
_LOOKED_AT_TOGETHER = 16
"""Small files that are handed to a thread at once, since every handing over costs it a wait."""
_LARGE_BYTES = 1 << 21
"""Files that have so much together are handed over by themselves, so that threads end together."""
_WORTH_PROCESSES = 400
"""Files from which on viewers win more time than they take to start: 0.15 s of a core each."""
_LARGEST_COMMIT = 8
"""A batch is committed when it holds this many times its size in copies, which need no embedding."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How an ingest runs; none of it changes a vector.

    Attributes:
        workers: decoding threads; None takes one for each processor that we may use.
        limits: what is refused before decoding.
        hashes: compute exact hashes of every image now, not when first needed.
        retry_failed: read files again that failed for good.
        allow_empty: accept that a source which held images holds none now.
        shards: enter the tar archives of a folder without images.
        join: how new images are compared: "exact", "cells" (approximately, with the recall measured), or
            "auto" for exact unless that would take longer than an hour (`join_plan`).
    """

    workers: int | None = None
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    hashes: bool = False
    retry_failed: bool = False
    allow_empty: bool = False
    shards: bool = True
    join: JoinMethod = "auto"


@dataclass(slots=True)
class IngestReport:
    """What one ingest did, in files.

    Attributes:
        listed: image files that the source lists.
        added: new images.
        changed: images whose content changed.
        moved: images found under another path.
        removed: images whose file is gone.
        unchanged: images that were not read again.
        failed: files that failed, now or before.
        skipped: files that are no images.
        archives: those among them that are archives: they were not entered.
    """

    listed: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    archives: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `done` of `total` units of work; `note` is something to read, said once."""

    stage: str
    done: int
    total: int
    note: str = ""


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class _Batch:
    """What the next commit will hold."""

    sights: list[tuple[Listed, Sight]] = field(default_factory=list)
    failures: list[tuple[Listed, DecodeError]] = field(default_factory=list)
    moves: list[tuple[str, Listed]] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    embedded: dict[bytes, int] = field(default_factory=dict)
    stored: dict[bytes, int] = field(default_factory=dict)
    vectors: list[Future[Embeddings]] = field(default_factory=list)


class Ingest:
    """One source on its way into a dataset."""

    def __init__(
        self,
        catalog: Catalog,
        vectors: VectorFile,
        previews: Previews,
        load_embedder: Callable[[], Embedder],
        options: IngestOptions,
        location: Path,
    ) -> None:
        self._catalog = catalog
        self._vectors = vectors
        self._previews = previews
        self._load_embedder = load_embedder
        self._options = options
        self._location = location
        self._root = source_root(location)
        self._namespace = uuid.UUID(catalog.meta("namespace"))
        self._shape = int(catalog.meta("shape"))
        self._batch_size = int(catalog.meta("batch"))
        self._batch = _Batch()
        self._embedding: deque[_Batch] = deque()
        self._report = IngestReport()
        self._not_entered: list[bytes] = []
        self._downloads = Downloads(catalog.folder)

    def run(self, on_progress: OnProgress) -> IngestReport:
        """Bring the dataset up to date with the source.

        Raises:
            SourceError: the source cannot be read, or it held images and lists none now.
            StorageFull: no room left; what was committed stays.
            ModelError: there is something to embed, and the model cannot be had.
        """
        with self._catalog.transaction():
            self._source = self._catalog.source(self._location, self._root)
            self._archives = ArchiveMarks(self._catalog, self._source)
            self._archives.forget()
        unreadable = self._list()
        self._vanished = self._find_vanished(unreadable)
        retry = self._options.retry_failed
        total = self._catalog.count_to_read(self._source, retry_failed=retry)
        on_progress(Progress("index", 0, total))
        if total:
            self._read(total, on_progress)
        self._remove_vanished()
        with self._catalog.transaction():
            self._archives.write()
        self._count_the_rest()
        return self._report

    # -- before: what the source holds ---------------------------------------------------------

    def _list(self) -> list[SourceFailure]:
        """Fill the catalog's listing; return what could not be listed."""
        unreadable: list[SourceFailure] = []

        def files() -> Iterator[Listed]:
            for entry in scan(
                self._location,
                exclude=[self._catalog.folder],
                members=self._archives.entries,
                shards=self._options.shards,
                downloads=self._downloads,
            ):
                if isinstance(entry, SourceFile):
                    yield Listed(entry.relative, entry.size, entry.mtime_ns)
                elif isinstance(entry, SourceFailure):
                    unreadable.append(entry)
                else:
                    self._report.skipped += 1
                    self._report.archives += is_archive(entry.relative)
                    if is_shard(entry.relative):
                        self._not_entered.append(entry.relative + b"/")

        self._catalog.list_files(files())
        self._report.listed = self._catalog.count_listed()
        with self._catalog.transaction():
            self._catalog.forget_failures(self._source)
            for entry in unreadable:
                file = Listed(entry.relative, 0, 0)
                self._catalog.add_failure(
                    self._source, file, entry.stage, entry.reason, retryable=entry.retryable
                )
        return unreadable

    def _find_vanished(self, unreadable: list[SourceFailure]) -> dict[bytes, deque[str]]:
        """Ids of images that the source does not list any more, by digest."""
        known = self._catalog.count_source_images(self._source)
        if known and not self._report.listed and not self._options.allow_empty:
            why = f" ({unreadable[0].reason})" if unreadable else ""
            raise SourceError(
                f"{self._location} lists no image now and held {known}{why}: is it mounted? "
                "If its images are gone for good, say so with --allow-empty"
            )
        # What lies below a folder that cannot be read is out of sight, not gone; so are the shards of a
        # WebDataset into which somebody put an image.
        out_of_sight = [entry.relative + b"/" for entry in unreadable if entry.retryable]
        hidden = tuple(out_of_sight + self._not_entered)
        vanished: dict[bytes, deque[str]] = defaultdict(deque)
        for id_, relative, digest in self._catalog.vanished(self._source):
            if not relative.startswith(hidden):
                vanished[digest or b""].append(id_)
        return vanished

    def _files_to_read(self) -> Iterator[Listed]:
        after = 0
        while True:
            chunk = self._catalog.to_read(
                self._source, after, _CHUNK, retry_failed=self._options.retry_failed
            )
            if not chunk:
                return
            after = chunk[-1][0]
            yield from (file for _, file in chunk)

    # -- during: looks, batches, commits ---------------------------------------------------------

    def _read(self, total: int, on_progress: OnProgress) -> None:
        """Look at what is new or changed, embed it and commit it, batch by batch."""
        workers = self._options.workers or usable_cores()
        apart = workers > 1 and total >= _WORTH_PROCESSES
        with viewing(workers if apart else 0) as seeing:
            self._embedder = self._load_embedder()
            wanted = wanted_for(
                self._embedder,
                self._options.limits,
                hashes=self._options.hashes,
                known=frozenset(self._vanished) | self._catalog.touched_digests(self._source),
            )
            self._looker_again = Looker(self._embedder, seeing_here(replace(wanted, known=frozenset())))
            self._look_and_embed(total, workers, seeing(wanted), on_progress)

    def _look_and_embed(self, total: int, workers: int, see: See, on_progress: OnProgress) -> None:
        with ThreadPoolExecutor(workers, initializer=self._embedder.use_one_core) as pool:
            looks = self._look_at(pool, self._files_to_read(), workers, see)
            for done, (file, seen) in enumerate(looks, start=1):
                self._take(file, seen)
                if self._is_full():
                    self._embed(pool)
                on_progress(Progress("index", done, total))
            self._embed(pool)
            while self._embedding:
                self._commit(self._embedding.popleft())

    def _look_at(
        self, pool: Executor, files: Iterable[Listed], workers: int, see: See
    ) -> Iterator[tuple[Listed, Sight | Known | DecodeError]]:
        ahead = _WAITING_BATCHES * self._batch_size // _LOOKED_AT_TOGETHER + workers
        look = partial(self._look, Looker(self._embedder, see))
        for together, seen in ordered_map(pool, look, _handfuls(files), ahead=ahead):
            yield from zip(together, seen, strict=True)

    def _look(self, looker: Looker, files: Sequence[Listed]) -> list[Sight | Known | DecodeError]:
        return looker.look([self._path(file) for file in files])

    def _path(self, file: Listed) -> str:
        if is_url(file.relative):
            return str(self._downloads.place(file.relative))
        return os.path.join(self._root, os.fsdecode(file.relative))

    def _take(self, file: Listed, seen: Sight | Known | DecodeError) -> None:
        if isinstance(seen, Known):
            if (id_ := self._claim(file, seen.digest)) is not None:
                self._batch.moves.append((id_, file))
                return
            (seen,) = self._look(self._looker_again, [file])
        if isinstance(seen, Sight):
            self._batch.sights.append((file, seen))
            self._batch.digests.add(seen.digest)
        elif isinstance(seen, DecodeError):
            self._batch.failures.append((file, seen))

    def _claim(self, file: Listed, digest: bytes) -> str | None:
        """The image whose bytes these are: at this very path, or one whose file is gone."""
        here = self._catalog.find_path(self._source, file.relative)
        if here is not None and self._catalog.digest_of(here) == digest:
            return here
        if here is None and self._vanished.get(digest):
            self._report.moved += 1
            return self._vanished[digest].popleft()
        return None

    def _is_full(self) -> bool:
        batch = self._batch
        held = len(batch.sights) + len(batch.failures) + len(batch.moves)
        return len(batch.digests) >= self._batch_size or held >= _LARGEST_COMMIT * self._batch_size

    def _embed(self, pool: Executor) -> None:
        """Send the batch that was filled to be embedded; commit the one before it.

        Equal bytes get an equal row: that of the image that was first, which is not embedded again.
        """
        batch, self._batch = self._batch, _Batch()
        prepared: list[Prepared] = []
        for _, sight in batch.sights:
            if sight.digest in batch.embedded or sight.digest in batch.stored:
                continue
            # Looked up now: the image that has this row may be changed by a batch before this one.
            if (row := self._catalog.row_of_digest(sight.digest)) is not None:
                batch.stored[sight.digest] = row
            elif not any(sight.digest in earlier.embedded for earlier in self._embedding):
                batch.embedded[sight.digest] = len(prepared)
                prepared.append(sight.prepared)
        # Call by call: what is left in the end is spread over all threads.
        batch.vectors = [
            pool.submit(embed_padded, self._embedder, prepared[start : start + self._shape], self._shape)
            for start in range(0, len(prepared), self._shape)
        ]
        self._embedding.append(batch)
        if len(self._embedding) >= _EMBEDDING_BATCHES:
            self._commit(self._embedding.popleft())

    def _commit(self, batch: _Batch) -> None:
        committed = int(self._catalog.meta("rows"))
        rows, sound = self._rows(batch, committed)
        images, changed = self._name(sound, committed)
        replaced = self._catalog.rows_of(changed)
        if len(rows):
            with storage_errors(self._catalog.folder):
                self._previews.write(committed, [sight.view.preview for _, sight in sound])
            self._vectors.write(committed, rows)
        with self._catalog.transaction():
            for id_, file in batch.moves:
                self._catalog.move_image(id_, self._source, file)
            self._catalog.remove_images(changed)
            self._catalog.add_images(images)
            for file, error in batch.failures:
                self._catalog.add_failure(
                    self._source, file, error.stage, error.reason, retryable=error.retryable
                )
            if images or batch.moves or batch.failures:
                self._catalog.set_meta("rows", str(committed + len(rows)))
                self._catalog.next_generation()
        for id_, row in replaced.items():
            self._previews.remove(row, id_)
        self._report.changed += len(changed)
        self._report.added += len(images) - len(changed)

    def _rows(self, batch: _Batch, committed: int) -> tuple[Rows, list[tuple[Listed, Sight]]]:
        """Rows of the batch, float16 [n, dim], and the images they belong to."""
        embedded = (each.result() for each in batch.vectors)
        nothing = np.empty((0, self._vectors.dim), np.float16)
        vectors = np.concatenate([nothing, *embedded]).astype(np.float16)
        stored = self._vectors.rows(committed)
        rows: list[Rows] = []
        sound: list[tuple[Listed, Sight]] = []
        for file, sight in batch.sights:
            if (place := batch.embedded.get(sight.digest)) is not None:
                row = vectors[place]
            elif (
                known := batch.stored.get(sight.digest, self._catalog.row_of_digest(sight.digest))
            ) is not None:
                row = stored[known]
            else:
                # An earlier batch embedded these bytes, to no usable vector.
                row = np.zeros(self._vectors.dim, np.float16)
            if np.isfinite(row).all() and row.any():
                rows.append(row)
                sound.append((file, sight))
            else:
                reason = "the model gives it no usable vector: try another model or precision"
                batch.failures.append((file, DecodeError(reason, stage="embed")))
        return np.array(rows, np.float16).reshape(len(rows), self._vectors.dim), sound

    def _name(self, sound: list[tuple[Listed, Sight]], committed: int) -> tuple[list[NewImage], list[str]]:
        """Records of the batch, and the ids among them whose content changed."""
        images: list[NewImage] = []
        changed: list[str] = []
        taken: set[str] = set()
        for offset, (file, sight) in enumerate(sound):
            known = self._catalog.find_path(self._source, file.relative)
            if known is not None:
                changed.append(known)
            id_ = known or self._new_id(file.relative, taken)
            taken.add(id_)
            images.append(_record(id_, committed + offset, self._source, file, sight))
        return images, changed

    def _new_id(self, relative: bytes, taken: set[str]) -> str:
        name = relative.decode("utf-8", "backslashreplace")
        id_, count = str(uuid.uuid5(self._namespace, name)), 1
        while id_ in taken or self._catalog.has_id(id_):
            count += 1
            id_ = str(uuid.uuid5(self._namespace, f"{name}#{count}"))
        return id_

    # -- after: what is gone -------------------------------------------------------------------

    def _remove_vanished(self) -> None:
        gone = [id_ for ids in self._vanished.values() for id_ in ids]
        if gone:
            rows = self._catalog.rows_of(gone)
            with self._catalog.transaction():
                self._catalog.remove_images(gone)
                self._catalog.next_generation()
            for id_, row in rows.items():
                self._previews.remove(row, id_)
        self._report.removed = len(gone)

    def _count_the_rest(self) -> None:
        report = self._report
        held = self._catalog.count_source_images(self._source)
        report.unchanged = held - report.added - report.changed - report.moved
        report.failed = self._catalog.count_failures(self._source)


def _handfuls(files: Iterable[Listed]) -> Iterator[list[Listed]]:
    """Files that are looked at one after the other by one thread: some small ones, or one that is large."""
    handful: list[Listed] = []
    size = 0
    for file in files:
        if handful and (len(handful) == _LOOKED_AT_TOGETHER or size + file.size > _LARGE_BYTES):
            yield handful
            handful, size = [], 0
        handful.append(file)
        size += file.size
    if handful:
        yield handful


def _record(id_: str, row: int, source: int, file: Listed, sight: Sight) -> NewImage:
    view, quality = sight.view, sight.view.quality
    return NewImage(
        id=id_,
        row=row,
        source=source,
        relative=file.relative,
        size=file.size,
        mtime_ns=file.mtime_ns,
        digest=sight.digest,
        pixel_digest=view.pixel_digest,
        width=view.width,
        height=view.height,
        format=view.format,
        exif_tags=view.exif_tags,
        sharpness=quality.sharpness,
        contrast=quality.contrast,
        brightness=quality.brightness,
        signature=quality.signature,
        low_information=view.low_information,
        bmh1=view.hashes.bmh1.tobytes() if view.hashes else None,
        phash=view.hashes.phash.tobytes() if view.hashes else None,
    )
