"""Who is connected to whom: components and degrees of the graph of pairs at or above a threshold.

Pairs are folded in block by block and none is kept, so memory is a few numbers per image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from twinlens.engine.join import PairBlock
from twinlens.engine.similarity import Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The graph of pairs at or above a threshold.

    Attributes:
        labels: int64 [n], the connected component of each unit, named by its lowest unit.
        degree: int64 [n], how many images of OTHER units are neighbours of the unit's images; a
            unit's own copies are not counted.
        closest: float64 [n], similarity of the most similar neighbour, 0 where there is none.
        pairs: how many pairs of units there are.
    """

    labels: Numbers
    degree: Numbers
    closest: NDArray[np.float64]
    pairs: int


def neighbourhood(n: int, pair_blocks: Iterable[PairBlock], weights: Numbers) -> Neighbourhood:
    """Fold pairs of units into components and degrees.

    Args:
        n: how many units there are.
        pair_blocks: every pair once, in any order.
        weights: int64 [n], how many images each unit stands for.
    """
    parent = np.arange(n)
    degree, closest = np.zeros(n, dtype=np.int64), np.zeros(n)
    pairs = 0
    for block in pair_blocks:
        np.add.at(degree, block.a, weights[block.b])
        np.add.at(degree, block.b, weights[block.a])
        np.maximum.at(closest, block.a, block.similarity)
        np.maximum.at(closest, block.b, block.similarity)
        pairs += len(block)
        _unite(parent, block.a, block.b)
    return Neighbourhood(_roots(parent, np.arange(n)), degree, closest, pairs)


def split_by_label(items: Numbers, labels: Numbers) -> list[Numbers]:
    """The items of each label, in ascending order of labels, each in the order given."""
    order = np.argsort(labels, kind="stable")
    return np.split(items[order], np.flatnonzero(np.diff(labels[order])) + 1) if len(items) else []


def _unite(parent: Numbers, a: Numbers, b: Numbers) -> None:
    """Put the two ends of each pair under one root, the lowest of all they are connected to."""
    ends = np.stack([_roots(parent, a), _roots(parent, b)])
    # Most pairs connect what is connected already; what is left is a small graph of roots.
    ends = ends[:, ends[0] != ends[1]]
    if not ends.size:
        return
    roots, numbers = np.unique(ends, return_inverse=True)
    left, right = numbers.reshape(ends.shape)
    graph = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(len(roots), len(roots)))
    count, component = connected_components(graph, directed=False)
    lowest = np.full(count, len(parent))
    np.minimum.at(lowest, component, roots)
    parent[roots] = lowest[component]


def _roots(parent: Numbers, units: Numbers) -> Numbers:
    roots = parent[units]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    parent[units] = roots
    return roots
