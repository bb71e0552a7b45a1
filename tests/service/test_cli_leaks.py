"""`twinlens leaks`, driven as CI drives it: a shell, real photographs, the embedded model, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scripts.make_demo import photographs
from twinlens import Dataset

MODEL = "efficientnet_lite0"
SETS = "--train train/.twinlens --test test/.twinlens --device cpu"
LEAKED = {
    ("astronaut.png", "smaller.jpg"): "embedding",
    ("rocket.jpg", "copy.jpg"): "bytes",
    ("camera.png", "camera.bmp"): "pixels",
}


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of a real shell, in which `twinlens` is the program."""
    program = f'twinlens() {{ {shlex.quote(sys.executable)} -m twinlens.service "$@"; }}'
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = ["bash", "-c", f"{program}\n{line}"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def leaks_of(answer: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (Path(leak["train_path"]).name, Path(leak["test_path"]).name): leak["evidence"]
        for leak in answer["leaks"]
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of photographs: `test` holds three of `train`, edited or not; `clean` holds none."""
    folder = tmp_path_factory.mktemp("sets")
    places = {
        "train": ("astronaut", "camera", "rocket", "chelsea"),
        "test": ("coffee", "coins"),
        "clean": ("grass", "brick"),
    }
    sources = {path.stem: path for path in photographs()}
    for name, stems in places.items():
        (folder / name).mkdir()
        for stem in stems:
            shutil.copy(sources[stem], folder / name)
    with Image.open(sources["astronaut"]) as astronaut:
        astronaut.convert("RGB").resize((300, 300)).save(folder / "test" / "smaller.jpg", quality=80)
    with Image.open(sources["camera"]) as camera:
        camera.save(folder / "test" / "camera.bmp")
    shutil.copy(sources["rocket"], folder / "test" / "copy.jpg")
    (folder / "test" / "broken.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def answer(work: Path) -> dict[str, Any]:
    """What the first run prints: both folders are indexed on the way."""
    run = shell(f"twinlens leaks --train train --test test --model {MODEL} --json", work)
    assert run.returncode == 3, run.stderr
    assert "note: 3 leaks at 0.86: 3 of 5 test images are like 3 of 4 training images" in run.stderr
    assert "1 files could not be read" in run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_an_edited_a_copied_and_a_converted_image_leak(work: Path, answer: dict[str, Any]) -> None:
    assert leaks_of(answer) == LEAKED
    similarity = [leak["similarity"] for leak in answer["leaks"]]
    assert similarity[:2] == [1.0, 1.0] and 0.86 <= similarity[2] < 1.0
    assert answer["leak_count"] == 3 and answer["threshold"] == 0.86 and answer["model"] == MODEL
    assert answer["train"] == {
        "dataset": str(work / "train" / ".twinlens"),
        "images": 4,
        "leaked": 3,
        "failures": 0,
    }
    assert answer["test"]["images"] == 5 and answer["test"]["failures"] == 1


def test_the_shell_sees_three_for_leaks_and_zero_for_none(work: Path, answer: dict[str, Any]) -> None:
    line = "twinlens leaks --train train/.twinlens --device cpu --test {} ; echo code $?"
    assert shell(line.format("test/.twinlens"), work).stdout.splitlines()[-1] == "code 3"
    clean = shell(line.format("clean"), work)
    assert clean.stdout.splitlines() == [
        "no leaks at 0.86: none of 2 test images is like any of 4 training images",
        "code 0",
    ]
    gate = (
        "twinlens leaks --train train/.twinlens --test {} --device cpu --json > answer.json"
        " && echo train || echo stop"
    )
    assert shell(gate.format("clean/.twinlens"), work).stdout == "train\n"
    assert json.loads((work / "answer.json").read_text())["leaks"] == []
    assert shell(gate.format("test/.twinlens"), work).stdout == "stop\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("--train train --test nowhere", 2, "nowhere does not exist"),
        ("--train train --test train/rocket.jpg", 2, "train/rocket.jpg is no folder"),
        ("--train train --test train/.twinlens", 2, "are one dataset"),
        ("--train train --test empty", 2, "empty holds no image"),
        (f"{SETS} --threshold 1.5", 2, "threshold"),
        (f"{SETS} --max-pairs 1", 2, "identical images alone make 2 leaks"),
        (f"{SETS} --max-pairs 3 --threshold 0.1", 2, "ask for 0."),
        ("--train train/.twinlens --test clean --model clip", 2, "--model says clip"),
        ("--train own --test train", 4, "mine"),
        ("--train train --test own", 4, MODEL),
        (f"{SETS} --report train/rocket.jpg/r.html", 2, "cannot be written"),
    ],
)
def test_every_other_code_has_its_one_line(
    work: Path, answer: dict[str, Any], arguments: str, code: int, words: str
) -> None:
    (work / "empty").mkdir(exist_ok=True)
    if not (work / "own").exists():
        Dataset.from_vectors(["a"], np.ones((1, 8)), name="mine", folder=work / "own").close()
    run = shell(f"twinlens leaks {arguments}", work)
    assert run.returncode == code, run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("error: ") and words in last and "Traceback" not in run.stderr


def test_swapped_sets_leak_the_same(work: Path, answer: dict[str, Any]) -> None:
    run = shell("twinlens leaks --train test/.twinlens --test train/.twinlens --device cpu --json", work)
    swapped = {(b, a): evidence for (a, b), evidence in leaks_of(json.loads(run.stdout)).items()}
    assert run.returncode == 3 and swapped == LEAKED


def test_tables_have_the_paths_first(work: Path, answer: dict[str, Any]) -> None:
    run = shell(f"twinlens leaks {SETS} --format csv", work)
    header, *rows = csv.reader(io.StringIO(run.stdout))
    assert header == ["train_path", "test_path", "similarity", "evidence", "train", "test"]
    assert {(Path(row[0]).name, Path(row[1]).name): row[3] for row in rows} == LEAKED
    assert shell(f"twinlens leaks {SETS} --out leaks.parquet", work).returncode == 3
    assert pq.read_table(work / "leaks.parquet").column_names == header
    assert shell(f"twinlens leaks {SETS} --out leaks.json", work).returncode == 3
    assert json.loads((work / "leaks.json").read_text()) == answer


def test_a_report_is_one_file(work: Path, answer: dict[str, Any]) -> None:
    run = shell(f"twinlens leaks {SETS} --report out/leaks.html", work)
    assert run.returncode == 3
    assert run.stdout.splitlines()[-1] == "report out/leaks.html"
    assert "smaller.jpg  is like  train/astronaut.png  look-alike" in run.stdout
    page = (work / "out" / "leaks.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6 and "broken.jpg" in page


def test_a_folder_that_changed_is_brought_up_to_date(work: Path, answer: dict[str, Any]) -> None:
    late = work / "clean" / "late.jpg"
    shutil.copy(work / "train" / "rocket.jpg", late)
    run = shell("twinlens leaks --train train/.twinlens --test clean --json", work)
    late.unlink()
    assert run.returncode == 3 and leaks_of(json.loads(run.stdout)) == {("rocket.jpg", "late.jpg"): "bytes"}
