"""Images of two sets that are the same file or the same picture: by their bytes, and by their pixels.

Identical bytes are found by digest. Pixels cost a full decode, so they are compared only where bytes
differ and everything cheap agrees: the rows, the size, the luma signature (`pixels` says why identical
ones always pass).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.archive_reading import reading_order
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.join import PairBlock
from twinlens.engine.pixels import SIGNATURES_AGREE, Content, pixel_digests
from twinlens.engine.similarity import Mask, Numbers, spans
from twinlens.engine.snapshot import Snapshot

_MANY, _NONE = -1, -2
_SIGNATURE_BYTES = 256
_SIGNATURES_AT_ONCE = 4096


class Places(NamedTuple):
    """Pairs of images, as places in the two snapshots: int64 [k] each."""

    a: Numbers
    b: Numbers


class PixelCandidates:
    """Remembers which images of two snapshots may have identical pixels, while their units are joined.

    Args:
        a: a snapshot.
        b: the other.
    """

    def __init__(self, a: Snapshot, b: Snapshot) -> None:
        numbers: dict[bytes, int] = {}
        self._a, self._b = _Side(a, numbers), _Side(b, numbers)

    def see(self, pairs: PairBlock) -> None:
        """Look at pairs of units whose rows agree."""
        size_a, size_b = self._a.sizes[pairs.a], self._b.sizes[pairs.b]
        idle = self._a.settled[pairs.a] & self._b.settled[pairs.b]
        idle |= (size_a == _NONE) | (size_b == _NONE)
        many = ((size_a == _MANY) | (size_b == _MANY)) & ~idle
        for unit_a, unit_b in zip(pairs.a[many].tolist(), pairs.b[many].tolist(), strict=True):
            self._meet(unit_a, unit_b)
        single = (size_a == size_b) & (self._a.content[pairs.a] != self._b.content[pairs.b]) & ~many & ~idle
        a, b = pairs.a[single], pairs.b[single]
        agree = _agree(self._a.signatures(a), self._b.signatures(b))
        for side, units in ((self._a, a[agree]), (self._b, b[agree])):
            for unit in np.unique(units).tolist():
                side.want(unit, side.contents[unit])

    def _meet(self, unit_a: int, unit_b: int) -> None:
        """Units of several contents each: rare, so that their signatures are not worth a look."""
        a, b = self._a.contents[unit_a], self._b.contents[unit_b]
        common = {_size(content) for content in a} & {_size(content) for content in b}
        for side, unit, contents in ((self._a, unit_a, a), (self._b, unit_b, b)):
            side.want(unit, (content for content in contents if _size(content) in common))

    def digests(self, limits: DecodeLimits, workers: int) -> Mapping[bytes, bytes]:
        """Pixel digest by digest of the bytes, of every candidate whose pixels can be compared."""
        wanted = self._a.wanted | self._b.wanted
        return dict(
            pixel_digests(
                sorted(wanted.values(), key=lambda content: reading_order(content.image.file)),
                limits,
                workers,
            )
        )


class _Side:
    """The contents of one snapshot by unit, their sizes, and those whose pixels are wanted.

    Attributes:
        contents: of each unit, one image for each file content; none of flat units and own vectors.
        sizes: int64 [u], the size of a unit's only content, `_MANY` or `_NONE`.
        content: int64 [u], equal where units of two sides have the same only content.
        settled: bool [u], whether the pixels of all contents of a unit are known or wanted.
        wanted: by digest of their bytes.
    """

    def __init__(self, snapshot: Snapshot, numbers: dict[bytes, int]) -> None:
        self._catalog = snapshot.catalog
        self.contents = _contents(snapshot)
        self.sizes = np.fromiter(map(_only_size, self.contents), np.int64, len(self.contents))
        only = (contents[0].digest if len(contents) == 1 else b"" for contents in self.contents)
        self.content = np.array([numbers.setdefault(each, len(numbers)) for each in only], np.int64)
        self.settled = np.fromiter(map(_all_known, self.contents), np.bool_, len(self.contents))
        self.wanted: dict[bytes, Content] = {}

    def want(self, unit: int, contents: Iterable[Content]) -> None:
        """Ask for the pixels of some contents of a unit."""
        self.wanted |= {each.digest: each for each in contents if each.image.pixel_digest is None}
        self.settled[unit] = all(
            each.image.pixel_digest is not None or each.digest in self.wanted for each in self.contents[unit]
        )

    def signatures(self, units: Numbers) -> tuple[NDArray[np.int16], Numbers]:
        """Signatures of units of one content: int16 [distinct, 256], and where each unit's is: int64 [k].

        The number of one that is not known is -1.
        """
        distinct, where = np.unique(units, return_inverse=True)
        held = [self._catalog.signature(self.contents[unit][0].image.id) for unit in distinct.tolist()]
        known = [each for each in held if each is not None]
        table = np.frombuffer(b"".join(known), np.uint8).astype(np.int16).reshape(-1, _SIGNATURE_BYTES)
        number = np.cumsum([each is not None for each in held]) - 1
        number[[each is None for each in held]] = -1
        return table, number[where]


def identical_bytes(a: Snapshot, b: Snapshot) -> Iterator[Places]:
    """Pairs of images with the same bytes: each image of `b` with all its twins in `a`."""
    return _equal([image.digest for image in a.images], [image.digest for image in b.images])


def identical_pixels(a: Snapshot, b: Snapshot, found: Mapping[bytes, bytes]) -> Iterator[Places]:
    """Pairs of images with the same pixels: each image of `b` with all its twins in `a`.

    Args:
        a: a snapshot.
        b: the other.
        found: pixel digests by digest of the bytes that their catalogs do not hold.
    """
    return _equal(*([_pixels_of(image, found) for image in side.images] for side in (a, b)))


def contents_of(a: Snapshot, b: Snapshot) -> tuple[Numbers, Numbers]:
    """A number for each image of both snapshots, equal where bytes are: int64 [n] and int64 [m]."""
    numbers: dict[tuple[str, object], int] = {}
    first, second = (
        np.array(
            [
                numbers.setdefault(
                    (set_, image.id) if image.digest is None else ("", image.digest), len(numbers)
                )
                for image in side.images
            ],
            np.int64,
        ).reshape(-1)
        for set_, side in (("a", a), ("b", b))
    )
    return first, second


def _agree(a: tuple[NDArray[np.int16], Numbers], b: tuple[NDArray[np.int16], Numbers]) -> Mask:
    """Which pairs of signatures are near, bool [k]; those that are not known agree with all."""
    (table_a, number_a), (table_b, number_b) = a, b
    agree = (number_a < 0) | (number_b < 0)
    for span in spans(0, len(agree), _SIGNATURES_AT_ONCE):
        known = span.start + np.flatnonzero(~agree[span])
        difference = np.abs(table_a[number_a[known]] - table_b[number_b[known]])
        agree[known] = (difference <= SIGNATURES_AGREE).all(axis=1)
    return agree


def _equal(a: Sequence[bytes | None], b: Sequence[bytes | None]) -> Iterator[Places]:
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, key in enumerate(a):
        if key is not None:
            places[key].append(place)
    for place, key in enumerate(b):
        if key is not None and key in places:
            twins = np.array(places[key], np.int64)
            yield Places(twins, np.full(len(twins), place, np.int64))


def _pixels_of(image: ImageRecord, found: Mapping[bytes, bytes]) -> bytes | None:
    if image.pixel_digest is not None or image.digest is None:
        return image.pixel_digest
    return found.get(image.digest)


def _contents(snapshot: Snapshot) -> list[list[Content]]:
    by_unit: list[dict[bytes, Content]] = [{} for _ in range(len(snapshot.units))]
    for image, unit in zip(snapshot.images, snapshot.units.of_image.tolist(), strict=True):
        if image.digest is not None and not image.low_information:
            by_unit[unit].setdefault(image.digest, Content(image, image.digest))
    return [list(contents.values()) for contents in by_unit]


def _only_size(contents: Sequence[Content]) -> int:
    """The size as one number, so that most pairs are ruled out at once."""
    if len(contents) != 1:
        return _MANY if contents else _NONE
    width, height = _size(contents[0])
    return width << 32 | height


def _size(content: Content) -> tuple[int, int]:
    return content.image.width, content.image.height


def _all_known(contents: Sequence[Content]) -> bool:
    return all(content.image.pixel_digest is not None for content in contents)
