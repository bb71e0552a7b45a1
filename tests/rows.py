"""Rows to be compared, and the brute force that the fast ways must equal: plain float64, all pairs."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float16]
Pair: TypeAlias = tuple[int, int, float]

DEVICES = [
    "cpu",
    # Torch's own arithmetic without an accelerator: the code that runs on CUDA.
    "cpu:0",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


def brute_similarity(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Similarity of all pairs as the design defines it: float64 [n, n]."""
    units = rows.astype(np.float64)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    similarity: NDArray[np.float64] = np.minimum(np.round(units @ units.T, 6), 1.0)
    return similarity


def brute_pairs(similarity: NDArray[np.float64], threshold: float) -> set[Pair]:
    """All pairs a < b at or above a threshold."""
    a, b = np.nonzero(np.triu(similarity >= threshold, 1))
    return set(zip(a.tolist(), b.tolist(), similarity[a, b].tolist(), strict=True))


def random_rows(seed: int, n: int, dim: int) -> Rows:
    """Rows in all directions."""
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float16)


def clustered_rows(seed: int, n: int, dim: int, *, groups: int, noise: float) -> Rows:
    """Rows around some centres, so that every similarity occurs."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, dim))
    spread = noise * rng.random((n, 1))
    rows = centres[rng.integers(0, groups, n)] + spread * rng.standard_normal((n, dim))
    return np.asarray(rows, dtype=np.float16)


def near_copies(seed: int, n: int, dim: int, *, mutual: float) -> Rows:
    """Copies of one direction, each with noise of its own: similar to each other by about `mutual`."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, dim)) * np.sqrt((1.0 / mutual - 1.0) / dim)
    centre = rng.standard_normal(dim)
    return np.asarray(centre / np.linalg.norm(centre) + noise, dtype=np.float16)


def arc(angles: NDArray[np.float64], dim: int = 8) -> Rows:
    """Rows on a circle, at angles in radians."""
    rows = np.zeros((len(angles), dim), dtype=np.float16)
    rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
    return rows


@st.composite
def lattice_rows(draw: st.DrawFn, max_rows: int = 30) -> Rows:
    """Rows of small whole numbers: many equal similarities, duplicates and opposites."""
    dim = draw(st.integers(1, 5))
    row = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim).filter(any)
    rows = draw(st.lists(row, max_size=max_rows))
    return np.array(rows, dtype=np.float16).reshape(-1, dim)


@st.composite
def thresholds(draw: st.DrawFn, rows: Rows) -> float:
    """A threshold for some rows: often exactly one of their similarities, sometimes 1."""
    occurring = sorted({s for s in np.unique(brute_similarity(rows)).tolist() if s > 0.0}) or [1.0]
    return draw(st.sampled_from([*occurring, 1.0]) | st.sampled_from([0.1, 0.5, 0.75, 0.9, 0.999999]))


def adversarial_rows(seed: int) -> Rows:
    """Rows that a fast join may get wrong: ties, duplicates, opposites and clusters on one line, mixed.

    Similarities are multiples of a few fractions, so that many pairs lie exactly at any of them; rows on a
    short arc differ by less than float32 can tell.
    """
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(2, 40))
    lattice = rng.integers(-2, 3, (24, dim)).astype(np.float64)
    lattice[~lattice.any(axis=1), 0] = 1.0
    line = np.zeros((16, dim))
    angles = rng.choice([0.0, 0.5, 1.2]) + np.linspace(0.0, 10.0 ** -rng.integers(1, 7), 16)
    line[:, 0], line[:, 1] = np.cos(angles), np.sin(angles)
    constant = rng.standard_normal((12, dim)) * 0.1
    constant[:, -1] = 1.0
    rows = np.concatenate([lattice, line, constant])
    rows = np.concatenate([rows, rows[rng.integers(0, len(rows), 12)], -rows[:3]])
    return np.asarray(rows[rng.permutation(len(rows))], dtype=np.float16)
