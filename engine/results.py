"""What a dataset answers: clusters, pairs, scores, neighbours, explanations. Values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_PAIRS = 50_000_000
"""Pairs that one answer serves, copies counted once."""

MAX_LEAKS = 5_000_000
"""Leaks that one answer holds: about 400 MB while they are sorted."""


class Evidence(StrEnum):
    """Why two images are twins, strongest first."""

    BYTES = "bytes"
    PIXELS = "pixels"
    HASH = "hash"
    EMBEDDING = "embedding"


class Linkage(StrEnum):
    """How pairs become clusters.

    complete: every pair in a cluster is at or above the threshold.
    star: every image is at or above the threshold to the keeper of its cluster.
    single: connected components; chains put unlike images together.
    """

    COMPLETE = "complete"
    STAR = "star"
    SINGLE = "single"


class EvidenceMode(StrEnum):
    """Which evidence makes two images twins.

    embedding: similarity at or above the threshold; identical bytes or pixels are similar 1.
    hash: near-equal hashes or similarity 1, as identical bytes, pixels or rows have it.
    any: near-equal hashes as well, whatever the similarity.
    """

    EMBEDDING = "embedding"
    HASH = "hash"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images at or above a threshold.

    Attributes:
        a, b: their ids, a < b.
        path_a, path_b: their paths.
        similarity: in [0, 1], 6 decimals.
        evidence: the strongest.
    """

    a: str
    b: str
    path_a: str
    path_b: str
    similarity: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Leak:
    """One image of a test set and a twin of it in the training set.

    Attributes:
        train, test: their ids.
        train_path, test_path: their paths.
        similarity: in (0, 1], 6 decimals.
        evidence: the strongest.
    """

    train: str
    test: str
    train_path: str
    test_path: str
    similarity: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a cluster, seen from its keeper.

    Attributes:
        id: the image.
        path: absolute path.
        width, height: upright, px.
        bytes: size of the file.
        format: "jpeg", "png", ...
        sharpness: variance of the Laplacian at a common size.
        similarity_to_keeper: in [0, 1], 6 decimals; 1 for the keeper itself.
        evidence: the strongest between it and the keeper; None for the keeper itself.
        keeper: True for the copy to keep.
    """

    id: str
    path: str
    width: int
    height: int
    bytes: int
    format: str
    sharpness: float
    similarity_to_keeper: float
    evidence: Evidence | None
    keeper: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """Images that are twins of each other.

    Attributes:
        cluster_id: UUIDv5 over the sorted member ids.
        members: the keeper first, then by falling similarity to it, then by id.
        min_similarity: of the least similar pair, in [0, 1].
        mean_similarity: over all pairs, in [0, 1].
        min_is_exact: False if min_similarity is only a lower bound (very large clusters).
        evidence: the weakest that holds a member to the keeper.
        links_out: pairs at or above the threshold that leave the cluster.
    """

    cluster_id: str
    members: tuple[Member, ...]
    min_similarity: float
    mean_similarity: float
    min_is_exact: bool
    evidence: Evidence
    links_out: int

    @property
    def keeper(self) -> Member:
        """The copy to keep."""
        return self.members[0]

    @property
    def size(self) -> int:
        """How many images."""
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """How unique one image is in its dataset.

    Attributes:
        id: the image.
        path: absolute path.
        width, height: upright, px.
        score: u in [0, 1]; 0 has a perfect twin, 1 is truly isolated; None for flat images without twin.
        percentile: share of the other scored images that are less unique, in [0, 100]; None without score.
        nearest_id: the most similar other image; None if there is none.
        nearest_path: its path.
        nearest_similarity: to it, in [0, 1]; None if there is none.
    """

    id: str
    path: str
    width: int
    height: int
    score: float | None
    percentile: float | None
    nearest_id: str | None
    nearest_path: str | None
    nearest_similarity: float | None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One answer of a search: an image and its similarity to the query, in [0, 1]."""

    id: str
    path: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why two images are together or apart.

    Attributes:
        a, b: their ids.
        path_a, path_b: their paths.
        similarity: in [0, 1].
        evidence: the strongest; None if nothing makes them twins at the threshold.
        threshold: what was asked.
        linkage: what was asked.
        together: True if they share a cluster.
        reason: one or two sentences.
        bmh1_distance, phash_distance: differing bits of 968 and of 64; None where a file cannot be read.
        chain: paths from one to the other along pairs at or above the threshold, both ends included;
            empty if they are not connected.
        blocking_pair: the pair that keeps their clusters apart, as paths, and its similarity; or None.
        points: the model's thresholds by name.
    """

    a: str
    b: str
    path_a: str
    path_b: str
    similarity: float
    evidence: Evidence | None
    threshold: float
    linkage: Linkage
    together: bool
    reason: str
    bmh1_distance: int | None
    phash_distance: int | None
    chain: tuple[str, ...]
    blocking_pair: tuple[str, str, float] | None
    points: dict[str, float]
