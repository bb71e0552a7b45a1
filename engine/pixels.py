"""Identical pixels in files that differ: established for candidates only, since it costs a full decode.

Candidates are images of equal size whose rows are close and whose 16 x 16 luma signatures nearly
agree. Pixel-identical images pass: their rows and signatures can differ only by what a reduced JPEG
decode changes, which in two JPEGs of the same pixels is the same. Files that store transparency have no
pixel digest: black icons differ in nothing else, and what decoding drops cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.archive_reading import reading_order
from twinlens.engine.catalog import Catalog, ImageRecord
from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest, pixel_digest
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.quality import SIGNATURE_BYTES
from twinlens.engine.similarity import spans

ROWS_AGREE = 0.9
"""Rows of images with identical pixels are at least this similar."""

SIGNATURES_AGREE = 24
"""And none of their 256 luma values differs by more.

Of 800 photographs at 800 x 600, two in a hundred differ by more than 8 from what they show when decoded at
a quarter of the size, and none by more than 16.
"""

JPEGS_AGREE = 4
"""Or, of two JPEGs: their coefficients are the same, or turned."""

_JPEG = "jpeg"
_CHUNK = 256
_MANY = -1
_SIGNATURES_HELD = 16_384
"""Of images that were compared last, 512 bytes each."""
_UNITS_HELD = 4096
"""Whose images were compared last, a kilobyte for each image."""
_PAIRS_AT_ONCE = 4096
"""Of units, whose signatures are compared together."""


@dataclass(frozen=True, slots=True)
class Content:
    """One of several images with the same bytes, standing for all of them.

    Attributes:
        image: the image.
        digest: of its bytes.
    """

    image: ImageRecord
    digest: bytes


def establish_pixels(catalog: Catalog, limits: DecodeLimits, workers: int) -> None:
    """Digest the pixels of every image that may be pixel-identical to another, and remember them."""
    found: list[tuple[bytes, bytes]] = []
    for digests in pixel_digests(_wanted(catalog), limits, workers):
        found.append(digests)
        if len(found) >= _CHUNK:
            _remember(catalog, found)
            found = []
    if found:
        _remember(catalog, found)


def pixel_digests(
    contents: Iterable[Content], limits: DecodeLimits, workers: int
) -> Iterator[tuple[bytes, bytes]]:
    """Digests of the bytes and of the fully decoded pixels of each content that has some to compare.

    Left out are files that are transparent, gone, or not what they were when they were indexed.
    """
    with ThreadPoolExecutor(workers) as pool:
        decoded = ordered_map(pool, lambda content: _pixels(content, limits), contents, ahead=2 * workers)
        for content, pixels in decoded:
            if pixels is not None:
                yield content.digest, pixels


def _remember(catalog: Catalog, found: list[tuple[bytes, bytes]]) -> None:
    with catalog.transaction():
        catalog.set_pixel_digests(found)
        catalog.next_generation()


def _wanted(catalog: Catalog) -> list[Content]:
    """Contents without a pixel digest that some other content may equal, as they are read fast."""
    wanted: dict[bytes, Content] = {}
    contents_of = lru_cache(_UNITS_HELD)(partial(_contents, catalog))
    signature_of = lru_cache(_SIGNATURES_HELD)(partial(_signature, catalog))
    for a, b in _candidates(catalog, contents_of):
        jpegs = a.image.format == b.image.format == _JPEG
        if _same_size(a, b) and _agree(signature_of(a.image.id), signature_of(b.image.id), jpegs):
            wanted |= {content.digest: content for content in (a, b) if content.image.pixel_digest is None}
    return sorted(wanted.values(), key=lambda content: reading_order(content.image.file))


def _contents(catalog: Catalog, unit: int) -> list[Content]:
    """Different bytes of the images of a unit, each with the first of these images."""
    found: dict[bytes, Content] = {}
    for image in catalog.images_of_unit(unit):
        if image.digest is not None and not image.low_information:
            found.setdefault(image.digest, Content(image, image.digest))
    return list(found.values())


def _candidates(
    catalog: Catalog, contents_of: Callable[[int], list[Content]]
) -> Iterator[tuple[Content, Content]]:
    looks = catalog.looks()
    for unit in looks["unit"][looks["contents"] > 1].tolist():
        by_size = sorted(contents_of(unit), key=lambda content: (_size(content), content.image.id))
        yield from pairwise(by_size)
    facts = _Facts.of_units(looks, int(catalog.meta("rows")))
    for block in catalog.pairs(max(ROWS_AGREE, float(catalog.meta("kept_from")))):
        likely = facts.may_agree(block.a, block.b)
        some, others = block.a[likely], block.b[likely]
        for span in spans(0, len(some), _PAIRS_AT_ONCE):
            for unit_a, unit_b in facts.agreeing(catalog, some[span], others[span]):
                for a in contents_of(unit_a):
                    yield from ((a, b) for b in contents_of(unit_b))


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What rules most pairs of units out at once.

    Attributes:
        size: width and height of a unit's only content, as one number; `_MANY` where it has several.
        brightness: of that content.
        jpeg: whether it is a JPEG.
    """

    size: NDArray[np.int64]
    brightness: NDArray[np.float32]
    jpeg: NDArray[np.bool_]

    @classmethod
    def of_units(cls, looks: NDArray[np.void], rows: int) -> _Facts:
        facts = cls(np.full(rows, _MANY, np.int64), np.zeros(rows, np.float32), np.zeros(rows, np.bool_))
        single = looks[looks["contents"] == 1]
        facts.size[single["unit"]] = single["size"]
        facts.brightness[single["unit"]] = single["brightness"]
        facts.jpeg[single["unit"]] = single["jpeg"]
        return facts

    def may_agree(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs of units a[k] and b[k] may have contents with the same pixels, bool [k]."""
        # Means differ by no more than what they are the means of.
        alike = np.abs(self.brightness[a] - self.brightness[b]) <= _tolerance(self.jpeg[a] & self.jpeg[b])
        likely: NDArray[np.bool_] = (self.size[a] == self.size[b]) & alike | self._several(a, b)
        return likely

    def agreeing(
        self, catalog: Catalog, a: NDArray[np.int64], b: NDArray[np.int64]
    ) -> Iterator[tuple[int, int]]:
        """The pairs of units a[k] and b[k] whose signatures agree, or are several, or are missing."""
        units, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        levels = np.zeros((len(units), SIGNATURE_BYTES), np.int16)
        known = np.zeros(len(units), np.bool_)
        for unit, signature in catalog.signatures_of_units(units):
            at = np.searchsorted(units, unit)
            levels[at], known[at] = np.frombuffer(signature, np.uint8), True
        first, second = place[: len(a)], place[len(a) :]
        furthest = np.abs(levels[first] - levels[second]).max(axis=1, initial=0)
        differ = furthest > _tolerance(self.jpeg[a] & self.jpeg[b])
        ruled_out = differ & known[first] & known[second] & ~self._several(a, b)
        return zip(a[~ruled_out].tolist(), b[~ruled_out].tolist(), strict=True)

    def _several(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        several: NDArray[np.bool_] = (self.size[a] == _MANY) | (self.size[b] == _MANY)
        return several


def _size(content: Content) -> tuple[int, int]:
    return content.image.width, content.image.height


def _same_size(a: Content, b: Content) -> bool:
    return _size(a) == _size(b)


def _signature(catalog: Catalog, id_: str) -> NDArray[np.int16] | None:
    stored = catalog.signature(id_)
    return None if stored is None else np.frombuffer(stored, np.uint8).astype(np.int16)


def _tolerance(both_jpegs: NDArray[np.bool_] | bool) -> NDArray[np.int64]:
    """How far luma values of two images may differ."""
    return np.where(both_jpegs, JPEGS_AGREE, SIGNATURES_AGREE)


def _agree(first: NDArray[np.int16] | None, second: NDArray[np.int16] | None, both_jpegs: bool) -> bool:
    if first is None or second is None:
        return True
    return bool(np.abs(first - second).max() <= _tolerance(both_jpegs))


def _pixels(content: Content, limits: DecodeLimits) -> bytes | None:
    """Digest of the fully decoded pixels; None if the file is transparent, gone or changed."""
    try:
        data = read_bytes(content.image.file, limits)
        if byte_digest(data) != content.digest:
            return None
        image = decode(data, limits=limits)
    except DecodeError:
        return None
    return None if image.transparent else pixel_digest(image.rgb)
