"""Kept pairs: all above a floor, and a floor that rises where they would be too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twinlens.engine import relations
from twinlens.engine.dataset import Dataset

LIMIT = 300


def crowded(count: int = 120) -> NDArray[np.float16]:
    """Directions around one: most pairs lie above the floor of own vectors, 0.8."""
    rng = np.random.default_rng(11)
    return (np.ones(24) + 0.35 * rng.normal(size=(count, 24))).astype(np.float16)


def brute_force(vectors: NDArray[np.float16], threshold: float) -> int:
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return int(np.triu(np.round(rows @ rows.T, 6) >= threshold, 1).sum())


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that holds 300 pairs, where 5,000,000 would need a large collection."""
    defaults = list(relations.update.__defaults__ or ())
    monkeypatch.setattr(relations.update, "__defaults__", (*defaults[:-1], LIMIT))


@pytest.mark.usefixtures("few_pairs")
def test_the_floor_rises_and_every_threshold_stays_exact() -> None:
    vectors = crowded()
    assert brute_force(vectors, 0.8) > LIMIT
    with Dataset.from_vectors([f"{n:03}" for n in range(len(vectors))], vectors, name="crowd") as dataset:
        assert dataset.kept_from > 0.8
        assert dataset._catalog.count_pairs() <= LIMIT
        for threshold in (0.75, 0.8, 0.85, 0.9, 0.95, dataset.kept_from):
            assert dataset.count_pairs(threshold) == brute_force(vectors, threshold)
            assert len(list(dataset.pairs(threshold))) == brute_force(vectors, threshold)


def test_nearest_others_equal_brute_force(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(80, 12)).astype(np.float16)
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = np.round(rows @ rows.T, 6)
    np.fill_diagonal(similarity, -2.0)
    with Dataset.from_vectors([f"{n:03}" for n in range(80)], vectors, name="sparse") as dataset:
        found = {score.id: score for score in dataset.uniqueness()}
    for number in range(80):
        score = found[f"{number:03}"]
        assert score.nearest_similarity == max(similarity[number].max(), 0.0)
        assert score.nearest_id == f"{similarity[number].argmax():03}"


def test_removing_and_adding_equals_never_having_had(tmp_path: Path, rng: np.random.Generator) -> None:
    vectors = np.concatenate([crowded(40), crowded(40)[:5]])
    ids = [f"{n:03}" for n in range(45)]
    keep = [n for n in range(45) if n not in (0, 7, 41)]
    with (
        Dataset.from_vectors(ids, vectors, name="v") as whole,
        Dataset.from_vectors([ids[n] for n in keep], vectors[keep], name="v") as part,
    ):
        whole.remove(["000", "007", "041"])
        assert whole.duplicates(0.9) == part.duplicates(0.9)
        assert whole.count_pairs(0.85) == part.count_pairs(0.85)
        nearest = {s.id: s.nearest_id for s in part.uniqueness()}
        assert {s.id: s.nearest_id for s in whole.uniqueness()} == nearest
