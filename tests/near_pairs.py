"""Families of codes, and their near pairs by brute force."""

from __future__ import annotations

import numpy as np

from twinlens.engine.codes import Codes, HammingBlock, Looking, Side, Way, joined, screen_words
from twinlens.engine.hamming import hamming


def family(rng: np.random.Generator, count: int, width: int = 8) -> Codes:
    """A quarter of the codes are originals, of all weights; the others differ from one in up to 20 bits."""
    density = rng.random((max(1, count // 4), 1))
    parents = np.packbits(rng.random((len(density), width * 8)) < density, axis=1)
    codes = parents[rng.integers(0, len(parents), count)]
    flips = rng.random((count, width * 8)) < rng.choice([0.0, 0.05, 0.1], (count, 1))
    return codes ^ np.packbits(flips, axis=1)


def brute(left: Codes, right: Codes, radius: int, *, later: bool) -> HammingBlock:
    """All near pairs, sorted."""
    found = []
    for row in range(0, len(left), 500):
        distance = hamming(left[row : row + 500], right)
        near = distance <= radius
        a, b = np.nonzero(np.triu(near, row + 1) if later else near)
        found.append(HammingBlock(a + row, b, distance[a, b]))
    return joined(found)


def same(found: HammingBlock, expected: HammingBlock) -> bool:
    """Whether both are the same pairs in the same order."""
    return all(
        np.array_equal(ours, theirs)
        for ours, theirs in (
            (found.a, expected.a),
            (found.b, expected.b),
            (found.distance, expected.distance),
        )
    )


def sorted_pairs(way: Way, left: Side, right: Side, radius: int, *, later: bool) -> HammingBlock:
    """What a way finds."""
    looking = Looking(radius, screen_words(left.words, right.words, radius))
    found = joined([each for job in way.jobs(left, right, looking, later=later) for each in job()])
    return found[np.lexsort((found.b, found.a))]
