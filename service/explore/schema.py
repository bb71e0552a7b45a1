"""Forms of the answers, for `/openapi.json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Created(BaseModel):
    """A dataset that was made; both keys name it."""

    dataset_id: str
    id: str


class Transaction(BaseModel):
    """A transaction that takes uploads."""

    trans_id: int


class Processing(BaseModel):
    """A folder that is being indexed."""

    status: Literal["success"]
    message: str
    dataset_id: str
    name: str


class ProcessingFailed(BaseModel):
    """A folder that is not."""

    status: Literal["error"]
    message: str
    detail: str


class DatasetAnswer(BaseModel):
    """One dataset."""

    id: str
    display_name: str
    description: str
    source_type: str
    owned_by: str
    created_at: str
    status: str
    status_new: Literal["DRAFT", "INDEXING", "READY", "READ ONLY", "PARTIAL INDEX", "ERROR"]
    progress: int
    n_images: int
    n_videos: int
    n_objects: int
    fatal_error_msg: str | None
    source_dataset_id: str | None


class CreationStatus(BaseModel):
    """How far a dataset is."""

    status: str
    progress: int


class Health(BaseModel):
    """That the server is up."""

    model_config = ConfigDict(extra="allow")

    status: Literal["Green"]
    version: str


class ShareAnswer(BaseModel):
    """Who may see a dataset: the name of a key."""

    email: str
    role: Literal["owner", "viewer"]


class FailureAnswer(BaseModel):
    """A file that is not part of a dataset, and why."""

    file_name: str
    stage: str
    reason: str
    retryable: bool


class Preview(BaseModel):
    """An image in an answer; fields of searches and of uniqueness come with those only."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["IMAGE"]
    media_id: str
    media_uri: str
    media_thumb_uri: str
    file_name: str
    width: int
    height: int
    uniqueness_score: float | None = None
    caption: str | None = None
    bounding_box: None = None
    relevance_score: float | None = None
    relevance_score_type: Literal["cosine_distance"] | None = None


class Cluster(BaseModel):
    """A cluster; fields of searches come with those only."""

    model_config = ConfigDict(extra="forbid")

    cluster_id: str
    type: Literal["IMAGES"]
    n_images: int
    similarity_threshold: str
    relevance_score: float | None
    relevance_score_type: Literal["cosine_distance"] | None = None
    n_objects: int = 0
    n_videos: int = 0
    previews: list[Preview]
    labels: dict[str, int] | None
    user_tags: dict[str, int] | None
    captions: list[str] | None = None


class PageMetadata(BaseModel):
    """What an answer is part of; all but `used_duckdb` are extensions."""

    used_duckdb: Literal[False]
    total_clusters: int
    total_media: int
    page_size: int
    generation: int


class ExploreAnswer(BaseModel):
    """One page of clusters."""

    clusters: list[Cluster]
    metadata: PageMetadata


class MembersMetadata(BaseModel):
    """What a page of members is part of."""

    page_size: int
    generation: int


class MembersAnswer(BaseModel):
    """One page of the members of a cluster."""

    cluster_id: str
    type: Literal["IMAGES"]
    n_images: int
    media: list[Preview]
    metadata: MembersMetadata


class LabelCount(BaseModel):
    """A label and how many images have it."""

    name: str
    count: int


class ExplorationMetadata(BaseModel):
    """A dataset at a glance."""

    dataset_name: str
    clusters_count: int
    media_count: int
    labels: list[LabelCount]


class AnchorAnswer(BaseModel):
    """What explore takes to search for an uploaded image."""

    anchor_media_id: str
    anchor_type: Literal["UPLOAD"]


class VectorSearchAnswer(BaseModel):
    """Images by rising distance to a text."""

    results: list[Preview]
    metadata: dict[str, Any]


class EmbeddingModel(BaseModel):
    """The model of a dataset."""

    id: str
    name: str
    type: str
    dim: int
    text_capable: bool


class TagReference(BaseModel):
    """A tag on an image."""

    id: str
    name: str


class MediaAnswer(BaseModel):
    """One image with all that is known of it."""

    type: Literal["IMAGE"]
    media_id: str
    media_uri: str
    media_thumb_uri: str
    file_name: str
    width: int
    height: int
    image_id: str
    image_uri: str
    original_uri: str
    file_size: int
    format: str
    uniqueness_score: float | None
    labels: list[str]
    captions: list[str]
    user_tags: list[TagReference]
    kept: bool


class TagAnswer(BaseModel):
    """A tag of a dataset; `count` images have it."""

    id: str
    name: str
    count: int


class PairsAnswer(BaseModel):
    """Pairs of images that are not duplicates."""

    pairs: list[tuple[str, str]]


class KeptAnswer(BaseModel):
    """Images that are kept whatever their duplicates are."""

    media_ids: list[str]


class ExportStarted(BaseModel):
    """An export under way, to be asked for by `export_task_id`."""

    id: str


class ExportStatusAnswer(BaseModel):
    """How far an export is; `download_uri` is there when it is COMPLETED."""

    id: str
    dataset_id: str
    created_at: str
    download_uri: str | None
    progress: float
    status: Literal["INIT", "COMPLETED", "FAILED", "REJECTED"]
    entities_count: int
    result_message: str | None
