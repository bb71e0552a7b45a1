"""How tightly a cluster holds together, over pairs of images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import Rows, brute_similarity, clustered_rows, lattice_rows, near_copies
from twinlens.engine import cohesion as module
from twinlens.engine.cohesion import cohesion
from twinlens.engine.similarity import Similarities


def images_of(units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Units written out: one entry per image."""
    return np.repeat(units, weights)


@given(st.data(), lattice_rows().filter(lambda rows: len(rows) > 0))
def test_equals_the_pairs_of_images_written_out(data: st.DataObject, rows: Rows) -> None:
    units = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, unique=True)))
    weights = np.array(data.draw(st.lists(st.integers(1, 3), min_size=len(units), max_size=len(units))))
    weights[0] += 1
    images = images_of(units, weights)
    similarity = np.clip(brute_similarity(rows), 0, 1)[np.ix_(images, images)]
    pairs = similarity[np.triu_indices(len(images), 1)]
    across = images[:, None] != images[None, :]
    held = cohesion(Similarities(rows), units, weights, 0.8)
    assert held.exact
    assert held.min_similarity == pairs.min()
    assert held.mean_similarity == pytest.approx(pairs.mean(), abs=1e-6)
    assert held.within == (similarity >= 0.8)[across].sum() // 2


@pytest.mark.parametrize("rows_at_once", [1, 7, 512])
def test_blocks_do_not_matter(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = Similarities(clustered_rows(0, 60, 8, groups=3, noise=0.5), linked=[(0, 59)], rejected=[(1, 2)])
    units, weights = np.arange(60), 1 + np.arange(60) % 3
    whole = cohesion(oracle, units, weights, 0.9)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(module, "_COLUMNS_AT_ONCE", 2 * rows_at_once)
    assert cohesion(oracle, units, weights, 0.9) == whole
    known = oracle.block(units, units)
    assert cohesion(oracle, units, weights, 0.9, similarity=known) == whole, "given what it would ask for"
    assert whole.min_similarity == 0.0, "a rejected pair"


def test_a_linked_pair_is_within_at_its_real_similarity() -> None:
    rows = np.array([[1, 0], [1, 1]], dtype=np.float16)
    held = cohesion(Similarities(rows, linked=[(0, 1)]), np.arange(2), np.ones(2, np.int64), 0.95)
    assert (held.within, held.min_similarity, held.mean_similarity) == (1, 0.707107, 0.707107)


@pytest.mark.parametrize(("mutual", "threshold"), [(0.999, 0.95), (0.9, 0.85), (0.6, 0.6)])
def test_very_large_clusters_have_a_bound(
    mutual: float, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Similarities(near_copies(0, 400, 64, mutual=mutual))
    units, weights = np.arange(400), 1 + np.arange(400) % 2
    exact = cohesion(oracle, units, weights, threshold)
    monkeypatch.setattr(module, "COMPARED_UP_TO", 399)
    bounded = cohesion(oracle, units, weights, threshold)
    assert exact.exact and not bounded.exact
    assert bounded.min_similarity <= exact.min_similarity
    assert bounded.mean_similarity == pytest.approx(exact.mean_similarity, abs=1e-6)
    assert bounded.within == exact.within
    if mutual > 0.99:
        assert bounded.min_similarity > threshold, "a bound worth having"


def test_a_rejection_inside_a_very_large_cluster_is_its_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPARED_UP_TO", 10)
    oracle = Similarities(near_copies(0, 40, 16, mutual=0.999), rejected=[(3, 4)])
    held = cohesion(oracle, np.arange(40), np.ones(40, np.int64), 0.9)
    assert held.min_similarity == 0.0
    assert held.within == 40 * 39 // 2 - 1


def test_opposite_rows_have_no_mean_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPARED_UP_TO", 1)
    rows = np.array([[1, 0], [-1, 0]], dtype=np.float16)
    held = cohesion(Similarities(rows), np.arange(2), np.ones(2, np.int64), 0.9)
    assert (held.min_similarity, held.mean_similarity, held.within) == (0.0, 0.0, 0)
