"""Which of several copies stays: real photographs, real edits, a rule list as people write them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.copies import RULES, photograph, save, save_groups, scaled, screenshot
from tests.fakes import ColourGridEmbedder
from tests.snapshots import snapshot_of
from twinlens.engine.curation import Curation, Plan
from twinlens.engine.dataset import Dataset
from twinlens.engine.ingest import Progress
from twinlens.engine.keeper import DEFAULT_RULES
from twinlens.engine.looking import look_at_files
from twinlens.engine.snapshot import Snapshot


def taken_as_twins(folder: Path, place: Path) -> Snapshot:
    """What is indexed of a folder, with all images of each folder in it taken as twins of each other.

    Which copies a model finds is another matter; here it is about which of them stays.
    """
    with Dataset.create(place, ColourGridEmbedder(), namespace="copies") as dataset:
        dataset.add(folder)
        images = dataset.images()
    groups = sorted({os.path.dirname(image.path) for image in images})
    row = {group: number for number, group in enumerate(groups)}
    images = [replace(image, row=row[os.path.dirname(image.path)]) for image in images]
    return snapshot_of(
        [replace(image, unit=image.row) for image in images], np.eye(len(groups), dtype=np.float16)
    )


def planned(snapshot: Snapshot, rules: Sequence[str]) -> Plan:
    curation = Curation(snapshot, 0.9, rules)
    return curation.plan(look_at_files(curation, lambda step: None))


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Snapshot]:
    folder = tmp_path_factory.mktemp("copies")
    right = save_groups(folder / "photos")
    assert len(right) == 15
    return right, taken_as_twins(folder / "photos", folder / "data")


def test_heic_then_sharpness_then_path_keeps_the_right_file_of_each_group(
    copies: tuple[dict[str, Path], Snapshot],
) -> None:
    right, snapshot = copies
    kept = defaultdict(set)
    for image in planned(snapshot, RULES.split(",")).keep:
        kept[Path(image.path).parent.name].add(Path(image.path))
    assert kept == {name: {path} for name, path in right.items()}


def test_the_rules_say_what_decided(copies: tuple[dict[str, Path], Snapshot]) -> None:
    _, snapshot = copies
    said = {
        (Path(r.image.path).parent.name, Path(r.image.path).name): r.rule
        for r in planned(snapshot, RULES.split(",")).remove
    }
    assert said["HEIC before JPEG", "1-better.jpg"] == "format=heic"
    assert said["before its thumbnail", "1-half.png"] == "sharpness"
    assert said["before its enlargement", "1-double.png"] == "upscaled"
    assert said["before a screenshot of it", "1-screenshot.png"] == "framed"
    assert said["the first path of identical files", "3-copy.jpg"] == "path"
    assert said["the first path of identical pictures", "3-copy.bmp"] == "path"


def test_pixels_prefer_a_larger_original_but_no_enlargement_and_no_frame(tmp_path: Path) -> None:
    original = photograph("astronaut")
    save(original, tmp_path / "photos/genuine/original.jpg", quality=90)
    save(scaled(original, 0.6), tmp_path / "photos/genuine/a-smaller.png")
    save(scaled(original, 2), tmp_path / "photos/genuine/b-double.jpg", quality=95)
    save(screenshot(original), tmp_path / "photos/genuine/c-screenshot.png")
    plan = planned(taken_as_twins(tmp_path / "photos", tmp_path / "data"), DEFAULT_RULES)
    assert [Path(image.path).name for image in plan.keep] == ["original.jpg"]
    assert {Path(r.image.path).name: r.rule for r in plan.remove} == {
        "a-smaller.png": "pixels",
        "b-double.jpg": "upscaled",
        "c-screenshot.png": "framed",
    }


def test_files_that_changed_or_went_show_nothing(tmp_path: Path) -> None:
    original = photograph("coffee")
    for quality, name in enumerate(("a", "b", "c", "d"), start=90):
        save(scaled(original, 0.9 if name == "d" else 1), tmp_path / f"photos/g/{name}.jpg", quality=quality)
    snapshot = taken_as_twins(tmp_path / "photos", tmp_path / "data")
    (tmp_path / "photos/g/a.jpg").unlink()
    (tmp_path / "photos/g/b.jpg").write_bytes(b"no picture")
    save(scaled(original, 0.5), tmp_path / "photos/g/c.jpg")
    curation = Curation(snapshot, 0.9, ("sharpness", "path"))
    steps: list[Progress] = []
    looks = look_at_files(curation, steps.append, workers=1)
    assert sorted(look is None for look in looks.by_digest.values()) == [False, True, True, True]
    assert [Path(image.path).name for image in curation.plan(looks).keep] == ["d.jpg"]
    assert steps[-1].done == steps[-1].total == len(curation.to_look_at()) + len(curation.to_compare())
