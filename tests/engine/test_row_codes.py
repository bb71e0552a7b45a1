"""Int8 products: no pair that can reach what was asked for is left out, whatever the rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from tests.rows import (
    DEVICES,
    Rows,
    adversarial_rows,
    brute_pairs,
    brute_similarity,
    clustered_rows,
    near_copies,
    random_rows,
)
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join import Nearest, cross_join, self_join
from twinlens.engine.row_codes import CodedProduct, CodedScreen, codes_are_exact
from twinlens.engine.screen import Screen
from twinlens.engine.screens import Precision, Task, chosen_precision, make_screen
from twinlens.engine.similarity import row_norms, unit_rows

pytestmark = pytest.mark.skipif(not codes_are_exact("cpu"), reason="no VNNI instructions")

MANY_PAIRS = 1 << 40
PRECISIONS: list[Precision] = ["int8", "bfloat16"]
ON_TORCH: list[tuple[Precision, str]] = [("int8", "cpu"), ("bfloat16", "cpu"), ("float32", "cpu:0")]
"""Precisions, and where torch makes them without an accelerator."""


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def product(device: str, a: Rows, b: Rows, precision: Precision = "int8") -> CodedProduct:
    screen = make_screen(precision, max(len(a), len(b)), a.shape[1], device)
    assert not isinstance(screen, Screen)
    left = screen.load(a, row_norms(a))
    right = left if a is b else screen.load(b, row_norms(b))
    return screen.product(left, right, len(a), len(b))


def adversary_of(row: Rows, cosine: float) -> Rows:
    """A row of a given cosine to `row`, turned as far as it goes into what the code of `row` leaves out."""
    dim = row.shape[1]
    screen = CodedScreen(1, dim, "cpu")
    codes = screen.load(row, row_norms(row)).values[0, :dim].numpy().astype(np.float64)
    unit = unit_rows(row)[0]
    residual = unit - np.linalg.solve(screen._turn.T.astype(np.float64), codes)
    away = residual - (residual @ unit) * unit
    made = cosine * unit + np.sqrt(1.0 - cosine**2) * away / np.linalg.norm(away)
    return np.asarray(made[None], dtype=np.float16)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dim", [1, 7, 512, 1280])
@pytest.mark.parametrize("precision", [*PRECISIONS, "float32"])
def test_what_a_pair_can_reach_is_at_least_what_it_is(device: str, dim: int, precision: Precision) -> None:
    if (device, precision) == ("cpu", "float32"):
        pytest.skip("float32 on a CPU is NumPy's: test_screen")
    axis_of_the_code = np.asarray(CodedScreen(1, dim, "cpu")._turn.T[:60], np.float16)
    one_coordinate = np.eye(60, dim, dtype=np.float16)[:dim]
    for rows in (
        random_rows(0, 60, dim),
        near_copies(1, 60, dim, mutual=0.99),
        axis_of_the_code,
        one_coordinate,
    ):
        others = np.concatenate([rows, random_rows(2, 30, dim)])
        exact = unit_rows(rows) @ unit_rows(others).T
        made = product(device, rows, others, precision)
        for cut in (-1.0, 0.0, 0.3, 0.8):
            found = np.zeros(exact.shape, dtype=bool)
            for part in made.rivals_of_rows(np.full(len(rows), cut)):
                found[part.row, part.column] = True
                assert (part.most >= exact[part.row, part.column]).all()
            assert found[exact >= cut].all()
            for part in made.rivals_of_columns(np.full(len(others), cut)):
                found[part.row, part.column] = False
            assert not found[exact >= cut].any(), "columns propose what rows do"
        assert (made.least_of_rows() <= exact.max(axis=1)).all()
        assert (made.least_of_columns() <= exact.max(axis=0)).all()


def test_the_bound_is_worth_having() -> None:
    rows = random_rows(0, 200, 512)
    made = product("cpu", rows, random_rows(1, 1, 512))
    assert 0.018 < made._row_slack.max() < 0.022
    assert (
        made.least_of_columns() > unit_rows(rows).dot(unit_rows(random_rows(1, 1, 512)).T).max() - 0.03
    ).all()


def test_a_pair_is_not_missed_though_its_code_looks_less_similar_than_the_threshold() -> None:
    for seed in range(20):
        row = random_rows(seed, 1, 512)
        pair = np.concatenate([row, adversary_of(row, 0.5)])
        (similarity,) = (s for _, _, s in brute_pairs(brute_similarity(pair), 0.1))
        made = product("cpu", pair[:1], pair[1:])
        looks = float(made._products[0, 0]) * made._scale
        assert looks < similarity - 0.006, "else this row is no adversary"
        assert len(list(self_join(pair, similarity, precision="int8"))) == 1


@pytest.mark.parametrize("seed", range(50))
def test_joins_equal_brute_force_on_adversarial_rows(seed: int) -> None:
    with torch_threads(1 + seed % 2):
        joins_equal_brute_force(seed)


def joins_equal_brute_force(seed: int) -> None:
    rows = adversarial_rows(seed)
    similarity = brute_similarity(rows)
    occurring = np.unique(similarity[similarity > 0.0])
    rng = np.random.default_rng(seed)
    smallest = 1 if seed % 10 == 0 else int(rng.integers(2, 8))
    for block in (smallest, int(rng.integers(8, len(rows))), len(rows), None):
        threshold = float(rng.choice(occurring))
        wanted = brute_pairs(similarity, threshold)
        blocks = list(self_join(rows, threshold, block=block, precision="int8"))
        pairs = [
            pair
            for b in blocks
            for pair in zip(b.a.tolist(), b.b.tolist(), b.similarity.tolist(), strict=True)
        ]
        assert len(pairs) == len(wanted)
        assert set(pairs) == wanted
        half = len(rows) // 2
        across = cross_join(rows[:half], rows[half:], threshold, block=block, precision="int8")
        met = {
            (a, b + half) for found in across for a, b in zip(found.a.tolist(), found.b.tolist(), strict=True)
        }
        assert met == {(a, b) for a, b, _ in wanted if a < half <= b}


@pytest.mark.parametrize("seed", range(50))
def test_what_is_new_meets_the_old_and_itself(seed: int) -> None:
    rows = adversarial_rows(seed)
    rng = np.random.default_rng(seed)
    fresh = rng.random(len(rows)) < 0.3
    block = int(rng.integers(4, len(rows)))
    threshold = float(rng.choice([0.5, 0.9, 1.0]))
    blocks = self_join(rows, threshold, block=block, fresh=fresh, precision="int8")
    met = {(a, b) for found in blocks for a, b in zip(found.a.tolist(), found.b.tolist(), strict=True)}
    wanted = brute_pairs(brute_similarity(rows), threshold)
    assert met == {(a, b) for a, b, _ in wanted if fresh[a] or fresh[b]}


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize(("precision", "device"), ON_TORCH)
def test_the_nearest_are_the_nearest(seed: int, precision: Precision, device: str) -> None:
    rows = adversarial_rows(seed)
    similarity = brute_similarity(rows)
    np.fill_diagonal(similarity, -np.inf)
    for threshold, block in ((0.6, 7), (1.0, None)):
        nearest = Nearest(len(rows))
        join = partial(self_join, rows, threshold, device=device, precision=precision)
        for _ in join(block=block, nearest=nearest):
            pass
        assert np.array_equal(nearest.similarity, similarity.max(axis=1))
        assert np.array_equal(nearest.index, similarity.argmax(axis=1))


@pytest.mark.parametrize("device", DEVICES)
def test_both_precisions_answer_the_same_on_every_device(device: str) -> None:
    rows = clustered_rows(0, 900, 96, groups=40, noise=0.6)
    answers = []
    for precision in (*PRECISIONS, "float32"):
        nearest = Nearest(len(rows))
        blocks = self_join(rows, 0.8, device=device, nearest=nearest, precision=precision, block=256)
        pairs = {(a, b) for found in blocks for a, b in zip(found.a.tolist(), found.b.tolist(), strict=True)}
        answers.append((pairs, nearest.similarity.tolist(), nearest.index.tolist()))
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0][0]) > 1000


def test_a_row_without_direction_is_refused() -> None:
    rows = random_rows(0, 100, 8)
    rows[70] = 0
    with pytest.raises(InvalidValue, match="row 70 "):
        self_join(rows, 0.9, precision="int8")


def test_int8_is_chosen_for_long_joins_whose_pairs_stand_out() -> None:
    rows = random_rows(0, 3000, 64)
    kept = np.arange(len(rows))
    assert chosen_precision(rows, kept, Task(0.9, MANY_PAIRS, wants_nearest=False), "cpu") == "int8"
    assert chosen_precision(rows, kept, Task(0.9, 3000 * 1500, wants_nearest=False), "cpu") == "float32"


def test_float32_is_chosen_for_the_nearest_on_an_accelerator() -> None:
    rows = random_rows(0, 3000, 64)
    task = Task(0.9, MANY_PAIRS, wants_nearest=True)
    assert chosen_precision(rows, np.arange(3000), task, "cpu:0") == "float32"
    assert chosen_precision(rows, np.arange(3000), task._replace(wants_nearest=False), "cpu:0") == "int8"


def test_bfloat16_is_chosen_where_the_nearest_have_many_rivals_for_int8_only() -> None:
    rng = np.random.default_rng(0)
    rows = 0.78 * rng.standard_normal((1000, 512)) / 512**0.5
    rows[:, 0] += 0.62
    task = Task(0.9, MANY_PAIRS, wants_nearest=True)
    assert chosen_precision(np.asarray(rows, np.float16), np.arange(1000), task, "cpu") == "bfloat16"


def test_float32_is_chosen_where_int8_would_propose_too_much() -> None:
    close = near_copies(0, 1000, 64, mutual=0.9)
    assert (
        chosen_precision(close, np.arange(1000), Task(0.91, MANY_PAIRS, wants_nearest=False), "cpu")
        == "float32"
    )
    assert (
        chosen_precision(close, np.arange(1000), Task(0.99, MANY_PAIRS, wants_nearest=False), "cpu") == "int8"
    )
    assert (
        chosen_precision(close, np.arange(1000), Task(0.99, MANY_PAIRS, wants_nearest=True), "cpu")
        == "float32"
    )
