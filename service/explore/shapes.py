"""Answers of the dialect as JSON values: the fields that its document shows, in its order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twinlens.service.explore.datasets import DatasetRow, Kind, Status
from twinlens.service.explore.links import Links

if TYPE_CHECKING:
    from twinlens.engine.catalog import ImageRecord
    from twinlens.service.explore.answers import Answer, Group
    from twinlens.service.explore.view import View

PAGE_SIZE = 100
"""Clusters on a page of explore, images on a page of members."""

MOST_PREVIEWS = 9
_DISTANCE = "cosine_distance"
_LEGACY = {
    Status.DRAFT: "UPLOADING",
    Status.INDEXING: "INDEXING",
    Status.READY: "READY",
    Status.READ_ONLY: "UPDATING",
    Status.PARTIAL_INDEX: "UPDATING",
    Status.ERROR: "FATAL_ERROR",
}
_SOURCES = {Kind.UPLOAD: "VL", Kind.FOLDER: "LOCAL", Kind.MOUNT: "LOCAL"}

JsonObject = dict[str, Any]


def dataset_json(row: DatasetRow, owner: str) -> JsonObject:
    """One dataset; `owner` is the name of its key."""
    return {
        "id": row.id,
        "display_name": row.name,
        "description": row.description,
        "source_type": _SOURCES[row.kind],
        "owned_by": owner,
        "created_at": row.created,
        "status": _LEGACY[row.status],
        "status_new": row.status.value,
        "progress": 100 if row.status is Status.READY else row.progress,
        "n_images": row.images,
        "n_videos": 0,
        "n_objects": 0,
        "fatal_error_msg": row.error,
        "source_dataset_id": None,
    }


def page_json(row: DatasetRow, view: View, found: Answer, level: int, page: int, links: Links) -> JsonObject:
    """One page of explore."""
    groups = found.groups(page * PAGE_SIZE, PAGE_SIZE)
    return {
        "clusters": [cluster_json(row, view, each, level, links) for each in groups],
        "metadata": {
            "used_duckdb": False,
            "total_clusters": found.total_clusters,
            "total_media": found.total_media,
            "page_size": PAGE_SIZE,
            "generation": view.snapshot.generation,
        },
    }


def cluster_json(row: DatasetRow, view: View, group: Group, level: int, links: Links) -> JsonObject:
    """One cluster: the fields of duplicates, and those of a search where it is one."""
    searched = group.distances is not None
    shown = group.members[:MOST_PREVIEWS]
    cluster: JsonObject = {
        "cluster_id": group.id,
        "type": "IMAGES",
        "n_images": len(group.members),
        "similarity_threshold": str(level),
        "relevance_score": min(group.distances) if group.distances else None,
    }
    if searched:
        cluster |= {"relevance_score_type": _DISTANCE, "n_objects": 0, "n_videos": 0}
    cluster["previews"] = [_preview(row, view, group, place, links) for place in range(len(shown))]
    cluster["labels"] = _counts(label for image in group.members for label in _labels(view, image))
    cluster["user_tags"] = _counts(
        name for image in group.members for _, name, _ in view.notes.tags.get(image.id, ())
    )
    if searched:
        captions = [caption for image in shown for caption in _captions(view, image)]
        cluster["captions"] = captions or None
    return cluster


def media_json(row: DatasetRow, image: ImageRecord, links: Links) -> JsonObject:
    """One image: the fields that all answers share."""
    return {
        "type": "IMAGE",
        "media_id": image.id,
        "media_uri": links.image(row.id, image.id),
        "media_thumb_uri": links.thumbnail(row.id, image.id),
        "file_name": file_name(image),
        "width": image.width,
        "height": image.height,
    }


def found_json(row: DatasetRow, view: View, image: ImageRecord, distance: float, links: Links) -> JsonObject:
    """One image that a search found."""
    captions = _captions(view, image)
    return media_json(row, image, links) | {
        "caption": captions[0] if captions else None,
        "bounding_box": None,
        "relevance_score": distance,
        "relevance_score_type": _DISTANCE,
    }


def detailed_json(row: DatasetRow, view: View, image: ImageRecord, links: Links) -> JsonObject:
    """One image with all that is known of it (an extension)."""
    place = view.snapshot.position[image.id]
    score = float(view.generation.scores.values[place])
    return media_json(row, image, links) | {
        "image_id": image.id,
        "image_uri": links.image(row.id, image.id),
        "original_uri": shown_path(row, image),
        "file_size": image.size,
        "format": image.format,
        "uniqueness_score": None if score != score else score,
        "labels": list(_labels(view, image)),
        "captions": list(_captions(view, image)),
        "user_tags": [{"id": id_, "name": name} for id_, name, _ in view.notes.tags.get(image.id, ())],
        "kept": image.id in view.snapshot.kept,
    }


def members_json(row: DatasetRow, view: View, group: Group, page: int, links: Links) -> JsonObject:
    """One page of the members of a cluster (an extension)."""
    start = page * PAGE_SIZE
    places = range(start, min(start + PAGE_SIZE, len(group.members)))
    return {
        "cluster_id": group.id,
        "type": "IMAGES",
        "n_images": len(group.members),
        "media": [_preview(row, view, group, place, links) for place in places],
        "metadata": {"page_size": PAGE_SIZE, "generation": view.snapshot.generation},
    }


def file_name(image: ImageRecord) -> str:
    """The base name of the file; what is not UTF-8 in it is shown as escapes."""
    return in_utf8(os.path.basename(image.path))


def shown_path(row: DatasetRow, image: ImageRecord) -> str:
    """The path as the client or the operator knows it: uploads came without the server's folders."""
    if row.kind is not Kind.MOUNT:
        uploads = f"{row.folder.parent / 'images'}{os.sep}"
        if image.path.startswith(uploads):
            return in_utf8(image.path[len(uploads) :].split(os.sep, 2)[-1])
    return in_utf8(image.path)


def in_utf8(text: str) -> str:
    """Paths hold what `os.fsdecode` makes of bytes that are not UTF-8, which no other program reads."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _preview(row: DatasetRow, view: View, group: Group, place: int, links: Links) -> JsonObject:
    image = group.members[place]
    if group.distances is not None:
        return found_json(row, view, image, group.distances[place], links)
    if group.uniqueness is not None:
        return media_json(row, image, links) | {"uniqueness_score": group.uniqueness}
    return media_json(row, image, links)


def _labels(view: View, image: ImageRecord) -> Sequence[str]:
    return view.notes.labels_of(image.path)


def _captions(view: View, image: ImageRecord) -> Sequence[str]:
    return view.notes.captions_of(image.path)


def _counts(names: Any) -> dict[str, int] | None:
    return dict(sorted(Counter(names).items())) or None
