"""What the command line hands out: the columns of every table, its rows, and the duplicates as JSON.

The schemas below are the documentation of the columns: name, kind and meaning, in the order in which
they are written. Names, kinds and order are stable; new columns come last. `twinlens.service.table`
says how each format writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinlens.engine.results import Cluster, Leak, Member, Neighbour, Pair, Uniqueness
from twinlens.service.table import Column, Format, Kind, Row, Schema, finite, shown, write_json, write_table

__all__ = [
    "DUPLICATES",
    "LEAKS",
    "PAIRS",
    "SEARCH",
    "UNIQUENESS",
    "Column",
    "Format",
    "Kind",
    "Row",
    "Schema",
    "Totals",
    "cluster_json",
    "duplicate_rows",
    "duplicates_document",
    "leak_rows",
    "pair_rows",
    "search_rows",
    "shown",
    "spare_bytes",
    "totals",
    "uniqueness_rows",
    "write_json",
    "write_table",
]

_ID = Column("id", Kind.STRING, "the image")
_PATH = Column("path", Kind.STRING, "absolute path; the id where there is no file")
_WIDTH = Column("width", Kind.INTEGER, "upright, px")
_HEIGHT = Column("height", Kind.INTEGER, "upright, px")

DUPLICATES = Schema(
    "members",
    (
        Column("cluster_id", Kind.STRING, "UUIDv5 over the sorted ids of the members"),
        Column("size", Kind.INTEGER, "how many images the cluster has"),
        Column("min_similarity", Kind.NUMBER, "of the least similar pair of the cluster, in [0, 1]"),
        Column("mean_similarity", Kind.NUMBER, "over all pairs of the cluster, in [0, 1]"),
        Column("links_out", Kind.INTEGER, "pairs at or above the threshold that leave the cluster"),
        Column("keeper", Kind.BOOLEAN, "true for the copy to keep"),
        _ID,
        _PATH,
        Column("similarity_to_keeper", Kind.NUMBER, "in [0, 1]; 1 for the keeper itself"),
        Column("evidence", Kind.STRING, "to the keeper: bytes, pixels, hash or embedding; none for itself"),
        _WIDTH,
        _HEIGHT,
        Column("bytes", Kind.INTEGER, "size of the file"),
        Column("format", Kind.STRING, "jpeg, png, ..."),
        Column("sharpness", Kind.NUMBER, "variance of the Laplacian at a common size"),
    ),
)
"""Duplicate clusters, one row per member; clusters follow each other, the keeper comes first."""

PAIRS = Schema(
    "pairs",
    (
        Column("path_a", Kind.STRING, "absolute path of the image with the smaller id"),
        Column("path_b", Kind.STRING, "absolute path of the other"),
        Column("similarity", Kind.NUMBER, "in [0, 1], 6 decimals"),
        Column("evidence", Kind.STRING, "the strongest: bytes, pixels, hash or embedding"),
        Column("a", Kind.STRING, "the smaller id"),
        Column("b", Kind.STRING, "the other id"),
    ),
)
"""Pairs at or above a threshold, one row each."""

LEAKS = Schema(
    "leaks",
    (
        Column("train_path", Kind.STRING, "absolute path of the training image"),
        Column("test_path", Kind.STRING, "absolute path of the test image"),
        Column("similarity", Kind.NUMBER, "in (0, 1], 6 decimals"),
        Column("evidence", Kind.STRING, "the strongest: bytes, pixels or embedding"),
        Column("train", Kind.STRING, "id of the training image"),
        Column("test", Kind.STRING, "id of the test image"),
    ),
)
"""Leaks, one row each, the most similar first."""

UNIQUENESS = Schema(
    "images",
    (
        _ID,
        _PATH,
        Column("score", Kind.NUMBER, "in [0, 1]: 0 has a perfect twin; unknown for flat images without twin"),
        Column("percentile", Kind.NUMBER, "share of scored images whose score is at most this, in [0, 100]"),
        Column("nearest_id", Kind.STRING, "the most similar other image"),
        Column("nearest_path", Kind.STRING, "its path"),
        Column("nearest_similarity", Kind.NUMBER, "to it, in [0, 1]"),
        _WIDTH,
        _HEIGHT,
    ),
)
"""Uniqueness, one row per image."""

SEARCH = Schema(
    "neighbours",
    (
        Column("rank", Kind.INTEGER, "1 for the most similar"),
        _ID,
        _PATH,
        Column("similarity", Kind.NUMBER, "to the query, in [0, 1]"),
    ),
)
"""Answers of a search, best first."""


def duplicate_rows(clusters: Iterable[Cluster]) -> Iterator[Row]:
    """Rows of `DUPLICATES`."""
    of_cluster, of_member = DUPLICATES.names[:5], DUPLICATES.names[5:]
    for cluster in clusters:
        shared = {name: getattr(cluster, name) for name in of_cluster}
        for member in cluster.members:
            yield shared | {name: getattr(member, name) for name in of_member}


def pair_rows(pairs: Iterable[Pair]) -> Iterator[Row]:
    """Rows of `PAIRS`."""
    return _attributes(pairs, PAIRS)


def leak_rows(leaks: Iterable[Leak]) -> Iterator[Row]:
    """Rows of `LEAKS`."""
    return _attributes(leaks, LEAKS)


def uniqueness_rows(scores: Iterable[Uniqueness]) -> Iterator[Row]:
    """Rows of `UNIQUENESS`."""
    return _attributes(scores, UNIQUENESS)


def search_rows(neighbours: Iterable[Neighbour]) -> Iterator[Row]:
    """Rows of `SEARCH`; `neighbours` come best first."""
    for rank, found in enumerate(neighbours, start=1):
        yield {"rank": rank, "id": found.id, "path": found.path, "similarity": found.similarity}


def _attributes(values: Iterable[object], schema: Schema) -> Iterator[Row]:
    return ({name: getattr(value, name) for name in schema.names} for value in values)


def cluster_json(cluster: Cluster) -> dict[str, Any]:
    """One duplicate cluster with its members, ready for `json`."""
    return {
        "cluster_id": cluster.cluster_id,
        "size": cluster.size,
        "min_similarity": finite(cluster.min_similarity),
        "mean_similarity": finite(cluster.mean_similarity),
        "min_is_exact": bool(cluster.min_is_exact),
        "evidence": str(cluster.evidence),
        "keeper": cluster.keeper.id,
        "keeper_path": cluster.keeper.path,
        "members": [_member_json(member) for member in cluster.members],
        "links_out": int(cluster.links_out),
    }


def _member_json(member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "path": member.path,
        "similarity_to_keeper": finite(member.similarity_to_keeper),
        "evidence": None if member.evidence is None else str(member.evidence),
        "keeper": bool(member.keeper),
        "width": int(member.width),
        "height": int(member.height),
        "bytes": int(member.bytes),
        "format": member.format,
        "sharpness": finite(member.sharpness),
    }


@dataclass(frozen=True, slots=True)
class Totals:
    """What clusters add up to.

    Attributes:
        clusters: how many.
        clustered: images in them.
        spare: images in them that are not the keeper.
        spare_bytes: size of the files of these.
    """

    clusters: int
    clustered: int
    spare: int
    spare_bytes: int


def totals(clusters: Sequence[Cluster]) -> Totals:
    """Add up clusters."""
    clustered = sum(cluster.size for cluster in clusters)
    return Totals(len(clusters), clustered, clustered - len(clusters), sum(map(spare_bytes, clusters)))


def spare_bytes(cluster: Cluster) -> int:
    """Bytes of the files in a cluster that are not the keeper."""
    return sum(int(member.bytes) for member in cluster.members if not member.keeper)


def duplicates_document(
    clusters: Sequence[Cluster],
    *,
    dataset: str,
    model: str,
    threshold: float,
    linkage: str,
    images: int,
    threshold_source: str = "asked for",
    join: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All clusters and what they add up to, ready for `json`.

    Args:
        clusters: in the order to write them.
        dataset: folder of the dataset.
        model: name of its model.
        threshold: that was asked for, in [0, 1].
        linkage: that was asked for: complete, star or single.
        images: how many the dataset holds.
        threshold_source: where the threshold comes from.
        join: how pairs were found, and the recall that was measured; None where all were compared.
    """
    sums = totals(clusters)
    return {
        "clusters": [cluster_json(cluster) for cluster in clusters],
        "dataset": dataset,
        "model": model,
        "threshold": finite(threshold),
        "threshold_source": threshold_source,
        "linkage": str(linkage),
        "join": None if join is None else dict(join),
        "images": images,
        "cluster_count": sums.clusters,
        "clustered_images": sums.clustered,
        "spare_images": sums.spare,
        "spare_bytes": sums.spare_bytes,
    }
