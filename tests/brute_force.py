"""Answers computed the slow, plain way from what a dataset folder holds, by no code of the engine."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

_HEADER_BYTES = 512


@dataclass(frozen=True)
class Stored:
    """What a dataset folder holds.

    Attributes:
        ids, names: of all images, ordered by id.
        flat: which of them are nobody's neighbour, bool [n].
        similarity: float64 [n, n], of the rows alone with those of one file set to 1 and flat ones to 0.
    """

    ids: list[str]
    names: list[str]
    flat: NDArray[np.bool_]
    similarity: NDArray[np.float64]

    def clusters(self, threshold: float) -> set[frozenset[str]]:
        """Names in each cluster of two or more whose pairs are all at or above a threshold."""
        # Cut between two millionths, so that no rounding of 1 - s decides.
        tree = linkage(squareform(1 - self.similarity, checks=False), "complete")
        groups = fcluster(tree, 1 - threshold + 5e-7, "distance")
        found = (frozenset(np.array(self.names)[groups == group].tolist()) for group in np.unique(groups))
        return {group for group in found if len(group) > 1}

    def between(self, a: str, b: str) -> float:
        """Similarity of two images, by their names."""
        return float(self.similarity[self.names.index(a), self.names.index(b)])

    def least(self, group: frozenset[str] | set[str]) -> float:
        """Similarity of the least similar pair of a cluster."""
        return min(self.between(a, b) for a, b in combinations(sorted(group), 2))


def read_stored(folder: Path) -> Stored:
    """Read `catalog.sqlite` and `vectors.f16`."""
    with closing(sqlite3.connect(f"file:{folder / 'catalog.sqlite'}?mode=ro", uri=True)) as db:
        found = db.execute(
            "SELECT id, relative, row, digest, pixel_digest, low_information FROM images ORDER BY id"
        ).fetchall()
    with (folder / "vectors.f16").open("rb") as file:
        dim = json.loads(file.read(_HEADER_BYTES))["dim"]
        rows = np.frombuffer(file.read(), "<f2").reshape(-1, dim).astype(np.float64)
    ids, paths, places, digests, pixels, flat = (list(column) for column in zip(*found, strict=True))
    rows = rows[places] / np.linalg.norm(rows[places], axis=1, keepdims=True)
    similarity = np.clip(np.round(rows @ rows.T, 6), 0, 1)
    blank = np.array(flat, np.bool_)
    similarity[blank, :] = similarity[:, blank] = 0
    for known in (digests, pixels):
        for a, b in combinations(range(len(ids)), 2):
            if known[a] is not None and known[a] == known[b]:
                similarity[a, b] = similarity[b, a] = 1
    np.fill_diagonal(similarity, 1)
    names = [os.fsdecode(path).rsplit("/", 1)[-1] for path in paths]
    return Stored(ids, names, blank, similarity)
