"""The Parquet of an export: one row an image, the head of the export in the metadata of the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

from twinlens.service.explore.export_items import ExportInfo, MediaItem, counted
from twinlens.service.explore.export_json import Place, encoded, info_json, known
from twinlens.service.table import shown

INFO_KEY = b"info"
"""Key of the schema's metadata under which the head of the export stands, as JSON."""

GROUP_ROWS = 4096
GROUP_CHARACTERS = 8 * 2**20
"""A row group ends with the row that reaches one of these, whatever is in the texts."""


def write_parquet(
    out: BinaryIO, info: ExportInfo, items: Iterable[MediaItem], place: Place | None = None
) -> int:
    """Write a Parquet file; memory holds one row group. Returns how many rows it has.

    Args:
        out: stays open; it need not be seekable.
        info: the head; it says how many items follow.
        items: read once, one after the other.
        place: if given, called for each item; its answer is the item's `archive_path`.

    Raises:
        ItemsChanged: not as many items as `info` says.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(_fields()).with_metadata({INFO_KEY: encoded(info_json(info))})
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for rows in _groups(counted(info, items), place):
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    return info.total_media_items


def _fields() -> list[Any]:
    import pyarrow as pa

    issue = pa.struct(
        [
            ("issue_type", pa.string()),
            ("confidence", pa.float64()),
            ("duplicate_group_id", pa.string()),
            ("duplicate_threshold", pa.float64()),
        ]
    )
    return [
        pa.field("media_id", pa.string(), nullable=False),
        pa.field("media_type", pa.string(), nullable=False),
        pa.field("image_filename", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("file_path", pa.string(), nullable=False),
        pa.field("file_size_bytes", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("uniqueness_score", pa.float64()),
        pa.field("url", pa.string(), nullable=False),
        pa.field("cluster_id", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("user_tags", pa.list_(pa.string())),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("issues", pa.list_(issue)),
        pa.field("search_confidence", pa.float64()),
        pa.field("archive_path", pa.string()),
    ]


def _groups(items: Iterable[MediaItem], place: Place | None) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    characters = 0
    for item in items:
        rows.append(_row(item, None if place is None else place(item)))
        characters += _characters(item)
        if len(rows) >= GROUP_ROWS or characters >= GROUP_CHARACTERS:
            yield rows
            rows, characters = [], 0
    if rows:
        yield rows


def _characters(item: MediaItem) -> int:
    """Of the texts whose length nothing else bounds."""
    texts = [*item.captions, *(tag.tag_name for tag in item.tags)]
    return sum(map(len, texts)) + sum(len(label.category_name) for label in item.labels)


def _row(item: MediaItem, archive_path: str | None) -> dict[str, Any]:
    name = shown(item.file_name)
    return {
        "media_id": shown(item.media_id),
        "media_type": "image",
        "image_filename": name,
        "file_name": name,
        "file_path": shown(item.file_path),
        "file_size_bytes": int(item.file_size),
        "width": int(item.width),
        "height": int(item.height),
        "uniqueness_score": known(item.uniqueness_score),
        "url": shown(item.url),
        "cluster_id": None if item.cluster_id is None else shown(item.cluster_id),
        "labels": [shown(label.category_name) for label in item.labels],
        "user_tags": [shown(tag.tag_name) for tag in item.tags],
        "captions": [shown(caption) for caption in item.captions],
        "issues": [_issue(asdict(issue)) for issue in item.issues],
        "search_confidence": known(item.search_confidence),
        "archive_path": archive_path,
    }


def _issue(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: shown(value) if isinstance(value, str) else known(value) for name, value in properties.items()
    }
