"""The most similar pairs of different images: compared in blocks, and only the nearest of them kept."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.precision import Tail, Values
from twinlens.engine.similarity import Numbers, RowSource, Units, similarities, spans, unit_rows

BINS = 200
"""Of the histogram of all pairs, equally wide from 0 to 1."""

_TAIL_SHARE = 0.01
_FEWEST, _MOST = 200, 100_000
_BLOCK = 2048


class Nearest:
    """Takes pairs of different images in blocks; keeps the most similar hundredth, at most 100,000.

    Args:
        pairs: how many will come.
    """

    def __init__(self, pairs: int) -> None:
        self._limit = min(max(math.ceil(_TAIL_SHARE * pairs), _FEWEST), _MOST)
        self._floor = -1.0
        self._parts: list[NDArray[np.float64]] = []
        self._held = 0
        self.total = 0
        self.histogram = np.zeros(BINS, np.int64)

    def add(self, a: Numbers, b: Numbers, similarity: Values) -> None:
        """Take all pairs of some images.

        Args:
            a: int64 [k], the image of each row.
            b: int64 [m], the image of each column.
            similarity: float64 [k, m]; what is not finite is no pair of different images.
        """
        different = np.isfinite(similarity)
        seen = similarity[different]
        self.total += len(seen)
        bins = np.clip((seen * BINS).astype(np.int64), 0, BINS - 1)
        self.histogram += np.bincount(bins, minlength=BINS)
        row, column = np.nonzero(different & (similarity >= self._floor))
        self._parts.append(np.stack([a[row], b[column], similarity[row, column]]))
        self._held += len(row)
        if self._held > 2 * self._limit:
            self._trim()

    def _trim(self) -> None:
        table = np.concatenate([np.empty((3, 0)), *self._parts], axis=1)
        if table.shape[1] > self._limit:
            # All pairs that are as similar as the last one kept stay, so that none is dropped by chance.
            self._floor = float(np.partition(table[2], -self._limit)[-self._limit])
            table = table[:, table[2] >= self._floor]
        self._parts, self._held = [table], table.shape[1]

    def tail(self, share: float) -> Tail:
        """What was kept, most similar first, ties by number."""
        self._trim()
        (table,) = self._parts
        table = table[:, np.lexsort((table[1], table[0], -table[2]))]
        a, b = table[:2].astype(np.int64)
        start = float(table[2].min(initial=1.0)) if self._floor < 0 else self._floor
        return Tail(a, b, table[2], self.total, start, share)


def compare(
    nearest: Nearest, rows_a: RowSource, owner_a: Numbers, rows_b: RowSource, owner_b: Numbers, *, twice: bool
) -> None:
    """Compare all rows of two sets, block by block.

    Args:
        nearest: takes the pairs.
        rows_a: [n, dim].
        owner_a: int64 [n], the image that each row is or was made of.
        rows_b: [m, dim].
        owner_b: int64 [m].
        twice: leave out pairs whose first image has the larger number and whose second one is among the
            images of `owner_a` as well: they come the other way round.
    """
    both = np.isin(owner_b, owner_a) if twice else np.zeros(len(owner_b), np.bool_)
    for span_a in spans(0, len(owner_a), _BLOCK):
        first, units = owner_a[span_a], _units(rows_a, span_a)
        for span_b in spans(0, len(owner_b), _BLOCK):
            second = owner_b[span_b]
            similarity = similarities(units, _units(rows_b, span_b))
            same = first[:, None] == second[None, :]
            again = (first[:, None] > second[None, :]) & both[span_b][None, :]
            similarity[same | again] = np.nan
            nearest.add(first, second, similarity)


def _units(rows: RowSource, span: slice) -> Units:
    return unit_rows(rows[np.arange(span.start, span.stop)])
