"""What each copy is credited with when copies are ranked: no more than it shows of the picture.

An enlargement counts as the smaller twin that it holds no more than, and comes behind it; a framed copy
counts without its frame, and comes behind the twin that has none. Detail replaces the stored sharpness, in
levels: within a group, copies with nearly as much as the best are equals, then those with nearly as much as
the best of the rest, and so on. So what a recompression adds or takes does not decide.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.detail import SMALLEST_FACTOR, Look

NEARLY = 0.88
"""Copies with at least this share of the most detailed one's detail are equals."""

UPSCALED, FRAMED = "upscaled", "framed"

_SAME_PROPORTIONS = 0.03
_AS_LARGE = 0.9
_NEXT = 64
_MOST_RUNGS = 3

Twins: TypeAlias = Callable[[int, Sequence[int]], NDArray[np.float64]]
"""Similarities of some images to an image, by their places, 0 for those that are no twins of it: [k]."""

Group: TypeAlias = Sequence[int]
"""Places of images that hang together."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen in the files of some groups.

    Attributes:
        by_digest: what each content shows; None where its file cannot be read, or is another one now.
        enlargements: the smaller content that a larger one holds no more detail than.
    """

    by_digest: Mapping[bytes, Look | None] = field(default_factory=dict)
    enlargements: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credit:
    """What images are ranked by.

    Attributes:
        facts: in the order of the images.
        derived: why an image comes behind its equals: `UPSCALED` or `FRAMED`, by id.
    """

    facts: list[ImageRecord]
    derived: dict[str, str]


class _Worth(NamedTuple):
    """What a content is credited with; sizes in px and bytes."""

    width: int
    height: int
    size: int
    detail: float


class _Origin(NamedTuple):
    """The content that another one was made of, and how."""

    digest: bytes
    reason: str


def size_ladders(
    images: Sequence[ImageRecord], groups: Iterable[Group], twins: Twins
) -> list[tuple[ImageRecord, list[ImageRecord]]]:
    """Images that may be enlarged, each with smaller twins of its proportions, by falling size.

    What adds to a smaller twin adds to all that are smaller still: the next one counts only where the one
    before it is too soft to tell. Of several of one size, the most similar is taken: a copy that was cropped
    or turned is less similar than what was enlarged.
    """
    ladders = []
    for group in groups:
        ranked = sorted(_contents(images, group).values(), key=lambda place: (_pixels(images[place]), place))
        sizes = [_pixels(images[place]) for place in ranked]
        for place, size in zip(ranked, sizes, strict=True):
            much_smaller = reversed(ranked[: bisect_right(sizes, size / SMALLEST_FACTOR**2)])
            alike = (other for other in much_smaller if _are_alike(images[place], images[other]))
            nearest = list(islice(alike, _NEXT))
            found = [(s, other) for s, other in zip(twins(place, nearest), nearest, strict=True) if s]
            if found:
                ladders.append((images[place], [images[other] for other in _rungs(images, found)]))
    return ladders


def _rungs(images: Sequence[ImageRecord], found: Sequence[tuple[float, int]]) -> list[int]:
    """Of images by falling size, with their similarities: the most similar of each of some sizes."""
    rungs: list[tuple[float, int]] = []
    top = math.inf
    for similarity, place in found:
        size = _pixels(images[place])
        if size < top / SMALLEST_FACTOR**2:
            rungs.append((similarity, place))
            top = size
        elif size >= _AS_LARGE * top:
            rungs[-1] = max(rungs[-1], (similarity, place))
    return [place for _, place in rungs[:_MOST_RUNGS]]


def credit(images: Sequence[ImageRecord], groups: Iterable[Group], looks: Looks, twins: Twins) -> Credit:
    """Facts by which images are ranked; those of groups that were not looked at stay what they are."""
    credited = Credit(list(images), {})
    for group in groups:
        contents = _contents(images, group)
        if contents.keys() <= looks.by_digest.keys():
            _credit_group(credited, images, group, _Group(images, contents, looks, twins))
    return credited


def _credit_group(credited: Credit, images: Sequence[ImageRecord], group: Group, known: _Group) -> None:
    worth = {digest: known.worth(digest) for digest in known.contents}
    level = _levels(each.detail for each in worth.values())
    for place in group:
        image = images[place]
        mine = worth[image.digest or b""]
        sharpness = level.get(mine.detail, math.nan)
        credited.facts[place] = replace(
            image, width=mine.width, height=mine.height, size=mine.size, sharpness=sharpness
        )
        if (origin := known.origins.get(image.digest or b"")) is not None:
            credited.derived[image.id] = origin.reason


class _Group:
    """The contents of one group: what they show, and what they were made of."""

    def __init__(
        self, images: Sequence[ImageRecord], contents: Mapping[bytes, int], looks: Looks, twins: Twins
    ) -> None:
        self.contents = contents
        self._images = images
        self._looks = {digest: looks.by_digest[digest] for digest in contents}
        self.origins = {
            larger: _Origin(smaller, UPSCALED)
            for larger, smaller in looks.enlargements.items()
            if larger in contents and smaller in contents
        }
        self._sizes = _sizes(self._looks)
        self._find_unframed(twins)

    def worth(self, digest: bytes) -> _Worth:
        """What a content is credited with: no more than what it was made of."""
        seen = {digest}
        mine = self._own(digest)
        while (origin := self.origins.get(digest)) is not None and origin.digest not in seen:
            digest = origin.digest
            seen.add(digest)
            mine = _lesser(mine, self._own(digest))
        return mine

    def _own(self, digest: bytes) -> _Worth:
        image, look = self._images[self.contents[digest]], self._looks[digest]
        if look is None:
            return _Worth(image.width, image.height, image.size, math.nan)
        return _Worth(*self._sizes[digest], image.size, look.detail)

    def _find_unframed(self, twins: Twins) -> None:
        """For each framed content, a twin that shows as much of the picture without a frame."""
        plain = [digest for digest, look in self._looks.items() if look is not None and not look.padded]
        for digest, look in self._looks.items():
            if look is None or not look.padded or digest in self.origins:
                continue
            alike = (other for other in plain if _shows_as_much(self._looks[other], look))
            others = list(islice(alike, _NEXT))
            places = [self.contents[other] for other in others]
            for other, twin in zip(others, twins(self.contents[digest], places), strict=True):
                if twin:
                    self.origins[digest] = _Origin(other, FRAMED)
                    break


def _lesser(a: _Worth, b: _Worth) -> _Worth:
    """The lesser of each; of sizes in px, that with fewer of them."""
    width, height = min((a[:2], b[:2]), key=lambda size: size[0] * size[1])
    return _Worth(width, height, min(a.size, b.size), min(a.detail, b.detail))


def _sizes(looks: Mapping[bytes, Look | None]) -> dict[bytes, tuple[int, int]]:
    """Size of each picture, px; framed ones of nearly one size are equals, since frames end in a blur."""
    known = {digest: look for digest, look in looks.items() if look is not None}
    sizes = {digest: (look.width, look.height) for digest, look in known.items()}
    framed = [(look.width * look.height, digest) for digest, look in known.items() if look.padded]
    top, size = 0.0, (0, 0)
    for area, digest in sorted(framed, reverse=True):
        if not top or area < _AS_LARGE * top:
            top, size = area, sizes[digest]
        sizes[digest] = size
    return sizes


def _levels(details: Iterable[float]) -> dict[float, float]:
    """The level of each known detail: 0 for the most, and one less for each step down."""
    level: dict[float, float] = {}
    top, number = math.inf, 1
    for detail in sorted({each for each in details if not math.isnan(each)}, reverse=True):
        if detail < NEARLY * top:
            top, number = detail, number - 1
        level[detail] = number
    return level


def _contents(images: Sequence[ImageRecord], group: Group) -> dict[bytes, int]:
    """One place for each different content of a group, in the order of the places."""
    contents: dict[bytes, int] = {}
    for place in group:
        contents.setdefault(images[place].digest or b"", place)
    return contents


def _pixels(image: ImageRecord) -> int:
    return image.width * image.height


def _are_alike(a: ImageRecord, b: ImageRecord) -> bool:
    """True if two pictures have the same proportions."""
    return abs(math.log(a.width / a.height) - math.log(b.width / b.height)) <= _SAME_PROPORTIONS


def _shows_as_much(plain: Look | None, framed: Look) -> bool:
    """True if a picture without a frame may be the inside of a framed one, upright or lying."""
    if plain is None or plain.width * plain.height < _AS_LARGE * framed.width * framed.height:
        return False
    proportions = math.log(plain.width / plain.height), math.log(framed.width / framed.height)
    return abs(abs(proportions[0]) - abs(proportions[1])) <= _SAME_PROPORTIONS
