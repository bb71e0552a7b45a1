"""Why two images are together or apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hamming import hamming
from twinlens.engine.hashing import Hashes, image_hashes
from twinlens.engine.results import Cluster, Evidence, Explanation, Linkage
from twinlens.engine.similarity import shown
from twinlens.engine.snapshot import Snapshot

_FRONTIER = 1024


def explain_pair(
    snapshot: Snapshot, a: str, b: str, threshold: float, linkage: Linkage, clusters: Sequence[Cluster]
) -> Explanation:
    """Why the images with ids `a` and `b` are together or apart.

    Args:
        snapshot: what the dataset holds.
        a: an id.
        b: another.
        threshold: in (0, 1].
        linkage: how `clusters` were made.
        clusters: of this snapshot at this threshold.

    Raises:
        InvalidValue: no such image.
    """
    first, second = snapshot.find(a), snapshot.find(b)
    units = snapshot.units.of_image[[snapshot.position[a], snapshot.position[b]]]
    similarity = float(shown(snapshot.oracle.pairs(units[:1], units[1:]))[0])
    home = {member.id: cluster for cluster in clusters for member in cluster.members}
    together = a == b or (a in home and home[a] is home.get(b))
    blocking = (
        None if together else _blocking_pair(snapshot, home.get(a), home.get(b), first, second, threshold)
    )
    chain = _chain(snapshot, int(units[0]), int(units[1]), threshold)
    bmh1, phash = _hash_distances(first, second)
    linked = similarity >= threshold
    return Explanation(
        a=a,
        b=b,
        path_a=first.path,
        path_b=second.path,
        similarity=similarity,
        evidence=snapshot.evidence(first, second) if linked else None,
        threshold=threshold,
        linkage=linkage,
        together=together,
        reason=_reason(snapshot, first, second, similarity, threshold, linkage, together, chain, blocking),
        bmh1_distance=bmh1,
        phash_distance=phash,
        chain=tuple(_ends_named(snapshot, chain, first, second)),
        blocking_pair=blocking,
        points=snapshot.description.points.thresholds,
    )


def _reason(
    snapshot: Snapshot,
    first: ImageRecord,
    second: ImageRecord,
    similarity: float,
    threshold: float,
    linkage: Linkage,
    together: bool,
    chain: Sequence[int],
    blocking: tuple[str, str, float] | None,
) -> str:
    score = f"their similarity is {similarity:.6f}"
    if together:
        return _why_together(snapshot, first, second, score, similarity, threshold, linkage)
    if _is_rejected(snapshot, first, second):
        return "Somebody marked them as not duplicates of each other, which overrules their similarity."
    if first.low_information or second.low_information:
        return "At least one of them is flat or blank: such images are twins only of identical ones."
    if similarity < threshold:
        apart = f"Apart because {score}, below the threshold {threshold:g}."
        if len(chain) > 2:
            apart += (
                f" A chain of {len(chain) - 2} images links them, each at or above the threshold to the "
                "next; single linkage would put them together, " + _promise(linkage)
            )
        return apart
    if blocking is not None:
        return (
            f"Although {score}, at or above the threshold {threshold:g}, their clusters stay apart: "
            f"{blocking[0]} and {blocking[1]} are only {blocking[2]:.6f} similar, and " + _promise(linkage)
        )
    return f"Although {score}, each has another image that it belongs to more closely; " + _promise(linkage)


def _why_together(
    snapshot: Snapshot,
    first: ImageRecord,
    second: ImageRecord,
    score: str,
    similarity: float,
    threshold: float,
    linkage: Linkage,
) -> str:
    evidence = snapshot.evidence(first, second)
    if evidence is Evidence.BYTES:
        return "Together because their files are identical, byte for byte."
    if evidence is Evidence.PIXELS:
        return "Together because their pixels are identical, although their files differ."
    if similarity >= threshold:
        return f"Together because {score}, at or above the threshold {threshold:g}."
    if linkage is Linkage.STAR:
        return f"Together because both are twins of the same keeper, although {score}, below {threshold:g}."
    return f"Together through a chain of twins, although {score}, below the threshold {threshold:g}."


def _promise(linkage: Linkage) -> str:
    return {
        Linkage.COMPLETE: "complete linkage asks every pair of a cluster to be at or above the threshold.",
        Linkage.STAR: "star linkage asks every image to be at or above the threshold to its keeper.",
        Linkage.SINGLE: "single linkage asks for a chain of pairs at or above the threshold.",
    }[linkage]


def _is_rejected(snapshot: Snapshot, a: ImageRecord, b: ImageRecord) -> bool:
    units = snapshot.units.of_image[[snapshot.position[a.id], snapshot.position[b.id]]]
    return (int(units.min()), int(units.max())) in snapshot.units.rejected


def _blocking_pair(
    snapshot: Snapshot,
    home_a: Cluster | None,
    home_b: Cluster | None,
    a: ImageRecord,
    b: ImageRecord,
    threshold: float,
) -> tuple[str, str, float] | None:
    """The least similar pair across two clusters, as paths, if it is below the threshold."""
    ids_a = [member.id for member in home_a.members] if home_a else [a.id]
    ids_b = [member.id for member in home_b.members] if home_b else [b.id]
    left, right = _distinct_units(snapshot, ids_a), _distinct_units(snapshot, ids_b)
    worst: tuple[float, int, int] | None = None
    for start in range(0, len(left), _FRONTIER):
        block = snapshot.oracle.block(left[start : start + _FRONTIER], right)
        i, j = np.unravel_index(int(block.argmin()), block.shape)
        if worst is None or block[i, j] < worst[0]:
            worst = float(block[i, j]), int(left[start + i]), int(right[j])
    if worst is None or worst[0] >= threshold:
        return None
    return _path(snapshot, worst[1]), _path(snapshot, worst[2]), max(worst[0], 0.0)


def _distinct_units(snapshot: Snapshot, ids: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(snapshot.units.of_image[[snapshot.position[id_] for id_ in ids]])


def _chain(snapshot: Snapshot, start: int, goal: int, threshold: float) -> list[int]:
    """Units from `start` to `goal` along pairs at or above the threshold, the shortest way; [] if none."""
    if start == goal:
        return [start]
    parent = {start: start}
    frontier = np.array([start])
    component = snapshot.neighbourhood(threshold).labels
    open_ = component == component[start]
    if not open_[goal]:
        return []
    open_[start] = False
    while len(frontier):
        reached: list[int] = []
        for part in range(0, len(frontier), _FRONTIER):
            reached += _neighbours(snapshot, frontier[part : part + _FRONTIER], open_, threshold, parent)
        if goal in parent:
            return _walk_back(parent, start, goal)
        frontier = np.array(reached, np.int64)
    return []


def _neighbours(
    snapshot: Snapshot,
    frontier: NDArray[np.int64],
    open_: NDArray[np.bool_],
    threshold: float,
    parent: dict[int, int],
) -> list[int]:
    reached: list[int] = []
    candidates = np.flatnonzero(open_)
    for part in range(0, len(candidates), 4 * _FRONTIER):
        block = candidates[part : part + 4 * _FRONTIER]
        edges = snapshot.oracle.edges(frontier, block, threshold)
        for place in np.flatnonzero(edges.any(axis=0)).tolist():
            unit = int(block[place])
            parent[unit] = int(frontier[int(edges[:, place].argmax())])
            open_[unit] = False
            reached.append(unit)
    return reached


def _walk_back(parent: dict[int, int], start: int, goal: int) -> list[int]:
    way = [goal]
    while way[-1] != start:
        way.append(parent[way[-1]])
    return way[::-1]


def _ends_named(snapshot: Snapshot, chain: Sequence[int], a: ImageRecord, b: ImageRecord) -> list[str]:
    if not chain:
        return []
    return [a.path, *(_path(snapshot, unit) for unit in chain[1:-1]), b.path]


def _path(snapshot: Snapshot, unit: int) -> str:
    return snapshot.images[int(snapshot.members(np.array([unit]))[0])].path


def _hash_distances(a: ImageRecord, b: ImageRecord) -> tuple[int | None, int | None]:
    """Differing bits of bmh1 and of phash, from the files; None where one cannot be read."""
    try:
        first, second = _hashes(a), _hashes(b)
    except DecodeError:
        return None, None
    bmh1 = hamming(first.bmh1[None], second.bmh1[None])
    phash = hamming(first.phash[None], second.phash[None])
    return int(bmh1[0, 0]), int(phash[0, 0])


def _hashes(image: ImageRecord) -> Hashes:
    return image_hashes(decode(image.file).rgb)
