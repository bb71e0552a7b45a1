"""Adding images without comparing them, and comparing them later: the end is that of doing both at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collections_of_pictures import fill, picture, save
from tests.fakes import ColourGridEmbedder, load_fake
from twinlens.engine.dataset import Dataset
from twinlens.engine.ingest import Progress


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty scenes with twins, copies, equal pixels in two files, and two files that cannot be read."""
    folder = tmp_path / "photos"
    fill(folder, 40)
    for seed in (3, 17):
        save(folder, f"small-{seed}.jpg", picture(seed).resize((80, 60)), quality=80)
    shutil.copy(folder / "00001.jpg", folder / "copy.jpg")
    save(folder, "pixels.png", picture(99))
    save(folder, "pixels.bmp", picture(99))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def made(folder: Path) -> Dataset:
    return Dataset.create(folder, ColourGridEmbedder(), namespace="photos")


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with made(tmp_path / "data") as dataset:
        yield dataset


@pytest.fixture
def at_once(tmp_path: Path, photos: Path) -> dict[str, Any]:
    with made(tmp_path / "at once") as dataset:
        dataset.add(photos)
        return said(dataset)


def said(dataset: Dataset) -> dict[str, Any]:
    return {
        "images": dataset.images(),
        "rows": dataset.vectors().tobytes(),
        "clusters": dataset.duplicates(0.9),
        "pairs": list(dataset.pairs(0.5)),
        "scores": dataset.uniqueness(),
        "failures": dataset.failures(),
    }


def test_comparing_later_gives_what_comparing_at_once_gives(
    dataset: Dataset, photos: Path, at_once: dict[str, Any]
) -> None:
    report = dataset.add(photos, relate=False)
    assert (report.added, report.failed, dataset.related) == (45, 1, False)
    dataset.relate()
    assert dataset.related and said(dataset) == at_once


def test_many_additions_may_be_compared_together(
    dataset: Dataset, photos: Path, at_once: dict[str, Any], tmp_path: Path
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for path in sorted(photos.iterdir())[20:]:
        path.rename(later / path.name)
    dataset.add(photos, relate=False)
    for path in later.iterdir():
        path.rename(photos / path.name)
    dataset.add(photos, relate=False)
    dataset.relate()
    assert said(dataset) == at_once


def test_another_process_may_compare(dataset: Dataset, photos: Path, at_once: dict[str, Any]) -> None:
    dataset.add(photos, relate=False)
    with Dataset.open(dataset.folder, models=load_fake) as another:
        assert not another.related
        another.relate()
    assert dataset.related and said(dataset) == at_once


def test_images_are_there_before_they_are_compared(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos, relate=False)
    assert len(dataset) == 45 and all(image.unit is None for image in dataset.images())
    assert all(dataset.preview(image.id) for image in dataset.images())
    nearest = dataset.search(image=photos / "00002.jpg", k=1)[0]
    assert (os.path.basename(nearest.path), nearest.similarity > 0.9999) == ("00002.jpg", True)
    (copies,) = dataset.duplicates(0.9)
    assert {os.path.basename(m.path) for m in copies.members} == {"00001.jpg", "copy.jpg"}


def test_only_what_is_new_waits_to_be_compared(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    clusters = dataset.duplicates(0.9)
    save(photos, "small-5.jpg", picture(5).resize((80, 60)), quality=80)
    dataset.add(photos, relate=False)
    waiting = [os.path.basename(image.path) for image in dataset.images() if image.unit is None]
    assert (waiting, dataset.related) == (["small-5.jpg"], False)
    assert dataset.duplicates(0.9) == clusters
    dataset.relate()
    assert len(dataset.duplicates(0.9)) == len(clusters) + 1


def test_where_nothing_is_new_nothing_is_compared(dataset: Dataset, photos: Path) -> None:
    assert dataset.related, "an empty dataset has nothing to compare"
    dataset.add(photos)
    generation = dataset.generation
    dataset.add(photos, relate=False)
    dataset.relate()
    assert dataset.related and dataset.generation == generation


def test_each_part_tells_how_far_it_is(dataset: Dataset, photos: Path) -> None:
    told: list[Progress] = []
    dataset.add(photos, on_progress=told.append, relate=False)
    assert {progress.stage for progress in told} == {"index"}
    told.clear()
    dataset.relate(told.append)
    assert told == [Progress("compare", 0, 1), Progress("compare", 1, 1)]
