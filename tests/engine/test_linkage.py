"""Complete linkage, on a full matrix and on the pairs above the cut: both equal scipy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from tests.rows import Rows, arc, brute_similarity, clustered_rows, lattice_rows, thresholds
from twinlens.engine.linkage import complete_linkage, lowest_micro, sparse_complete_linkage
from twinlens.engine.similarity import micro


def sparse(similarity: np.ndarray, threshold: float) -> np.ndarray:
    a, b = np.nonzero(np.triu(similarity >= threshold, 1))
    millionths = micro(similarity[a, b]).astype(np.int32)
    return sparse_complete_linkage(len(similarity), a.astype(np.int32), b.astype(np.int32), millionths)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def by_scipy(similarity: np.ndarray, threshold: float) -> set[frozenset[int]]:
    distance = 1.0 - similarity
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "complete")
    return partition(fcluster(tree, 1.0 - threshold + 1e-9, "distance"))


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(3, 10), st.floats(0.05, 0.99))
def test_both_equal_scipy_where_no_two_similarities_are_equal(
    seed: int, n: int, dim: int, threshold: float
) -> None:
    similarity = brute_similarity(np.random.default_rng(seed).standard_normal((n, dim)))
    distinct = np.unique(similarity[np.triu_indices(n, 1)])
    if len(distinct) == n * (n - 1) // 2:
        assert partition(complete_linkage(similarity, threshold)) == by_scipy(similarity, threshold)
        assert partition(sparse(similarity, threshold)) == by_scipy(similarity, threshold)


@given(st.data(), lattice_rows())
def test_with_ties_the_promise_holds_and_no_two_clusters_may_merge(data: st.DataObject, rows: Rows) -> None:
    threshold = data.draw(thresholds(rows))
    similarity = brute_similarity(rows)
    for labels in (complete_linkage(similarity, threshold), sparse(similarity, threshold)):
        clusters = [sorted(cluster) for cluster in partition(labels)]
        for cluster in clusters:
            assert (similarity[np.ix_(cluster, cluster)] >= threshold).all()
            assert (labels[cluster] == cluster[0]).all(), "named by the lowest"
        for one, other in itertools.combinations(clusters, 2):
            assert (similarity[np.ix_(one, other)] < threshold).any()


@given(st.data(), lattice_rows())
def test_a_full_matrix_gives_scipys_clusters_with_ties_too(data: st.DataObject, rows: Rows) -> None:
    similarity, threshold = brute_similarity(rows), data.draw(thresholds(rows))
    if len(rows) > 1:
        assert partition(complete_linkage(similarity, threshold)) == by_scipy(similarity, threshold)


def test_the_sparse_way_equals_scipy_on_a_large_component() -> None:
    similarity = brute_similarity(clustered_rows(0, 1200, 12, groups=25, noise=0.9))
    for threshold in (0.6, 0.9):
        assert partition(sparse(similarity, threshold)) == by_scipy(similarity, threshold)


def test_a_pair_exactly_at_the_threshold_is_inside() -> None:
    similarity = np.array([[1.0, 0.57], [0.57, 1.0]])
    assert complete_linkage(similarity, 0.57).tolist() == sparse(similarity, 0.57).tolist() == [0, 0]
    assert complete_linkage(similarity, 0.5700001).tolist() == [0, 1]


def test_ties_go_to_the_lower_item() -> None:
    similarity = np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.9], [0.8, 0.9, 1.0]])
    assert complete_linkage(similarity, 0.9).tolist() == sparse(similarity, 0.9).tolist() == [0, 0, 2]


def test_a_chain_is_cut_into_pieces_whose_ends_are_similar() -> None:
    similarity = brute_similarity(arc(np.linspace(0.0, np.pi / 2, 40)))
    for labels in (complete_linkage(similarity, 0.95), sparse(similarity, 0.95)):
        assert len(np.unique(labels)) > 1
        assert all((similarity[np.ix_(same, same)] >= 0.95).all() for same in map(list, partition(labels)))


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_link(n: int) -> None:
    assert complete_linkage(np.ones((n, n)), 0.5).tolist() == sparse(np.ones((n, n)), 0.5).tolist() == [0] * n


@given(st.integers(1, 10**6) | st.floats(1e-9, 1.0))
def test_the_lowest_millionth_at_or_above_a_threshold(drawn: float) -> None:
    threshold = drawn / 10**6 if isinstance(drawn, int) else drawn
    lowest = lowest_micro(threshold)
    assert lowest / 10**6 >= threshold > (lowest - 1) / 10**6
