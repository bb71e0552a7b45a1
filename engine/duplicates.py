"""Clusters and pairs of images, from units and their similarities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import overload

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.clusters import cluster, cluster_id
from twinlens.engine.cohesion import cohesion
from twinlens.engine.errors import InvalidValue, TooManyPairs
from twinlens.engine.estimate import lowest_served
from twinlens.engine.estimate import refuse_too_many as refuse_by_estimate
from twinlens.engine.keeper import DEFAULT_RULES
from twinlens.engine.neighbourhood import Neighbourhood
from twinlens.engine.results import Cluster, Evidence, Linkage, Member, Pair
from twinlens.engine.similarity import shown
from twinlens.engine.snapshot import Snapshot

_STRENGTH = list(Evidence)

_FEW_UNITS = 512
"""All similarities of a cluster of so many are held at once: fetching rows anew would be most of the work."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One cluster, before its members are described.

    Attributes:
        units: int64 [k]; of a star, its keeper comes first.
        size: images.
        min_similarity: of the least similar pair, in [0, 1]; 1 for one image alone.
    """

    units: NDArray[np.int64]
    size: int
    min_similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Outlines(Sequence[Outline]):
    """Clusters, then images that are in none, which take 8 bytes each until they are looked at.

    Attributes:
        clusters: of two or more images.
        alone: int64 [s], units of one image each.
    """

    clusters: Sequence[Outline]
    alone: NDArray[np.int64]

    @property
    def images(self) -> int:
        """How many images they hold."""
        return sum(outline.size for outline in self.clusters) + len(self.alone)

    def __len__(self) -> int:
        return len(self.clusters) + len(self.alone)

    @overload
    def __getitem__(self, place: int, /) -> Outline: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[Outline]: ...
    def __getitem__(self, place: int | slice, /) -> Outline | list[Outline]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        if place < len(self.clusters):
            return self.clusters[place]
        unit = place - len(self.clusters)
        return Outline(self.alone[unit : unit + 1], 1, 1.0)


@dataclass(frozen=True, slots=True)
class Grouping:
    """All clusters of a snapshot at one threshold; `describe` tells more of each when it is asked for.

    Attributes:
        snapshot: what was grouped.
        threshold: at which.
        linkage: how.
        outlines: largest first, then tightest, then by cluster id; then images alone, by id.
    """

    snapshot: Snapshot
    threshold: float
    linkage: Linkage
    outlines: Outlines
    _hood: Neighbourhood
    _rank: NDArray[np.int64]

    def places(self, outline: Outline) -> list[int]:
        """Places in the snapshot of all images of a cluster.

        The keeper comes first, then the others by falling similarity to it, ties by id.
        """
        if outline.size == 1:
            return [int(place) for place in self.snapshot.members(outline.units)]
        keeper = _keeper_place(self.snapshot, outline.units, self._rank, self.linkage)
        similarity = _similarity_to(self.snapshot, keeper, outline.units)
        of_image = self.snapshot.units.of_image
        places = self.snapshot.members(outline.units).tolist()
        return sorted(places, key=lambda place: (place != keeper, -similarity[int(of_image[place])], place))

    def id_of(self, outline: Outline) -> str:
        """The id of a cluster."""
        return _outline_id(self.snapshot, outline)

    def describe(self, outline: Outline) -> Cluster:
        """A cluster with all there is to say of its members."""
        return _describe(self.snapshot, self._hood, outline.units, self._rank, self.threshold, self.linkage)


def group(
    snapshot: Snapshot,
    threshold: float,
    linkage: Linkage,
    rules: Sequence[str] = DEFAULT_RULES,
    *,
    max_pairs: int,
    alone: bool = False,
) -> Grouping:
    """All clusters of two or more images.

    Args:
        snapshot: what is grouped.
        threshold: in (0, 1].
        linkage: complete, star or single.
        rules: which copy is kept; images that somebody chose to keep come before them all.
        max_pairs: refuse thresholds with more pairs than this.
        alone: images that are in no cluster follow as clusters of their own.

    Raises:
        TooManyPairs: the threshold is so low that its pairs explode.
    """
    hood = snapshot.neighbourhood(threshold)
    rank = snapshot.keeper_order(tuple(rules))
    found = cluster(
        snapshot.oracle,
        hood,
        threshold=threshold,
        method=linkage.value,
        weights=snapshot.units.weights,
        order=_unit_rank(snapshot, rank),
        max_pairs=max_pairs,
    )
    lowest = _lowest_similarities(snapshot, found, threshold, linkage)
    weights = snapshot.units.weights
    outlines = [
        Outline(units, int(weights[units].sum()), similarity)
        for units, similarity in zip(found, shown(lowest).tolist(), strict=True)
    ]
    rest = np.full(len(snapshot.units), alone)
    rest[np.concatenate([np.empty(0, np.int64), *found])] = False
    listed = Outlines(_in_order(snapshot, outlines), np.flatnonzero(rest))
    return Grouping(snapshot, threshold, linkage, listed, hood, rank)


def find_clusters(
    snapshot: Snapshot, threshold: float, linkage: Linkage, rules: Sequence[str], *, max_pairs: int
) -> list[Cluster]:
    """All clusters of two or more images, largest first, then tightest, then by id.

    Raises:
        TooManyPairs: the threshold is so low that its pairs explode.
    """
    grouping = group(snapshot, threshold, linkage, rules, max_pairs=max_pairs)
    clusters = [grouping.describe(outline) for outline in grouping.outlines]
    return sorted(clusters, key=lambda c: (-c.size, -c.min_similarity, c.cluster_id))


def _lowest_similarities(
    snapshot: Snapshot, found: Sequence[NDArray[np.int64]], threshold: float, linkage: Linkage
) -> NDArray[np.float64]:
    """Similarity of the least similar pair of each cluster, float64 [clusters].

    In a complete cluster all pairs are at or above the threshold, so that the pairs that made it tell.
    """
    if linkage is not Linkage.COMPLETE or snapshot.linked:
        weights = snapshot.units.weights
        held = (cohesion(snapshot.oracle, units, weights[units], threshold) for units in found)
        return np.array([each.min_similarity for each in held], np.float64)
    lowest = np.ones(len(found))
    number = np.full(len(snapshot.units), -1, np.int64)
    number[np.concatenate([np.empty(0, np.int64), *found])] = np.repeat(
        np.arange(len(found)), [len(units) for units in found]
    )
    for block in snapshot.unit_pairs(threshold):
        inside = (number[block.a] == number[block.b]) & (number[block.a] >= 0)
        np.minimum.at(lowest, number[block.a[inside]], block.similarity[inside])
    return lowest


def _in_order(snapshot: Snapshot, outlines: list[Outline]) -> list[Outline]:
    """Largest first, then tightest, then by cluster id, which is computed only where it decides."""
    outlines.sort(key=_size_and_tightness)
    ordered: list[Outline] = []
    for _, equal in groupby(outlines, key=_size_and_tightness):
        tied = list(equal)
        ordered += tied if len(tied) == 1 else sorted(tied, key=lambda each: _outline_id(snapshot, each))
    return ordered


def _size_and_tightness(outline: Outline) -> tuple[int, float]:
    return -outline.size, -outline.min_similarity


def _outline_id(snapshot: Snapshot, outline: Outline) -> str:
    return cluster_id([snapshot.images[place].id for place in snapshot.members(outline.units).tolist()])


def iterate_pairs(snapshot: Snapshot, threshold: float) -> Iterator[Pair]:
    """Every pair of images at or above a threshold, once, streamed; copies first, then by unit."""
    images = snapshot.images
    for unit in np.flatnonzero(snapshot.units.weights > 1).tolist():
        members = snapshot.members(np.array([unit]))
        for place, a in enumerate(members):
            for b in members[place + 1 :]:
                yield _pair(snapshot, images[a], images[b], 1.0)
    for block in snapshot.unit_pairs(threshold):
        for unit_a, unit_b, similarity in zip(
            block.a.tolist(), block.b.tolist(), block.similarity.tolist(), strict=True
        ):
            for a in snapshot.members(np.array([unit_a])):
                for b in snapshot.members(np.array([unit_b])):
                    yield _pair(snapshot, images[a], images[b], similarity)


def refuse_too_many_pairs(snapshot: Snapshot, threshold: float, limit: int) -> None:
    """Refuse a threshold with more pairs of images than `limit`; below the kept pairs, as estimated.

    Raises:
        TooManyPairs: naming the lowest threshold that is served.
        InvalidValue: copies alone make more pairs, so that no threshold helps.
    """
    if (copies := _count_copies(snapshot)) > limit:
        raise InvalidValue(
            f"identical images alone make {copies:,} pairs, and at most {limit:,} are served: "
            "allow more with --max-pairs, or ask for duplicates, which count copies once"
        )
    skip = _silent_rows(snapshot)
    if threshold < snapshot.kept_from:
        refuse_by_estimate(snapshot.rows, threshold, limit, skip=skip)
    elif (pairs := count_pairs(snapshot, threshold)) > limit:
        lowest = lowest_served(snapshot.rows, limit, skip=skip)
        raise TooManyPairs(threshold=threshold, pairs=pairs, limit=limit, lowest_served=lowest)


def refuse_explosion(snapshot: Snapshot, threshold: float, limit: int) -> None:
    """Refuse a threshold below the kept pairs if its join would find more pairs than `limit`, as estimated.

    Raises:
        TooManyPairs: naming the lowest threshold that is served.
    """
    if threshold < snapshot.kept_from:
        refuse_by_estimate(snapshot.rows, threshold, limit, skip=_silent_rows(snapshot))


def _silent_rows(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Rows that no unit with information stands on, bool [rows]."""
    units = snapshot.units
    silent = np.ones(len(snapshot.rows), np.bool_)
    silent[units.rows[~units.low_information]] = False
    return silent


def count_pairs(snapshot: Snapshot, threshold: float) -> int:
    """How many pairs of images `iterate_pairs` yields."""
    weights = snapshot.units.weights
    return _count_copies(snapshot) + sum(
        int((weights[block.a] * weights[block.b]).sum()) for block in snapshot.unit_pairs(threshold)
    )


def _count_copies(snapshot: Snapshot) -> int:
    weights = snapshot.units.weights
    return int((weights * (weights - 1) // 2).sum())


def _unit_rank(snapshot: Snapshot, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keeper rank of each unit: that of its best image, int64 [u]."""
    best = np.full(len(snapshot.units), len(rank), np.int64)
    np.minimum.at(best, snapshot.units.of_image, rank)
    return best


def _describe(
    snapshot: Snapshot,
    hood: Neighbourhood,
    units: NDArray[np.int64],
    rank: NDArray[np.int64],
    threshold: float,
    linkage: Linkage,
) -> Cluster:
    images = snapshot.images
    weights = snapshot.units.weights[units]
    similarities = snapshot.oracle.block(units, units) if len(units) <= _FEW_UNITS else None
    held = cohesion(snapshot.oracle, units, weights, threshold, similarity=similarities)
    places = snapshot.members(units)
    keeper_place = _keeper_place(snapshot, units, rank, linkage)
    keeper = images[keeper_place]
    similarity = _similarity_to(snapshot, keeper_place, units, similarities)
    members = [
        _member(snapshot, images[place], keeper, similarity[int(snapshot.units.of_image[place])])
        for place in places.tolist()
    ]
    members.sort(key=lambda m: (not m.keeper, -m.similarity_to_keeper, m.id))
    weakest = max((m.evidence for m in members if m.evidence is not None), key=_STRENGTH.index)
    return Cluster(
        cluster_id=cluster_id([member.id for member in members]),
        members=tuple(members),
        min_similarity=held.min_similarity,
        mean_similarity=held.mean_similarity,
        min_is_exact=held.exact,
        evidence=weakest,
        links_out=int((weights * hood.degree[units]).sum()) - 2 * held.within,
    )


def _similarity_to(
    snapshot: Snapshot,
    place: int,
    units: NDArray[np.int64],
    similarities: NDArray[np.float64] | None = None,
) -> dict[int, float]:
    """Similarity of an image to the units of its cluster, by unit; `similarities` [k, k] if known."""
    unit = snapshot.units.of_image[place]
    if similarities is None:
        similarity = snapshot.oracle.block(np.array([unit]), units)[0]
    else:
        similarity = similarities[np.flatnonzero(units == unit)[0]]
    return dict(zip(units.tolist(), shown(similarity).tolist(), strict=True))


def _keeper_place(
    snapshot: Snapshot, units: NDArray[np.int64], rank: NDArray[np.int64], linkage: Linkage
) -> int:
    # A star was drawn around its first unit; another member may rank higher and be no twin of the rest.
    choice = snapshot.members(units[:1] if linkage is Linkage.STAR else units)
    return int(choice[np.argmin(rank[choice])])


def _member(snapshot: Snapshot, image: ImageRecord, keeper: ImageRecord, similarity: float) -> Member:
    is_keeper = image.id == keeper.id
    return Member(
        id=image.id,
        path=image.path,
        width=image.width,
        height=image.height,
        bytes=image.size,
        format=image.format,
        sharpness=image.sharpness,
        similarity_to_keeper=similarity,
        evidence=None if is_keeper else snapshot.evidence(image, keeper),
        keeper=is_keeper,
    )


def _pair(snapshot: Snapshot, a: ImageRecord, b: ImageRecord, similarity: float) -> Pair:
    first, second = (a, b) if a.id < b.id else (b, a)
    return Pair(
        first.id, second.id, first.path, second.path, float(shown(similarity)), snapshot.evidence(a, b)
    )
