"""An index in lists finds nearly all of what brute force finds, says how much, and never tells a wrong value.

What it shares with the exact index is in contracts/test_indexes.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.rows import Rows
from twinlens.engine.inverted_index import RECALL_AT, WANTED_RECALL, InvertedIndex
from twinlens.engine.similarity import similarities, unit_rows

DIM = 96


def gathered(rng: np.random.Generator, count: int) -> Rows:
    """Rows in groups of about twenty, in directions that matter less and less, as embeddings are."""
    spectrum = np.arange(1, DIM + 1) ** -0.5
    groups = rng.standard_normal((max(1, count // 20), DIM))
    rows = (groups[rng.integers(0, len(groups), count)] + 0.5 * rng.standard_normal((count, DIM))) * spectrum
    return rows.astype(np.float16)


def made(rows: Rows) -> InvertedIndex:
    index = InvertedIndex(DIM, "model")
    index.extend(rows)
    return index


def answers(index: InvertedIndex, rows: Rows, query: int, among: np.ndarray) -> dict[int, float]:
    numbers, similarity = index.search(rows, unit_rows(rows[[query]])[0], RECALL_AT, among)
    return dict(zip(numbers.tolist(), similarity.tolist(), strict=True))


def share_found(index: InvertedIndex, rows: Rows, queries: range) -> float:
    """Of the most similar rows by brute force; every value that is told must be that of brute force."""
    everyone, units = np.ones(len(rows), bool), unit_rows(rows)
    found = 0
    for query in queries:
        exact = similarities(units[[query]], units)[0]
        told = answers(index, rows, query, everyone)
        assert all(value == exact[number] for number, value in told.items())
        best = np.lexsort((np.arange(len(rows)), -exact))[:RECALL_AT]
        found += len(told.keys() & set(best.tolist()))
    return found / (RECALL_AT * len(queries))


@pytest.fixture(scope="module")
def rows() -> Rows:
    return gathered(np.random.default_rng(5), 8000)


@pytest.fixture(scope="module")
def index(rows: Rows) -> InvertedIndex:
    return made(rows)


def test_it_finds_what_it_promises_looking_at_a_part_only(index: InvertedIndex, rows: Rows) -> None:
    assert index.recall >= WANTED_RECALL
    assert share_found(index, rows, range(0, 8000, 50)) >= 0.98
    assert index.probes < 15 and index.shortlist < 2000, "8,000 rows are in 15 lists"


def test_where_few_may_be_answered_all_of_them_are(index: InvertedIndex, rows: Rows) -> None:
    """They lie anywhere, also in the lists that are farthest from the query."""
    among = np.zeros(8000, bool)
    among[np.random.default_rng(6).choice(8000, 9, replace=False)] = True
    assert sorted(answers(index, rows, 0, among)) == np.flatnonzero(among).tolist()
    assert answers(index, rows, 0, np.zeros(8000, bool)) == {}


def test_what_was_removed_is_gone_at_once(index: InvertedIndex, rows: Rows) -> None:
    among = np.ones(8000, bool)
    first = answers(index, rows, 3, among)
    among[list(first)] = False
    second = answers(index, rows, 3, among)
    assert len(second) == RECALL_AT and not first.keys() & second.keys()


def test_rows_are_added_to_the_lists_until_there_are_four_times_as_many(rows: Rows) -> None:
    index = made(rows[:5000])
    assert index.trained_on == 5000
    index.extend(rows[:5300])
    assert (len(index), index.trained_on) == (5300, 5000)
    assert share_found(index, rows[:5300], range(5000, 5300, 5)) >= 0.95
    more = np.concatenate([rows, rows, rows])[:20_000]
    index.extend(more)
    assert (len(index), index.trained_on) == (20_000, 20_000)


def test_saved_and_loaded_it_is_the_same(index: InvertedIndex, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    index.save(path)
    loaded = InvertedIndex.load(path, DIM, "model")
    everyone = np.ones(8000, bool)
    assert [answers(loaded, rows, n, everyone) for n in range(0, 8000, 800)] == [
        answers(index, rows, n, everyone) for n in range(0, 8000, 800)
    ]
    assert (loaded.probes, loaded.shortlist) == (index.probes, index.shortlist)
    assert json.loads(path.with_suffix(".json").read_text())["recall"] == loaded.recall == index.recall


def test_made_twice_it_is_the_same(index: InvertedIndex, rows: Rows, tmp_path: Path) -> None:
    index.save(tmp_path / "one.faiss")
    made(rows).save(tmp_path / "two.faiss")
    assert (tmp_path / "one.faiss").read_bytes() == (tmp_path / "two.faiss").read_bytes()
