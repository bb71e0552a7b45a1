r"""The JSON of an export (schema 1.1) and the table of media ids, in pieces as they come.

The JSON is compact UTF-8, one image per line. A byte of a path that is not UTF-8 is shown as its escape
(`\udcff`), as text. Numbers that are not finite are null.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, BinaryIO, TypeAlias

from twinlens.engine.pipeline import lots
from twinlens.service.explore.export_items import SCHEMA_VERSION, ExportInfo, IssueEntry, MediaItem, counted
from twinlens.service.table import finite, shown

Place: TypeAlias = Callable[[MediaItem], str | None]
"""Puts the original of an image into the archive; its path there, None if that was not possible."""

_PIECE_BYTES = 1 << 16
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SURROGATE = re.compile("[\ud800-\udfff]")


def iter_json(info: ExportInfo, items: Iterable[MediaItem], place: Place | None = None) -> Iterator[bytes]:
    """The document in pieces of about 64 KiB.

    Args:
        info: the head; it says how many items follow.
        items: read once, one after the other.
        place: if given, called for each item; the item then tells its answer as `archive_path`.

    Raises:
        ItemsChanged: not as many items as `info` says.
    """
    return _gathered(_pieces(info, items, place))


def write_json(
    out: BinaryIO, info: ExportInfo, items: Iterable[MediaItem], place: Place | None = None
) -> int:
    """Write the document of `iter_json`; returns how many items it has.

    Raises:
        ItemsChanged: not as many items as `info` says; what was written by then is no JSON.
    """
    for piece in iter_json(info, items, place):
        out.write(piece)
    return info.total_media_items


def iter_media_ids_csv(items: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """CSV (RFC 4180, UTF-8) with the columns `filename` and `media_id`, in pieces of about 64 KiB.

    Args:
        items: file name and media id of each image.
    """
    return _gathered(_csv_line(shown(name), shown(media_id)) for name, media_id in _headed(items))


def info_json(info: ExportInfo) -> dict[str, Any]:
    """The head of the document."""
    return {"schema_version": SCHEMA_VERSION, **asdict(info)}


def encoded(value: Mapping[str, Any] | list[Any]) -> bytes:
    """Compact JSON in UTF-8; lone surrogates become text that shows them."""
    text = _ENCODER.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # With one backslash JSON would read the surrogate back, and many readers refuse that.
        return _SURROGATE.sub(lambda found: rf"\\u{ord(found[0]):04x}", text).encode()


def file_size_text(size: int) -> str:
    """Bytes for people: 49,428 is "48.27KB"; B, KB, MB and GB by powers of 1,024."""
    value, unit = float(size), "B"
    for larger in ("KB", "MB", "GB"):
        if round(value, 2) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.2f}{unit}"


def known(number: float | None) -> float | None:
    """A plain float; None if it is unknown or not finite."""
    return None if number is None else finite(number)


def _pieces(info: ExportInfo, items: Iterable[MediaItem], place: Place | None) -> Iterator[bytes]:
    yield b'{"info":' + encoded(info_json(info)) + b',"media_items":['
    before = b"\n"
    for item in counted(info, items):
        extra = {} if place is None else {"archive_path": place(item)}
        yield before + encoded(_item_json(item, extra))
        before = b",\n"
    yield b"\n]}\n"


def _item_json(item: MediaItem, extra: Mapping[str, str | None]) -> dict[str, Any]:
    confidence = known(item.search_confidence)
    return {
        "media_id": item.media_id,
        "media_type": "image",
        "file_name": item.file_name,
        "file_path": item.file_path,
        "file_size": file_size_text(item.file_size),
        "uniqueness_score": known(item.uniqueness_score),
        "height": int(item.height),
        "width": int(item.width),
        "url": item.url,
        "cluster_id": item.cluster_id,
        **({} if confidence is None else {"search_confidence": confidence}),
        **extra,
        "metadata_items": [
            {"type": kind, "properties": properties} for kind, properties in _metadata_items(item)
        ],
    }


def _metadata_items(item: MediaItem) -> Iterator[tuple[str, dict[str, Any]]]:
    for issue in item.issues:
        yield "issue", _issue_json(issue)
    for tag in item.tags:
        yield "user_tag", asdict(tag)
    for label in item.labels:
        yield "image_label", asdict(label)
    for caption in item.captions:
        # Clients read either name.
        yield "caption", {"text": caption, "caption": caption, "source": "User"}


def _issue_json(issue: IssueEntry) -> dict[str, Any]:
    properties = {"issue_type": issue.issue_type, "confidence": known(issue.confidence)}
    of_duplicates = {
        "duplicate_group_id": issue.duplicate_group_id,
        "duplicate_threshold": known(issue.duplicate_threshold),
    }
    return properties | {name: value for name, value in of_duplicates.items() if value is not None}


def _headed(items: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield "filename", "media_id"
    yield from items


def _csv_line(*cells: str) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces."""
    return (b"".join(lot) for lot in lots(pieces, _PIECE_BYTES))
