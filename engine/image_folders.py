"""Image folders as Hugging Face has them: metadata beside the images, or classes as folders.

Metadata are `metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`. Another file of that name is
none.

Source: Hugging Face datasets, "Create an image dataset", ImageFolder.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from twinlens.engine.archive_names import is_archive
from twinlens.engine.entries import is_url
from twinlens.engine.errors import SourceError
from twinlens.engine.refusals import one_line

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
"""The column that names an image, relative to the folder of its metadata."""

LABEL_COLUMNS = ("label", "class", "category", "class_name")
"""Columns that say what an image shows, the preferred one first."""

IsKept: TypeAlias = Callable[[str], bool]
_ROWS = 8192


def metadata_files(images: Iterable[str], roots: Collection[str]) -> list[Path]:
    """The metadata files beside or above some images (absolute paths), up to their roots; in order."""
    found: set[Path] = set()
    visited: set[str] = set()
    tops = {os.path.abspath(root) for root in roots}
    for folder in {os.path.dirname(image) for image in images}:
        while folder not in visited:
            visited.add(folder)
            found.update(path for name in METADATA_NAMES if _is_metadata(path := Path(folder, name)))
            if folder in tops or folder == os.path.dirname(folder):
                break
            folder = os.path.dirname(folder)
    return sorted(found)


def labels_of(images: Collection[str], roots: Collection[str]) -> dict[str, str]:
    """What images show, by path: as their metadata say, else the name of their folder if there are several.

    Args:
        images: absolute paths.
        roots: folders that were indexed.

    Raises:
        SourceError: metadata that cannot be read.
    """
    known = frozenset(images)
    labels: dict[str, str] = {}
    for metadata in metadata_files(images, roots):
        for row in _rows(metadata):
            label = next((row[name] for name in LABEL_COLUMNS if row.get(name) not in (None, "")), None)
            path = _path(metadata, row)
            if label is not None and path in known:
                labels[path] = str(label)
    if labels:
        return labels
    tops = {os.path.abspath(root) for root in roots}
    folders = {image: os.path.dirname(image) for image in images if not is_url(os.fsencode(image))}
    classes = {
        image: os.path.basename(folder)
        for image, folder in folders.items()
        if folder not in tops and not is_archive(folder)
    }
    return classes if len(set(classes.values())) > 1 else {}


def write_kept_rows(metadata: Path, target: Path, is_kept: IsKept) -> tuple[int, int]:
    """Copy the rows of a metadata file whose image is kept; lines of JSONL stay as they are.

    Args:
        metadata: the file to read.
        target: the file to write, of the same kind.
        is_kept: whether the image at an absolute path is kept.

    Returns:
        How many rows were written, and how many left out.

    Raises:
        SourceError: the metadata cannot be read.
        OSError: the target cannot be written.
    """
    copy = {".csv": _copy_csv, ".jsonl": _copy_jsonl, ".parquet": _copy_parquet}[metadata.suffix]
    total = written = 0

    def counted(row: Mapping[str, Any]) -> bool:
        nonlocal total, written
        kept = is_kept(_path(metadata, row))
        total += 1
        written += kept
        return kept

    copy(metadata, target, counted)
    return written, total - written


def _is_metadata(path: Path) -> bool:
    """True for a file that names images."""
    if not path.is_file():
        return False
    with closing(_rows(path)) as rows:
        return FILE_NAME in next(rows, {})


def _path(metadata: Path, row: Mapping[str, Any]) -> str:
    """The absolute path of the image that a row is about."""
    name = row.get(FILE_NAME)
    if not isinstance(name, str) or not name:
        raise SourceError(f'{metadata} has a row without "{FILE_NAME}": name the image of each row')
    return os.path.normpath(os.path.join(metadata.parent, name))


def _rows(metadata: Path) -> Generator[Mapping[str, Any], None, None]:
    if metadata.suffix == ".csv":
        yield from _csv_rows(metadata)
    elif metadata.suffix == ".jsonl":
        yield from (row for _, row in _json_lines(metadata))
    else:
        yield from (row for batch in _batches(metadata) for row in batch.to_pylist())


def _csv_rows(metadata: Path) -> Iterator[dict[str, str]]:
    with metadata.open(encoding="utf-8-sig", newline="") as text:
        try:
            yield from csv.DictReader(text)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{metadata} is no CSV in UTF-8: {one_line(error)}") from error


def _json_lines(metadata: Path) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    with metadata.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{metadata}, line {number}, is no JSON: {one_line(error)}") from error
            if not isinstance(row, dict):
                raise SourceError(f"{metadata}, line {number}, is no JSON object")
            yield line, row


def _batches(metadata: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(metadata) as file:
            yield from file.iter_batches(batch_size=_ROWS)
    except pa.ArrowException as error:
        raise SourceError(f"{metadata} is no Parquet file: {one_line(error)}") from error


def _copy_csv(metadata: Path, target: Path, is_kept: Callable[[Mapping[str, Any]], bool]) -> None:
    with target.open("w", encoding="utf-8", newline="") as out:
        writer: csv.DictWriter[str] | None = None
        for row in _csv_rows(metadata):
            if writer is None:
                writer = csv.DictWriter(
                    out, [name for name in row if name is not None], extrasaction="ignore"
                )
                writer.writeheader()
            if is_kept(row):
                writer.writerow(row)


def _copy_jsonl(metadata: Path, target: Path, is_kept: Callable[[Mapping[str, Any]], bool]) -> None:
    with target.open("wb") as out:
        out.writelines(line for line, row in _json_lines(metadata) if is_kept(row))


def _copy_parquet(metadata: Path, target: Path, is_kept: Callable[[Mapping[str, Any]], bool]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for batch in _batches(metadata):
            names = batch.column(FILE_NAME).to_pylist()
            kept = pa.array([is_kept({FILE_NAME: name}) for name in names], pa.bool_())
            if writer is None:
                writer = pq.ParquetWriter(target, batch.schema)
            writer.write_batch(batch.filter(kept))
    finally:
        if writer is not None:
            writer.close()
