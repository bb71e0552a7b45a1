"""All pairs at or above a threshold, exactly, in memory bounded by the block.

Rows meet block by block, the upper triangle only. `screen` proposes pairs in float32 with a proved
error bound, and every proposal is decided in float64 by the definition in `similarity`. On a CPU a
join holds about 200 MB (default block, 512 dimensions) and a few bytes per row, whatever the number of
rows and even if every pair is similar: pairs are handed on in blocks of at most 2^20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.nearest import Nearest
from twinlens.engine.screen import HALF_A_MICRO, Product, Screen, resolved_device, screening_error
from twinlens.engine.similarity import (
    Mask,
    Numbers,
    RowSource,
    Units,
    check_threshold,
    pairwise,
    row_norms,
    similarities,
    spans,
    unit_rows,
)

__all__ = ["Nearest", "PairBlock", "cross_join", "self_join"]

_CPU_BLOCK = 2048
_ACCELERATOR_BLOCK = 8192
_PAIR_VALUES_AT_ONCE = 1 << 21

# Deciding a gathered pair costs about as much memory traffic as 64 pairs of a matrix product.
_DENSE = 64


@dataclass(frozen=True, slots=True, eq=False)
class PairBlock:
    """Some pairs of rows.

    Attributes:
        a: int64 [k], row numbers.
        b: int64 [k], row numbers; a < b where both are of one collection.
        similarity: float64 [k].
    """

    a: Numbers
    b: Numbers
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.a)


def self_join(
    rows: RowSource,
    threshold: float,
    *,
    block: int | None = None,
    device: str = "cpu",
    skip: Mask | None = None,
    fresh: Mask | None = None,
    nearest: Nearest | None = None,
) -> Iterator[PairBlock]:
    """Every pair of rows whose similarity is at or above a threshold, once, and no other.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        threshold: similarity in (0, 1].
        block: how many rows meet as many others at a time, by default 2048 on a CPU and 8192 elsewhere;
            changes memory and the order of the answer, never its content.
        device: where the float32 products are made: "cpu", "cuda", or "auto" for CUDA where there is one.
        skip: bool [n], rows that take no part.
        fresh: bool [n]; where given, only pairs with at least one fresh row: what is new after rows
            were added to others that were joined before.
        nearest: is told each row's most similar other row, of those it was compared with; ready when
            the iterator is exhausted.

    Returns:
        Blocks of pairs a < b, none empty, in the same order for the same arguments; sorted by a, then
        b, within each.

    Raises:
        InvalidValue: a threshold outside (0, 1], a block below 1, or a row that takes part and is zero
            or not finite.
    """
    device = resolved_device(device)
    size = _block_size(threshold, block, device)
    kept = _kept(rows, skip)
    new = kept if fresh is None else kept[fresh[kept]]
    old = kept[:0] if fresh is None else kept[~fresh[kept]]
    side = _Side(rows, _norms(rows, kept), Screen(min(size, len(kept)), device))
    return _self_join(side, old, new, size, threshold, nearest)


def cross_join(
    rows_a: RowSource,
    rows_b: RowSource,
    threshold: float,
    *,
    block: int | None = None,
    device: str = "cpu",
    skip_a: Mask | None = None,
    skip_b: Mask | None = None,
) -> Iterator[PairBlock]:
    """Every pair of a row of one collection and a row of another at or above a threshold.

    Args:
        rows_a: float16 [n, dim], may be memory-mapped.
        rows_b: float16 [m, dim], may be memory-mapped.
        threshold: similarity in (0, 1].
        block: as in `self_join`.
        device: as in `self_join`.
        skip_a: bool [n], rows that take no part.
        skip_b: bool [m], rows that take no part.

    Returns:
        Blocks of pairs as in `self_join`, where `a` numbers `rows_a` and `b` numbers `rows_b`.

    Raises:
        InvalidValue: as in `self_join`.
    """
    device = resolved_device(device)
    size = _block_size(threshold, block, device)
    kept_a, kept_b = _kept(rows_a, skip_a), _kept(rows_b, skip_b)
    screen = Screen(min(size, max(len(kept_a), len(kept_b))), device)
    left = _Side(rows_a, _norms(rows_a, kept_a), screen)
    right = _Side(rows_b, _norms(rows_b, kept_b), screen)
    return _cross_join(left, kept_a, right, kept_b, size, threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One collection, and the screen that its blocks are loaded for."""

    rows: RowSource
    norms: NDArray[np.float64]
    screen: Screen

    def block(self, numbers: Numbers) -> _Block:
        return _Block(self, numbers)


class _Block:
    """Rows that meet others: in float32 for the screen, in float64 once something is decided."""

    def __init__(self, side: _Side, numbers: Numbers) -> None:
        self.numbers = numbers
        self.dim = side.rows.shape[1]
        self._rows = side.rows[numbers]
        self._screen = side.screen
        self._loaded = side.screen.load(self._rows, side.norms[numbers])

    @cached_property
    def units(self) -> Units:
        """Float64 [n, dim]."""
        return unit_rows(self._rows, self.numbers)

    def times(self, other: _Block) -> Product:
        """Screen this block against another; the block itself leaves out the diagonal."""
        return self._screen.product(self._loaded, other._loaded, len(self.numbers), len(other.numbers))


def _block_size(threshold: float, block: int | None, device: str) -> int:
    check_threshold(threshold)
    if block is not None and block < 1:
        raise InvalidValue(f"block {block} is below 1: ask for a number of rows, such as {_CPU_BLOCK}")
    return block or (_CPU_BLOCK if device == "cpu" else _ACCELERATOR_BLOCK)


def _kept(rows: RowSource, skip: Mask | None) -> Numbers:
    return np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)


def _norms(rows: RowSource, kept: Numbers) -> NDArray[np.float64]:
    norms = np.full(len(rows), np.nan)
    for span in spans(0, len(kept), _CPU_BLOCK):
        norms[kept[span]] = row_norms(rows[kept[span]], kept[span])
    return norms


def _self_join(
    side: _Side, old: Numbers, new: Numbers, size: int, threshold: float, nearest: Nearest | None
) -> Iterator[PairBlock]:
    earlier = [old[span] for span in spans(0, len(old), size)]
    for span in spans(0, len(new), size):
        right = side.block(new[span])
        earlier.append(right.numbers)
        for numbers in earlier:
            left = right if numbers is right.numbers else side.block(numbers)
            product = left.times(right)
            if nearest is not None:
                _tell(nearest, left, right, product)
            for i, j, similarity in _decided(left, right, product, threshold):
                pairs = _in_order(left.numbers[i], right.numbers[j], similarity)
                if nearest is not None:
                    nearest.update_from_pairs(pairs.a, pairs.b, pairs.similarity)
                yield pairs
    if nearest is not None:
        nearest.settle(side.rows, new, np.sort(np.concatenate([old, new])))
        nearest.settle(side.rows, old, new)


def _cross_join(
    a: _Side, kept_a: Numbers, b: _Side, kept_b: Numbers, size: int, threshold: float
) -> Iterator[PairBlock]:
    for span_a in spans(0, len(kept_a), size):
        left = a.block(kept_a[span_a])
        for span_b in spans(0, len(kept_b), size):
            right = b.block(kept_b[span_b])
            for i, j, similarity in _decided(left, right, left.times(right), threshold):
                yield PairBlock(left.numbers[i], right.numbers[j], similarity)


def _tell(nearest: Nearest, left: _Block, right: _Block, product: Product) -> None:
    nearest.update_from_block(left.numbers, right.numbers, product.top_two_of_rows())
    if left is not right:
        nearest.update_from_block(right.numbers, left.numbers, product.top_two_of_columns())


def _decided(
    left: _Block, right: _Block, product: Product, threshold: float
) -> Iterator[tuple[Numbers, Numbers, NDArray[np.float64]]]:
    """The pairs of two blocks at or above the threshold: row, column and similarity of each."""
    cut = threshold - HALF_A_MICRO - screening_error(left.dim)
    for i, j in product.at_least(cut):
        similarity = _similarity_at(left.units, right.units, i, j)
        decided = similarity >= threshold
        if left is right:
            decided &= i < j
        if decided.any():
            yield i[decided], j[decided], similarity[decided]


def _similarity_at(left: Units, right: Units, i: Numbers, j: Numbers) -> NDArray[np.float64]:
    """Similarity of row left[i[k]] to row right[j[k]], i ascending: float64 [k]."""
    strip = slice(int(i[0]), int(i[-1]) + 1)
    if len(i) * _DENSE > (strip.stop - strip.start) * len(right):
        dense = similarities(left[strip], right)
        return dense[i - strip.start, j]
    similarity = np.empty(len(i))
    for span in spans(0, len(i), max(1, _PAIR_VALUES_AT_ONCE // left.shape[1])):
        similarity[span] = pairwise(left[i[span]], right[j[span]])
    return similarity


def _in_order(a: Numbers, b: Numbers, similarity: NDArray[np.float64]) -> PairBlock:
    if (a < b).all():
        return PairBlock(a, b, similarity)
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((high, low))
    return PairBlock(low[order], high[order], similarity[order])
