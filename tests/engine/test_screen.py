"""Float32 products: the error bound holds, and questions are answered without what was left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import near_copies, random_rows
from twinlens.engine.screen import Product, Screen, full_precision, screening_error
from twinlens.engine.similarity import row_norms, unit_rows


def product(a: np.ndarray, b: np.ndarray) -> Product:
    screen = Screen(max(len(a), len(b)))
    left = screen.load(a, row_norms(a))
    right = left if a is b else screen.load(b, row_norms(b))
    return screen.product(left, right, len(a), len(b))


@pytest.mark.parametrize("dim", [1, 7, 512, 1280, 4096])
def test_the_error_stays_below_its_bound(dim: int) -> None:
    for rows in (random_rows(0, 60, dim), near_copies(1, 60, dim, mutual=0.99)):
        exact = unit_rows(rows) @ unit_rows(rows).T
        for cut in np.linspace(-1.0, 1.0, 9):
            rows_at, columns_at = np.concatenate(
                [np.empty((2, 0), np.int64), *product(rows, rows.copy()).at_least(cut)], axis=1
            )
            found = np.zeros((60, 60), dtype=bool)
            found[rows_at, columns_at] = True
            assert found[exact >= cut + screening_error(dim)].all()
            assert not found[exact < cut - screening_error(dim)].any()


def test_the_bound_is_worth_having() -> None:
    assert 3.0e-5 < screening_error(512) < 3.2e-5


@given(st.integers(1, 140), st.integers(1, 140), st.integers(0, 9))
def test_the_top_two_are_found_in_both_directions(n: int, m: int, seed: int) -> None:
    a, b = random_rows(seed, n, 4), random_rows(seed + 1, m, 4)
    made = product(a, b)
    exact = unit_rows(a) @ unit_rows(b).T
    for top, table in ((made.top_two_of_rows(), exact), (made.top_two_of_columns(), exact.T)):
        ordered = np.sort(np.pad(table, ((0, 0), (1, 0)), constant_values=-2.0), axis=1)
        assert np.allclose(top.best, ordered[:, -1], atol=1e-6)
        assert np.allclose(top.second, ordered[:, -2], atol=1e-6)
        assert np.allclose(table[np.arange(len(table)), top.place], top.best, atol=1e-6)


def test_a_block_with_itself_has_no_diagonal() -> None:
    rows = random_rows(0, 100, 8)
    made = product(rows, rows)
    found = np.concatenate(list(made.at_least(0.9)), axis=1)
    assert found.shape[1] and (found[0] != found[1]).all()
    assert (made.top_two_of_rows().place != np.arange(100)).all()


def test_reduced_precision_is_off_and_comes_back() -> None:
    matmul = torch.backends.cuda.matmul
    chosen = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with full_precision():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = chosen
    assert torch.get_float32_matmul_precision() == "highest"
