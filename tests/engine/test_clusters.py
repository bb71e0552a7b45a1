"""Clusters keep what their method promises, in every order of the input."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from tests.rows import Rows, arc, brute_similarity, clustered_rows, lattice_rows, random_rows, thresholds
from twinlens.engine import clusters as module
from twinlens.engine.clusters import Method, cluster, cluster_id
from twinlens.engine.edges import stream_edges
from twinlens.engine.errors import InvalidValue
from twinlens.engine.neighbourhood import neighbourhood
from twinlens.engine.similarity import Similarities

METHODS: tuple[Method, ...] = ("complete", "star", "single")


def clusters_of(
    oracle: Similarities,
    threshold: float,
    method: Method = "complete",
    weights: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> list[list[int]]:
    """Clusters as lists; every unit one image, and kept in the order of its number, unless said."""
    n = len(oracle)
    weights = np.ones(n, dtype=np.int64) if weights is None else weights
    hood = neighbourhood(n, stream_edges(oracle, threshold), weights)
    ranks = np.arange(n) if order is None else order
    found = cluster(oracle, hood, threshold=threshold, method=method, weights=weights, order=ranks)
    return [units.tolist() for units in found]


def check_promise(
    method: Method, clusters: list[list[int]], similarity: np.ndarray, threshold: float, order: np.ndarray
) -> None:
    if method == "complete":
        assert all((similarity[np.ix_(units, units)] >= threshold).all() for units in clusters)
    if method == "star":
        keepers: list[int] = []
        for unit in np.argsort(order).tolist():
            if not (similarity[unit, keepers] >= threshold).any():
                keepers.append(unit)
        assert {units[0] for units in clusters} <= set(keepers), "the keeper comes first"
        for keeper, *others in clusters:
            assert others == sorted(others)
            to_keepers = similarity[np.ix_(others, keepers)]
            assert [keepers[place] for place in to_keepers.argmax(axis=1)] == [keeper] * len(others)
            assert (similarity[others, keeper] >= threshold).all()
    if method == "single":
        inside = {unit: place for place, units in enumerate(clusters) for unit in units}
        for a, b in np.argwhere(np.triu(similarity >= threshold, 1)).tolist():
            assert inside[a] == inside[b], "every pair is inside a cluster"


@given(st.data(), lattice_rows(), st.sampled_from(METHODS))
def test_clusters_are_a_partition_that_keeps_its_promise(
    data: st.DataObject, rows: Rows, method: Method
) -> None:
    threshold = data.draw(thresholds(rows))
    order = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64)
    clusters = clusters_of(Similarities(rows), threshold, method, order=order)
    members = list(itertools.chain(*clusters))
    assert len(members) == len(set(members))
    assert all(len(units) >= 2 for units in clusters)
    assert clusters == sorted(clusters, key=min)
    similarity = brute_similarity(rows)
    check_promise(method, clusters, similarity, threshold, order)
    paired = np.flatnonzero((similarity >= threshold).sum(axis=1) > 1).tolist()
    assert set(members) <= set(paired)
    assert method != "single" or set(members) == set(paired)


@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.3, 0.99))
def test_complete_equals_scipy_on_the_matrix_of_all(seed: int, n: int, threshold: float) -> None:
    rows = random_rows(seed, n, 4)
    similarity = brute_similarity(rows)
    if len(np.unique(similarity[np.triu_indices(n, 1)])) == n * (n - 1) // 2:
        distance = 1.0 - similarity
        np.fill_diagonal(distance, 0.0)
        flat = fcluster(linkage(squareform(distance), "complete"), 1.0 - threshold + 1e-9, "distance")
        wanted = [np.flatnonzero(flat == name).tolist() for name in np.unique(flat)]
        assert clusters_of(Similarities(rows), threshold) == sorted(c for c in wanted if len(c) > 1)


@given(st.integers(0, 10**6), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(seed: int, method: Method, random: Any) -> None:
    rows = clustered_rows(seed, 40, 6, groups=8, noise=0.7)
    if len(np.unique(brute_similarity(rows)[np.triu_indices(40, 1)])) < 40 * 39 // 2:
        return
    ranks = np.random.default_rng(seed).permutation(40)
    shuffled = np.array(random.sample(range(40), 40))
    straight = clusters_of(Similarities(rows), 0.9, method, order=ranks)
    turned = clusters_of(Similarities(rows[shuffled]), 0.9, method, order=ranks[shuffled])
    assert sorted(sorted(shuffled[units].tolist()) for units in turned) == sorted(map(sorted, straight))


def test_a_chain_does_not_end_up_in_one_cluster_by_default() -> None:
    oracle = Similarities(arc(np.linspace(0.0, np.arccos(0.27), 12)))
    images = np.arange(12)
    similarity = oracle.block(images, images)
    assert similarity[0, 11] == pytest.approx(0.27, abs=1e-3)
    assert (np.diag(similarity, 1) > 0.99).all()
    assert clusters_of(oracle, 0.95, "single") == [list(range(12))]
    complete = clusters_of(oracle, 0.95)
    assert len(complete) >= 4
    assert all((similarity[np.ix_(units, units)] >= 0.95).all() for units in complete)


def test_copies_alone_are_a_cluster() -> None:
    rows = random_rows(0, 4, 8)
    weights = np.array([1, 3, 1, 2])
    for method in METHODS:
        assert clusters_of(Similarities(rows), 0.95, method, weights) == [[1], [3]]


def test_a_rejected_pair_is_never_in_one_complete_cluster() -> None:
    oracle = Similarities(np.ones((4, 3), np.float16), rejected=[(0, 3)])
    (units,) = (units for units in clusters_of(oracle, 0.9) if len(units) == 3)
    assert not {0, 3} <= set(units)


def test_linked_pairs_cluster_below_the_threshold() -> None:
    rows = np.eye(3, dtype=np.float16)
    assert clusters_of(Similarities(rows, linked=[(0, 2)]), 0.95) == [[0, 2]]


def test_flat_pictures_form_no_cluster() -> None:
    # Different colours, all but equal vectors: what an embedder makes of nothing to see.
    rows = (1 + 1e-3 * np.random.default_rng(0).random((20_000, 64))).astype(np.float16)
    oracle = Similarities(rows, low_information=np.ones(20_000, bool))
    for method in METHODS:
        assert clusters_of(oracle, 0.95, method) == []


def test_identical_flat_pictures_form_a_cluster() -> None:
    identity = np.array([-1, 5, -1, 5])
    oracle = Similarities(np.ones((4, 3), np.float16), identity=identity, low_information=np.ones(4, bool))
    assert clusters_of(oracle, 0.95) == [[1, 3]]


def test_a_star_takes_the_first_in_keeper_order() -> None:
    oracle = Similarities(arc(np.radians([0.0, 10.0, 19.0, 31.0])))
    assert clusters_of(oracle, 0.98, "star", order=np.array([3, 0, 2, 1])) == [[1, 0, 2]]


def test_a_star_gathers_what_is_most_similar_to_its_keeper() -> None:
    oracle = Similarities(arc(np.radians([0.0, 10.0, 19.0, 31.0])))
    # 0 and 2 are keepers; 1 comes before 2, but is nearer to 2 than to 0.
    assert clusters_of(oracle, 0.98, "star", order=np.array([0, 1, 2, 3])) == [[2, 1]]


def test_of_equally_similar_keepers_the_earlier_one_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 0], [1, 0, 0]], dtype=np.float16)
    for at_once in (4, 1):
        monkeypatch.setattr(module, "_KEEPERS_AT_ONCE", at_once)
        assert clusters_of(Similarities(rows), 0.7, "star") == [[0, 2, 3]]
        assert clusters_of(Similarities(rows), 0.7, "star", order=np.array([1, 0, 2, 3])) == [[1, 2, 3]]


def test_large_components_keep_the_promise_too() -> None:
    rows = clustered_rows(0, 3000, 6, groups=4, noise=0.6)
    oracle, images = Similarities(rows), np.arange(3000)
    similarity = oracle.block(images, images)
    assert max(map(len, clusters_of(oracle, 0.9, "single"))) > 2000
    for method in METHODS:
        check_promise(method, clusters_of(oracle, 0.9, method), similarity, 0.9, images)


def test_no_clusters_of_no_images() -> None:
    assert clusters_of(Similarities(np.empty((0, 4), np.float16)), 0.9) == []


def test_an_unknown_method_and_a_senseless_threshold_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"'average'.*complete, star, single"):
        clusters_of(Similarities(random_rows(0, 3, 3)), 0.9, "average")  # type: ignore[arg-type]
    oracle = Similarities(random_rows(0, 3, 3))
    hood = neighbourhood(3, [], np.ones(3, np.int64))
    with pytest.raises(InvalidValue, match="threshold 0 "):
        cluster(oracle, hood, threshold=0.0, weights=np.ones(3, np.int64), order=np.arange(3))


def test_cluster_ids_are_the_same_in_every_process_and_order() -> None:
    code = "from twinlens.engine.clusters import cluster_id; print(cluster_id(['b', 'a']))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == cluster_id(["a", "b"]) == "86d4bcbf-c34e-5467-bb33-a1dfc1e6dce3"
    assert cluster_id(["a", "c"]) != cluster_id(["a", "b"])
