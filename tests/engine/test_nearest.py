"""Each row's most similar other row: exact, ties to the lower number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import DEVICES, Rows, brute_similarity, clustered_rows, lattice_rows, random_rows
from twinlens.engine.join import Nearest, self_join


def nearest_of(rows: Rows, threshold: float, **options: object) -> Nearest:
    nearest = Nearest(len(rows))
    for _ in self_join(rows, threshold, nearest=nearest, **options):  # type: ignore[arg-type]
        pass
    return nearest


def brute(rows: Rows, compared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity and number of the nearest, where `compared` bool [n, n] says who met whom."""
    similarity = np.where(compared & ~np.eye(len(rows), dtype=bool), brute_similarity(rows), -np.inf)
    best = similarity.max(axis=1, initial=-np.inf)
    known = best > -np.inf
    index = similarity.argmax(axis=1) if len(rows) else np.empty(0, np.int64)
    return np.where(known, best, np.nan), np.where(known, index, -1)


@given(lattice_rows(), st.integers(1, 40), st.sampled_from([0.3, 0.9, 1.0]))
def test_equals_brute_force_with_ties_to_the_lower_number(rows: Rows, block: int, threshold: float) -> None:
    nearest = nearest_of(rows, threshold, block=block)
    similarity, index = brute(rows, np.ones((len(rows), len(rows)), dtype=bool))
    assert np.array_equal(nearest.similarity, similarity, equal_nan=True)
    assert np.array_equal(nearest.index, index)


@pytest.mark.parametrize("device", DEVICES)
def test_equals_brute_force_on_every_device(device: str) -> None:
    rows = clustered_rows(0, 500, 64, groups=60, noise=0.8)
    similarity, index = brute(rows, np.ones((500, 500), dtype=bool))
    nearest = nearest_of(rows, 0.9, block=128, device=device)
    assert np.array_equal(nearest.similarity, similarity)
    assert np.array_equal(nearest.index, index)


def test_float32_cannot_tell_them_apart_but_float64_does() -> None:
    # 200 rows around one query, each 10^-6 more similar than the one before: float32 errs by more.
    cosines = 0.6 + 1e-6 * np.random.default_rng(0).permutation(200)
    rows = np.zeros((201, 512), dtype=np.float64)
    rows[:200, 0] = cosines
    rows[np.arange(200), 1 + np.arange(200)] = np.sqrt(1.0 - cosines**2)
    rows[200, 0] = 1.0
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((512, 512)))[0]
    nearest = nearest_of((rows @ rotation).astype(np.float32), 0.9)
    assert nearest.index[200] == np.argmax(cosines)
    assert nearest.similarity[200] == round(cosines.max(), 6)


@given(st.data(), lattice_rows(), st.integers(1, 12))
def test_skipped_rows_are_nobodys_nearest(data: st.DataObject, rows: Rows, block: int) -> None:
    skip = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    nearest = nearest_of(rows, 0.9, block=block, skip=skip)
    similarity, index = brute(rows, ~(skip[:, None] | skip[None, :]))
    assert np.array_equal(nearest.similarity, similarity, equal_nan=True)
    assert np.array_equal(nearest.index, index)


@given(st.data(), lattice_rows(), st.integers(1, 12))
def test_rows_joined_before_meet_only_the_fresh(data: st.DataObject, rows: Rows, block: int) -> None:
    fresh = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    nearest = nearest_of(rows, 0.9, block=block, fresh=fresh)
    similarity, index = brute(rows, fresh[:, None] | fresh[None, :])
    assert np.array_equal(nearest.similarity, similarity, equal_nan=True)
    assert np.array_equal(nearest.index, index)


def test_a_row_far_from_all_others_changes_nobody_elses_nearest() -> None:
    rows = clustered_rows(3, 300, 128, groups=30, noise=0.9)
    outlier = -rows.sum(axis=0, keepdims=True, dtype=np.float32).astype(np.float16)
    alone, beside = nearest_of(rows, 0.95), nearest_of(np.concatenate([rows, outlier]), 0.95)
    assert np.array_equal(alone.similarity, beside.similarity[:300])
    assert np.array_equal(alone.index, beside.index[:300])


def test_one_row_has_no_nearest() -> None:
    nearest = nearest_of(random_rows(0, 1, 3), 0.9)
    assert np.isnan(nearest.similarity).all()
    assert nearest.index.tolist() == [-1]
