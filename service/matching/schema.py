"""Requests of the image-matching dialect as they are checked, and its answers as OpenAPI shows them.

`null` is the same as leaving a parameter out. Parameters that nobody knows are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from twinlens.engine.errors import InvalidValue

MOST = 1_000_000_000
"""No collection holds so many records."""

JsonObject = dict[str, Any]
HashName = Literal["bmh1", "phash"]
HashNames = Annotated[
    list[HashName],
    Field(min_length=1, fail_fast=True),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema(
        {
            "description": "One hash, or several; both if not given.",
            "anyOf": [
                {"type": "string", "enum": ["bmh1", "phash"]},
                {"type": "array", "items": {"type": "string", "enum": ["bmh1", "phash"]}, "minItems": 1},
            ],
        }
    ),
]
_TEXT_OR_NULL = {"type": ["string", "null"]}
Records = Annotated[
    list[JsonObject],
    Field(
        fail_fast=True,
        description="Free JSON objects. `_url` or `_base64` says where the image is, `_id` names it, and "
        "every other field is answered as it was sent.",
    ),
]
StoredRecords = Annotated[
    list[JsonObject],
    Field(
        fail_fast=True,
        description='Records by their `_id`; 1 and "1" are the same.',
        json_schema_extra={
            "items": {
                "type": "object",
                "properties": {"_id": {"type": ["string", "number"], "minLength": 1}},
                "required": ["_id"],
            }
        },
    ),
]
QueryImage = Annotated[
    JsonObject,
    Field(
        description="One record: its image is in `_base64`, or behind `_url`.",
        json_schema_extra={
            "properties": {"_base64": _TEXT_OR_NULL, "_url": _TEXT_OR_NULL},
            "anyOf": [{"required": ["_base64"]}, {"required": ["_url"]}],
        },
    ),
]
QueryRecord = Annotated[
    JsonObject,
    Field(
        description="One record: the image in `_base64`, that of the stored `_id`, or that behind `_url`.",
        json_schema_extra={"anyOf": [{"required": [key]} for key in ("_base64", "_id", "_url")]},
    ),
]
# In JSON, 5.0 is a whole number too.
Whole = Annotated[
    int,
    BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value),
]
Range = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="Largest distance that still matches, in percent of bits."),
]
FieldsToReturn = Annotated[list[str], Field(description='Fields to answer; `["*"]` is all of them.')]
Filter = Annotated[
    JsonObject | None,
    Field(description="Equality, $in $nin $ne $gt $gte $lt $lte $exists $and $or, as in MongoDB."),
]


_RULES = {
    "missing": "is missing",
    "dict_type": "must be an object",
    "list_type": "must be an array",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "must not be empty",
}
"""Rules in the words of JSON, by pydantic's type of error."""


class Asked(BaseModel):
    """A request. Lists fail at their first wrong element: an error takes 500 bytes, a list has a million."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class VisualHash(Asked):
    """Hashes of images."""

    records: Records
    hash_type: HashNames | None = None


class RemoveDuplicates(Asked):
    """Merge records whose images match."""

    records: Records
    hash_type: HashName = "bmh1"
    range: Range = 0


class RankImages(Asked):
    """Sort records by their distance to a query."""

    query_record: QueryImage
    records: Records
    hash_type: HashName = "bmh1"


class Insert(Asked):
    """Store records under the hashes of their images."""

    records: Records
    fields_to_return: FieldsToReturn = ["_id"]


class Get(Asked):
    """Read stored records."""

    records: StoredRecords
    fields_to_return: FieldsToReturn = ["_id"]


class Update(Asked):
    """Merge fields into stored records; their hashes stay."""

    records: StoredRecords
    fields_to_return: FieldsToReturn = ["_id"]


class Delete(Asked):
    """Delete stored records."""

    records: StoredRecords


class VisualKNN(Asked):
    """The stored records nearest to a query."""

    query_record: QueryRecord
    k: Whole = Field(default=5, ge=1, le=MOST)
    fields_to_return: FieldsToReturn = ["_id"]
    filter: Filter = None
    hash_type: HashName = "bmh1"


class NearDuplicates(Asked):
    """All stored records within a range of a query."""

    query_record: QueryRecord
    range: Range | None = None
    fields_to_return: FieldsToReturn = ["_id"]
    filter: Filter = None
    hash_type: HashName = "bmh1"


class VisualRankRecords(Asked):
    """Sort stored or given records by their distance to a query."""

    query_record: QueryRecord
    records: Records
    fields_to_return: FieldsToReturn = ["_id"]
    hash_type: HashName = "bmh1"


class Random(Asked):
    """Some stored records."""

    count: Whole = Field(default=10, ge=0, le=MOST)
    fields_to_return: FieldsToReturn = ["_id"]
    filter: Filter = None


class AllRecords(Asked):
    """All stored records, or one page of them."""

    fields_to_return: FieldsToReturn = ["_id"]
    filter: Filter = None


AnyAsked = TypeVar("AnyAsked", bound=Asked)


def validate(model: type[AnyAsked], body: Mapping[str, Any]) -> AnyAsked:
    """Check a request body.

    Raises:
        InvalidValue: the first rule that it breaks, with the parameter and what was given.
    """
    try:
        return model.model_validate({key: value for key, value in body.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        rule = _RULES.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
        given = "" if first["type"] == "missing" else f", not {_shown(first['input'])}"
        raise InvalidValue(f"{place} {rule}{given}") from None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return repr(value[:80] if isinstance(value, str) else value)[:80]


class Status(BaseModel):
    """How a request went."""

    code: int
    text: str
    request_id: UUID
    proc_id: UUID


class Answer(BaseModel):
    """What every answer holds."""

    model_config = ConfigDict(extra="allow")

    status: Status


Distance = Annotated[float, Field(ge=0, description="Percent of differing bits, unless set otherwise.")]


class Statistics(BaseModel):
    """Figures of a request."""

    processing_time: float = Field(alias="processing time", description="Seconds.", ge=0)


class Failure(Answer):
    """A request that failed as a whole."""


class Denied(Answer):
    """A request without a valid token."""

    detail: str


class ShortStatus(BaseModel):
    """How a ping went."""

    code: Literal[200]
    text: Literal["OK"]


class ServiceInfo(BaseModel):
    """Who answers."""

    name: str = Field(alias="_name")
    info: str = Field(alias="_info")


class Pong(BaseModel):
    """The answer to a ping."""

    status: ShortStatus
    service_info: ServiceInfo = Field(alias="_service_info")


class RecordsAnswer(Answer):
    """Records in the order of the request."""

    records: list[JsonObject]
    skipped_records: list[JsonObject] = []
    statistics: Statistics


class RankAnswer(Answer):
    """Records in the order of their distance."""

    query_records: list[JsonObject]
    answer_distances: list[Distance]
    answer_records: list[JsonObject]
    skipped_records: list[JsonObject] = []
    statistics: Statistics


class CollectionAnswer(Answer):
    """Records of a collection."""

    answer_records: list[JsonObject]
    answer_count: int = Field(ge=0)
    skipped_records: list[JsonObject] = []
    statistics: Statistics


class PageAnswer(CollectionAnswer):
    """Records of a collection, or one page of them."""

    next: str | None = Field(default=None, description="The page that follows; only there if one does.")


class NeighboursAnswer(CollectionAnswer):
    """Records of a collection in the order of their distance."""

    query_records: list[JsonObject]
    answer_distances: list[Distance]
