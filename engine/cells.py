"""Joins of collections too large for all pairs: rows meet inside cells, and how much that finds is measured.

Rows are assigned to their nearest cells of an inverted file (centres by spherical k-means on a sample), each
row to several, since twins near a border lie on two sides of it. Inside a cell the join is exact. A pair is
found if its rows share a cell, so the recall at a threshold is known before anything is joined: some
rows are compared with all others exactly, and the share of their pairs that share a cell is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.join import Nearest, PairBlock, cross_join, self_join
from twinlens.engine.screens import Precision
from twinlens.engine.similarity import IndexedRows, Mask, Numbers, RowSource, row_norms, spans

SPREADS = (1, 2, 4, 8, 16)
"""To how many cells each row may be assigned."""

_ROWS_OF_A_CELL = 4096
_TRAINED_ON = 48
_ROUNDS = 6
_ROWS_AT_ONCE = 8192
_NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Which cells each row is assigned to.

    Attributes:
        nearest: int32 [n, spread], cells of each row, the nearest first; -1 for rows that take no part.
        count: how many cells there are.
    """

    nearest: NDArray[np.int32]
    count: int

    @property
    def spread(self) -> int:
        """To how many cells each row is assigned."""
        return int(self.nearest.shape[1])

    def narrowed(self, spread: int) -> Cells:
        """The same with each row in its `spread` nearest cells only."""
        return Cells(self.nearest[:, :spread], self.count)

    def members(self) -> Iterator[tuple[int, Numbers]]:
        """Each cell with two or more rows, and its rows, ascending."""
        flat = self.nearest.reshape(-1)
        order = np.argsort(flat, kind="stable")
        starts = np.searchsorted(flat[order], np.arange(self.count + 1))
        for cell in range(self.count):
            rows = order[starts[cell] : starts[cell + 1]] // self.spread
            if len(rows) > 1:
                yield cell, rows

    def pairs_to_compare(self) -> int:
        """How many pairs meet in all cells, those that meet in several counted in each."""
        sizes = np.bincount(self.nearest[self.nearest >= 0], minlength=self.count).astype(np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    def first_shared(self, a: Numbers, b: Numbers) -> NDArray[np.int32]:
        """The cell of the lowest number that rows a[k] and b[k] share, int32 [k]; -1 where there is none."""
        left, right = self.nearest[a], self.nearest[b]
        shared = np.full(len(a), self.count, dtype=np.int32)
        for place in range(self.spread):
            cell = left[:, place]
            common = (right == cell[:, None]).any(axis=1) & (cell >= 0)
            np.minimum(shared, np.where(common, cell, self.count), out=shared)
        shared[shared == self.count] = _NOBODY
        return shared


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of an exact join a join by cells finds, measured on some rows.

    Attributes:
        rows: how many rows were compared with all others exactly.
        pairs: how many pairs they have at or above the threshold.
        found: how many of those share a cell.
    """

    rows: int
    pairs: int
    found: int

    @property
    def share(self) -> float | None:
        """Found of all, None where the sample has no pair."""
        return self.found / self.pairs if self.pairs else None


def make_cells(
    rows: RowSource, *, skip: Mask | None = None, spread: int = SPREADS[-1], seed: int = 0
) -> Cells:
    """Assign rows to their nearest cells.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        skip: bool [n], rows that take no part.
        spread: to how many cells each row is assigned.
        seed: of the sample that the centres come from.
    """
    import faiss

    kept = np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)
    count = max(spread, len(kept) // _ROWS_OF_A_CELL)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(kept, min(len(kept), _TRAINED_ON * count), replace=False))
    dim = rows.shape[1]
    means = faiss.Kmeans(dim, count, niter=_ROUNDS, spherical=True, seed=seed, min_points_per_centroid=1)
    means.train(_units(rows, sample))
    index = means.index
    nearest = np.full((len(rows), spread), _NOBODY, dtype=np.int32)
    for span in spans(0, len(kept), _ROWS_AT_ONCE):
        nearest[kept[span]] = index.search(_units(rows, kept[span]), spread)[1]
    return Cells(nearest, count)


def measure_recall(
    rows: RowSource,
    cells: Sequence[Cells],
    threshold: float,
    *,
    skip: Mask | None = None,
    sample: int = 2000,
    seed: int = 0,
    device: str = "cpu",
) -> list[Recall]:
    """The recall of a join by each of several cells, on the same rows.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        cells: of these rows.
        threshold: similarity in (0, 1].
        skip: bool [n], rows that take no part.
        sample: how many rows are compared with all others.
        seed: of the sample.
        device: where the products are made.
    """
    kept = np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(kept, min(sample, len(kept)), replace=False))
    pairs, found = 0, np.zeros(len(cells), dtype=np.int64)
    for block in cross_join(IndexedRows(rows, chosen), rows, threshold, device=device, skip_b=skip):
        a, b = chosen[block.a], block.b
        # Twice the same row is no pair, and a pair of two sampled rows is one.
        sampled = chosen[np.minimum(np.searchsorted(chosen, b), len(chosen) - 1)] == b
        once = (a != b) & ~(sampled & (a > b))
        pairs += int(once.sum())
        found += [int((each.first_shared(a[once], b[once]) >= 0).sum()) for each in cells]
    return [Recall(len(chosen), pairs, int(count)) for count in found]


def cells_join(
    rows: RowSource,
    cells: Cells,
    threshold: float,
    *,
    device: str = "cpu",
    precision: Precision | None = None,
    nearest: Nearest | None = None,
) -> Iterator[PairBlock]:
    """Every pair at or above a threshold whose rows share a cell, once.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        cells: of these rows.
        threshold: similarity in (0, 1].
        device: as in `join.self_join`.
        precision: as in `join.self_join`.
        nearest: is told each row's most similar other row among those it shares a cell with.

    Returns:
        Blocks of pairs a < b, none empty.

    Raises:
        InvalidValue: as `join.self_join`.
    """
    for cell, members in cells.members():
        within = None if nearest is None else Nearest(len(members))
        part = IndexedRows(rows, members)
        for block in self_join(part, threshold, device=device, nearest=within, precision=precision):
            a, b = members[block.a], members[block.b]
            first = cells.first_shared(a, b) == cell
            if first.any():
                yield PairBlock(a[first], b[first], block.similarity[first])
        if nearest is not None and within is not None:
            nearest.update_from_part(members, within)


def _units(rows: RowSource, numbers: Numbers) -> NDArray[np.float32]:
    fetched = rows[numbers]
    return fetched.astype(np.float32) / row_norms(fetched, numbers).astype(np.float32)[:, None]
