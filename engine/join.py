"""All pairs at or above a threshold, exactly, in memory bounded by the block.

Rows meet block by block, the upper triangle only. `row_codes` proposes pairs in int8, `rounded` in bfloat16
or float32, `screen` in NumPy's float32, each with a proved error bound, and every proposal is decided in
float64 by the definition in `similarity`. On a CPU a join holds about 200 MB (default block, 512 dimensions)
and a few bytes per row, whatever the number of rows and even if every pair is similar: pairs are handed on
in blocks of at most 2^20.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.cores import usable_cores
from twinlens.engine.errors import InvalidValue
from twinlens.engine.nearest import Nearest
from twinlens.engine.rounded import RoundedScreen
from twinlens.engine.row_codes import CodedProduct, CodedScreen
from twinlens.engine.screen import HALF_A_MICRO, Product, Screen, resolved_device
from twinlens.engine.screens import Precision, Task, chosen_precision, make_screen
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
)

__all__ = ["Nearest", "PairBlock", "cross_join", "self_join"]

_CPU_BLOCK = 2048
_ACCELERATOR_BLOCK = 8192
_PAIR_VALUES_AT_ONCE = 1 << 17
_ALL = slice(None)

# What stays loaded while all other blocks come by: loading one costs as much as meeting four, and for an
# accelerator, which reads it over a bus, as much as meeting thirty.
_LOADED_BYTES = 1 << 26
_ACCELERATOR_LOADED_BYTES = 1 << 30

# Deciding a gathered pair costs about as much memory traffic as 64 pairs of a matrix product.
_DENSE = 64
_DENSE_ROWS = 256  # Of such a product at a time.


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
    precision: Precision | None = None,
) -> Iterator[PairBlock]:
    """Every pair of rows whose similarity is at or above a threshold, once, and no other.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        threshold: similarity in (0, 1].
        block: how many rows meet as many others at a time, by default 2048 on a CPU and 8192 elsewhere;
            changes memory and the order of the answer, never its content.
        device: where the products are made: "cpu", "cuda", or "auto" for CUDA where there is one.
        skip: bool [n], rows that take no part.
        fresh: bool [n]; where given, only pairs with at least one fresh row: what is new after rows
            were added to others that were joined before.
        nearest: is told each row's most similar other row, of those it was compared with; ready when
            the iterator is exhausted.
        precision: of the products that propose pairs, by default what `chosen_precision` expects to be
            faster; changes the time and the order of the answer, never its content.

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
    norms = _norms(rows, kept)
    if precision is None:
        task = Task(threshold, len(new) * (len(old) + len(new) // 2), nearest is not None)
        precision = chosen_precision(rows, kept, task, device)
    screen = make_screen(precision, min(size, len(kept)), rows.shape[1], device)
    side = _Side(rows, norms, screen, _loaded_bytes(device))
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
    precision: Precision | None = None,
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
        precision: as in `self_join`.

    Returns:
        Blocks of pairs as in `self_join`, where `a` numbers `rows_a` and `b` numbers `rows_b`.

    Raises:
        InvalidValue: as in `self_join`.
    """
    device = resolved_device(device)
    size = _block_size(threshold, block, device)
    kept_a, kept_b = _kept(rows_a, skip_a), _kept(rows_b, skip_b)
    norms_a, norms_b = _norms(rows_a, kept_a), _norms(rows_b, kept_b)
    if precision is None:
        task = Task(threshold, len(kept_a) * len(kept_b), wants_nearest=False)
        precision = chosen_precision(rows_a, kept_a, task, device)
    screen = make_screen(precision, min(size, max(len(kept_a), len(kept_b))), rows_a.shape[1], device)
    left, right = (
        _Side(rows, norms, screen, _loaded_bytes(device))
        for rows, norms in ((rows_a, norms_a), (rows_b, norms_b))
    )
    return _cross_join(left, kept_a, right, kept_b, size, threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One collection, the screen that its blocks are loaded for, and how much of it may stay loaded."""

    rows: RowSource
    norms: NDArray[np.float64]
    screen: Screen | CodedScreen | RoundedScreen
    loaded_bytes: int

    def loaded_at_once(self, size: int) -> int:
        """How many rows stay loaded: whole blocks of `size`, one at least."""
        return max(1, self.loaded_bytes // (self.screen.value_bytes * self.rows.shape[1] * size)) * size

    def blocks(self, numbers: Numbers, size: int) -> Iterator[_Block]:
        """Blocks of at most `size` of some rows, one at a time."""
        return (_Block(self, numbers[span]) for span in spans(0, len(numbers), size))


class _Block:
    """Rows that meet others, loaded for the screen; their values are fetched again where they decide."""

    def __init__(self, side: _Side, numbers: Numbers) -> None:
        self.numbers = numbers
        self.dim = side.rows.shape[1]
        self._side = side
        self._loaded: Any = side.screen.load(side.rows[numbers], side.norms[numbers])

    def units(self, places: Numbers | slice = _ALL) -> Units:
        """Float64 [k, dim]."""
        numbers = self.numbers[places]
        units = self._side.rows[numbers].astype(np.float64)
        units /= self._side.norms[numbers, None]
        return units

    def times(self, other: _Block) -> Product | CodedProduct:
        """Screen this block against another; the block itself leaves out the diagonal."""
        screen = self._side.screen
        return screen.product(self._loaded, other._loaded, len(self.numbers), len(other.numbers))


def _block_size(threshold: float, block: int | None, device: str) -> int:
    check_threshold(threshold)
    if block is not None and block < 1:
        raise InvalidValue(f"block {block} is below 1: ask for a number of rows, such as {_CPU_BLOCK}")
    return block or default_block(device)


def default_block(device: str) -> int:
    """How many rows meet as many others at a time on a device, "auto" resolved."""
    return _CPU_BLOCK if device == "cpu" else _ACCELERATOR_BLOCK


def _loaded_bytes(device: str) -> int:
    return _LOADED_BYTES if device == "cpu" else _ACCELERATOR_LOADED_BYTES


def _kept(rows: RowSource, skip: Mask | None) -> Numbers:
    return np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)


def _norms(rows: RowSource, kept: Numbers) -> NDArray[np.float64]:
    norms = np.full(len(rows), np.nan)

    def measure(span: slice) -> None:
        norms[kept[span]] = row_norms(rows[kept[span]], kept[span])

    with ThreadPoolExecutor(usable_cores()) as pool:
        # One block is not worth a thread: joins inside cells are many and small.
        each = pool.map if len(kept) > _CPU_BLOCK else map
        deque(each(measure, spans(0, len(kept), _CPU_BLOCK)), maxlen=0)
    return norms


def _self_join(
    side: _Side, old: Numbers, new: Numbers, size: int, threshold: float, nearest: Nearest | None
) -> Iterator[PairBlock]:
    for left, right in _meetings(side, old, new, size):
        product = left.times(right)
        if nearest is not None:
            _tell(nearest, side.rows, left, right, product)
        for i, j, similarity in _decided(left, right, product, threshold):
            pairs = _in_order(left.numbers[i], right.numbers[j], similarity)
            if nearest is not None:
                nearest.update_from_pairs(pairs.a, pairs.b, pairs.similarity)
            yield pairs
    if nearest is not None:
        nearest.decide_rivals(side.rows)
        nearest.settle(side.rows, new, np.sort(np.concatenate([old, new])))
        nearest.settle(side.rows, old, new)


def _meetings(side: _Side, old: Numbers, new: Numbers, size: int) -> Iterator[tuple[_Block, _Block]]:
    """Every two blocks of which one is new, once: some stay loaded while all before them come by."""
    for group in spans(0, len(new), side.loaded_at_once(size)):
        stay = list(side.blocks(new[group], size))
        for numbers in (old, new[: group.start]):
            for left in side.blocks(numbers, size):
                yield from ((left, right) for right in stay)
        yield from ((left, right) for place, right in enumerate(stay) for left in stay[: place + 1])
        del stay  # Else it would be there until all of the next are loaded.


def _cross_join(
    a: _Side, kept_a: Numbers, b: _Side, kept_b: Numbers, size: int, threshold: float
) -> Iterator[PairBlock]:
    for group in spans(0, len(kept_a), a.loaded_at_once(size)):
        stay = list(a.blocks(kept_a[group], size))
        for right in b.blocks(kept_b, size):
            for left in stay:
                for i, j, similarity in _decided(left, right, left.times(right), threshold):
                    yield PairBlock(left.numbers[i], right.numbers[j], similarity)
        del stay


def _tell(
    nearest: Nearest, rows: RowSource, left: _Block, right: _Block, product: Product | CodedProduct
) -> None:
    if isinstance(product, CodedProduct):
        nearest.update_from_codes(rows, left.numbers, right.numbers, product)
        if left is not right:
            nearest.update_from_codes_of_columns(rows, right.numbers, left.numbers, product)
        return
    nearest.update_from_block(left.numbers, right.numbers, product.top_two_of_rows())
    if left is not right:
        nearest.update_from_block(right.numbers, left.numbers, product.top_two_of_columns())


def _decided(
    left: _Block, right: _Block, product: Product | CodedProduct, threshold: float
) -> Iterator[tuple[Numbers, Numbers, NDArray[np.float64]]]:
    """The pairs of two blocks at or above the threshold: row, column and similarity of each."""
    left_units, right_units = _Units(left), _Units(right)
    for i, j in product.reaching(threshold - HALF_A_MICRO):
        if left is right:
            i, j = i[i < j], j[i < j]
        if not len(i):
            continue
        similarity = _similarity_at(left_units, right_units, i, j)
        decided = similarity >= threshold
        if decided.any():
            yield i[decided], j[decided], similarity[decided]


class _Units:
    """Renormalised rows of a block for one meeting: a few as they are asked for, once they were many all."""

    def __init__(self, block: _Block) -> None:
        self.rows = len(block.numbers)
        self.dim = block.dim
        self._block = block
        self._asked = 0
        self._all: Units | None = None

    def at(self, places: Numbers | slice) -> Units:
        """Float64 [k, dim]."""
        if self._all is None:
            self._asked += self.rows if isinstance(places, slice) else len(places)
            if self._asked < self.rows:
                return self._block.units(places)
            self._all = self._block.units()
        return self._all[places]


def _similarity_at(left: _Units, right: _Units, i: Numbers, j: Numbers) -> NDArray[np.float64]:
    """Similarity of row left[i[k]] to row right[j[k]], i ascending: float64 [k]."""
    strip = slice(int(i[0]), int(i[-1]) + 1)
    similarity = np.empty(len(i))
    if len(i) * _DENSE > (strip.stop - strip.start) * right.rows:
        for rows in spans(strip.start, strip.stop, _DENSE_ROWS):
            some = slice(*np.searchsorted(i, (rows.start, rows.stop)))
            similarity[some] = similarities(left.at(rows), right.at(_ALL))[i[some] - rows.start, j[some]]
        return similarity
    for span in spans(0, len(i), max(1, _PAIR_VALUES_AT_ONCE // left.dim)):
        similarity[span] = pairwise(left.at(i[span]), right.at(j[span]))
    return similarity


def _in_order(a: Numbers, b: Numbers, similarity: NDArray[np.float64]) -> PairBlock:
    if (a < b).all():
        return PairBlock(a, b, similarity)
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((high, low))
    return PairBlock(low[order], high[order], similarity[order])
