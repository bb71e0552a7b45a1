"""The figures of docs/ranges.md: a small run of the script, and its arithmetic on distances made by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.make_demo import photographs
from scripts.measure_ranges import (
    COPIES,
    CUT_OUTS,
    EDITS,
    PHOTOGRAPHS,
    Distances,
    Studied,
    advice,
    best_range,
    closest,
    distances,
    expected,
    originals,
    report,
    study_all,
    table,
    within,
)
from twinlens.service.matching.distances import HashType

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_ranges.py"
NONE = np.full(30_000, 480, np.int32)


def cut_out(path: Path, *points: tuple[int, int]) -> None:
    """A red shape, transparent around it."""
    image = Image.new("RGBA", (160, 120))
    ImageDraw.Draw(image).polygon(points, fill=(200, 30, 30, 255))
    image.save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for path in photographs():
        if path.stem in ("chelsea", "coffee", "rocket"):
            shutil.copy(path, folder)
    cut_out(folder / "arrow.png", (10, 60), (150, 20), (150, 100))
    cut_out(folder / "kite.png", (80, 5), (110, 40), (80, 115), (50, 40))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("not an image")
    Image.new("RGB", (300, 300), "white").save(folder / "blank.png")
    Image.effect_noise((40, 40), 90).convert("RGB").save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="module")
def studied(folder: Path) -> list[Studied]:
    return study_all([folder], seed=7)


def names(studied: list[Studied], kind: str) -> list[str]:
    return [one.path.stem for one in studied if one.kind == kind]


def test_originals_are_what_can_be_read_and_has_something_to_see(studied: list[Studied]) -> None:
    assert names(studied, PHOTOGRAPHS) == ["chelsea", "coffee", "rocket"]
    assert names(studied, CUT_OUTS) == ["arrow", "kite"]


def test_cut_outs_lie_on_white(folder: Path) -> None:
    images = {path.stem: image for path, image in originals([folder])}
    assert images["kite"].getpixel((0, 0)) == (255, 255, 255)
    assert images["kite"].getpixel((80, 60)) == (200, 30, 30)


def test_copies_stay_near_their_original_and_mirror_images_do_not(studied: list[Studied]) -> None:
    photographs = [one for one in studied if one.kind == PHOTOGRAPHS]
    measured = distances(photographs, HashType.BMH1)
    assert list(measured.edits) == list(EDITS) and measured.strangers.shape == (3,)
    assert all(bits.shape == (3,) for bits in measured.edits.values())
    assert max(int(measured.edits[name].max()) for name in COPIES) < 100 < int(measured.strangers.min())
    assert int(measured.edits["mirrored"].min()) > 100
    assert int(measured.edits["JPEG quality 10"].sum()) > int(measured.edits["JPEG quality 75"].sum())
    assert int(measured.edits["noise, sigma 30"].sum()) > int(measured.edits["noise, sigma 5"].sum())


def test_a_second_run_measures_the_same(folder: Path, studied: list[Studied]) -> None:
    again = report(study_all([folder], seed=7), ["a-package"])
    assert again == report(studied, ["a-package"])
    assert (
        "measure_ranges.py a-package --out" in again
        and "3 originals, 51 edits" in again
        and "2 originals, 34 edits" in again
    )


def test_the_closest_strangers_are_named(studied: list[Studied]) -> None:
    listed = closest(studied, HashType.PHASH, 4)
    apart = [float(line.split()[0]) for line in listed]
    assert len(listed) == 4 and apart == sorted(apart)
    assert all(line.count(str(studied[0].path.parent)) == 2 for line in listed)


def test_a_range_counts_as_the_server_counts() -> None:
    """10 of 968 bits are 1.0 %, 11 are 1.1 %; 4 of 64 are 6.2 %."""
    bits = np.array([0, 9, 10, 11, 97], np.int32)
    assert [within(bits, r, HashType.BMH1) for r in (0, 1, 2, 10)] == [1, 3, 4, 5]
    assert [within(np.array([4], np.int32), r, HashType.PHASH) for r in (6, 6.2, 7)] == [0, 1, 1]


def test_what_one_query_is_to_expect() -> None:
    assert expected(3, 30_000) == "1.0"
    assert expected(60, 30_000) == "20"
    assert expected(0, 30_000) == "< 1.0"
    assert expected(0, 300) == "< 100"


def test_the_best_range_lets_one_pair_in_10_000_pass() -> None:
    assert best_range(NONE, HashType.BMH1) == 15
    three, four = NONE.copy(), NONE.copy()
    three[:3], four[:4] = 60, 60
    assert best_range(three, HashType.BMH1) == 15
    assert best_range(four, HashType.BMH1) == 5
    assert best_range(np.zeros(5, np.int32), HashType.BMH1) == 0


def test_a_table_has_a_row_for_each_edit_and_three_for_strangers() -> None:
    found = {name: np.array([0, 10, 200], np.int32) for name in EDITS}
    lines = table(Distances(found, np.array([40, 90, 400], np.int32)), HashType.BMH1)
    assert lines[0] == "| bmh1, `range` | 0 | 1 | 2 | 3 | 5 | 8 | 10 | 15 |"
    assert lines[2] == "| black and white | 33.3 | 66.7 | 66.7 | 66.7 | 66.7 | 66.7 | 66.7 | 66.7 |"
    assert len(lines) == 2 + len(EDITS) + 3
    assert lines[-3] == "| *pairs of strangers that match, of 3* | 0 | 0 | 0 | 0 | 1 | 1 | 2 | 2 |"
    assert lines[-2].startswith("| *share of them* | 0 | 0 | 0 | 0 | 3.3e-01 | 3.3e-01 | 6.7e-01 ")
    assert lines[-1].startswith("| *false matches among 10,000* | < 10,000 | < 10,000 ")


def test_advice_counts_copies_without_the_edits_beyond_them() -> None:
    far = {name: np.array([0 if name in COPIES else 500], np.int32) for name in EDITS}
    assert advice(PHOTOGRAPHS, Distances(far, NONE), HashType.BMH1, 5) == (
        "- Photographs, bmh1: **5** finds 100 % of the copies and matches 0 of 30,000 pairs of strangers."
    )


def test_the_script_runs_as_a_file_from_anywhere(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, SCRIPT, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "--out" in run.stdout, run.stderr
