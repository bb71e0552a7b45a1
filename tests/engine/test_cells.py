"""Joins by cells: exact inside a cell, and their recall is what was measured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tests.rows import Rows, brute_pairs, brute_similarity, clustered_rows
from twinlens.engine.cells import SPREADS, Cells, Recall, cells_join, make_cells, measure_recall
from twinlens.engine.join import PairBlock

THRESHOLD = 0.8


def listed(blocks: Iterable[PairBlock]) -> list[tuple[int, int, float]]:
    return [
        pair
        for block in blocks
        for pair in zip(block.a.tolist(), block.b.tolist(), block.similarity.tolist(), strict=True)
    ]


def some_rows() -> Rows:
    return clustered_rows(0, 1500, 24, groups=60, noise=1.0)


def test_pairs_of_one_cell_are_found_once_and_exactly() -> None:
    rows = some_rows()
    cells = make_cells(rows).narrowed(3)
    wanted = {
        (a, b, similarity)
        for a, b, similarity in brute_pairs(brute_similarity(rows), THRESHOLD)
        if set(cells.nearest[a]) & set(cells.nearest[b])
    }
    found = listed(cells_join(rows, cells, THRESHOLD))
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_the_measured_recall_is_the_share_of_pairs_that_the_join_finds() -> None:
    rows = some_rows()
    widest = make_cells(rows)
    choices = [widest.narrowed(spread) for spread in SPREADS]
    recalls = measure_recall(rows, choices, THRESHOLD, sample=len(rows))
    pairs = len(brute_pairs(brute_similarity(rows), THRESHOLD))
    for cells, recall in zip(choices, recalls, strict=True):
        assert recall == Recall(len(rows), pairs, len(listed(cells_join(rows, cells, THRESHOLD))))
    shares = [recall.share or 0.0 for recall in recalls]
    assert shares == sorted(shares)
    assert shares[0] < 0.99, "else the choice of a spread is not tried"
    assert shares[-1] == 1.0, "every row is in every cell"


def test_the_recall_of_a_sample_is_near_that_of_all() -> None:
    rows = some_rows()
    cells = [make_cells(rows).narrowed(1)]
    (all_,) = measure_recall(rows, cells, THRESHOLD, sample=len(rows))
    (some,) = measure_recall(rows, cells, THRESHOLD, sample=500)
    assert some.pairs < all_.pairs
    assert some.share == pytest.approx(all_.share, abs=0.03)


def test_without_a_pair_there_is_no_recall() -> None:
    rows = np.eye(40, dtype=np.float16)
    (recall,) = measure_recall(rows, [make_cells(rows)], 0.9)
    assert recall == Recall(40, 0, 0)
    assert recall.share is None


def test_skipped_rows_are_in_no_cell() -> None:
    rows = some_rows()
    skip = np.arange(len(rows)) % 3 == 0
    rows[skip] = 0
    cells = make_cells(rows, skip=skip)
    assert (cells.nearest[skip] == -1).all()
    assert (cells.nearest[~skip] >= 0).all()
    wanted = brute_pairs(brute_similarity(rows[~skip]), THRESHOLD)
    (recall,) = measure_recall(rows, [cells], THRESHOLD, skip=skip, sample=len(rows))
    assert recall.pairs == len(wanted) == len(listed(cells_join(rows, cells, THRESHOLD)))


def test_cells_are_the_same_every_time() -> None:
    rows = some_rows()
    assert np.array_equal(make_cells(rows).nearest, make_cells(rows).nearest)


def test_pairs_that_are_compared_are_counted_cell_by_cell() -> None:
    cells = Cells(np.array([[0, 1], [0, 2], [0, 1], [-1, -1]], np.int32), 3)
    assert cells.pairs_to_compare() == 3 + 1
    assert [(cell, rows.tolist()) for cell, rows in cells.members()] == [(0, [0, 1, 2]), (1, [0, 2])]
    assert cells.first_shared(np.array([0, 1, 0]), np.array([2, 2, 3])).tolist() == [0, 0, -1]
