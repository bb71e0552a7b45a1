"""`twinlens curate --keep`, in another process: the plan, its coverage, classes, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset
from twinlens.engine.subset import choose_subset

IMAGES = 24


def curate(*arguments: str | Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "twinlens.service", "curate", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout if code == 0 else run.stderr


def answer(*arguments: str | Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(curate(*arguments, "--json"))
    return document


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


def make(folder: Path) -> Path:
    """An indexed folder of different pictures; the command line needs no model to ask it."""
    fill(folder / "photos", IMAGES)
    with Dataset.create(folder / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(folder / "photos")
    return folder / "data"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("subset"))


def test_a_number_of_images_stays_the_most_representative_first(data: Path) -> None:
    plan = answer("--dataset", data, "--keep", "6")
    assert plan["kept_images"] == len(plan["keep"]) == 6 and plan["removed_images"] == IMAGES - 6
    with Dataset.open(data) as dataset:
        expected = choose_subset(dataset.snapshot(), keep=6)
    assert plan["keep"] == [image.path for image in expected.keep]
    assert set(plan["remove"][0]) == {"path", "twin", "similarity", "rule"}
    assert {removal["rule"] for removal in plan["remove"]} == {"covered"}
    assert {removal["twin"] for removal in plan["remove"]} <= set(plan["keep"])
    worst = min(removal["similarity"] for removal in plan["remove"])
    assert plan["coverage"] == pytest.approx(1 - worst, abs=1e-9) and plan["threshold"] == worst
    assert plan["coverage_after"] == list(expected.after) and len(plan["coverage_after"]) == 6
    assert plan["classes"] == [] and plan["applied"] is None


def test_a_fraction_and_words_for_people(data: Path) -> None:
    assert answer("--dataset", data, "--keep-fraction", "0.25")["kept_images"] == 6
    said = curate("--dataset", data, "--keep-fraction", "0.25")
    assert "6 images stay, 18 go" in said and "coverage: every removed image is within" in said


def test_what_is_protected_stays(data: Path) -> None:
    photos = data.parent / "photos"
    plan = answer("--dataset", data, "--keep", "3", "--protect", photos / "00007.jpg", "--rules", "path")
    assert names(plan["keep"])[0] == "00007.jpg"
    said = curate("--dataset", data, "--keep", "5", "--protect", photos, code=2)
    assert f"{IMAGES} images must be kept, and 5 are asked for" in said


def test_classes_of_a_file_and_of_the_folder_itself(data: Path, tmp_path: Path) -> None:
    label = {f"{n:05}.jpg": "owl" if n % 4 == 0 else "cat" for n in range(IMAGES)}
    table = "filename,label\n" + "".join(f"{name},{kind}\n" for name, kind in label.items())
    (tmp_path / "labels.csv").write_text(table)
    by_file = answer("--dataset", data, "--keep", "8", "--labels", tmp_path / "labels.csv")
    assert Counter(label[name] for name in names(by_file["keep"])) == {"cat": 6, "owl": 2}
    shares = [(share["label"], share["images"], share["kept"]) for share in by_file["classes"]]
    assert shares == [("cat", 18, 6), ("owl", 6, 2)]
    assert "--labels" in curate("--dataset", data, "--keep", "8", "--per-class", code=2)
    annotations = data.parent / "photos" / "image_annotations.csv"
    annotations.write_text(table)
    try:
        by_folder = answer("--dataset", data, "--keep", "8", "--per-class")
        assert "class owl: 2 of 6 stay" in curate("--dataset", data, "--keep", "8", "--per-class")
    finally:
        annotations.unlink()
    assert by_folder == by_file


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--keep", "0"], "0 images cannot be kept of 24"),
        (["--keep", "25"], "25 images cannot be kept of 24"),
        (["--keep", "3", "--keep-fraction", "0.5"], "or for a fraction"),
        (["--keep-fraction", "2"], "fraction 2 is not in (0, 1]"),
        (["--keep", "24", "--threshold", "0.2"], "without twins: ask for"),
        (["--per-class"], "give one of them"),
        (["--keep", "3", "--labels", "nowhere.csv"], "nowhere.csv is no file"),
        (["--keep", "3", "--rules", "beauty"], "no keeper rule 'beauty'"),
    ],
)
def test_what_cannot_be_kept_is_refused(data: Path, arguments: list[str], words: str) -> None:
    assert words in curate("--dataset", data, *arguments, code=2)


def test_the_plan_is_applied_and_taken_back_like_any_other(tmp_path: Path) -> None:
    data = make(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    arguments: list[str | Path] = ["--dataset", data, "--keep", "5"]
    arguments += ["--apply", "move", "--to", tmp_path / "away"]
    plan = answer(*arguments)
    assert plan["applied"]["done"] == IMAGES - 5
    assert sorted(os.listdir(tmp_path / "photos")) == sorted(names(plan["keep"]))
    curate("--undo", plan["applied"]["journal"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()} == before


def test_with_a_threshold_no_two_that_stay_are_twins(data: Path) -> None:
    by_star = answer("--dataset", data, "--threshold", "0.3")
    assert 4 < by_star["kept_images"] < IMAGES
    plan = answer("--dataset", data, "--threshold", "0.3", "--keep", "4")
    assert len(plan["keep"]) == 4 and set(plan["keep"]) <= set(by_star["keep"])
    assert plan["removed_images"] == IMAGES - 4
