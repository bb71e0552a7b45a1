"""How a large join is done: all pairs exactly, or by cells with a recall that was measured, and its price.

The plan is made from the number of rows, their length, the threshold, and how fast this machine multiplies
two blocks, tried at once. All pairs are compared as long as that is expected to take at most
`PATIENCE` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.engine.cells import SPREADS, Cells, Recall, cells_join, make_cells, measure_recall
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join import Nearest, PairBlock, default_block, self_join
from twinlens.engine.screen import resolved_device
from twinlens.engine.screens import Precision, Task, chosen_precision, make_screen
from twinlens.engine.similarity import Mask, Numbers, RowSource, check_threshold, row_norms

JoinMethod: TypeAlias = Literal["auto", "exact", "cells"]

PATIENCE = 3600.0
"""Seconds that an exact join may be expected to take before cells are taken instead."""

WANTED_RECALL = 0.99

_PROBES = 3
_LOADED_BYTES = 200 << 20

# A join beside its bare products: coding, maxima, decisions. That again with each row's nearest other, and by
# cells, which are smaller than blocks and share pairs. Measured by scripts/bench_join.py.
_OVERHEAD = 1.4
_NEAREST_OVERHEAD = 2.1
_CELLS_OVERHEAD = 1.5


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """What a join will do.

    Attributes:
        method: "exact", or "cells".
        precision: of the products that propose pairs.
        rows: how many take part.
        dim: their length.
        threshold: similarity.
        pairs: how many pairs of rows are compared.
        seconds: expected for the join, measuring of the recall not counted.
        memory: bytes expected beside the rows.
        cells: where rows meet; None if everywhere.
        recall: measured at the threshold; None for an exact join, which finds all.
    """

    method: Literal["exact", "cells"]
    precision: Precision
    rows: int
    dim: int
    threshold: float
    pairs: int
    seconds: float
    memory: int
    cells: Cells | None = None
    recall: Recall | None = None

    def to_json(self) -> dict[str, Any]:
        """What results say of the join they come from."""
        recall = self.recall
        return {
            "method": self.method,
            "precision": self.precision,
            "rows": self.rows,
            "threshold": self.threshold,
            "pairs_compared": self.pairs,
            "expected_seconds": round(self.seconds, 1),
            "cells": None if self.cells is None else self.cells.count,
            "cells_of_a_row": None if self.cells is None else self.cells.spread,
            "recall": 1.0 if recall is None else recall.share,
            "recall_measured_on": None if recall is None else {"rows": recall.rows, "pairs": recall.pairs},
        }

    def __str__(self) -> str:
        way = f"{self.rows:,} rows of {self.dim} at {self.threshold:g}: "
        cost = f"{self.pairs:,} pairs in {self.precision}, about {_duration(self.seconds)}"
        if self.cells is None or self.recall is None:
            return f"{way}exact, {cost}"
        found = "no pair in the sample" if self.recall.share is None else f"{self.recall.share:.2%} found"
        return (
            f"{way}approximate, {self.cells.count:,} cells, each row in {self.cells.spread}, {cost}; "
            f"recall measured on {self.recall.rows:,} rows with {self.recall.pairs:,} pairs: {found}"
        )


def plan_join(
    rows: RowSource,
    threshold: float,
    *,
    method: JoinMethod = "auto",
    skip: Mask | None = None,
    fresh: Mask | None = None,
    wants_nearest: bool = False,
    device: str = "cpu",
    patience: float = PATIENCE,
) -> JoinPlan:
    """Plan the join of a collection with itself.

    Args:
        rows: float16 [n, dim], may be memory-mapped.
        threshold: similarity in (0, 1].
        method: "exact", "cells", or "auto" for exact where that is expected to end in time.
        skip: bool [n], rows that take no part.
        fresh: bool [n], as in `join.self_join`; what is added to what was joined before meets it exactly.
        wants_nearest: whether each row's nearest other is wanted as well.
        device: as in `join.self_join`.
        patience: seconds that an exact join may be expected to take where the method is "auto".

    Raises:
        InvalidValue: a threshold outside (0, 1], or a method that does not exist.
    """
    check_threshold(threshold)
    if method not in ("auto", "exact", "cells"):
        raise InvalidValue(f"no join is named {method!r}: choose from auto, exact, cells")
    device = resolved_device(device)
    kept = np.arange(len(rows)) if skip is None else np.flatnonzero(~skip)
    pairs = _pairs_that_meet(kept, fresh)
    precision = chosen_precision(rows, kept, Task(threshold, pairs, wants_nearest), device)
    rate = _pairs_per_second(rows, kept, precision, device) / (_NEAREST_OVERHEAD if wants_nearest else 1.0)
    exact = JoinPlan(
        method="exact",
        precision=precision,
        rows=len(kept),
        dim=rows.shape[1],
        threshold=threshold,
        pairs=pairs,
        seconds=pairs / rate,
        memory=_LOADED_BYTES + 8 * len(rows),
    )
    whole = fresh is None or bool(fresh[kept].all())
    if method == "exact" or not whole or len(kept) < SPREADS[-1]:
        return exact
    if method == "auto" and exact.seconds <= patience:
        return exact
    return _by_cells(rows, skip, exact, rate, device)


def joined(
    plan: JoinPlan,
    rows: RowSource,
    *,
    skip: Mask | None = None,
    fresh: Mask | None = None,
    nearest: Nearest | None = None,
    device: str = "cpu",
) -> Iterator[PairBlock]:
    """Carry a plan out: blocks of pairs, as `join.self_join` gives them.

    Args:
        plan: of these rows.
        rows: float16 [n, dim].
        skip: bool [n], as it was planned.
        fresh: bool [n], as it was planned.
        nearest: is told each row's most similar other row, of those it was compared with.
        device: as in `join.self_join`.
    """
    if plan.cells is not None:
        return cells_join(
            rows, plan.cells, plan.threshold, device=device, precision=plan.precision, nearest=nearest
        )
    return self_join(
        rows,
        plan.threshold,
        device=device,
        skip=skip,
        fresh=fresh,
        nearest=nearest,
        precision=plan.precision,
    )


def _pairs_that_meet(kept: Numbers, fresh: Mask | None) -> int:
    new = len(kept) if fresh is None else int(fresh[kept].sum())
    return new * (len(kept) - new) + new * (new - 1) // 2


def _by_cells(rows: RowSource, skip: Mask | None, exact: JoinPlan, rate: float, device: str) -> JoinPlan:
    """By as few cells a row as reach the wanted recall, by the most there are where none does."""
    widest = make_cells(rows, skip=skip)
    choices = [widest.narrowed(spread) for spread in SPREADS]
    recalls = measure_recall(rows, choices, exact.threshold, skip=skip, device=device)
    enough = (place for place, recall in enumerate(recalls) if (recall.share or 0.0) >= WANTED_RECALL)
    place = next(enough, len(choices) - 1)
    pairs = choices[place].pairs_to_compare()
    return JoinPlan(
        method="cells",
        precision=exact.precision,
        rows=exact.rows,
        dim=exact.dim,
        threshold=exact.threshold,
        pairs=pairs,
        seconds=pairs / rate * _CELLS_OVERHEAD,
        memory=exact.memory + 4 * len(rows) * (widest.spread + choices[place].spread),
        cells=choices[place],
        recall=recalls[place],
    )


def _pairs_per_second(rows: RowSource, kept: Numbers, precision: Precision, device: str) -> float:
    """How many pairs of rows this machine compares in a second, tried on a block with itself."""
    if not len(kept):
        return 1.0
    size = default_block(device)
    numbers = np.resize(kept[:size], size)
    screen = make_screen(precision, size, rows.shape[1], device)
    loaded: Any = screen.load(rows[numbers], row_norms(rows[numbers], numbers))
    best = np.inf
    for _ in range(_PROBES):
        start = time.perf_counter()
        for _ in screen.product(loaded, loaded, size, size).reaching(2.0):
            pass
        best = min(best, time.perf_counter() - start)
    return float(size**2 / (best * _OVERHEAD))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
