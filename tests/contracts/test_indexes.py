"""What every index owes its users: the answers of brute force, ties included, also after a save and load."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import Rows, brute_similarity, lattice_rows, near_copies, random_rows
from twinlens.engine.errors import DatasetCorrupt, InvalidValue
from twinlens.engine.index import FlatIndex, Index
from twinlens.engine.inverted_index import InvertedIndex
from twinlens.engine.similarity import unit_rows

INDEXES = pytest.mark.parametrize("kind", [FlatIndex, InvertedIndex])
Kind = type[Index]


def made(kind: Kind, rows: Rows) -> Index:
    index = kind(rows.shape[1], "model")
    index.extend(rows)
    return index


def answer(
    index: Index, rows: Rows, query: int, k: int, among: np.ndarray | None = None
) -> list[tuple[int, float]]:
    everyone = np.ones(len(rows), dtype=bool)
    unit = unit_rows(rows[[query]])[0]
    numbers, similarity = index.search(rows, unit, k, everyone if among is None else among)
    return list(zip(numbers.tolist(), similarity.tolist(), strict=True))


def brute(rows: Rows, query: int, k: int, among: np.ndarray | None = None) -> list[tuple[int, float]]:
    similarity = brute_similarity(rows)[query]
    chosen = range(len(rows)) if among is None else np.flatnonzero(among).tolist()
    return [(n, similarity[n]) for n in sorted(chosen, key=lambda n: (-similarity[n], n))[:k]]


@INDEXES
@given(st.data(), lattice_rows().filter(lambda rows: len(rows) > 0), st.integers(1, 35))
def test_equals_brute_force_with_ties_to_the_lower_number(
    kind: Kind, data: st.DataObject, rows: Rows, k: int
) -> None:
    query = data.draw(st.integers(0, len(rows) - 1))
    among = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    index = made(kind, rows)
    assert answer(index, rows, query, k) == brute(rows, query, k)
    assert answer(index, rows, query, k, among) == brute(rows, query, k, among)


@INDEXES
@pytest.mark.parametrize("k", [1, 10, 100, 2000])
def test_float64_decides_where_float32_cannot(kind: Kind, k: int) -> None:
    rows = near_copies(0, 1500, 512, mutual=0.999999)
    assert answer(made(kind, rows), rows, 7, k) == brute(rows, 7, k)


@INDEXES
def test_many_duplicates_come_in_the_order_of_their_numbers(kind: Kind) -> None:
    rows = random_rows(0, 3000, 32)
    rows[1000:2500] = rows[0]
    assert answer(made(kind, rows), rows, 0, 12) == [(0, 1.0)] + [(n, 1.0) for n in range(1000, 1011)]


@INDEXES
def test_an_empty_index_has_no_answers(kind: Kind) -> None:
    empty = np.empty((0, 8), np.float16)
    numbers, similarity = made(kind, empty).search(empty, np.eye(8)[0], 5, np.zeros(0, bool))
    assert len(numbers) == len(similarity) == 0


@INDEXES
def test_what_was_removed_is_no_answer(kind: Kind) -> None:
    rows = random_rows(0, 300, 8)
    among = np.ones(300, dtype=bool)
    index = made(kind, rows)
    first = [number for number, _ in answer(index, rows, 5, 10)]
    among[first[:4]] = False
    assert answer(index, rows, 5, 10, among) == brute(rows, 5, 10, among)
    assert answer(index, rows, 5, 10, np.zeros(300, bool)) == []


@INDEXES
def test_rows_that_are_added_later_are_found(kind: Kind) -> None:
    rows = random_rows(0, 400, 16)
    index = made(kind, rows[:150])
    assert len(index) == 150
    index.extend(rows)
    index.extend(rows)
    assert len(index) == 400
    assert answer(index, rows, 399, 20) == brute(rows, 399, 20)


@INDEXES
@pytest.mark.parametrize("order", ["strided", "fortran"])
def test_any_layout_of_the_same_rows_gives_the_same_answer(kind: Kind, order: str) -> None:
    rows = random_rows(0, 200, 12)
    twice = np.repeat(rows, 2, axis=0)
    layouts: dict[str, Rows] = {"strided": twice[::2], "fortran": np.asfortranarray(rows)}
    laid_out = layouts[order]
    assert not laid_out.flags.c_contiguous
    assert answer(made(kind, laid_out), laid_out, 3, 9) == brute(rows, 3, 9)


@INDEXES
def test_saved_and_loaded_it_answers_the_same_and_can_grow(kind: Kind, tmp_path: Path) -> None:
    rows = random_rows(0, 500, 24)
    made(kind, rows[:400]).save(tmp_path / "index.faiss")
    loaded = kind.load(tmp_path / "index.faiss", 24, "model")
    assert len(loaded) == 400
    loaded.extend(rows)
    assert answer(loaded, rows, 3, 50) == brute(rows, 3, 50)


@INDEXES
def test_an_index_for_other_vectors_is_refused_naming_both(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    made(kind, random_rows(0, 5, 24)).save(path)
    with pytest.raises(DatasetCorrupt, match=r"24.*32"):
        kind.load(path, 32, "model")
    with pytest.raises(DatasetCorrupt, match=r"model.*other"):
        kind.load(path, 24, "other")


@INDEXES
def test_damaged_files_are_refused_and_never_crash(kind: Kind, tmp_path: Path) -> None:
    path, beside = tmp_path / "index.faiss", tmp_path / "index.json"
    made(kind, random_rows(0, 50, 24)).save(path)
    good, said = path.read_bytes(), beside.read_text()
    rng = np.random.default_rng(0)
    for place in [*range(60), *rng.integers(60, len(good), 20).tolist()]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        with pytest.raises(DatasetCorrupt):
            kind.load(path, 24, "model")
    for damaged in (b"", good[:-1], good + b"\0", rng.bytes(len(good)), None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(DatasetCorrupt):
            kind.load(path, 24, "model")
    path.write_bytes(good)
    for claim in ("", "[]", "{", said.replace("50", "51"), json.dumps({**json.loads(said), "version": 9})):
        beside.write_text(claim)
        with pytest.raises(DatasetCorrupt):
            kind.load(path, 24, "model")
    beside.write_text(said)
    assert len(kind.load(path, 24, "model")) == 50


@INDEXES
def test_a_save_that_finds_no_room_leaves_the_old_index(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    made(kind, random_rows(0, 5, 24)).save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError):
            made(kind, random_rows(0, 5000, 24)).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.faiss", "index.json"]
    assert len(kind.load(path, 24, "model")) == 5


@INDEXES
def test_senseless_queries_are_refused(kind: Kind) -> None:
    rows = random_rows(0, 5, 8)
    index, everyone = made(kind, rows), np.ones(5, bool)
    with pytest.raises(InvalidValue, match=r"7.*8"):
        index.search(rows, np.ones(7), 3, everyone)
    with pytest.raises(InvalidValue, match="k is 0"):
        index.search(rows, np.eye(8)[0], 0, everyone)
