"""What images are to each other, kept up to date: units, pairs above the floor, nearest others.

Runs after images were added or removed, under the writer's lock. Only new units are joined, against
each other and against the old ones. All pairs at or above the model's floor are kept; where they
are more than `KEPT_PAIRS`, the floor of this dataset rises until they fit, and `kept_from` says to
where. A lower threshold then costs a join instead of a query.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import Catalog
from twinlens.engine.collapse import collapse_identical
from twinlens.engine.estimate import estimate_pairs, lowest_served
from twinlens.engine.join import Nearest, PairBlock, self_join
from twinlens.engine.join_plan import JoinMethod, JoinPlan, plan_join
from twinlens.engine.join_plan import joined as joined_by
from twinlens.engine.similarity import MICRO
from twinlens.engine.types import ModelDescription
from twinlens.engine.uniqueness import FEWEST, measure_isolation
from twinlens.engine.vectors import Rows

KEPT_PAIRS = 5_000_000

JOIN = "join"
"""Where the catalog says how its pairs were found, if not by comparing all."""

# Comparing fewer pairs takes seconds: nobody needs a plan.
_PLANNED_FROM = 1 << 32


def update(
    catalog: Catalog,
    rows: Rows,
    description: ModelDescription,
    device: str,
    method: JoinMethod = "auto",
    on_plan: Callable[[JoinPlan], None] | None = None,
    kept_pairs: int = KEPT_PAIRS,
) -> None:
    """Bring units, pairs and nearest others up to date with the images of the catalog.

    Args:
        catalog: open for writing.
        rows: all committed rows, float16 [rows, dim].
        description: of the model; its floor and isolation are used.
        device: where the join runs.
        method: how rows are joined that were not joined before.
        on_plan: is told the plan of a long join before it begins.
        kept_pairs: how many pairs the catalog may hold.
    """
    with catalog.transaction():
        catalog.set_units(collapse_identical(rows))
        living = np.zeros(len(rows), np.bool_)
        living[catalog.informative_units()] = True
        joined = np.zeros(len(rows), np.bool_)
        joined[catalog.joined()] = True
        if (living & ~joined).any():
            _join(catalog, rows, living, joined, device, kept_pairs, method, on_plan)
        _replace_lost_nearest(catalog, rows, living, device)
        if description.isolation is None and catalog.meta("isolation", "") == "":
            _measure_isolation(catalog, description)
        catalog.next_generation()


def _join(
    catalog: Catalog,
    rows: Rows,
    living: NDArray[np.bool_],
    joined: NDArray[np.bool_],
    device: str,
    limit: int,
    method: JoinMethod,
    on_plan: Callable[[JoinPlan], None] | None,
) -> None:
    fresh = living & ~joined
    kept_from = float(catalog.meta("kept_from"))
    if estimate_pairs(rows, kept_from, skip=~living) > limit:
        kept_from = max(kept_from, lowest_served(rows, limit, skip=~living))
        catalog.drop_pairs_below(kept_from)
    nearest = Nearest(len(rows))
    lowest = min(kept_from, 1.0)
    if method == "cells" or int(fresh.sum()) * int(living.sum()) >= _PLANNED_FROM:
        plan = plan_join(
            rows, lowest, method=method, skip=~living, fresh=fresh, wants_nearest=True, device=device
        )
        if on_plan is not None:
            on_plan(plan)
        blocks = joined_by(plan, rows, skip=~living, fresh=fresh, nearest=nearest, device=device)
        if plan.cells is not None:
            catalog.set_meta(JOIN, json.dumps(plan.to_json()))
    else:
        blocks = self_join(rows, lowest, device=device, skip=~living, fresh=fresh, nearest=nearest)
    _keep(catalog, blocks, kept_from, limit)
    catalog.set_joined(np.flatnonzero(fresh))
    _merge_nearest(catalog, nearest)


def _keep(catalog: Catalog, blocks: Iterable[PairBlock], kept_from: float, limit: int) -> None:
    """Store pairs; whenever they become too many, forget the less similar half and raise the floor."""
    count = catalog.count_pairs()
    for block in blocks:
        chosen = block.similarity >= kept_from
        catalog.add_pairs(PairBlock(block.a[chosen], block.b[chosen], block.similarity[chosen]))
        count += int(chosen.sum())
        if count > limit:
            kept_from = catalog.nth_similarity(limit // 2) + 1.0 / MICRO
            catalog.drop_pairs_below(kept_from)
            count = catalog.count_pairs()
    catalog.set_meta("kept_from", repr(round(kept_from, 6)))


def _merge_nearest(catalog: Catalog, nearest: Nearest) -> None:
    """Take the nearest others of a join where they are nearer than what was known; ties to the lower row."""
    units, others, similarity = catalog.nearest()
    found, found_similarity = nearest.index[units], nearest.similarity[units]
    unknown = others < 0
    closer = found_similarity > similarity
    tied = (found_similarity == similarity) & (found < others)
    better = (found >= 0) & (unknown | closer | tied)
    catalog.set_nearest(units[better], found[better], found_similarity[better])


def _replace_lost_nearest(catalog: Catalog, rows: Rows, living: NDArray[np.bool_], device: str) -> None:
    """Find the nearest others anew for units whose nearest was removed."""
    units, others, _ = catalog.nearest()
    lost = np.zeros(len(rows), np.bool_)
    lost[units[others < 0]] = True
    if not lost.any() or living.sum() < 2:
        return
    nearest = Nearest(len(rows))
    for _ in self_join(rows, 1.0, device=device, skip=~living, fresh=lost & living, nearest=nearest):
        pass
    found = np.flatnonzero(lost & (nearest.index >= 0))
    catalog.set_nearest(found, nearest.index[found], nearest.similarity[found])


def _measure_isolation(catalog: Catalog, description: ModelDescription) -> None:
    """Measure b once, as soon as there is enough to measure it on; it stays, so that scores do."""
    _, others, similarity = catalog.nearest()
    twin = description.points.default
    without_twin = similarity[(others >= 0) & (similarity < twin)]
    if len(without_twin) >= FEWEST:
        catalog.set_meta("isolation", repr(measure_isolation(without_twin, twin)))
