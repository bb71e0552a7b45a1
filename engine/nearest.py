"""Each row's most similar other row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.row_codes import CodedProduct
from twinlens.engine.screen import HALF_A_MICRO, NOWHERE, TopTwo, screening_error
from twinlens.engine.similarity import (
    MICRO,
    Numbers,
    RowSource,
    micro,
    pairwise,
    similarities,
    spans,
    unit_rows,
)

_SHIFT = 32
_NOBODY = np.iinfo(np.int64).max
_ROWS_AT_ONCE = 512
_COLUMNS_AT_ONCE = 4096
_PAIR_VALUES_AT_ONCE = 1 << 17
_RIVALS_KEPT, _RIVALS_OF_A_ROW = 1 << 18, 2
"""So many rivals in all, or for each row, wait for floors to rise until the others are decided."""

# Far above the error of a dot product in float64, and of 12 decimals, far below a millionth.
_FLOAT64 = 1e-11


class _Rivals(NamedTuple):
    """Others that may be the nearest of a row: int64 [k], int64 [k], and float64 [k], similar at most."""

    row: Numbers
    other: Numbers
    most: NDArray[np.float64]

    def reaching(self, floor: NDArray[np.float64]) -> _Rivals:
        chosen = self.most >= floor
        return _Rivals(self.row[chosen], self.other[chosen], self.most[chosen])


class Nearest:
    """The most similar other row of each of n rows, gathered while a join runs; ties to the lower number.

    Exact: rows with a pair at or above the join's threshold take it from the pairs, which are decided
    in float64. For the others the float32 screen names a candidate and how close the runner-up comes;
    where that is too close for the screen's error bound, the row is compared with all others in
    float64. An int8 screen names rivals instead: all that can reach the similarity which some other row
    is known to have at least. That floor rises as the join goes on, rivals below it are forgotten, and
    the rest are decided in float64.

    Args:
        n: how many rows there are.
    """

    def __init__(self, n: int) -> None:
        # The exact answer as one number whose minimum is the nearest: dissimilarity, then row number.
        self._key = np.full(n, _NOBODY)
        self._candidate = np.full(n, -1)
        self._best = np.full(n, NOWHERE, dtype=np.float32)
        self._second = np.full(n, NOWHERE, dtype=np.float32)
        self._floor = np.full(n, -np.inf)
        self._rivals: list[_Rivals] = []
        self._most_rivals = max(_RIVALS_KEPT, _RIVALS_OF_A_ROW * n)

    @property
    def similarity(self) -> NDArray[np.float64]:
        """float64 [n], NaN for rows that were compared with none."""
        known = self._key != _NOBODY
        return np.where(known, (MICRO - (self._key >> _SHIFT)) / MICRO, np.nan)

    @property
    def index(self) -> Numbers:
        """int64 [n], which row that is, -1 for rows that were compared with none."""
        return np.where(self._key != _NOBODY, self._key & ((1 << _SHIFT) - 1), -1)

    def update_from_block(self, rows: Numbers, others: Numbers, top: TopTwo) -> None:
        """Take the screen's answer for `rows` int64 [k], whose columns were `others` int64 [m]."""
        best, second = self._best[rows], self._second[rows]
        better = top.best > best
        self._candidate[rows[better]] = others[top.place[better]]
        self._second[rows] = np.maximum(np.minimum(best, top.best), np.maximum(second, top.second))
        self._best[rows] = np.maximum(best, top.best)

    def update_from_pairs(self, a: Numbers, b: Numbers, similarity: NDArray[np.float64]) -> None:
        """Take decided pairs: rows a[k] and b[k] are similarity[k] similar."""
        dissimilarity = (MICRO - micro(similarity)) << _SHIFT
        np.minimum.at(self._key, a, dissimilarity | b)
        np.minimum.at(self._key, b, dissimilarity | a)
        np.maximum.at(self._floor, a, similarity - HALF_A_MICRO)
        np.maximum.at(self._floor, b, similarity - HALF_A_MICRO)

    def update_from_part(self, rows: Numbers, part: Nearest) -> None:
        """Take what a join of some rows only has told `part`, row k of which is rows[k], ascending."""
        known = part._key != _NOBODY
        others = rows[part.index[known]]
        np.minimum.at(self._key, rows[known], part._key[known] >> _SHIFT << _SHIFT | others)

    def update_from_codes(
        self, source: RowSource, rows: Numbers, others: Numbers, product: CodedProduct
    ) -> None:
        """Take what a product of rounded `rows` int64 [k] and `others` int64 [m] of `source` says."""
        self._raise_floor(rows, product.least_of_rows())
        for found in product.rivals_of_rows(self._reachable(rows)):
            self._rivals.append(_Rivals(rows[found.row], others[found.column], found.most))
            self.decide_rivals(source, above=self._most_rivals)

    def update_from_codes_of_columns(
        self, source: RowSource, rows: Numbers, others: Numbers, product: CodedProduct
    ) -> None:
        """The same where `rows` int64 [m] are the columns of the product and `others` int64 [k] its rows."""
        self._raise_floor(rows, product.least_of_columns())
        for found in product.rivals_of_columns(self._reachable(rows)):
            self._rivals.append(_Rivals(rows[found.column], others[found.row], found.most))
            self.decide_rivals(source, above=self._most_rivals)

    def decide_rivals(self, rows: RowSource, *, above: int = 0) -> None:
        """Decide in float64 the rivals that are left, if they are more than `above`."""
        if sum(len(each.row) for each in self._rivals) <= above:
            return
        left = [each.reaching(self._reachable(each.row)) for each in self._rivals]
        self._rivals = [_Rivals(*map(np.concatenate, zip(*left, strict=True)))]
        (rivals,) = self._rivals
        if len(rivals.row) <= above // 2:
            return
        for span in spans(0, len(rivals.row), max(1, _PAIR_VALUES_AT_ONCE // rows.shape[1])):
            a, b = rivals.row[span], rivals.other[span]
            self.update_from_pairs(a, b, pairwise(unit_rows(rows[a], a), unit_rows(rows[b], b)))
        self._rivals = []

    def _raise_floor(self, rows: Numbers, least: NDArray[np.float64]) -> None:
        self._floor[rows] = np.maximum(self._floor[rows], least)

    def _reachable(self, rows: Numbers) -> NDArray[np.float64]:
        """What a rival's dot product must be able to reach: a tie by rounding may lie a millionth lower."""
        reachable: NDArray[np.float64] = self._floor[rows] - 2.0 * HALF_A_MICRO - _FLOAT64
        return reachable

    def settle(self, rows: RowSource, asked: Numbers, others: Numbers) -> None:
        """Decide, for the rows `asked` that were screened against `others` and are in no pair."""
        margin = 2.0 * (screening_error(rows.shape[1]) + HALF_A_MICRO)
        open_ = asked[(self._key[asked] == _NOBODY) & (self._candidate[asked] >= 0)]
        certain = self._best[open_] - self._second[open_] > margin
        self._settle_candidates(rows, open_[certain])
        for span in spans(0, int((~certain).sum()), _ROWS_AT_ONCE):
            close = open_[~certain][span]
            self._key[close] = _nearest_keys(rows, close, others)

    def _settle_candidates(self, rows: RowSource, settled: Numbers) -> None:
        for span in spans(0, len(settled), max(1, _PAIR_VALUES_AT_ONCE // rows.shape[1])):
            a, b = settled[span], self._candidate[settled[span]]
            similarity = pairwise(unit_rows(rows[a], a), unit_rows(rows[b], b))
            self._key[a] = (MICRO - micro(similarity)) << _SHIFT | b


def _nearest_keys(rows: RowSource, asked: Numbers, others: Numbers) -> Numbers:
    keys = np.full(len(asked), _NOBODY)
    units = unit_rows(rows[asked], asked)
    for span in spans(0, len(others), _COLUMNS_AT_ONCE):
        columns = others[span]
        similarity = similarities(units, unit_rows(rows[columns], columns))
        block = (MICRO - micro(similarity)) << _SHIFT | columns[None, :]
        block[asked[:, None] == columns[None, :]] = _NOBODY
        keys = np.minimum(keys, block.min(axis=1))
    return keys
