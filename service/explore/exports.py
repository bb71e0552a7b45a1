"""An export as a ZIP: metadata.json or metadata.parquet, and the images if they are asked for.

The archive is written as a stream to a file beside its target and takes its name when it is whole: a
process that is killed leaves no half export under the name. The same items give the same bytes.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from twinlens.engine.storage import storage_errors
from twinlens.service.explore.export_images import ExportStopped, OriginalCopier, check, copy, entry
from twinlens.service.explore.export_items import (
    ExportInfo,
    IssueEntry,
    ItemsChanged,
    LabelEntry,
    MediaItem,
    TagEntry,
)
from twinlens.service.explore.export_json import encoded, iter_json, iter_media_ids_csv, write_json
from twinlens.service.explore.export_parquet import write_parquet

__all__ = [
    "ExportFormat",
    "ExportInfo",
    "ExportOutcome",
    "ExportStopped",
    "IssueEntry",
    "ItemsChanged",
    "LabelEntry",
    "MediaItem",
    "TagEntry",
    "iter_json",
    "iter_media_ids_csv",
    "write_export",
    "write_json",
    "write_parquet",
]

ERRORS_NAME = "export_errors.json"
"""In the archive if some originals could not be read: media_id, file_path and reason of each."""

_PROGRESS_EVERY = 1000


class ExportFormat(StrEnum):
    """What the metadata of an export is written as."""

    JSON = "json"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export holds.

    Attributes:
        entities: images that its metadata lists.
        images: originals in the archive.
        missing: `file_path` of those that were asked for and could not be read.
    """

    entities: int
    images: int
    missing: tuple[str, ...]


def write_export(
    target: Path,
    info: ExportInfo,
    items: Iterable[MediaItem],
    fmt: ExportFormat,
    *,
    include_images: bool,
    stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> ExportOutcome:
    """Write the ZIP of an export; while that lasts, it is `<name of the target>.part` in the same folder.

    Args:
        target: the ZIP; one that is there is replaced at the end.
        info: the head; it says how many items follow.
        items: read once, one after the other.
        fmt: of the metadata.
        include_images: copy the originals to `images/`; each item then tells its `archive_path`, null for
            an original that cannot be read.
        stop: asked between items and between the chunks of large files.
        on_progress: told how many items are done: with images after each, else after every 1,000, and at
            the end.

    Raises:
        ItemsChanged: not as many items as `info` says.
        ExportStopped: `stop` said so.
        StorageFull: no room for it.
        DatasetReadOnly: the folder cannot be written.
    """
    write = _WRITERS[fmt]
    with storage_errors(target.parent), _replacing(target) as file:
        with zipfile.ZipFile(file, "w") as archive:
            copier = OriginalCopier(archive, target.parent, stop) if include_images else None
            watched = _watched(items, stop, on_progress, 1 if include_images else _PROGRESS_EVERY)
            beside = target.parent if include_images else None
            with _metadata(archive, fmt, beside, stop) as out:
                entities = write(out, info, watched, copier.place if copier else None)
            failures = copier.failures if copier else []
            if failures:
                archive.writestr(entry(ERRORS_NAME, deflated=True), encoded(failures))
        check(stop)
    missing = tuple(failure["file_path"] for failure in failures)
    return ExportOutcome(entities, copier.copied if copier else 0, missing)


_WRITERS: dict[ExportFormat, Callable[..., int]] = {
    ExportFormat.JSON: write_json,
    ExportFormat.PARQUET: write_parquet,
}


def _watched(
    items: Iterable[MediaItem], stop: Callable[[], bool], on_progress: Callable[[int], None], every: int
) -> Iterator[MediaItem]:
    count = 0
    check(stop)
    for count, item in enumerate(items, start=1):
        yield item
        check(stop)
        if count % every == 0:
            on_progress(count)
    if count % every or not count:
        on_progress(count)


@contextmanager
def _metadata(
    archive: zipfile.ZipFile, fmt: ExportFormat, beside: Path | None, stop: Callable[[], bool]
) -> Iterator[BinaryIO]:
    """Where to write the metadata.

    An archive takes one entry at a time: where images are written meanwhile, the metadata waits in a file
    without a name in the folder `beside`.
    """
    # Parquet is compressed already.
    told = entry(f"metadata.{fmt}", deflated=fmt is ExportFormat.JSON)
    if beside is None:
        with archive.open(told, "w", force_zip64=True) as out:
            yield cast(BinaryIO, out)
        return
    with TemporaryFile(dir=beside) as waiting:
        yield cast(BinaryIO, waiting)
        waiting.seek(0)
        with archive.open(told, "w", force_zip64=True) as out:
            copy(cast(IO[bytes], waiting), out, stop)


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the name of the target once it is whole and on disk, or is gone."""
    part = target.with_name(target.name + ".part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
