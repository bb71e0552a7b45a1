"""Calibrating a dataset: measured on its own files, kept beside its catalog, used as its defaults."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.collections_of_pictures import fill, picture, save
from tests.disks import read_only
from tests.fakes import ColourGridEmbedder, load_fake
from twinlens.engine.calibration import CALIBRATION_FILE, Calibration, Ignored, read_calibration
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import DatasetReadOnly, InvalidValue, ModelMismatch
from twinlens.engine.ingest import Progress
from twinlens.engine.kinship import of_one_burst

COUNT = 60


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "photos"
    fill(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def made(photos: Path) -> Path:
    with Dataset.create(photos.parent / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos)
    return photos.parent / "data"


@pytest.fixture(scope="module")
def calibration(made: Path) -> Calibration:
    with Dataset.open(made, models=load_fake) as dataset:
        return dataset.calibrate(sample=50, seed=3)


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Iterator[Dataset]:
    """A copy that a test may write to."""
    shutil.copytree(made, tmp_path / "data")
    with Dataset.open(tmp_path / "data", models=load_fake) as opened:
        yield opened


def collection_of(tmp_path: Path, count: int) -> tuple[Path, Dataset]:
    fill(tmp_path / "own", count)
    dataset = Dataset.create(tmp_path / "own-data", ColourGridEmbedder(), namespace="own")
    dataset.add(tmp_path / "own")
    return tmp_path / "own", dataset


# -- measuring ---------------------------------------------------------------------------------------


def test_thresholds_lie_between_strangers_and_copies(calibration: Calibration) -> None:
    assert (calibration.sample, calibration.images, calibration.edits) == (50, COUNT, 450)
    thresholds = [level.threshold for level in calibration.levels]
    assert thresholds == sorted(thresholds, reverse=True)  # type: ignore[type-var]
    for level in calibration.levels:
        assert level.threshold is not None and 0.3 < level.threshold < 0.9 and level.reason == ""
        assert level.recall is not None and level.recall.value > 0.5
        assert level.expected is not None and level.expected.value >= level.precision


def test_every_pair_of_different_images_is_compared(calibration: Calibration) -> None:
    originals = 50 * 49 // 2 + 50 * 10
    edits = 450 * 59 + 450 * 441 // 2
    assert calibration.compared == originals + edits
    assert sum(calibration.histograms.different) == pytest.approx(1.0)
    assert [sum(counts) for counts in calibration.histograms.edits.values()] == [150, 150, 150]
    assert sum(kind.count for kind in calibration.edits_found) == 450


def test_mild_edits_are_found_more_often_than_strong_ones(calibration: Calibration) -> None:
    mild, medium, strong = (np.array(found) for found in calibration.curve.recall_of.values())
    assert list(calibration.curve.recall_of) == ["mild", "medium", "strong"]
    assert (mild >= medium - 0.02).all() and (medium >= strong - 0.02).all()
    assert mild.sum() > strong.sum()


def test_a_seed_gives_the_same_result_whatever_is_kept(dataset: Dataset, calibration: Calibration) -> None:
    dataset.keep_calibration(calibration)
    steps: list[Progress] = []
    again = dataset.calibrate(sample=50, seed=3, on_progress=steps.append)
    assert replace(again, made=calibration.made) == calibration
    for stage, total in (("edit", 50), ("score", 3)):
        told = [step.done for step in steps if step.stage == stage]
        assert told == sorted(told) and told[0] == 0 and told[-1] == total


def test_another_seed_gives_another_result(made: Path, calibration: Calibration) -> None:
    with Dataset.open(made, models=load_fake) as dataset:
        assert dataset.calibrate(sample=50, seed=4).levels != calibration.levels


def test_files_that_went_changed_or_broke_are_left_out_and_counted(tmp_path: Path) -> None:
    folder, dataset = collection_of(tmp_path, 56)
    (folder / "00000.jpg").unlink()
    save(folder, "00001.jpg", picture(77))
    (folder / "00002.jpg").unlink()
    (folder / "00002.jpg").mkdir()
    with dataset:
        found = dataset.calibrate(sample=56)
    assert found.left_out == {"gone": 1, "changed": 1, "unreadable": 1}
    assert (found.sample, found.images) == (53, 56)
    assert [os.path.basename(each.path) for each in found.unreadable] == ["00002.jpg"]


def test_copies_in_the_collection_are_no_false_pairs(tmp_path: Path) -> None:
    folder, dataset = collection_of(tmp_path, 52)
    for number in range(10):
        shutil.copy(folder / f"{number:05}.jpg", folder / f"copy-{number}.jpg")
        with Image.open(folder / f"{number + 10:05}.jpg") as image:
            save(folder, f"again-{number}.jpg", image, quality=70)
            save(folder, f"mirrored-{number}.jpg", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    with dataset:
        dataset.add(folder)
        found = dataset.calibrate(sample=72)
    assert found.images == 72  # a copy of the same bytes is the same image here
    assert found.twins["hash"] >= 20
    assert all(level.threshold is not None and level.threshold < 0.99 for level in found.levels)


def test_a_rejected_pair_is_a_false_pair_whatever_its_hashes_say(tmp_path: Path) -> None:
    folder, dataset = collection_of(tmp_path, 55)
    with Image.open(folder / "00003.jpg") as image:
        save(folder, "again.jpg", image, quality=60)
    with dataset:
        dataset.add(folder)
        before = dataset.calibrate(sample=56)
        dataset.reject(dataset.resolve(str(folder / "00003.jpg")), dataset.resolve(str(folder / "again.jpg")))
        after = dataset.calibrate(sample=56)
    assert before.twins == {"hash": 1} and after.twins == {}
    assert after.alike[0].similarity > before.alike[0].similarity


@pytest.mark.parametrize(
    ("name", "differing_bits", "together"),
    [
        ("IMG_0042.jpg", 0, True),
        ("IMG_0043.jpg", 97, True),
        ("IMG_0042.jpg", 98, False),
        ("IMG_0044.jpg", 0, False),
        ("DSC_0042.jpg", 0, False),
        ("IMG_0042_2.jpg", 0, False),
        ("other/IMG_0042.jpg", 0, False),
    ],
)
def test_bursts_are_told_by_their_names_and_pictures(
    made: Path, name: str, differing_bits: int, together: bool
) -> None:
    with Dataset.open(made) as dataset:
        image = dataset.images()[0]
    first, second = (replace(image, path=f"/photos/{each}") for each in ("IMG_0041.jpg", name))
    hashes = np.zeros((2, 121), np.uint8)
    other = np.packbits(np.arange(968) < differing_bits).reshape(1, 121).repeat(2, axis=0)
    assert of_one_burst(first, second, hashes, other) is together
    assert of_one_burst(second, first, other, hashes) is together


# -- what cannot be calibrated -----------------------------------------------------------------------


def test_too_few_images_say_how_many_it_takes(tmp_path: Path) -> None:
    folder, dataset = collection_of(tmp_path, 20)
    (folder / "00000.jpg").unlink()
    with dataset, pytest.raises(InvalidValue, match=r"takes 50 images .* has 19 .* 1 gone"):
        dataset.calibrate()


def test_a_black_collection_says_that_nothing_is_to_be_seen(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / "black", f"{number}.jpg", Image.new("RGB", (64 + number, 48)))
    with Dataset.create(tmp_path / "data", ColourGridEmbedder()) as dataset:
        dataset.add(tmp_path / "black")
        with pytest.raises(InvalidValue, match="60 flat or copies"):
            dataset.calibrate()


def test_own_vectors_have_no_pictures_to_edit() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 8))
    with (
        Dataset.from_vectors([f"{n}" for n in range(60)], rows, name="mine") as dataset,
        pytest.raises(InvalidValue, match="vectors of your own"),
    ):
        dataset.calibrate()


@pytest.mark.parametrize("sample", [0, 49, 5001])
def test_a_sample_that_is_not_served_is_refused(made: Path, sample: int) -> None:
    with (
        Dataset.open(made, models=load_fake) as dataset,
        pytest.raises(InvalidValue, match="50 to 5,000"),
    ):
        dataset.calibrate(sample=sample)


# -- keeping -----------------------------------------------------------------------------------------


def test_what_is_kept_is_read_again_and_is_the_default(dataset: Dataset, calibration: Calibration) -> None:
    assert dataset.default_threshold == 0.95 and dataset.threshold_source == "model colour_grid, uncalibrated"
    dataset.keep_calibration(calibration)
    default = calibration.levels[1].threshold
    with Dataset.open(dataset.folder) as again:
        assert again.calibration == calibration
        assert again.default_threshold == dataset.default_threshold == default
        assert again.threshold_source.startswith("calibrated on 50 images on 20")
        points = again.description.points
        assert (points.strict, points.loose) == (
            calibration.levels[0].threshold,
            calibration.levels[2].threshold,
        )
        assert points.measured and again.description.fingerprint == calibration.fingerprint
        assert again.count_pairs() == again.count_pairs(default)
    assert not list(dataset.folder.glob("*.new"))


def test_forgetting_brings_the_models_thresholds_back(dataset: Dataset, calibration: Calibration) -> None:
    dataset.keep_calibration(calibration)
    assert dataset.forget_calibration() and dataset.default_threshold == 0.95
    assert not dataset.forget_calibration() and dataset.calibration is None


def test_a_read_only_dataset_uses_its_calibration_and_keeps_no_other(
    dataset: Dataset, calibration: Calibration, tmp_path: Path
) -> None:
    dataset.keep_calibration(calibration)
    dataset.close()
    with (
        read_only(tmp_path / "mount", dataset.folder) as mount,
        Dataset.open(mount, models=load_fake) as mounted,
    ):
        assert mounted.default_threshold == calibration.levels[1].threshold
        with pytest.raises(DatasetReadOnly):
            mounted.keep_calibration(calibration)
        with pytest.raises(DatasetReadOnly):
            mounted.forget_calibration()


def test_a_calibration_of_another_model_is_refused(dataset: Dataset, calibration: Calibration) -> None:
    with pytest.raises(ModelMismatch, match="calibrate this dataset"):
        dataset.keep_calibration(replace(calibration, fingerprint="0" * 64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "format 99"),
        ({"fingerprint": "f" * 64}, "another model"),
        ({"levels": []}, "damaged"),
        ({"levels": [{}]}, "damaged"),
        ({"unheard": 1}, "damaged"),
        ({"curve": None}, "damaged"),
    ],
)
def test_a_file_that_does_not_fit_is_ignored_and_says_why(
    dataset: Dataset, calibration: Calibration, change: dict[str, Any], said: str
) -> None:
    path = dataset.folder / CALIBRATION_FILE
    path.write_text(json.dumps({**calibration.to_json(), **change}))
    found = read_calibration(dataset.folder, calibration.fingerprint)
    assert isinstance(found, Ignored) and said in found.reason and str(path) in found.reason
    with Dataset.open(dataset.folder) as again:
        assert again.default_threshold == 0.95 and again.calibration_ignored == found.reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}'])
def test_a_damaged_file_is_ignored(dataset: Dataset, content: bytes) -> None:
    (dataset.folder / CALIBRATION_FILE).write_bytes(content)
    with Dataset.open(dataset.folder) as again:
        assert again.calibration is None and "damaged" in (again.calibration_ignored or "")


def test_a_dataset_outgrows_its_calibration(calibration: Calibration) -> None:
    assert calibration.held == COUNT and not calibration.is_outgrown(2000) and calibration.is_outgrown(2001)
    assert replace(calibration, held=5000).is_outgrown(10_001)


def test_a_level_that_was_not_reached_falls_back_to_the_stricter(calibration: Calibration) -> None:
    strict, default, loose = calibration.levels
    model = ColourGridEmbedder().description.points
    unreached = replace(strict, threshold=None, interval=None, expected=None, recall=None, reason="no")
    assert default.threshold is not None
    some = replace(calibration, levels=(unreached, default, loose)).points(model)
    assert some.strict == max(model.strict, default.threshold) and some.default == default.threshold
    none = replace(calibration, levels=(unreached,) * 3)
    assert none.points(model) == model
