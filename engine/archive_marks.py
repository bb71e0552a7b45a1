"""Archives of a source that was read to its end: those that did not change are not opened again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from twinlens.engine.archive_entries import archive_entries
from twinlens.engine.catalog import Catalog
from twinlens.engine.entries import SCAN, SkippedFile, SourceEntry, SourceFailure, SourceFile

_VERSION = 1
"""Of the rules by which members become entries; marks of other rules do not count."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """One archive: its size in bytes, its time in nanoseconds, its image files and its other files."""

    size: int
    mtime_ns: int
    files: int
    skipped: int


class ArchiveMarks:
    """The archives of one source, in one run.

    Marks are taken away while a run goes on and written at its end, so that one that was killed lists
    everything again. An archive that is damaged gets none.
    """

    def __init__(self, catalog: Catalog, source: int) -> None:
        self._catalog = catalog
        self._source = source
        self._key = f"archives {source}"
        version, marks = json.loads(catalog.meta(self._key, "[0, {}]"))
        self._known = {bytes.fromhex(key): _Mark(*mark) for key, mark in marks.items()}
        if version != _VERSION:
            self._known = {}
        self._seen: dict[bytes, _Mark] = {}

    def forget(self) -> None:
        """Take the marks away, in a transaction of the caller."""
        self._catalog.set_meta(self._key, "[0, {}]")

    def write(self) -> None:
        """Mark the archives that were listed whole, in a transaction of the caller."""
        marks = {key.hex(): astuple(mark) for key, mark in self._seen.items()}
        self._catalog.set_meta(self._key, json.dumps([_VERSION, marks]))

    def entries(self, root: Path, relative: bytes) -> Iterator[SourceEntry]:
        """Entries of an archive: as it is remembered, or as it is."""
        try:
            status = os.stat(os.path.join(os.fsencode(root), relative))
        except OSError:
            yield from archive_entries(root, relative)
            return
        mark = self._known.get(relative)
        if mark is not None and (mark.size, mark.mtime_ns) == (status.st_size, status.st_mtime_ns):
            remembered = list(self._remembered(root, relative))
            # Images that were taken out of the dataset, or moved elsewhere, are there again.
            if sum(isinstance(entry, SourceFile) for entry in remembered) == mark.files:
                self._seen[relative] = mark
                yield from remembered
                yield from (SkippedFile(root, relative + b"/") for _ in range(mark.skipped))
                return
        files = skipped = 0
        is_whole = True
        for entry in archive_entries(root, relative):
            files += isinstance(entry, SourceFile)
            skipped += isinstance(entry, SkippedFile)
            is_whole &= entry.relative != relative
            yield entry
        if is_whole:
            self._seen[relative] = _Mark(status.st_size, status.st_mtime_ns, files, skipped)

    def _remembered(self, root: Path, relative: bytes) -> Iterator[SourceEntry]:
        for file, stage, reason, retryable in self._catalog.known_below(self._source, relative):
            if stage == SCAN:
                yield SourceFailure(root, file.relative, reason, retryable)
            else:
                yield SourceFile(root, file.relative, file.size, file.mtime_ns)
