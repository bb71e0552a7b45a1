"""What a client asks of explore: the parameters of its URL, parsed and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from twinlens.engine.errors import InvalidValue
from twinlens.engine.results import Linkage
from twinlens.service.explore.values import (
    canonical_uuid,
    choice,
    fraction_in_text,
    number_in_text,
    plain_text,
    several,
    shown,
    strict_json,
    unfit,
)
from twinlens.service.explore.vql import Anchor as Anchor
from twinlens.service.explore.vql import AnchorType as AnchorType
from twinlens.service.explore.vql import (
    Filters,
    IssueFilter,
    IssueMode,
    LabelFilter,
    LabelOp,
    TagFilter,
    TextFilter,
    TextOp,
    lowest,
    merged,
    parse_vql,
)

MAX_LEVEL = 4
"""The loosest of the levels of `threshold`; 0 is the finest."""

MAX_PAGE = 2**31 - 1
"""The last page that can be asked for, be there one or not."""


@dataclass(frozen=True, slots=True)
class ExploreQuery:
    """A question to explore.

    Attributes:
        level: how fine the clusters are, 0 (finest) to 4.
        page: from 0.
        duplicates: similarity of all pairs in a cluster, inclusive, in [0, 1].
        uniqueness: score that images lie above, in [0, 1].
        linkage: how pairs become clusters.
        texts, labels, tags, issues: what images must meet, all of it.
        anchor: what images are compared with.
    """

    level: int = 0
    page: int = 0
    duplicates: float | None = None
    uniqueness: float | None = None
    linkage: Linkage = Linkage.COMPLETE
    texts: tuple[TextFilter, ...] = ()
    labels: tuple[LabelFilter, ...] = ()
    tags: tuple[TagFilter, ...] = ()
    issues: tuple[IssueFilter, ...] = ()
    anchor: Anchor | None = None

    def canonical(self) -> str:
        """The question without its page, as compact JSON: equal for equal questions.

        What has its default is left out, so that a parameter that is added later changes no stored text.
        """
        held = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "page"}
        asked = {name: value for name, value in held.items() if value != getattr(_ALL, name)}
        return json.dumps(asked, default=asdict, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_canonical(cls, text: str) -> ExploreQuery:
        """The question that `canonical` wrote, at page 0.

        Raises:
            InvalidValue: something else wrote it.
        """
        try:
            held = json.loads(text)
            return cls(**{name: _READERS[name](value) for name, value in held.items()})
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise InvalidValue(f"{shown(text)} is not a stored question to explore") from error


_ALL = ExploreQuery()

_READERS: dict[str, Callable[[Any], Any]] = {
    "level": int,
    "duplicates": float,
    "uniqueness": float,
    "linkage": Linkage,
    "texts": lambda held: tuple(TextFilter(**{**one, "op": TextOp(one["op"])}) for one in held),
    "labels": lambda held: tuple(LabelFilter(LabelOp(one["op"]), tuple(one["values"])) for one in held),
    "tags": lambda held: tuple(TagFilter(tuple(one["ids"]), one["untagged"]) for one in held),
    "issues": lambda held: tuple(IssueFilter(**{**one, "mode": IssueMode(one["mode"])}) for one in held),
    "anchor": lambda one: Anchor(**{**one, "kind": AnchorType(one["kind"])}),
}


def parse_query(params: Sequence[tuple[str, str]]) -> ExploreQuery:
    """The question that the parameters of a URL stand for.

    Args:
        params: names and values in their order, decoded. An empty value is as good as none, and names that
            explore does not know are ignored, as the documented clients send some.

    Raises:
        InvalidValue: a value that is not served, or two for one name; the message names the parameter.
    """
    given = _given(params)
    _check_entity_type(given.get("entity_type", "IMAGES"))
    parts = [read(given[name]) for name, read in _FILTERS.items() if name in given]
    filters = merged([*parts, Filters(anchor=_anchor(given))])
    return ExploreQuery(
        level=_level(given.get("threshold", "0")),
        page=_page(given.get("page_number", "0")),
        duplicates=filters.duplicates,
        uniqueness=filters.uniqueness,
        linkage=Linkage(choice("linkage", given.get("linkage", Linkage.COMPLETE), tuple(Linkage))),
        texts=_limited(filters.texts, given.get("textual_similarity_threshold")),
        labels=filters.labels,
        tags=filters.tags,
        issues=filters.issues,
        anchor=filters.anchor,
    )


def _given(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in params:
        if name in _KNOWN and value and given.setdefault(name, value) != value:
            raise InvalidValue(f"{name} takes one value, not both {shown(given[name])} and {shown(value)}")
    return given


def _check_entity_type(text: str) -> None:
    if text in ("OBJECTS", "VIDEOS"):
        raise InvalidValue(
            f"entity_type {text} is not supported by this server, extracted frames are: ask for IMAGES"
        )
    choice("entity_type", text, ["IMAGES"])


def _level(text: str) -> int:
    value = number_in_text(text)
    if value is None or value not in range(MAX_LEVEL + 1):
        raise unfit("threshold", f"a level, a whole number from 0 to {MAX_LEVEL}", text)
    return int(value)


def _page(text: str) -> int:
    digits = text.lstrip("0") or "0"
    # Python refuses to read numbers of more than 4,300 digits.
    plain = text.isascii() and text.isdigit() and len(digits) <= len(str(MAX_PAGE))
    if not plain or int(digits) > MAX_PAGE:
        raise unfit("page_number", f"a whole number from 0 to {MAX_PAGE}", text)
    return int(digits)


def _anchor(given: Mapping[str, str]) -> Anchor | None:
    media_id, kind = given.get("anchor_media_id"), given.get("anchor_type")
    if media_id is None and kind is None:
        return None
    if media_id is None:
        raise InvalidValue(
            f"anchor_type {shown(kind)} comes without anchor_media_id, and only both have meaning"
        )
    if kind is None:
        raise InvalidValue(
            f"anchor_media_id {shown(media_id)} comes without anchor_type: send UPLOAD or MEDIA with it"
        )
    known = choice("anchor_type", kind, tuple(AnchorType))
    return Anchor(canonical_uuid("anchor_media_id", media_id), AnchorType(known), None)


def _limited(texts: Sequence[TextFilter], limit: str | None) -> tuple[TextFilter, ...]:
    """Texts with one more limit on the distance of those that are compared by meaning."""
    if limit is None:
        return tuple(texts)
    distance = fraction_in_text("textual_similarity_threshold", limit)
    return tuple(
        replace(text, max_distance=lowest([text.max_distance, distance]))
        if text.op is TextOp.SEMANTIC
        else text
        for text in texts
    )


# -- parameters that filter ------------------------------------------------------------------------


def _meaning(name: str) -> Callable[[str], Filters]:
    return lambda text: Filters(texts=(TextFilter(TextOp.SEMANTIC, plain_text(name, text), None),))


def _labels(text: str) -> Filters:
    values = several("labels", _items("labels", text), plain_text)
    return Filters(labels=(LabelFilter(LabelOp.ONE_OF, values),))


def _tags(text: str) -> Filters:
    if text == "untagged":
        return Filters(tags=(TagFilter((), untagged=True),))
    return Filters(tags=(TagFilter(several("tags", _items("tags", text), canonical_uuid)),))


def _items(name: str, text: str) -> object:
    """What a list in a URL holds: `["dog","cat"]`, the older `[dog,cat]`, or `dog` alone."""
    text = text.strip()
    if text.startswith("[") and '"' in text:
        return strict_json(name, text)
    listed = text.startswith("[") and text.endswith("]")
    inner = text[1:-1] if listed else text
    if (listed or inner[:1] in ('"', "{", "[")) and any(mark in inner for mark in '[]{}"'):
        raise unfit(name, _LIST, text)
    if not listed:
        return [inner]
    items = [item.strip() for item in inner.split(",")] if inner.strip() else []
    if any(item.startswith("'") for item in items):
        # A list as Python prints it: taken as it is, its labels would be nobody's.
        raise unfit(name, _LIST, text)
    return items


_LIST = 'a JSON array of strings such as ["a","b"]'

_FILTERS: dict[str, Callable[[str], Filters]] = {
    "vql": parse_vql,
    "duplicate_threshold": lambda text: Filters(duplicates=fraction_in_text("duplicate_threshold", text)),
    "caption": _meaning("caption"),
    "image_caption": _meaning("image_caption"),
    "labels": _labels,
    "tags": _tags,
}
_KNOWN = {
    *_FILTERS,
    *("entity_type", "threshold", "page_number", "linkage", "textual_similarity_threshold"),
    *("anchor_media_id", "anchor_type"),
}
