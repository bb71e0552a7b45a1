"""The streamed edges are those of the whole matrix."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import clustered_rows
from twinlens.engine.edges import stream_edges
from twinlens.engine.similarity import Similarities

N = 9
ALL = np.arange(N)
pairs = st.sets(
    st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda ends: ends[0] < ends[1])
)
mask = st.lists(st.booleans(), min_size=N, max_size=N).map(np.array)
oracles = st.builds(
    lambda seed, identity, low, rejected, linked: Similarities(
        np.random.default_rng(seed).integers(1, 4, (N, 2)).astype(np.float16),
        identity=np.array(identity),
        low_information=low,
        rejected=rejected,
        linked=linked,
    ),
    st.integers(0, 999),
    st.lists(st.integers(-1, 2), min_size=N, max_size=N),
    mask,
    pairs,
    pairs,
)


@given(oracles, mask, st.sampled_from([0.8, 0.96, 1.0]), st.integers(1, 10))
def test_every_edge_once_with_its_strength(
    oracle: Similarities, among: np.ndarray, threshold: float, block: int
) -> None:
    found = [
        edge
        for part in stream_edges(oracle, threshold, among=among, block=block)
        for edge in zip(part.a.tolist(), part.b.tolist(), part.similarity.tolist(), strict=True)
    ]
    wanted = np.triu(oracle.edges(ALL, ALL, threshold) & among[:, None] & among[None, :], 1)
    strengths = oracle.strengths(ALL, ALL, threshold)
    assert len(found) == len(set(found))
    assert set(found) == {(a, b, strengths[a, b]) for a, b in np.argwhere(wanted).tolist()}


def test_without_overrides_it_is_the_join() -> None:
    oracle = Similarities(clustered_rows(0, 200, 16, groups=9, noise=0.7))
    images = np.arange(200)
    edges = sum(len(part) for part in stream_edges(oracle, 0.9))
    assert edges == np.triu(oracle.edges(images, images, 0.9), 1).sum()
