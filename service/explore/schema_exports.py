"""Forms of exports, for `/openapi.json`: the tasks that make them, and `metadata.json` (schema 1.1)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AnyUrl, Field

from twinlens.service.explore.schema import Answer, Moment


class ExportStarted(Answer):
    """An export under way, to be asked for by `export_task_id`."""

    id: UUID


class ExportStatusAnswer(Answer):
    """How far an export is; `download_uri` is there when it is COMPLETED."""

    id: UUID
    dataset_id: UUID
    created_at: Moment
    download_uri: AnyUrl | None
    progress: Annotated[float, Field(ge=0, le=100)]
    status: Literal["INIT", "COMPLETED", "FAILED", "REJECTED"]
    entities_count: Annotated[int, Field(ge=0)]
    result_message: str | None


class Head(Answer):
    """What an export is of."""

    schema_version: Literal["1.1"]
    dataset: str
    description: str
    dataset_url: AnyUrl
    export_time: Moment
    dataset_creation_time: Moment
    exported_by: str
    total_media_items: Annotated[int, Field(ge=0)]


class Issue(Answer):
    """Something that is wrong with an image; the last two fields come with duplicates only."""

    issue_type: Literal["blur", "dark", "bright", "duplicates", "outliers"]
    confidence: Annotated[float, Field(ge=0, le=1)]
    duplicate_group_id: UUID | None = None
    duplicate_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class UserTag(Answer):
    """A tag that a user gave to an image."""

    tag_name: str
    assigned_date: Moment


class ImageLabel(Answer):
    """A label of an image."""

    category_name: str
    source: Literal["User"]
    original_id: int


class Caption(Answer):
    """A caption of an image, under both names that clients read."""

    text: str
    caption: str
    source: Literal["User"]


class IssueItem(Answer):
    """An issue among what is known of an image."""

    type: Literal["issue"]
    properties: Issue


class UserTagItem(Answer):
    """A tag among what is known of an image."""

    type: Literal["user_tag"]
    properties: UserTag


class ImageLabelItem(Answer):
    """A label among what is known of an image."""

    type: Literal["image_label"]
    properties: ImageLabel


class CaptionItem(Answer):
    """A caption among what is known of an image."""

    type: Literal["caption"]
    properties: Caption


class MediaItem(Answer):
    """One image of an export; `search_confidence` comes with searches only."""

    media_id: UUID
    media_type: Literal["image"]
    file_name: str
    file_path: str
    file_size: Annotated[str, Field(pattern=r"^\d+\.\d\d(B|KB|MB|GB)$")]
    uniqueness_score: Annotated[float, Field(ge=0, le=1)] | None
    height: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=0)]
    url: AnyUrl
    cluster_id: UUID | None
    search_confidence: float | None = None
    metadata_items: list[IssueItem | UserTagItem | ImageLabelItem | CaptionItem]


class ExportDocument(Answer):
    """The metadata of an export."""

    info: Head
    media_items: list[MediaItem]
