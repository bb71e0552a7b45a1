"""The plan of a join: exact as long as that ends in time, else by cells, and it says what it will do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rows import brute_pairs, brute_similarity, clustered_rows, random_rows
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join_plan import JoinPlan, joined, plan_join


def test_a_small_collection_is_joined_exactly() -> None:
    rows = clustered_rows(0, 800, 24, groups=40, noise=0.9)
    plan = plan_join(rows, 0.8)
    assert (plan.method, plan.pairs, plan.recall) == ("exact", 800 * 799 // 2, None)
    assert 0.0 < plan.seconds < 60.0
    met = {(a, b) for block in joined(plan, rows) for a, b in zip(block.a, block.b, strict=True)}
    assert met == {(a, b) for a, b, _ in brute_pairs(brute_similarity(rows), 0.8)}


def test_what_would_take_too_long_is_joined_by_cells_of_enough_recall() -> None:
    rows = clustered_rows(0, 1500, 24, groups=60, noise=1.0)
    skip = np.arange(1500) % 5 == 0
    plan = plan_join(rows, 0.8, skip=skip, patience=0.0)
    assert plan.method == "cells"
    assert plan.recall is not None and plan.cells is not None
    assert plan.recall.share is not None and plan.recall.share >= 0.99
    wanted = brute_pairs(brute_similarity(rows), 0.8)
    wanted = {pair for pair in wanted if not skip[list(pair[:2])].any()}
    met = sum(len(block) for block in joined(plan, rows, skip=skip))
    assert plan.recall.pairs == len(wanted), "2,000 rows are sampled, and there are 1,200"
    assert met == plan.recall.found


def test_the_method_can_be_forced() -> None:
    rows = random_rows(0, 300, 8)
    assert plan_join(rows, 0.9, method="exact", patience=0.0).method == "exact"
    assert plan_join(rows, 0.9, method="cells").method == "cells"


def test_a_plan_tells_what_it_will_do() -> None:
    plan = JoinPlan("exact", "int8", 1_000_000, 512, 0.88, 499_999_500_000, 800.0, 1 << 28)
    assert str(plan) == ("1,000,000 rows of 512 at 0.88: exact, 499,999,500,000 pairs in int8, about 13 min")
    told = str(plan_join(clustered_rows(0, 500, 8, groups=20, noise=0.9), 0.8, method="cells"))
    assert "approximate" in told
    assert "recall measured on 500 rows with " in told


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_rows_are_joined_exactly_whatever_is_asked(count: int) -> None:
    plan = plan_join(random_rows(0, count, 8), 0.9, method="cells")
    assert plan.method == "exact"
    assert plan.pairs == count * (count - 1) // 2


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(InvalidValue, match="0 is not in"):
        plan_join(random_rows(0, 10, 8), 0.0)
    with pytest.raises(InvalidValue, match="no join is named 'ivf'"):
        plan_join(random_rows(0, 10, 8), 0.9, method="ivf")  # type: ignore[arg-type]
