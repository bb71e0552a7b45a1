"""The most representative images of a collection: greedy k-centre on the embedding.

The first centre is the best image in keeper order; then always the image farthest from all centres, by
1 - similarity, follows; ties go to the better image. So the largest distance of an image to its nearest
centre, the coverage, shrinks as fast as any such greedy choice can make it: in chord length,
sqrt(2 (1 - similarity)), it is at most twice what the best possible choice of as many images reaches
(Gonzalez, Clustering to minimize the maximum intercluster distance, 1985).

Each centre meets every image once, in blocks. A pool of the farthest images is kept up to date with every
new centre; all others wait until the pool may no longer hold the farthest. Their distances can only shrink
meanwhile, so that what waits proves what the pool answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.similarity import (
    Mask,
    Numbers,
    RowSource,
    Units,
    round_similarity,
    shown,
    similarities,
    spans,
    unit_rows,
)

POOL = 2048
"""How many of the farthest images are kept up to date with every centre."""

_ROWS_AT_ONCE = 2048
_CENTRES_AT_ONCE = 2048
_NO_CENTRE = -2.0


@dataclass(frozen=True, slots=True, eq=False)
class Representatives:
    """Chosen images, and how well they cover the others.

    Attributes:
        chosen: int64 [k], places in the order in which they were chosen.
        coverage: float64 [k], in [0, 1]: after each choice, the largest 1 - similarity of an image with
            information that was not chosen to its nearest chosen one; 0 where none is left.
    """

    chosen: Numbers
    coverage: NDArray[np.float64]


def representatives(
    rows: RowSource,
    rank: Numbers,
    count: int,
    *,
    first: Mask | None = None,
    identity: Numbers | None = None,
    low_information: Mask | None = None,
    pool: int = POOL,
) -> Representatives:
    """Choose the most representative images.

    Time grows with images times chosen ones, memory with the images.

    Args:
        rows: float16 [n, dim], one for each image, may be memory-mapped.
        rank: int64 [n], keeper rank of each image, all different, the lowest the best.
        count: how many to choose, at most n.
        first: bool [n], images that are chosen before all others, the best first.
        identity: int64 [n]; images with the same label >= 0 are similarity 1, whatever their rows.
        low_information: bool [n]; flat images, which only identical ones are like: chosen last, those like a
            chosen one after the others. Coverage leaves them out.
        pool: changes time and memory, never the answer.

    Raises:
        InvalidValue: a count below 1 or above n, or a row that is zero or not finite.
    """
    n = len(rank)
    if not 1 <= count <= n:
        raise InvalidValue(f"{count} images cannot be kept of {n}: ask for a number from 1 to {n}")
    labels = np.full(n, -1, np.int64) if identity is None else identity
    flat = np.zeros(n, np.bool_) if low_information is None else low_information
    best_first = np.argsort(rank, kind="stable")
    start = best_first[np.zeros(n, np.bool_) if first is None else first[best_first]][:count]
    greedy = _Greedy(rows, rank, labels, flat)
    begun = greedy.begin(start)
    found = greedy.choose(min(count - len(start), int(greedy.open.sum())), pool)
    chosen = np.concatenate([start, found.chosen])
    # Flat ones are reached only when no image with information is left to be far from anything.
    flats = _flat_ones(best_first[flat[best_first]], labels, chosen)[: count - len(chosen)]
    return Representatives(
        np.concatenate([chosen, flats]),
        np.concatenate([begun, found.coverage, np.zeros(len(flats))]),
    )


def coverage_after(
    rows: RowSource, chosen: Numbers, *, identity: Numbers, low_information: Mask
) -> NDArray[np.float64]:
    """The coverage after each of some chosen images, one added after the other.

    Arguments and answer as those of `representatives`.
    """
    # Nothing is chosen, so that no rank decides anything.
    return _Greedy(rows, identity, identity, low_information).begin(chosen)


def nearest_chosen(
    rows: RowSource, chosen: Numbers, places: Numbers, identity: Numbers
) -> tuple[Numbers, NDArray[np.float64]]:
    """The chosen image most similar to each of some others; of equals the first.

    Args:
        rows: float16 [n, dim].
        chosen: int64 [k], places of images with information, at least one.
        places: int64 [m], places of others.
        identity: int64 [n], as in `representatives`.

    Returns:
        int64 [m], places of the most similar; float64 [m], their similarities.
    """
    position, similarity = np.zeros(len(places), np.int64), np.full(len(places), -np.inf)
    for centres in spans(0, len(chosen), _CENTRES_AT_ONCE):
        units = unit_rows(rows[chosen[centres]], chosen[centres])
        for span in spans(0, len(places), _ROWS_AT_ONCE):
            others = unit_rows(rows[places[span]], places[span])
            block = alike(others, units, identity[places[span]], identity[chosen[centres]])
            column = block.argmax(axis=1)
            best = block[np.arange(len(block)), column]
            better = best > similarity[span]
            similarity[span][better] = best[better]
            position[span][better] = centres.start + column[better]
    return chosen[position], similarity


def alike(a: Units, b: Units, a_identity: Numbers, b_identity: Numbers) -> NDArray[np.float64]:
    """Similarity of rows `a` [n, dim] to rows `b` [m, dim], 1 of identical images: float64 [n, m]."""
    block = similarities(a, b)
    _identify(block, a_identity, b_identity)
    return block


class _Greedy:
    """Images with information, and how similar each is to its nearest centre so far.

    Attributes:
        open: bool [n], images with information that were not chosen yet.
    """

    def __init__(self, rows: RowSource, rank: Numbers, identity: Numbers, flat: Mask) -> None:
        self._rows = rows
        self._rank = rank
        self._identity = identity
        self._flat = flat
        self._nearest = np.where(flat, 1.0, _NO_CENTRE)
        self.open = ~flat

    def begin(self, start: Numbers) -> NDArray[np.float64]:
        """Take some images as the first centres; the coverage after each."""
        heads = ~self._flat[start]
        lowest = np.append(_NO_CENTRE if self.open.any() else 1.0, self._meet(start[heads]))
        self.open[start] = False
        return 1.0 - shown(lowest[np.cumsum(heads)])

    def choose(self, count: int, size: int) -> Representatives:
        """Choose open images, always the farthest from all centres; the coverage after each."""
        chosen, similarity = np.empty(count, np.int64), np.empty(count)
        met = done = 0
        while done < count:
            self._meet(chosen[met:done])
            met, pool = done, self._pool(size)
            while done < count and (farthest := pool.take()) is not None:
                chosen[done], similarity[done] = farthest
                self.open[chosen[done]] = False
                done += 1
        self._meet(chosen[met:])
        left = self._nearest[self.open].min(initial=1.0)
        return Representatives(chosen, 1.0 - shown(np.append(similarity, left)[1:]))

    def _pool(self, size: int) -> _Pool:
        """The farthest open images; beside them, the next farthest says how far they are to be trusted."""
        places = np.flatnonzero(self.open)
        order = places[np.lexsort((self._rank[places], self._nearest[places]))]
        inside, outside = order[:size], order[size : size + 1]
        inside = inside[np.argsort(self._rank[inside])]
        bound = [(float(self._nearest[place]), int(self._rank[place])) for place in outside]
        return _Pool(
            inside,
            unit_rows(self._rows[inside], inside),
            self._nearest[inside],
            self._rank[inside],
            self._identity[inside],
            bound[0] if bound else (np.inf, 0),
        )

    def _meet(self, centres: Numbers) -> NDArray[np.float64]:
        """Compare all images with new centres; the lowest similarity to the nearest, after each of them."""
        places = np.flatnonzero(self._nearest < 1.0)
        lowest = np.ones(len(centres))
        for columns in spans(0, len(centres), _CENTRES_AT_ONCE):
            units = unit_rows(self._rows[centres[columns]], centres[columns])
            for span in spans(0, len(places), _ROWS_AT_ONCE):
                some = places[span]
                products = unit_rows(self._rows[some], some) @ units.T
                _identify(products, self._identity[some], self._identity[centres[columns]])
                np.maximum(products[:, 0], self._nearest[some], out=products[:, 0])
                np.maximum.accumulate(products, axis=1, out=products)
                self._nearest[some] = round_similarity(products[:, -1])
                np.minimum(lowest[columns], products.min(axis=0), out=lowest[columns])
        self._nearest[centres] = 1.0
        return round_similarity(lowest)


class _Pool:
    """Some open images, the best first, kept up to date with each one that is taken.

    Args:
        places: int64 [p].
        units: float64 [p, dim], their rows.
        nearest: float64 [p], similarity of each to its nearest centre.
        rank: int64 [p], ascending.
        identity: int64 [p].
        bound: similarity and rank of the farthest image that is not in the pool, as of when it was made.
    """

    def __init__(
        self,
        places: Numbers,
        units: Units,
        nearest: NDArray[np.float64],
        rank: Numbers,
        identity: Numbers,
        bound: tuple[float, int],
    ) -> None:
        self._places, self._units, self._rank, self._identity = places, units, rank, identity
        self._nearest = nearest
        self._bound = bound

    def take(self) -> tuple[int, float] | None:
        """The farthest image and its similarity to the centres before it; None if the pool cannot tell."""
        taken = int(self._nearest.argmin())
        similarity = float(self._nearest[taken])
        if (similarity, int(self._rank[taken])) > self._bound or similarity == np.inf:
            return None
        products = round_similarity(self._units @ self._units[taken])[:, None]
        _identify(products, self._identity, self._identity[taken : taken + 1])
        np.maximum(self._nearest, products[:, 0], out=self._nearest)
        self._nearest[taken] = np.inf
        return int(self._places[taken]), similarity


def _identify(products: NDArray[np.float64], rows: Numbers, columns: Numbers) -> None:
    """Set pairs of one identity to 1, in place."""
    known = np.flatnonzero(columns >= 0)
    if len(known):
        row, column = np.nonzero(rows[:, None] == columns[known])
        products[row, known[column]] = 1.0


def _flat_ones(best_first: Numbers, identity: Numbers, chosen: Numbers) -> Numbers:
    """Flat images that were not chosen, the best first; those like a chosen or a better one at the end."""
    taken = set(chosen.tolist())
    seen = set(identity[chosen].tolist()) - {-1}
    fresh: list[int] = []
    copies: list[int] = []
    for place in best_first.tolist():
        if place not in taken:
            label = int(identity[place])
            (copies if label in seen else fresh).append(place)
            seen |= {label} - {-1}
    return np.array(fresh + copies, np.int64)
