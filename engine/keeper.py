"""Which copy to keep: one that somebody chose to keep, else what a list of rules says.

Each rule is a way to order images; the first that tells two apart decides. Rules are words (`RULES`) or carry
an argument:

- `format=heic>raw>png>jpeg`: formats, the most wanted first; all others come after them, as equals.
- `path~REGEX`: images whose path the regular expression is found in.
- `set=NAME`: images of the folder or list of that name (without its ending, or its whole path) that was
  indexed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from twinlens.engine.errors import InvalidValue
from twinlens.engine.formats import OTHER_PICTURES
from twinlens.engine.similarity import Numbers


class KeeperFacts(Protocol):
    """What the rules know of an image."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def path(self) -> str:
        """Where it lies."""
        ...

    @property
    def source(self) -> str:
        """The folder or list that it came from, absolute; empty if there is none."""
        ...

    @property
    def width(self) -> int:
        """Pixels."""
        ...

    @property
    def height(self) -> int:
        """Pixels."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    @property
    def format(self) -> str:
        """As the decoder names it: "jpeg", "png", "heif", ..."""
        ...

    @property
    def sharpness(self) -> float:
        """How much detail there is; NaN where unknown, the least sharp of all."""
        ...

    @property
    def exif_tags(self) -> int:
        """How many."""
        ...

    @property
    def mtime_ns(self) -> int:
        """When the file was last changed, nanoseconds since the epoch."""
        ...


Key: TypeAlias = float | str | bool | tuple[float, bool]
"""The lower, the rather an image is kept."""

Rule: TypeAlias = Callable[[KeeperFacts], Key]
"""A sort key of an image; all keys of one rule are of one type."""

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "pixels": lambda image: -image.width * image.height,
        "sharpness": lambda image: math.inf if math.isnan(image.sharpness) else -image.sharpness,
        "bytes": lambda image: -image.size,
        "exif": lambda image: -image.exif_tags,
        "newest": lambda image: -image.mtime_ns,
        "oldest": lambda image: image.mtime_ns,
        "path": lambda image: image.path,
    }
)
"""Rules without an argument: most pixels, sharpest, largest file, most EXIF, newest, oldest, first path."""

RULE_FORMS = (*RULES, "format=heic>raw>png>jpeg", "path~REGEX", "set=NAME")
"""All rules there are, as a person writes them."""

DEFAULT_RULES = ("pixels", "sharpness", "bytes", "exif", "path")

CONTENT_RULES = frozenset(("pixels", "sharpness", "bytes"))
"""Rules that ask how much of the picture there is; no copy gains by what was made up for it."""

_RAW = frozenset(OTHER_PICTURES["a camera raw file"].split())
_PLAIN = ("avif", "raw", "jpeg", "png", "webp", "gif", "bmp", "tiff")
_FORMATS = {"heic": "heif"} | dict(zip(_PLAIN, _PLAIN, strict=True))
_ALIASES = {"heif": "heic", "jpg": "jpeg", "tif": "tiff"}


class Verdict(NamedTuple):
    """Why one image comes before another.

    Attributes:
        rule: the first that tells them apart, as it was written; "id" if none does.
        derived: True if they are equal by it, but for one being derived from a picture like the other.
    """

    rule: str
    derived: bool


def keeper_order(
    images: Sequence[KeeperFacts],
    rules: Sequence[str] = DEFAULT_RULES,
    kept: AbstractSet[str] = frozenset(),
    derived: AbstractSet[str] = frozenset(),
) -> Numbers:
    """Rank images by how much they are worth keeping.

    Args:
        images: n images.
        rules: the most important first; ties after the last break by id.
        kept: ids of images that somebody chose to keep: they come before all others, whatever the rules.
        derived: ids of enlarged and framed copies: of equals by a rule of `CONTENT_RULES`, they come last.

    Returns:
        int64 [n], the rank of each image; 0 is the first to keep.

    Raises:
        InvalidValue: a rule that does not exist or is malformed.
    """
    parsed = parse_rules(rules)
    keys = [(image.id not in kept, *_keys(image, parsed, derived), image.id) for image in images]
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks


def verdict(
    winner: KeeperFacts, loser: KeeperFacts, rules: Sequence[str], derived: AbstractSet[str] = frozenset()
) -> Verdict:
    """The rule by which one image comes before another; neither is one that somebody chose to keep."""
    parsed = parse_rules(rules)
    for text, a, b in zip(rules, _keys(winner, parsed, derived), _keys(loser, parsed, derived), strict=True):
        if a != b:
            return Verdict(text, isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0])
    return Verdict("id", False)


def parse_rules(rules: Sequence[str]) -> list[tuple[str, Rule]]:
    """Rules by what they say.

    Raises:
        InvalidValue: one that does not exist or is malformed, by its name.
    """
    return [(rule, _parse(rule)) for rule in rules]


def split_rules(text: str) -> tuple[str, ...]:
    """Rules that are separated by commas, of which a regular expression may hold some as well."""
    rules: list[str] = []
    for part in text.split(","):
        if rules and rules[-1].startswith("path~") and not _is_rule(part.strip()):
            rules[-1] += f",{part}"
        else:
            rules.append(part.strip())
    return tuple(rule.strip() for rule in rules if rule.strip())


def refuse_unknown_sets(rules: Sequence[str], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse `set=NAME` where nothing of that name was indexed.

    Raises:
        InvalidValue: naming the sets there are.
    """
    known = [os.fspath(source) for source in sources]
    for rule in rules:
        name = rule.removeprefix("set=")
        if name != rule and not any(_is_named(source, name) for source in known):
            there = ", ".join(os.path.basename(source) for source in known) or "none"
            raise InvalidValue(f"no set is named {name!r}, as keeper rule {rule!r} says: there are {there}")


def _keys(image: KeeperFacts, rules: list[tuple[str, Rule]], derived: AbstractSet[str]) -> tuple[Key, ...]:
    is_derived = image.id in derived
    keys: list[Key] = []
    for text, rule in rules:
        key = rule(image)
        keys.append((key, is_derived) if text in CONTENT_RULES and isinstance(key, (int, float)) else key)
    return tuple(keys)


def _is_rule(text: str) -> bool:
    return text in RULES or text.startswith(tuple(_WITH_ARGUMENT))


def _parse(rule: str) -> Rule:
    if rule in RULES:
        return RULES[rule]
    word, sign, argument = re.match(r"(\w*)([=~]?)(.*)", rule, re.DOTALL).groups()  # type: ignore[union-attr]
    parse = _WITH_ARGUMENT.get(word + sign)
    if parse is None:
        raise InvalidValue(f"no keeper rule {rule!r}: choose from {', '.join(RULE_FORMS)}")
    if not argument:
        raise InvalidValue(f"keeper rule {rule!r} lacks what it asks for: write it as {_form(word + sign)}")
    return parse(rule, argument)


def _format_rule(rule: str, argument: str) -> Rule:
    wanted = [_ALIASES.get(name, name) for name in argument.lower().replace(" ", "").split(">")]
    if unknown := [name for name in wanted if name not in _FORMATS]:
        raise InvalidValue(
            f"keeper rule {rule!r} names the format {unknown[0]!r}: choose from {', '.join(_FORMATS)}"
        )
    if len(set(wanted)) < len(wanted):
        raise InvalidValue(f"keeper rule {rule!r} names a format twice: name each once")
    place = {_FORMATS[name]: number for number, name in enumerate(wanted)}

    def key(image: KeeperFacts) -> float:
        # Many raw files are TIFFs to a decoder.
        is_raw = os.path.splitext(image.path)[1].lower() in _RAW
        return place.get("raw" if is_raw else image.format, len(place))

    return key


def _path_rule(rule: str, argument: str) -> Rule:
    try:
        pattern = re.compile(argument)
    except re.error as error:
        raise InvalidValue(f"keeper rule {rule!r} is no regular expression: {error}") from error
    return lambda image: pattern.search(image.path) is None


def _set_rule(rule: str, argument: str) -> Rule:
    return lambda image: not _is_named(image.source, argument)


def _is_named(source: str, name: str) -> bool:
    base = os.path.basename(source)
    return bool(source) and name in (source, base, os.path.splitext(base)[0])


_WITH_ARGUMENT: Mapping[str, Callable[[str, str], Rule]] = MappingProxyType(
    {"format=": _format_rule, "path~": _path_rule, "set=": _set_rule}
)


def _form(start: str) -> str:
    return next(form for form in RULE_FORMS if form.startswith(start))
