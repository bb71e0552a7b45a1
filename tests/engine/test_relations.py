"""Kept pairs: all above a floor, and a floor that rises where they would be too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.collections_of_pictures import fill, picture, save
from tests.fakes import ColourGridEmbedder
from twinlens.engine import relations
from twinlens.engine.dataset import Dataset
from twinlens.engine.ingest import IngestOptions, Progress

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


def test_images_are_compared_in_cells_where_that_is_asked_for_and_the_recall_is_told(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, 30)
    save(photos, "small.jpg", picture(3).resize((80, 60)), quality=80)
    told: list[Progress] = []
    with Dataset.create(tmp_path / "exact", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos)
        assert dataset.join is None
        pairs = list(dataset.pairs(0.8))
    with Dataset.create(tmp_path / "cells", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos, IngestOptions(join="cells"), told.append)
        join = dataset.join
        assert join is not None
        assert (join["method"], join["cells"], join["cells_of_a_row"]) == ("cells", 16, 1)
        assert join["recall"] == 1.0, "else a row would be in more cells"
        assert join["recall_measured_on"] == {"rows": 31, "pairs": len(pairs)}
        assert list(dataset.pairs(0.8)) == pairs
        # What comes later meets all that is there: the recall of what was joined before stays.
        save(photos, "later.jpg", picture(3).resize((90, 70)), quality=70)
        dataset.add(photos, IngestOptions(join="cells"))
        assert dataset.join == join
        assert len(list(dataset.pairs(0.95))) == 3
    (note,) = (step.note for step in told if step.note)
    assert note.startswith("comparing 31 rows of 195 at 0.8: approximate, 16 cells, each row in 1,")
