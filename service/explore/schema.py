"""Forms of the answers, for `/openapi.json`. An answer has no other fields than these."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import AnyUrl, BaseModel, ConfigDict, Field

from twinlens.service.explore.describe import EXTENSION

_Count: TypeAlias = Annotated[int, Field(ge=0)]
_Percent: TypeAlias = Annotated[int, Field(ge=0, le=100)]
_Score: TypeAlias = Annotated[float, Field(ge=0, le=1)]
_State: TypeAlias = Literal["DRAFT", "INDEXING", "READY", "READ ONLY", "PARTIAL INDEX", "ERROR"]
Moment: TypeAlias = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$", description="UTC, to the microsecond.")
]


def extension(text: str, **rules: Any) -> Any:
    """A field that the documented service does not have."""
    return Field(description=EXTENSION + text, **rules)


class Answer(BaseModel):
    """What is answered, and nothing beside it."""

    # Nothing is validated by these: what would do that is not built before it is needed.
    model_config = ConfigDict(extra="forbid", defer_build=True)


# -- datasets ------------------------------------------------------------------------------------------


class Created(Answer):
    """A dataset that was made; both keys name it."""

    dataset_id: UUID
    id: UUID


class Transaction(Answer):
    """A transaction that takes uploads."""

    trans_id: int


class Processing(Answer):
    """A folder that is being indexed."""

    status: Literal["success"]
    message: str
    dataset_id: UUID
    name: str


class ProcessingFailed(Answer):
    """A folder that is not."""

    status: Literal["error"]
    message: str
    detail: str = extension("the reason, in one sentence.")


class DatasetAnswer(Answer):
    """One dataset."""

    id: UUID
    display_name: str
    description: str
    source_type: Literal["VL", "LOCAL"] = Field(description="Uploaded, or a folder of the operator.")
    owned_by: str = Field(description="Name of the key that made it.")
    created_at: Moment
    status: Literal["UPLOADING", "INDEXING", "READY", "UPDATING", "FATAL_ERROR"] = Field(
        description="As older clients know it: look at status_new."
    )
    status_new: _State
    progress: _Percent
    n_images: _Count
    n_videos: Literal[0]
    n_objects: Literal[0]
    fatal_error_msg: str | None
    source_dataset_id: None


class CreationStatus(Answer):
    """How far a dataset is."""

    status: _State
    progress: _Percent


class Health(Answer):
    """That the server is up."""

    status: Literal["Green"]
    service_health_message: Literal["none"] = Field(alias="service-health-message")
    version: str


class ShareAnswer(Answer):
    """Who may see a dataset."""

    email: str = Field(description="Name of a key: this server knows no e-mail addresses.")
    role: Literal["owner", "viewer"]


class FailureAnswer(Answer):
    """A file that is not part of a dataset, and why."""

    file_name: str
    stage: str
    reason: str
    retryable: bool


# -- explore -------------------------------------------------------------------------------------------


class Preview(Answer):
    """An image in an answer; fields of searches and of uniqueness come with those only."""

    type: Literal["IMAGE"]
    media_id: UUID
    media_uri: AnyUrl
    media_thumb_uri: AnyUrl
    file_name: str
    width: _Count
    height: _Count
    uniqueness_score: _Score | None = extension("in answers to the filter `uniqueness`.", default=None)
    caption: str | None = None
    bounding_box: None = None
    relevance_score: float | None = None
    relevance_score_type: Literal["cosine_distance"] | None = None


class Cluster(Answer):
    """A cluster; fields of searches come with those only."""

    cluster_id: UUID
    type: Literal["IMAGES"]
    n_images: Annotated[int, Field(ge=1)]
    similarity_threshold: Literal["0", "1", "2", "3", "4"]
    relevance_score: float | None
    relevance_score_type: Literal["cosine_distance"] | None = None
    n_objects: Literal[0] = 0
    n_videos: Literal[0] = 0
    previews: Annotated[list[Preview], Field(min_length=1, max_length=9)]
    labels: dict[str, int] | None
    user_tags: dict[str, int] | None
    captions: list[str] | None = None


class PageMetadata(Answer):
    """What an answer is part of."""

    used_duckdb: Literal[False]
    total_clusters: _Count = extension("on all pages.")
    total_media: _Count = extension("images of all clusters.")
    page_size: _Count = extension("clusters on a page.")
    generation: _Count = extension("grows with every change of the dataset.")


class ExploreAnswer(Answer):
    """One page of clusters."""

    clusters: Annotated[list[Cluster], Field(max_length=100)]
    metadata: PageMetadata


class MembersMetadata(Answer):
    """What a page of members is part of."""

    page_size: _Count
    generation: _Count


class MembersAnswer(Answer):
    """One page of the members of a cluster."""

    cluster_id: UUID
    type: Literal["IMAGES"]
    n_images: Annotated[int, Field(ge=1)]
    media: Annotated[list[Preview], Field(max_length=100)]
    metadata: MembersMetadata


class LabelCount(Answer):
    """A label and how many images have it."""

    name: str
    count: _Count


class ExplorationMetadata(Answer):
    """A dataset at a glance."""

    dataset_name: str
    clusters_count: _Count
    media_count: _Count
    labels: list[LabelCount]


class AnchorAnswer(Answer):
    """What explore takes to search for an uploaded image."""

    anchor_media_id: UUID
    anchor_type: Literal["UPLOAD"]


class SearchMetadata(Answer):
    """What a search was answered from."""

    generation: _Count


class VectorSearchAnswer(Answer):
    """Images by rising distance to a text."""

    results: Annotated[list[Preview], Field(max_length=1000)]
    metadata: SearchMetadata


class EmbeddingModel(Answer):
    """The model of a dataset."""

    id: str
    name: str
    type: Literal["MULTIMODEL_IMAGE_ENCODING", "IMAGE_ENCODING"]
    dim: Annotated[int, Field(ge=1)]
    text_capable: bool


class TagReference(Answer):
    """A tag on an image."""

    id: UUID
    name: str


class MediaAnswer(Answer):
    """One image with all that is known of it."""

    type: Literal["IMAGE"]
    media_id: UUID
    media_uri: AnyUrl
    media_thumb_uri: AnyUrl
    file_name: str
    width: _Count
    height: _Count
    image_id: UUID
    image_uri: AnyUrl
    original_uri: str
    file_size: _Count
    format: str
    uniqueness_score: _Score | None
    labels: list[str]
    captions: list[str]
    user_tags: list[TagReference]
    kept: bool


# -- decisions -----------------------------------------------------------------------------------------


class TagAnswer(Answer):
    """A tag of a dataset; `count` images have it."""

    id: UUID
    name: str
    count: _Count


class PairsAnswer(Answer):
    """Pairs of images that are not duplicates."""

    pairs: list[Annotated[list[UUID], Field(min_length=2, max_length=2)]]


class KeptAnswer(Answer):
    """Images that are kept whatever their duplicates are."""

    media_ids: list[UUID]
