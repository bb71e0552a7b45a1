"""Near codes by their weights: sorted by their numbers of ones, each is compared with its neighbours only.

Codes that differ in r bits have weights at most r apart (the triangle inequality, with the code of zeros as
the pivot). Pictures are as different in their share of light as in anything else; random codes are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from twinlens.engine.codes import (
    BLOCK_PAIRS,
    Codes,
    HammingBlock,
    Looking,
    Rows,
    Side,
    Words,
    near_pairs,
    packed_words,
    weights,
)

_SAMPLE_ROWS = 4096
_SLAB = 64
_JOBS = 32


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Codes in the order of their weights: words [words, n], weights [n], and the row of each."""

    words: Words
    weights: Rows
    rows: Rows


class Weights:
    """A way to find near pairs: in the order of weights."""

    def side(self, codes: Codes) -> Side:
        """Codes, without keys."""
        return Side(packed_words(codes), np.empty((0, len(codes)), np.uint16))

    def jobs(
        self, left: Side, right: Side, looking: Looking, *, later: bool
    ) -> list[Callable[[], Iterator[HammingBlock]]]:
        """One for each stretch of left codes, alike in weight."""
        ours = _by_weight(left.words)
        theirs = ours if later else _by_weight(right.words)
        size = max(_SLAB, -(-len(left) // _JOBS))
        return [
            partial(_pairs_of_stretch, ours, theirs, start, start + size, looking, later=later)
            for start in range(0, len(left), size)
        ]


def weights_cost(left: Codes, right: Codes, radius: int, pair_cost: float) -> float:
    """What comparing by weights costs, in words, estimated from samples; arguments as `cheapest_parts`."""
    half = 0.5 if left is right else 1.0
    ours, theirs = (
        np.sort(weights(packed_words(codes[:: max(1, len(codes) // _SAMPLE_ROWS)])))
        for codes in (left, right)
    )
    close = np.searchsorted(theirs, ours + radius, side="right") - np.searchsorted(theirs, ours - radius)
    share = float(close.sum()) / max(1, len(ours) * len(theirs))
    return half * pair_cost * share * len(left) * len(right)


def _by_weight(words: Words) -> _Sorted:
    weight = weights(words)
    order = np.argsort(weight, kind="stable")
    return _Sorted(words.take(order, axis=1), weight[order], order)


def _pairs_of_stretch(
    left: _Sorted, right: _Sorted, start: int, stop: int, looking: Looking, *, later: bool
) -> Iterator[HammingBlock]:
    radius = looking.radius
    for low in range(start, min(stop, len(left.rows)), _SLAB):
        slab = slice(low, min(low + _SLAB, stop, len(left.rows)))
        lightest, heaviest = left.weights[low] - radius, left.weights[slab.stop - 1] + radius
        first = low if later else int(np.searchsorted(right.weights, lightest))
        last = int(np.searchsorted(right.weights, heaviest, side="right"))
        for column in range(first, last, BLOCK_PAIRS // _SLAB):
            met = slice(column, min(column + BLOCK_PAIRS // _SLAB, last))
            near = near_pairs(left.words, right.words, slab, met, looking)
            if later:
                near = near[near.a < near.b]
            if len(near):
                a, b = left.rows[near.a], right.rows[near.b]
                yield (
                    HammingBlock(np.minimum(a, b), np.maximum(a, b), near.distance)
                    if later
                    else (HammingBlock(a, b, near.distance))
                )
