"""Clusters and pairs of images, from units and their similarities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.clusters import cluster, cluster_id
from twinlens.engine.cohesion import cohesion
from twinlens.engine.errors import InvalidValue, TooManyPairs
from twinlens.engine.estimate import lowest_served
from twinlens.engine.estimate import refuse_too_many as refuse_by_estimate
from twinlens.engine.keeper import keeper_order
from twinlens.engine.neighbourhood import Neighbourhood
from twinlens.engine.results import Cluster, Evidence, Linkage, Member, Pair
from twinlens.engine.similarity import shown
from twinlens.engine.snapshot import Snapshot

_STRENGTH = list(Evidence)


def find_clusters(
    snapshot: Snapshot, threshold: float, linkage: Linkage, rules: Sequence[str], *, max_pairs: int
) -> list[Cluster]:
    """All clusters of two or more images, largest first, then tightest, then by id.

    Raises:
        TooManyPairs: the threshold is so low that its pairs explode.
    """
    hood = snapshot.neighbourhood(threshold)
    rank = keeper_order(snapshot.images, rules)
    found = cluster(
        snapshot.oracle,
        hood,
        threshold=threshold,
        method=linkage.value,
        weights=snapshot.units.weights,
        order=_unit_rank(snapshot, rank),
        max_pairs=max_pairs,
    )
    clusters = [_describe(snapshot, hood, units, rank, threshold, linkage) for units in found]
    return sorted(clusters, key=lambda c: (-c.size, -c.min_similarity, c.cluster_id))


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
    units = snapshot.units
    skip = np.ones(len(snapshot.rows), np.bool_)
    skip[units.rows[~units.low_information]] = False
    if threshold < snapshot.kept_from:
        refuse_by_estimate(snapshot.rows, threshold, limit, skip=skip)
    elif (pairs := count_pairs(snapshot, threshold)) > limit:
        lowest = lowest_served(snapshot.rows, limit, skip=skip)
        raise TooManyPairs(threshold=threshold, pairs=pairs, limit=limit, lowest_served=lowest)


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
    held = cohesion(snapshot.oracle, units, weights, threshold)
    places = snapshot.members(units)
    # A star was drawn around its first unit; another member may rank higher and be no twin of the rest.
    choice = snapshot.members(units[:1]) if linkage is Linkage.STAR else places
    keeper_place = int(choice[np.argmin(rank[choice])])
    keeper = images[keeper_place]
    keeper_unit = snapshot.units.of_image[keeper_place]
    similarity = dict(
        zip(
            units.tolist(),
            shown(snapshot.oracle.block(np.array([keeper_unit]), units))[0].tolist(),
            strict=True,
        )
    )
    members = [
        _member(snapshot, images[place], keeper, similarity[int(snapshot.units.of_image[place])])
        for place in places.tolist()
    ]
    members.sort(key=lambda m: (not m.keeper, -m.similarity_to_keeper, m.id))
    weakest = max((m.evidence for m in members if m.evidence is not None), key=_STRENGTH.index)
    return Cluster(
        cluster_id=cluster_id([member.id for member in members]),
        members=tuple(members),
        min_similarity=float(shown(held.min_similarity)),
        mean_similarity=float(shown(held.mean_similarity)),
        min_is_exact=held.exact,
        evidence=weakest,
        links_out=int((weights * hood.degree[units]).sum()) - 2 * held.within,
    )


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
