"""All edges of the graph that `Similarities` spans at a threshold, streamed in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinlens.engine.join import PairBlock, self_join
from twinlens.engine.neighbourhood import split_by_label
from twinlens.engine.pairset import PairSet
from twinlens.engine.similarity import Mask, Numbers, Similarities


def stream_edges(
    oracle: Similarities,
    threshold: float,
    *,
    among: Mask | None = None,
    block: int | None = None,
    device: str = "cpu",
) -> Iterator[PairBlock]:
    """Every pair of images that is at or above a threshold or linked, once, a < b.

    Args:
        oracle: of n images.
        threshold: similarity in (0, 1].
        among: bool [n], the images whose pairs are wanted; by default all.
        block: as in `join.self_join`.
        device: as in `join.self_join`.

    Returns:
        Blocks of pairs with their strength (`Similarities.strengths`): first what identity and links
        decide, then what the rows decide, in the order of `join.self_join`.
    """
    chosen = np.ones(len(oracle), dtype=bool) if among is None else among
    told = PairSet([*_identical(oracle, chosen), *_linked(oracle, chosen)], len(oracle))
    skip = oracle.low_information | ~chosen
    by_rows = self_join(oracle.rows, threshold, block=block, device=device, skip=skip)
    return _merged(oracle, threshold, told, by_rows)


def _merged(
    oracle: Similarities, threshold: float, told: PairSet, by_rows: Iterator[PairBlock]
) -> Iterator[PairBlock]:
    a, b = told.pairs()
    if len(told):
        yield PairBlock(a, b, oracle.pair_strengths(a, b, threshold))
    for pairs in by_rows:
        other = ~(oracle.rejected.contains(pairs.a, pairs.b) | told.contains(pairs.a, pairs.b))
        if other.all():
            yield pairs
        elif other.any():
            yield PairBlock(pairs.a[other], pairs.b[other], pairs.similarity[other])


def _linked(oracle: Similarities, chosen: Mask) -> list[tuple[int, int]]:
    a, b = oracle.linked.pairs()
    both = chosen[a] & chosen[b]
    return list(zip(a[both].tolist(), b[both].tolist(), strict=True))


def _identical(oracle: Similarities, chosen: Mask) -> list[tuple[int, int]]:
    """The pairs of one identity that were not rejected."""
    labelled = np.flatnonzero(chosen & (oracle.identity >= 0))
    alike = split_by_label(labelled, oracle.identity[labelled])
    return [pair for images in alike for pair in _unrejected(oracle, images)]


def _unrejected(oracle: Similarities, images: Numbers) -> list[tuple[int, int]]:
    first, second = np.triu_indices(len(images), 1)
    a, b = images[first], images[second]
    kept = ~oracle.rejected.contains(a, b)
    return list(zip(a[kept].tolist(), b[kept].tolist(), strict=True))
