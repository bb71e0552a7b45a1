"""The figures of docs/issues.md: a small run of the script, and its choice of limits on made-up values."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.make_demo import photographs
from scripts.measure_issues import (
    DRAWINGS,
    EDITS,
    HELD,
    LIMITS,
    Measured,
    Studied,
    best_limit,
    by_kind,
    exposed,
    kind,
    measured,
    moved,
    named,
    page,
    report,
    rows,
    study_all,
    thumbnail,
)
from scripts.measure_ranges import CUT_OUTS, PHOTOGRAPHS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "measure_issues.py"
PLAIN = Measured(blur=20.0, dark=200.0, bright=120.0, mean=120.0, white=0.0)


def cut_out(path: Path, colour: str) -> None:
    """A shape, transparent around it."""
    image = Image.new("RGBA", (160, 120))
    ImageDraw.Draw(image).polygon([(10, 60), (150, 20), (150, 100)], fill=colour)
    image.save(path)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> list[Studied]:
    folder = tmp_path_factory.mktemp("pictures")
    for path in photographs():
        if path.stem in ("chelsea", "coffee", "rocket"):
            shutil.copy(path, folder)
    cut_out(folder / "arrow.png", "brown")
    Image.effect_noise((200, 200), 90).convert("RGB").save(folder / "gradient.png")
    Image.new("RGB", (300, 300), "white").save(folder / "blank.png")
    return study_all([folder], seed=7)


def values(studied: list[Studied], measure: str, edit: str) -> list[float]:
    return [getattr(one.edited[edit], measure) for one in studied if one.kind == PHOTOGRAPHS]


def test_originals_are_photographs_cut_outs_and_drawings(studied: list[Studied]) -> None:
    found = {one.path.stem: one.kind for one in studied}
    assert found == {
        "arrow": CUT_OUTS,
        "chelsea": PHOTOGRAPHS,
        "coffee": PHOTOGRAPHS,
        "gradient": DRAWINGS,
        "rocket": PHOTOGRAPHS,
    }


def test_a_wallpaper_is_known_by_its_folder() -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    assert kind(Path("/wallpapers/Altai/contents/images/1600x1000.png"), noise) == DRAWINGS
    assert kind(Path("/wallpapers/Path/contents/images/1600x1000.png"), noise) == PHOTOGRAPHS


def test_the_stronger_an_edit_the_farther_the_measure(studied: list[Studied]) -> None:
    for sharper, softer in (("0.25", "0.5"), ("0.5", "0.7"), ("0.7", "1"), ("1", "2")):
        before = values(studied, "blur", f"blurred, sigma {sharper} %")
        after = values(studied, "blur", f"blurred, sigma {softer} %")
        assert all(a < b for a, b in zip(after, before, strict=True))
    for measure, edits in (("dark", list(EDITS["dark"])), ("mean", list(EDITS["bright"])[::-1])):
        for lighter, darker in pairwise(edits):
            pairs = zip(values(studied, measure, lighter), values(studied, measure, darker), strict=True)
            assert all(a > b for a, b in pairs)


def test_light_is_linear_and_clipped() -> None:
    grey = Image.new("RGB", (4, 4), (188, 188, 188))
    chance = random.Random(0)
    assert exposed(1)(grey, chance).getpixel((0, 0)) == (188, 188, 188)
    assert exposed(0.5)(grey, chance).getpixel((0, 0)) == (137, 137, 137)
    assert exposed(2)(grey, chance).getpixel((0, 0)) == (255, 255, 255)


def test_movement_smears_along_one_side() -> None:
    line = Image.new("RGB", (200, 200))
    ImageDraw.Draw(line).line((100, 0, 100, 199), fill="white")
    widths = {
        int((np.asarray(moved(10)(line, random.Random(seed)))[100, :, 0] > 5).sum()) for seed in range(8)
    }
    assert widths == {1, 20}


def test_a_thumbnail_is_a_copy() -> None:
    image = Image.new("RGB", (640, 320))
    assert (thumbnail(image).size, image.size) == ((128, 64), (640, 320))


def test_flat_pictures_are_never_blurred() -> None:
    assert measured(Image.new("RGB", (64, 64), "grey")).blur == np.inf


def test_a_page_of_text_is_bright() -> None:
    assert measured(page(0)).bright > HELD["bright"]


@pytest.mark.parametrize("issue", LIMITS)
def test_a_limit_flags_two_percent_at_most(issue: str) -> None:
    limits = LIMITS[issue]
    beyond = {issue: limits[3] + (1e-3 if issue == "bright" else -1e-3)}
    one, two = [replace(PLAIN, **beyond)], [replace(PLAIN, **beyond)] * 2
    assert best_limit(issue, [PLAIN] * 99 + one) == limits[-1]
    assert best_limit(issue, [PLAIN] * 98 + two) == limits[-1]
    assert best_limit(issue, [PLAIN] * 97 + two) == limits[2]
    assert best_limit(issue, [replace(PLAIN, blur=0.0, dark=0.0, bright=255.0)]) == limits[0]


def test_edits_that_are_half_white_are_counted_apart() -> None:
    white, grey = replace(PLAIN, white=0.5), replace(PLAIN, white=0.49)
    one = Studied(
        Path("a.png"), PHOTOGRAPHS, PLAIN, dict.fromkeys(EDITS["bright"], grey) | {"light × 8": white}
    )
    assert rows("bright", [one])["of these, half white"] == [white]


def test_cut_outs_are_compared_with_what_mean_luma_would_say(studied: list[Studied]) -> None:
    lines = by_kind("bright", studied, 185)
    assert lines[-1] == "| *untouched, by mean luma alone* | 0.0 | 100 | 0.0 |"
    assert lines[2] == "| *untouched* | 0.0 | 0.0 | 0.0 |"


def test_pictures_are_named_with_their_value() -> None:
    ones = [
        Studied(Path("b.png"), PHOTOGRAPHS, replace(PLAIN, dark=10.0), {}),
        Studied(Path("a.png"), PHOTOGRAPHS, replace(PLAIN, dark=2.0), {}),
    ]
    assert named("dark", ones) == "a.png (2.0), b.png (10.0)"
    assert named("dark", []) == "none"


def test_a_second_run_reports_the_same(studied: list[Studied]) -> None:
    folder = studied[0].path.parent
    again = report(study_all([folder], seed=7), ["a-package"], HELD)
    assert again == report(studied, ["a-package"], HELD)
    assert "measure_issues.py a-package --out" in again
    assert "3 photographs, 1 cut-outs and graphics, 1 drawings" in again


def test_the_page_in_docs_has_the_limits_that_the_engine_holds() -> None:
    text = (ROOT / "docs" / "issues.md").read_text(encoding="utf-8")
    found = {name.lower(): float(limit) for name, limit in re.findall(r"## (\w+): limit ([\d.]+)", text)}
    assert found == HELD


def test_the_script_runs_as_a_file_from_anywhere(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, SCRIPT, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "--out" in run.stdout, run.stderr
