"""Near-copies are contracted before linkage, and every pair of a cluster is still within the threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from tests.rows import Rows, arc, clustered_rows, near_copies
from twinlens.engine.contraction import contract, link_contracted
from twinlens.engine.edges import stream_edges
from twinlens.engine.errors import TooManyPairs
from twinlens.engine.neighbourhood import Neighbourhood, neighbourhood
from twinlens.engine.similarity import Similarities


def hood_of(oracle: Similarities, threshold: float) -> Neighbourhood:
    return neighbourhood(len(oracle), stream_edges(oracle, threshold), np.ones(len(oracle), np.int64))


def groups_of(oracle: Similarities, threshold: float) -> dict[int, list[int]]:
    units = np.arange(len(oracle))
    groups = contract(oracle, units, hood_of(oracle, threshold).closest, threshold)
    parts = np.split(groups.members, groups.starts[1:-1])
    return {int(leader): part.tolist() for leader, part in zip(groups.leaders, parts, strict=True)}


def linked(oracle: Similarities, threshold: float, limit: int = 10**6) -> list[list[int]]:
    units = np.arange(len(oracle))
    clusters = link_contracted(
        oracle, hood_of(oracle, threshold), units, threshold, limit=limit, device="cpu"
    )
    return sorted(cluster.tolist() for cluster in clusters)


def several_near_copies(seed: int, n: int) -> Rows:
    """Copies of a few directions, from all but identical to just within 0.9."""
    rng = np.random.default_rng(seed)
    parts = [
        near_copies(int(kind), n // 4, 24, mutual=mutual)
        for kind, mutual in zip(rng.integers(0, 3, 4), (0.99999, 0.9995, 0.998, 0.95), strict=True)
    ]
    return np.concatenate(parts)[rng.permutation(n // 4 * 4)]


@given(st.integers(0, 200), st.sampled_from([0.9, 0.98, 0.997, 0.9995, 1.0]))
def test_units_near_a_leader_join_the_first_one(seed: int, threshold: float) -> None:
    oracle = Similarities(several_near_copies(seed, 48))
    units = np.arange(len(oracle))
    cosines = oracle.cosines(units, units)
    radius = max(0.999, np.sqrt((1 + threshold) / 2) + 1e-6)
    wanted: dict[int, list[int]] = {}
    for unit in range(len(oracle)):
        leader = next((leader for leader in wanted if cosines[unit, leader] >= radius), unit)
        wanted.setdefault(leader, []).append(unit)
    groups = groups_of(oracle, threshold)
    assert groups == wanted
    for members in groups.values():
        assert (cosines[np.ix_(members, members)] >= threshold).all(), "by the triangle inequality"


@given(st.integers(0, 200), st.sampled_from([0.9, 0.95, 0.98, 0.997]))
def test_clusters_are_complete_linkage_of_the_groups_lowest_similarities(seed: int, threshold: float) -> None:
    oracle = Similarities(several_near_copies(seed, 48))
    groups = list(groups_of(oracle, threshold).values())
    clusters = linked(oracle, threshold)
    units = np.arange(len(oracle))
    similarity = oracle.block(units, units)
    assert sorted(itertools.chain(*clusters)) == units.tolist()
    for cluster in clusters:
        assert (similarity[np.ix_(cluster, cluster)] >= threshold).all()
    lowest = np.array([[similarity[np.ix_(one, other)].min() for other in groups] for one in groups])
    distance = 1.0 - lowest
    np.fill_diagonal(distance, 0.0)
    off = distance[np.triu_indices(len(groups), 1)]
    if len(groups) > 1 and len(np.unique(off)) == len(off):
        flat = fcluster(linkage(squareform(distance), "complete"), 1.0 - threshold + 1e-9, "distance")
        merged = [
            sorted(
                itertools.chain(*(group for group, label in zip(groups, flat, strict=True) if label == name))
            )
            for name in np.unique(flat)
        ]
        assert clusters == sorted(merged)


@pytest.mark.parametrize("turned", [False, True])
def test_a_group_links_by_its_least_similar_member_not_by_its_leader(turned: bool) -> None:
    # The first is within 0.9 of the leader (the second), and not of the member contracted to it.
    angles = np.array([0.0, 0.44, 0.46])
    oracle = Similarities(arc(np.roll(angles, 2) if turned else angles))
    assert linked(oracle, 0.9) == ([[0, 1], [2]] if turned else [[0], [1, 2]])


def test_what_was_rejected_is_never_contracted_with_the_other() -> None:
    rows = near_copies(0, 30, 16, mutual=0.9999)
    oracle = Similarities(rows, rejected=[(4, 9), (0, 5)])
    groups = groups_of(oracle, 0.9)
    assert groups == {0: [u for u in range(30) if u not in (4, 5, 9)], 4: [4], 5: [5], 9: [9]}
    clusters = linked(oracle, 0.9)
    for a, b in ((4, 9), (0, 5)):
        assert not any(a in cluster and b in cluster for cluster in clusters)


def test_images_of_low_information_are_never_contracted() -> None:
    low = np.arange(30) % 3 == 0
    identity = np.where(np.isin(np.arange(30), [0, 3]), 7, -1)
    rows = near_copies(0, 30, 16, mutual=0.9999)
    oracle = Similarities(rows, low_information=low, identity=identity)
    assert [len(group) for group in groups_of(oracle, 0.9).values()] == [1, 20] + 9 * [1]


def test_too_many_pairs_are_refused_with_the_lowest_threshold_that_is_served() -> None:
    oracle = Similarities(clustered_rows(0, 200, 8, groups=3, noise=0.9))
    with pytest.raises(TooManyPairs) as refusal:
        linked(oracle, 0.5, limit=3000)
    leaders = np.array(list(groups_of(oracle, 0.5)))
    pairs = oracle.block(leaders, leaders)[np.triu_indices(len(leaders), 1)]
    served = refusal.value.lowest_served
    assert refusal.value.pairs == (pairs >= 0.5).sum()
    assert (pairs >= served).sum() <= 3000 < (pairs >= served - 0.001).sum()
    assert linked(oracle, served, limit=3000)
