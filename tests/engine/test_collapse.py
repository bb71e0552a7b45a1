"""Identical rows are named by their lowest."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.collapse import _collapse_group, collapse_identical


@given(st.lists(st.integers(0, 3), max_size=40))
def test_rows_are_named_by_the_lowest_of_their_kind(kinds: list[int]) -> None:
    palette = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float16)
    rows = palette[np.array(kinds, np.int64)].reshape(-1, 5)
    assert collapse_identical(rows).tolist() == [kinds.index(kind) for kind in kinds]


def test_a_hundred_thousand_copies(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(100_000, 64)).astype(np.float16)
    rows[1::2] = rows[7]
    lowest = collapse_identical(rows)
    assert (lowest[1::2] == 1).all()
    assert (lowest[::2] == np.arange(0, 100_000, 2)).all()


def test_rows_that_only_share_a_hash_stay_apart() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]], np.float16)
    lowest = np.arange(3)
    _collapse_group(rows, np.arange(3), lowest)
    assert lowest.tolist() == [0, 1, 0]
