"""Records: free JSON objects of the caller, some of whose keys mean something.

Every other key is echoed as it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from twinlens.engine.errors import InvalidValue
from twinlens.service.matching.images import LOADING_ERROR, HashedImage, Source, Unloadable

JsonObject = dict[str, Any]

OURS = frozenset({"_base64", "_id", "_width", "_height", "_status", "removed_records", "bmh1", "phash"})
"""Keys that are answered by us or not at all, whatever was sent under them."""

ALL_FIELDS = "*"


def source_of(record: Mapping[str, Any]) -> Source | Unloadable:
    """Where the image of a record is, `_base64` before `_url`."""
    for key in ("_base64", "_url"):
        value = record.get(key)
        if value is not None and not isinstance(value, str):
            return Unloadable(f"{LOADING_ERROR}{key} must be a string")
    if not record.get("_base64") and not record.get("_url"):
        empty = [key for key in ("_base64", "_url") if key in record]
        problem = f"its {empty[0]} is empty" if empty else "the record has neither _url nor _base64"
        return Unloadable(f"{LOADING_ERROR}{problem}: give an image")
    return Source(base64=record.get("_base64") or None, url=record.get("_url"))


def id_of(record: Mapping[str, Any]) -> str | None:
    """The `_id` of a record as text: 1 and "1" are the same. None where there is none, or an empty one.

    Raises:
        InvalidValue: neither a string nor a number.
    """
    value = record.get("_id")
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue("_id must be a string or a number")
    return str(value)


def fresh_id() -> str:
    """An `_id` for a record that brought none: UUIDv4."""
    return str(uuid4())


def echo(record: Mapping[str, Any]) -> JsonObject:
    """What is answered of a record as it was sent."""
    return {key: value for key, value in record.items() if key not in OURS}


def answered(
    record: Mapping[str, Any],
    id: str | None,
    image: HashedImage | None = None,
    status: JsonObject | None = None,
) -> JsonObject:
    """A record in an answer: its own fields, then `_status`, `_id`, `_width` and `_height` where given."""
    answer = echo(record)
    if status is not None:
        answer["_status"] = status
    if id is not None:
        answer["_id"] = id
    if image is not None:
        answer |= {"_width": image.width, "_height": image.height}
    return answer


def select(fields: Mapping[str, Any], wanted: Sequence[str]) -> JsonObject:
    """The fields asked for, in the order of the record; "*" is all of them."""
    if ALL_FIELDS in wanted:
        return dict(fields)
    return {key: value for key, value in fields.items() if key in wanted}
