"""Uniqueness of every image of a snapshot: its nearest other image, then the formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.results import Uniqueness
from twinlens.engine.similarity import shown
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.uniqueness import percentile, uniqueness

_NOBODY = -1
_UNITS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of the images of a snapshot, each at its place.

    Attributes:
        values: float64 [n], u in [0, 1]; NaN for flat images without a twin.
        percentiles: float64 [n], in [0, 100]; NaN without a score.
        nearest: int64 [n], place of the most similar other image; -1 if there is none.
        similarity: float64 [n] in [0, 1], to it.
    """

    values: NDArray[np.float64]
    percentiles: NDArray[np.float64]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float64]


def score_places(snapshot: Snapshot) -> Scores:
    """Score every image, at its place in the snapshot."""
    other, similarity = _nearest_images(snapshot)
    low_information = np.array([image.low_information for image in snapshot.images], np.bool_)
    values = uniqueness(
        np.where(other == _NOBODY, np.nan, similarity),
        snapshot.isolation,
        low_information=low_information,
        has_identical_twin=(other != _NOBODY) & low_information,
    )
    return Scores(values, percentile(values), other, shown(similarity))


def score_images(snapshot: Snapshot) -> list[Uniqueness]:
    """Scores of all images: most unique first, images without a score last, ties by id."""
    scored = score_places(snapshot)
    scores = [_uniqueness(snapshot, place, scored) for place in range(len(snapshot.images))]
    return sorted(scores, key=lambda s: (s.score is None, -(s.score or 0.0), s.id))


def _uniqueness(snapshot: Snapshot, place: int, scores: Scores) -> Uniqueness:
    image = snapshot.images[place]
    other = scores.nearest[place]
    nearest = None if other == _NOBODY else snapshot.images[other]
    scored = not np.isnan(scores.values[place])
    return Uniqueness(
        id=image.id,
        path=image.path,
        width=image.width,
        height=image.height,
        score=float(scores.values[place]) if scored else None,
        percentile=float(scores.percentiles[place]) if scored else None,
        nearest_id=nearest.id if nearest else None,
        nearest_path=nearest.path if nearest else None,
        nearest_similarity=float(scores.similarity[place]) if nearest else None,
    )


def _nearest_images(snapshot: Snapshot) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Place and similarity of each image's most similar other, int64 [n] (-1 nobody) and float64 [n].

    Identity first, then what the joins found; images with rejections are compared anew, since what
    was found for them may be what was rejected.
    """
    count = len(snapshot.images)
    other, similarity = np.full(count, _NOBODY), np.zeros(count)
    _from_joins(snapshot, other, similarity)
    _from_rejecting(snapshot, other, similarity)
    _from_identity(snapshot, other, similarity)
    return other, similarity


def _from_joins(snapshot: Snapshot, other: NDArray[np.int64], similarity: NDArray[np.float64]) -> None:
    numbers, nearest, found = snapshot.relations.nearest()
    known = nearest >= 0
    numbers, nearest, found = numbers[known], nearest[known], found[known]
    units = snapshot.units
    kept_as = units.kept_as[units.of_image]
    first_image = np.full(len(snapshot.rows), _NOBODY)
    for place in np.flatnonzero(kept_as >= 0)[::-1].tolist():
        first_image[kept_as[place]] = place
    slot = np.searchsorted(numbers, kept_as)
    hit = (kept_as >= 0) & (slot < len(numbers))
    hit[hit] = numbers[slot[hit]] == kept_as[hit]
    other[hit] = first_image[nearest[slot[hit]]]
    similarity[hit] = found[slot[hit]]


def _from_rejecting(snapshot: Snapshot, other: NDArray[np.int64], similarity: NDArray[np.float64]) -> None:
    units = snapshot.units
    for unit in sorted({unit for pair in units.rejected for unit in pair}):
        if units.low_information[unit]:
            continue
        best, best_unit = 0.0, _NOBODY
        for start in range(0, len(units), _UNITS_AT_ONCE):
            block = np.arange(start, min(start + _UNITS_AT_ONCE, len(units)))
            row = snapshot.oracle.block(np.array([unit]), block)[0]
            row[block == unit] = -np.inf
            if row.max() > best:
                best, best_unit = float(row.max()), int(block[row.argmax()])
        (place,) = snapshot.members(np.array([unit]))
        other[place] = snapshot.members(np.array([best_unit]))[0] if best_unit != _NOBODY else _NOBODY
        similarity[place] = best


def _from_identity(snapshot: Snapshot, other: NDArray[np.int64], similarity: NDArray[np.float64]) -> None:
    """An identical twin is the nearest there can be: the one with the smallest id that was not rejected."""
    units = snapshot.units
    labels = units.image_identity
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    for places in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        group = places.tolist()
        for place in group:
            twin = _first_twin(snapshot, place, group)
            if twin != _NOBODY:
                other[place], similarity[place] = twin, 1.0


def _first_twin(snapshot: Snapshot, place: int, group: Sequence[int]) -> int:
    of_image, rejected = snapshot.units.of_image, snapshot.units.rejected
    for twin in group:
        pair = tuple(sorted((int(of_image[place]), int(of_image[twin]))))
        if twin != place and pair not in rejected:
            return twin
    return _NOBODY
