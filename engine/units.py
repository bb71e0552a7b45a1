"""Images as units: identical rows collapsed, so that 100,000 copies cost linear time.

A unit is a set of images that no threshold can tell apart: equal rows, or for images without
information equal pixels. An image that somebody rejected as a twin of another stands alone, so that
the rejection holds for it and not for its copies. Units are numbered by their smallest id, which
makes "ties by id" ties by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.join import PairBlock

_NO_IDENTITY = -1


@dataclass(frozen=True, slots=True)
class Units:
    """The units of n images.

    Attributes:
        images: ordered by id.
        of_image: int64 [n], the unit of each image.
        weights: int64 [u], images of each unit.
        rows: int64 [u], a row of vectors.f16 that stands for the unit.
        identity: int64 [u], equal where bytes, pixels or rows are equal, -1 where nothing is.
        image_identity: int64 [n], the same for each image.
        low_information: bool [u].
        rejected: pairs of units (a < b) that are not duplicates.
        kept_as: int64 [u], the number under which the catalog keeps the unit's pairs, -1 if it has none.
    """

    images: Sequence[ImageRecord]
    of_image: NDArray[np.int64]
    weights: NDArray[np.int64]
    rows: NDArray[np.int64]
    identity: NDArray[np.int64]
    image_identity: NDArray[np.int64]
    low_information: NDArray[np.bool_]
    rejected: frozenset[tuple[int, int]]
    kept_as: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.weights)


def make_units(images: Sequence[ImageRecord], rejections: Iterable[tuple[str, str]]) -> Units:
    """Collapse images (ordered by id) into units; rejections are pairs of ids."""
    rejections = [pair for pair in rejections]
    alone = {id_ for pair in rejections for id_ in pair}
    keys = [_unit_key(image, image.id in alone) for image in images]
    number: dict[tuple[str, object], int] = {}
    of_image = np.array([number.setdefault(key, len(number)) for key in keys], np.int64).reshape(-1)
    first = np.unique(of_image, return_index=True)[1]
    unit_of = {image.id: int(unit) for image, unit in zip(images, of_image, strict=True)}
    image_identity = _identities(images)
    return Units(
        images=images,
        of_image=of_image,
        weights=np.bincount(of_image, minlength=len(number)).astype(np.int64),
        rows=np.array([images[i].row for i in first], np.int64).reshape(-1),
        identity=image_identity[first],
        image_identity=image_identity,
        low_information=np.array([images[i].low_information for i in first], np.bool_).reshape(-1),
        rejected=frozenset(
            (min(unit_of[a], unit_of[b]), max(unit_of[a], unit_of[b]))
            for a, b in rejections
            if a in unit_of and b in unit_of
        ),
        kept_as=np.array([_kept_as(images[i]) for i in first], np.int64).reshape(-1),
    )


def embedding_blocks(units: Units, kept: Iterable[PairBlock]) -> Iterator[PairBlock]:
    """Pairs of the catalog's unit numbers as pairs of units, without the identical and the rejected."""
    order = np.argsort(units.kept_as, kind="stable")
    order = order[units.kept_as[order] != _NO_IDENTITY]
    count = np.bincount(units.kept_as[order], minlength=1)
    start = np.cumsum(count) - count
    for block in kept:
        known = np.maximum(block.a, block.b) < len(count)
        left, right, similarity = block.a[known], block.b[known], block.similarity[known]
        which, nth_left, nth_right = every_combination(count[left], count[right])
        a, b = order[start[left[which]] + nth_left], order[start[right[which]] + nth_right]
        yield _plain(units, PairBlock(np.minimum(a, b), np.maximum(a, b), similarity[which]))


def identity_block(units: Units) -> PairBlock:
    """All pairs of units that are identical and that nobody rejected, at similarity 1."""
    groups: dict[int, list[int]] = {}
    for unit, label in enumerate(units.identity.tolist()):
        if label != _NO_IDENTITY:
            groups.setdefault(label, []).append(unit)
    pairs = {pair for group in groups.values() for pair in combinations(group, 2)}
    columns = np.array(sorted(pairs - units.rejected), np.int64).reshape(-1, 2)
    return PairBlock(columns[:, 0], columns[:, 1], np.ones(len(columns)))


def _unit_key(image: ImageRecord, alone: bool) -> tuple[str, object]:
    if alone:
        return "image", image.id
    if image.low_information:
        return "pixels", image.pixel_digest or image.digest or image.id
    return "row", image.unit if image.unit is not None else image.row


def _kept_as(image: ImageRecord) -> int:
    return _NO_IDENTITY if image.low_information or image.unit is None else image.unit


def _identities(images: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """Labels of images that share bytes, pixels or a row, -1 for those that share with nobody."""
    keys: dict[tuple[str, object], int] = {}
    edges = [
        (position, keys.setdefault(key, len(keys)))
        for position, image in enumerate(images)
        for key in (("bytes", image.digest), ("pixels", image.pixel_digest), ("row", _kept_as(image)))
        if key[1] not in (None, _NO_IDENTITY)
    ]
    n, total = len(images), len(images) + len(keys)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1] + n)), shape=(total, total))
    labels = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    shared = np.bincount(labels, minlength=1)[labels] > 1 if n else np.zeros(0, np.bool_)
    return np.where(shared, labels, _NO_IDENTITY)


def every_combination(
    left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For pairs of sets of `left` and `right` members: which pair, and which member of each side.

    A unit that nobody rejected from is one member, so most pairs stand for themselves.
    """
    combinations = left * right
    which = np.repeat(np.arange(len(left)), combinations)
    if len(which) == len(left) and (combinations == 1).all():
        return which, np.zeros_like(which), np.zeros_like(which)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(combinations) - combinations, combinations)
    return which, nth // right[which], nth % right[which]


def _plain(units: Units, block: PairBlock) -> PairBlock:
    """Drop pairs that `identity_block` holds and pairs that were rejected."""
    identical = (units.identity[block.a] == units.identity[block.b]) & (
        units.identity[block.a] != _NO_IDENTITY
    )
    keep = ~identical
    if units.rejected:
        keep &= np.fromiter(
            ((a, b) not in units.rejected for a, b in zip(block.a.tolist(), block.b.tolist(), strict=True)),
            np.bool_,
            len(block.a),
        )
    return PairBlock(block.a[keep], block.b[keep], block.similarity[keep])
