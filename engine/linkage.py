"""Textbook complete linkage, cut at a threshold: every pair of a cluster is at or above it.

Similarities are compared as whole millionths, so that equal is equal and a pair exactly at the
threshold is inside. Ties break by item number, in the way of scipy's nearest-neighbour chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from twinlens.engine.similarity import MICRO, Numbers, micro


def lowest_micro(threshold: float) -> int:
    """The lowest whole millionth m with m / 10^6 >= threshold."""
    lowest = int(np.floor(threshold * MICRO)) - 1
    while lowest / MICRO < threshold:
        lowest += 1
    return lowest


def complete_linkage(similarity: NDArray[np.float64], threshold: float) -> Numbers:
    """Complete linkage of a full matrix, by scipy.

    Args:
        similarity: float64 [n, n], symmetric, rounded to 6 decimals; the diagonal is not read.
        threshold: where the tree is cut.

    Returns:
        int64 [n], the cluster of each item, named by its lowest item.
    """
    n = len(similarity)
    if n < 2:
        return np.zeros(n, dtype=np.int64)
    distance = (MICRO - micro(similarity)).astype(np.float64)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="complete")
    return _named_by_lowest(fcluster(tree, MICRO - lowest_micro(threshold), criterion="distance"))


def sparse_complete_linkage(
    n: int, a: NDArray[np.int32], b: NDArray[np.int32], similarity: NDArray[np.int32]
) -> Numbers:
    """Complete linkage over only those pairs that are at or above the cut.

    Complete linkage never merges across a pair below the cut, so only the others need to be there.
    Where no two similarities are equal, the clusters are those of `complete_linkage`.

    Args:
        n: how many items there are.
        a: int32 [k], first items of the pairs at or above the cut, each pair once.
        b: int32 [k], second items.
        similarity: int32 [k], millionths.

    Returns:
        int64 [n], the cluster of each item, named by its lowest item.
    """
    pairs = csr_array((similarity, (a, b)), shape=(n, n))
    return _Chain(pairs, pairs.T.tocsr()).labels()


class _Row(NamedTuple):
    """The clusters that one cluster may still merge with.

    Attributes:
        other: int32 [k], the name of the other cluster when this was written down.
        similarity: int32 [k], the lowest over the pairs of items that this entry stands for.
        pairs: int32 [k], how many pairs of items that is.
    """

    other: NDArray[np.int32]
    similarity: NDArray[np.int32]
    pairs: NDArray[np.int32]


class _Chain:
    """The nearest-neighbour chain on sparse rows.

    Follow nearest neighbours until two are each other's, merge them, go on from the rest of the chain.
    That is exact for complete linkage, where a merger brings no third cluster nearer (Muellner 2011,
    arXiv:1109.2378, section 3.2).

    Rows are brought up to date when they are looked at: entries whose clusters have merged meanwhile
    are added up, and one that does not stand for every pair of items is dropped for good, since a pair
    of it is below the cut. Memory: 16 bytes per pair, and 12 per entry of the rows in use.
    """

    def __init__(self, pairs: csr_array, turned: csr_array) -> None:
        n = pairs.shape[0]
        self._halves = pairs, turned
        self._rows: dict[int, tuple[int, _Row]] = {}
        self._mergers = 0
        self._name = np.arange(n, dtype=np.int32)
        self._size = np.ones(n, dtype=np.int64)
        self._members = [self._name[item : item + 1].copy() for item in range(n)]

    def labels(self) -> Numbers:
        for item in range(len(self._name)):
            while self._name[item] == item and len(self._row(item).other):
                self._follow(item)
        return _named_by_lowest(self._name)

    def _follow(self, start: int) -> None:
        chain = [start]
        while chain:
            nearest = self._nearest(chain[-1], chain[-2] if len(chain) > 1 else None)
            if nearest is None:
                chain.pop()
            elif chain[-2:-1] == [nearest]:
                self._merge(*sorted(chain[-2:]))
                del chain[-2:]
            else:
                chain.append(nearest)

    def _nearest(self, cluster: int, previous: int | None) -> int | None:
        """The most similar cluster; of equals the previous one of the chain, else the lowest."""
        row = self._row(cluster)
        if not len(row.other):
            return None
        nearest = row.other[row.similarity == row.similarity.max()]
        return previous if previous is not None and previous in nearest else int(nearest.min())

    def _merge(self, low: int, high: int) -> None:
        first, second = self._row(low), self._row(high)
        self._mergers += 1
        self._name[self._members[low]] = high
        self._members[high] = np.concatenate([self._members[low], self._members[high]])
        self._members[low] = self._members[low][:0]
        self._size[high] += self._size[low]
        del self._rows[low]
        columns = (np.concatenate([first[column], second[column]]) for column in range(len(first)))
        self._rows[high] = self._mergers, self._updated(high, _Row(*columns))

    def _row(self, cluster: int) -> _Row:
        mergers, row = self._rows.get(cluster) or (0, self._written(cluster))
        if mergers != self._mergers:
            row = self._updated(cluster, row)
        self._rows[cluster] = self._mergers, row
        return row

    def _written(self, item: int) -> _Row:
        """The row of a single item, as the pairs have it."""
        spans = [(half, slice(*half.indptr[item : item + 2])) for half in self._halves]
        other = np.concatenate([half.indices[span] for half, span in spans])
        similarity = np.concatenate([half.data[span] for half, span in spans])
        return _Row(other, similarity, np.broadcast_to(np.int32(1), other.shape))

    def _updated(self, cluster: int, row: _Row) -> _Row:
        names = self._name[row.other]
        if not np.array_equal(names, row.other):
            row = _summed(names, row)
        complete = row.pairs == self._size[cluster] * self._size[row.other]
        complete &= row.other != cluster
        return _Row(*(column[complete] for column in row))


def _summed(names: NDArray[np.int32], row: _Row) -> _Row:
    """A row under new names, one entry for each."""
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.diff(names[order], prepend=-1))
    similarity = np.minimum.reduceat(row.similarity[order], starts)
    return _Row(names[order][starts], similarity, np.add.reduceat(row.pairs[order], starts))


def _named_by_lowest(flat: NDArray[np.signedinteger[Any]]) -> Numbers:
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    named: Numbers = first[inverse]
    return named
