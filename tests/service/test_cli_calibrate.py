"""`twinlens calibrate` as a user runs it: on real photographs, with the embedded model and with CLIP."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scripts.make_demo import photographs
from tests.collections_of_pictures import fill
from tests.models.checkpoints import save_folder_of
from tests.service.test_cli import MODEL, twinlens

SIDE = 160
LEVELS = [0.99, 0.95, 0.9]
ALIKE = {
    *("brick", "grass", "gravel", "chessboard_GRAY", "chessboard_RGB", "phantom", "horse", "cell"),
    *("motorcycle_right", "hubble_deep_field", "color", "coins"),
}
"""Photographs whose parts look alike, and what is no photograph."""


def save_pictures(folder: Path) -> None:
    """Two quarters of every photograph of a thing that scikit-image ships, and drawn pictures: all differ."""
    fill(folder, 30)
    for path in photographs():
        if path.stem in ALIKE:
            continue
        with Image.open(path) as file:
            picture = file.convert("RGB").resize((2 * SIDE, 2 * SIDE))
        for place in (0, SIDE):
            part = picture.crop((place, place, place + SIDE, place + SIDE))
            part.save(folder / f"{path.stem}-{place}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    save_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def clip(photos: Path) -> Path:
    """A dataset with a CLIP model of random weights, which is fast."""
    weights = save_folder_of("twinlens-vit", photos.parent / "weights")
    folder = photos.parent / "clip"
    twinlens("index", photos, "--dataset", folder, "--model", f"local-dir:{weights}")
    return folder


@pytest.fixture
def dataset(clip: Path, tmp_path: Path) -> Path:
    shutil.copytree(clip, tmp_path / "data")
    return tmp_path / "data"


def answer(*arguments: str | Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(twinlens(*arguments, "--json"))
    return document


class Page(HTMLParser):
    """Elements of a page, in order, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def classes(self, tag: str) -> list[str]:
        return [str(attributes.get("class")) for name, attributes in self.elements if name == tag]


def test_the_embedded_model_is_calibrated_and_its_thresholds_are_used(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    twinlens("run", folder, "--model", MODEL, "--json")
    found = answer("calibrate", folder, "--sample", "50", "--report", tmp_path / "page.html")
    levels = found["calibration"]["levels"]
    assert [level["precision"] for level in levels] == LEVELS and found["stored"]
    assert found["calibration"]["sample"] == 50 and found["dataset"] == str(folder / ".twinlens")
    thresholds = [level["threshold"] for level in levels]
    assert thresholds == sorted(thresholds, reverse=True) and 0.86 < thresholds[1] < 0.995
    again = answer("run", folder, "--report", tmp_path / "run.html")
    assert again["threshold"] == thresholds[1] == found["default_threshold"]
    assert again["threshold_source"].startswith("calibrated on 50 images on 20")
    page, run = (Page((tmp_path / name).read_text()) for name in ("page.html", "run.html"))
    for each in (page, run):
        assert "calibration" in [attributes.get("id") for _, attributes in each.elements]
        assert {"line precision", "line recall", "line different", "line mild", "line strong"} <= set(
            each.classes("polyline")
        )
        assert [name for name, _ in each.elements].count("desc") == 2
    assert "script" not in [name for name, _ in page.elements]
    points = [attributes["points"] for name, attributes in page.elements if name == "polyline"]
    assert all(re.fullmatch(r"(\d+\.\d,-?\d+\.\d ?)+", each or "") for each in points)


def test_clip_is_calibrated_in_its_own_space(dataset: Path) -> None:
    found = answer("calibrate", dataset, "--sample", "50")
    levels = found["calibration"]["levels"]
    reached = [level["threshold"] for level in levels if level["threshold"] is not None]
    assert all(level["reason"] for level in levels if level["threshold"] is None)
    info = answer("info", "--dataset", dataset)
    assert info["calibration"]["levels"] == levels and info["threshold_source"] == found["threshold_source"]
    assert info["thresholds"]["measured"] is bool(reached)
    used = answer("duplicates", "--dataset", dataset)
    assert used["threshold"] == info["thresholds"]["default"] == found["default_threshold"]
    assert (used["threshold"] == 0.95) is not bool(reached)
    asked = answer("duplicates", "--dataset", dataset, "--threshold", "0.97")
    assert (asked["threshold"], asked["threshold_source"]) == (0.97, "asked for")
    assert "forgotten" in twinlens("calibrate", dataset, "--forget")
    assert "there was no calibration" in twinlens("calibrate", dataset, "--forget")
    assert not (dataset / "calibration.json").exists()


def test_a_dry_run_stores_nothing(dataset: Path) -> None:
    out = twinlens("calibrate", dataset, "--sample", "50", "--dry-run")
    assert "nothing was stored" in out and "edits of 50 of" in out and "50 images are few" in out
    assert not (dataset / "calibration.json").exists()


def test_a_damaged_calibration_is_named_and_not_used(dataset: Path, photos: Path) -> None:
    (dataset / "calibration.json").write_text("{")
    found = answer("run", photos, "--dataset", dataset)
    assert found["threshold"] == 0.95
    assert f"{dataset / 'calibration.json'} is damaged" in found["notices"][0]


def test_bad_input_names_what_is_off(dataset: Path, tmp_path: Path) -> None:
    assert "50 to 5,000" in twinlens("calibrate", dataset, "--sample", "7", code=2)
    assert "--forget" in twinlens("calibrate", dataset, "--forget", "--dry-run", code=2)
    assert str(tmp_path / "none") in twinlens("calibrate", tmp_path / "none", code=5)
