"""Dense components do not cost their square: copies and near-copies by the ten thousand."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.rows import near_copies, random_rows
from twinlens.engine.clusters import Method, cluster
from twinlens.engine.cohesion import cohesion
from twinlens.engine.collapse import collapse_identical
from twinlens.engine.edges import stream_edges
from twinlens.engine.neighbourhood import Neighbourhood, neighbourhood
from twinlens.engine.similarity import Similarities

SECONDS = 20.0
"""Ample: each takes one or two on an idle machine."""

BYTES = 256 << 20


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if what is inside takes too long or too much memory."""
    tracemalloc.start()
    started = time.perf_counter()
    yield
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < BYTES


def joined(oracle: Similarities, weights: np.ndarray) -> Neighbourhood:
    return neighbourhood(len(oracle), stream_edges(oracle, 0.95), weights)


@pytest.fixture(scope="module")
def near_copied() -> tuple[Similarities, Neighbourhood]:
    """10,000 near-copies of one image; one image that is similar to some of them; 500 others."""
    copies = near_copies(0, 10_000, 64, mutual=0.9995)
    bridge = (copies[:1] + np.float16(0.0422) * random_rows(2, 1, 64)).astype(np.float16)
    rows = np.concatenate([copies, bridge, random_rows(3, 500, 64)])
    oracle = Similarities(rows)
    return oracle, joined(oracle, np.ones(len(rows), np.int64))


@pytest.mark.parametrize(("method", "size"), [("complete", 10_000), ("star", 10_000), ("single", 10_001)])
def test_ten_thousand_near_copies_of_one_image(
    near_copied: tuple[Similarities, Neighbourhood], method: Method, size: int
) -> None:
    oracle, hood = near_copied
    assert 500 < hood.degree[10_000] < 9000, "no clique"
    weights = np.ones(len(oracle), np.int64)
    with bounded():
        (units,) = cluster(
            oracle, hood, threshold=0.95, method=method, weights=weights, order=np.arange(len(oracle))
        )
        held = cohesion(oracle, units, weights[units], 0.95)
    assert np.array_equal(np.sort(units), np.arange(size))
    assert held.exact and held.mean_similarity > 0.999


def test_a_hundred_thousand_images_half_of_them_copies_of_one() -> None:
    rows = random_rows(0, 100_000, 64)
    rows[::2] = rows[0]
    with bounded():
        representative = collapse_identical(rows)
        kept, unit_of = np.unique(representative, return_inverse=True)
        weights = np.bincount(unit_of)
    assert len(kept) == 50_001 and weights.max() == 50_000
    oracle = Similarities(rows, index=kept)
    hood = joined(oracle, weights)
    with bounded():
        found = cluster(oracle, hood, threshold=0.95, weights=weights, order=np.arange(len(kept)))
        measured = [cohesion(oracle, units, weights[units], 0.95) for units in found]
    assert found[0].tolist() == [0]
    assert measured[0].min_similarity == measured[0].mean_similarity == 1.0


def test_a_large_component_that_is_no_clique_links_in_seconds() -> None:
    """4,000 frames of a slow pan: every frame is like its neighbours, none like all."""
    angles = np.linspace(0.0, 6.0 * np.pi, 4000)
    waves = [
        np.cos(frequency * angles / 6 + phase)
        for frequency, phase in zip(range(1, 33), range(32), strict=True)
    ]
    rows = np.stack(waves, axis=1).astype(np.float16)
    oracle, weights = Similarities(rows), np.ones(4000, np.int64)
    hood = joined(oracle, weights)
    assert not hood.labels.any()
    with bounded():
        found = cluster(oracle, hood, threshold=0.95, weights=weights, order=np.arange(4000))
    assert sum(map(len, found)) == 4000
    for units in found:
        assert oracle.block(units, units).min() >= 0.95
