"""VQL, the filter language of explore: a JSON array of filters, all of which hold.

`[{"duplicates": {"op": "duplicates", "value": 0.95}}, {"labels": {"op": "one_of", "value": ["cat"]}}]`

What is not known here is refused: a filter that was silently left out would answer another question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.values import (
    canonical_uuid,
    choice,
    fraction,
    plain_text,
    several,
    shown,
    strict_json,
    unfit,
)

MAX_FILTERS = 100
"""In one query."""

ISSUES = ("blur", "dark", "bright", "duplicates", "outliers")
"""Names of issues that are served."""

_Item = TypeVar("_Item")


class TextOp(StrEnum):
    """How images are found by text: by what they show, or by the words of their captions."""

    SEMANTIC = "semantic"
    FTS = "fts"


class LabelOp(StrEnum):
    """How the labels of an image meet a list of labels."""

    ONE_OF = "one_of"
    IS = "is"
    IS_NOT = "is_not"
    NOT_ONE_OF = "not_one_of"


class IssueMode(StrEnum):
    """Whether images with an issue are kept or left out."""

    IN = "in"
    OUT = "out"


class AnchorType(StrEnum):
    """What images are compared with: one that was uploaded to search, or one of the dataset."""

    UPLOAD = "UPLOAD"
    MEDIA = "MEDIA"


@dataclass(frozen=True, slots=True)
class TextFilter:
    """Images that match a text.

    Attributes:
        op: how.
        value: the text, 1 to 10,000 characters.
        max_distance: largest cosine distance, in [0, 1]; None sets no limit, and is all that FTS has.
    """

    op: TextOp
    value: str
    max_distance: float | None


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Images by their labels.

    Attributes:
        op: how labels and values must meet.
        values: one or more labels, each once.
    """

    op: LabelOp
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Images that have one of some tags.

    Attributes:
        ids: canonical UUIDs, each once; empty if `untagged`.
        untagged: images that have no tag at all.
    """

    ids: tuple[str, ...]
    untagged: bool = False


@dataclass(frozen=True, slots=True)
class IssueFilter:
    """Images with or without an issue.

    Attributes:
        name: one of `ISSUES`.
        mode: kept or left out.
        confidence_min, confidence_max: where the confidence of the issue lies, inclusive, in [0, 1].
    """

    name: str
    mode: IssueMode
    confidence_min: float = 0.0
    confidence_max: float = 1.0


@dataclass(frozen=True, slots=True)
class Anchor:
    """The image that others are compared with.

    Attributes:
        media_id: canonical UUID.
        kind: where that image is.
        max_distance: largest cosine distance, in [0, 1]; None sets no limit.
    """

    media_id: str
    kind: AnchorType
    max_distance: float | None


@dataclass(frozen=True, slots=True)
class Filters:
    """What images must meet, all of it.

    Attributes:
        duplicates: similarity of all pairs in a cluster, inclusive, in [0, 1].
        uniqueness: score that images lie above, in [0, 1].
        texts, labels, tags, issues: each filter once.
        anchor: what images are compared with.
    """

    duplicates: float | None = None
    uniqueness: float | None = None
    texts: tuple[TextFilter, ...] = ()
    labels: tuple[LabelFilter, ...] = ()
    tags: tuple[TagFilter, ...] = ()
    issues: tuple[IssueFilter, ...] = ()
    anchor: Anchor | None = None


def parse_vql(text: str) -> Filters:
    """The filters that the parameter `vql` stands for, decoded from its URL.

    Raises:
        InvalidValue: not VQL, or a filter that is not served; the message names the place.
    """
    array = strict_json("vql", text)
    if not isinstance(array, list):
        raise unfit("vql", "a JSON array of filters", array)
    if len(array) > MAX_FILTERS:
        raise InvalidValue(f"vql takes at most {MAX_FILTERS} filters, not {len(array):,}")
    return merged(_filter(f"vql[{place}]", item) for place, item in enumerate(array))


def merged(parts: Iterable[Filters]) -> Filters:
    """All filters together: of those that ask for the same thing, the strictest.

    Raises:
        InvalidValue: two anchors.
    """
    all_ = list(parts)
    return Filters(
        duplicates=_highest(part.duplicates for part in all_),
        uniqueness=_highest(part.uniqueness for part in all_),
        texts=_strictest_texts(text for part in all_ for text in part.texts),
        labels=_once(label for part in all_ for label in part.labels),
        tags=_once(tag for part in all_ for tag in part.tags),
        issues=_once(issue for part in all_ for issue in part.issues),
        anchor=_one_anchor(part.anchor for part in all_ if part.anchor is not None),
    )


def lowest(values: Iterable[float | None]) -> float | None:
    """The strictest of some largest distances, None being no limit."""
    return min((value for value in values if value is not None), default=None)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _once(items: Iterable[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))


def _strictest_texts(texts: Iterable[TextFilter]) -> tuple[TextFilter, ...]:
    limits: dict[tuple[TextOp, str], float | None] = {}
    for text in texts:
        limits[text.op, text.value] = lowest([limits.get((text.op, text.value)), text.max_distance])
    return tuple(TextFilter(op, value, limit) for (op, value), limit in limits.items())


def _one_anchor(anchors: Iterable[Anchor]) -> Anchor | None:
    given = list(anchors)
    named = _once((anchor.kind, anchor.media_id) for anchor in given)
    if not named:
        return None
    if len(named) > 1:
        both = " and ".join(f"{kind} {media_id}" for kind, media_id in named[:2])
        raise InvalidValue(f"vql and anchor_media_id take one image to compare with, not {both}")
    ((kind, media_id),) = named
    return Anchor(media_id, kind, lowest(anchor.max_distance for anchor in given))


# -- one filter ------------------------------------------------------------------------------------

_Body: TypeAlias = Mapping[str, Any]


def _filter(place: str, item: object) -> Filters:
    if not isinstance(item, dict):
        raise unfit(place, "an object with one filter", item)
    if not isinstance(item.get("id", ""), str):
        raise unfit(f"{place}.id", "a string", item["id"])
    names = [key for key in item if key != "id"]
    if len(names) != 1:
        raise unfit(place, "exactly one filter", names or item)
    (name,) = names
    if name not in _FILTERS:
        raise unfit(place, f"one of the filters {', '.join(_FILTERS)}", name)
    ops, read = _FILTERS[name]
    body = item[name]
    _check_body(f"{place}.{name}", body, ops)
    return read(f"{place}.{name}", body)


def _check_body(place: str, body: object, ops: Mapping[str, tuple[str, ...]]) -> None:
    """See that a body has a known op, a value, and nothing that the op has no use for."""
    if not isinstance(body, dict) or "op" not in body or "value" not in body:
        raise unfit(place, "an object with op and value", body)
    keys = ("op", "value", *ops[choice(f"{place}.op", body["op"], tuple(ops))])
    for key in body:
        if key not in keys:
            raise InvalidValue(f"{place} with op {body['op']} takes {', '.join(keys)}, not {shown(key)}")


def _duplicates(place: str, body: _Body) -> Filters:
    return Filters(duplicates=fraction(f"{place}.value", body["value"]))


def _uniqueness(place: str, body: _Body) -> Filters:
    return Filters(uniqueness=fraction(f"{place}.value", body["value"]))


def _text(place: str, body: _Body) -> Filters:
    value = plain_text(f"{place}.value", body["value"])
    return Filters(texts=(TextFilter(TextOp(body["op"]), value, _limit(place, body)),))


def _labels(place: str, body: _Body) -> Filters:
    values = several(f"{place}.value", body["value"], plain_text)
    return Filters(labels=(LabelFilter(LabelOp(body["op"]), values),))


def _tags(place: str, body: _Body) -> Filters:
    return Filters(tags=(TagFilter(several(f"{place}.value", body["value"], canonical_uuid)),))


def _issues(place: str, body: _Body) -> Filters:
    name = choice(f"{place}.value", body["value"], ISSUES)
    mode = choice(f"{place}.mode", body.get("mode", IssueMode.IN), tuple(IssueMode))
    low = fraction(f"{place}.confidence_min", body.get("confidence_min", 0.0))
    high = fraction(f"{place}.confidence_max", body.get("confidence_max", 1.0))
    if low > high:
        raise unfit(f"{place}.confidence_max", f"a number from confidence_min, {low:g}, to 1", high)
    return Filters(issues=(IssueFilter(name, IssueMode(mode), low, high),))


def _similarity(place: str, body: _Body) -> Filters:
    media_id = canonical_uuid(f"{place}.value", body["value"])
    return Filters(anchor=Anchor(media_id, AnchorType.UPLOAD, _limit(place, body)))


def _limit(place: str, body: _Body) -> float | None:
    return fraction(f"{place}.threshold", body["threshold"]) if "threshold" in body else None


_FILTERS: dict[str, tuple[Mapping[str, tuple[str, ...]], Callable[[str, _Body], Filters]]] = {
    "duplicates": ({"duplicates": ()}, _duplicates),
    "uniqueness": ({"uniqueness": ()}, _uniqueness),
    "text": ({TextOp.SEMANTIC: ("threshold",), TextOp.FTS: ()}, _text),
    "labels": (dict.fromkeys(LabelOp, ()), _labels),
    "tags": ({"is": ()}, _tags),
    "issues": ({"issue": ("mode", "confidence_min", "confidence_max")}, _issues),
    "similarity": ({"upload": ("threshold",)}, _similarity),
}
"""Of each filter: its ops, each with the extra keys it takes, and what reads its body."""
