"""What an export is made of: its head, its images and what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twinlens.engine.errors import ServiceError

SCHEMA_VERSION = "1.1"


class ItemsChanged(ServiceError):
    """Another number of images came than the head of the export says."""


@dataclass(frozen=True, slots=True)
class IssueEntry:
    """Something that is wrong with an image.

    Attributes:
        issue_type: "duplicates", "outliers", "blur", "dark", ...
        confidence: in [0, 1].
        duplicate_group_id: cluster of the duplicates, for that issue only.
        duplicate_threshold: similarity in [0, 1] at which they are duplicates, likewise.
    """

    issue_type: str
    confidence: float
    duplicate_group_id: str | None = None
    duplicate_threshold: float | None = None


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag that a user gave to an image, and when."""

    tag_name: str
    assigned_date: str


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """A label of an image.

    Attributes:
        category_name: the label.
        source: who gave it: "User".
        original_id: number of the category where it comes from, -1 if it had none.
    """

    category_name: str
    source: str
    original_id: int = -1


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One image of an export.

    Texts may hold what `os.fsdecode` makes of bytes that are not UTF-8; the export shows them as escapes.

    Attributes:
        media_id: UUID of the image.
        file_name: name without folders.
        file_path: path in the dataset.
        file_size: bytes.
        uniqueness_score: in [0, 1]; None if it has none.
        width: upright, px.
        height: likewise, px.
        url: where the server gives the image.
        cluster_id: of its similarity cluster; None if it is in none.
        issues: what is wrong with it.
        tags: of users.
        labels: of the whole image.
        captions: of the whole image.
        search_confidence: of the search that selected it; None without one.
        source: the original, copied into the archive if images are asked for; None if there is none.
    """

    media_id: str
    file_name: str
    file_path: str
    file_size: int
    uniqueness_score: float | None
    width: int
    height: int
    url: str
    cluster_id: str | None
    issues: tuple[IssueEntry, ...]
    tags: tuple[TagEntry, ...]
    labels: tuple[LabelEntry, ...]
    captions: tuple[str, ...]
    search_confidence: float | None = None
    source: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """The head of an export.

    Attributes:
        dataset: its name.
        description: a sentence on the export.
        dataset_url: where the server has the dataset.
        export_time: as it is to be written.
        dataset_creation_time: likewise.
        exported_by: name of who asked for it.
        total_media_items: how many images follow.
    """

    dataset: str
    description: str
    dataset_url: str
    export_time: str
    dataset_creation_time: str
    exported_by: str
    total_media_items: int


def counted(info: ExportInfo, items: Iterable[MediaItem]) -> Iterator[MediaItem]:
    """The items as they come.

    Raises:
        ItemsChanged: at the first one too many, or at the end if there were too few.
    """
    total, count = info.total_media_items, 0
    for count, item in enumerate(items, start=1):
        if count > total:
            raise _changed(info, f"more than {total:,}")
        yield item
    if count < total:
        raise _changed(info, f"{count:,}")


def _changed(info: ExportInfo, came: str) -> ItemsChanged:
    return ItemsChanged(
        f"the export of {info.dataset!r} announces {info.total_media_items:,} images and {came} came: "
        "the dataset changed meanwhile, export it again"
    )
