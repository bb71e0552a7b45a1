"""Curation of 5,000 real and edited photographs: its two promises, there and back, and twenty kills.

Seeded cuts of scikit-image's photographs, each with seven edits, under names with spaces and without UTF-8,
beside a link, flat pictures and broken files. What holds is computed by no code of the engine.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.cuts import Cut, cuts
from tests.brute_force import Stored, read_stored
from tests.copies import blurred, cropped, save, scaled, screenshot, turned
from tests.trees import Tree, tree_of
from twinlens.engine.dataset import Dataset

CUTS, SIZE = 625, (320, 240)
THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.84, 0.86, 0.9, 0.95, 0.99, 1.0)
LOOKED_AT = 0.86
KILLS = 20
ACTIONS = ("trash", "move", "far move", "hardlink", "symlink")
PROGRAM = [sys.executable, "-c", "from twinlens.service.cli import main; main()"]
ODD = os.fsdecode(b"caf\xe9 ")


def save_family(folder: Path, number: int, cut: Cut) -> None:
    """A photograph and seven edits of it, in folders by edit."""
    source, size, box = cut
    original = source.resize(size, Image.Resampling.BICUBIC, box)
    name = f"{ODD if number % 50 == 0 else ''}{number // 100}/{number:04} photo"
    first = save(original, folder / "camera" / f"{name}.jpg", quality=92)
    copy = folder / "backup" / f"{name}.jpg"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(first, copy)
    save(original, folder / "sent" / f"{name}.jpg", quality=60)
    save(scaled(original, 0.5), folder / "small" / f"{name}.png")
    save(scaled(original, 1.6), folder / "printed" / f"{name}.jpg", quality=90)
    save(turned(original, 2), folder / "edited" / f"{name} turned.jpg", quality=90)
    save(cropped(original, 0.92), folder / "edited" / f"{name} cropped.jpg", quality=90)
    if number % 3 == 0:
        save(original, folder / "phone" / f"{name}.heic", quality=90)
    elif number % 3 == 1:
        save(screenshot(original), folder / "screen" / f"{name}.png")
    else:
        save(blurred(original, 1.5), folder / "edited" / f"{name} soft.jpg", quality=90)


def fill(folder: Path) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: save_family(folder, *job), enumerate(cuts(CUTS, lambda: SIZE))))
    (folder / "odd").mkdir()
    for number in range(3):
        (folder / "odd" / f"broken {number}.jpg").write_bytes(b"\xff\xd8\xff" * number)
        save(Image.new("RGB", (64, 48), "white"), folder / "odd" / f"white {number}.png")
    backup = folder / "backup/1/0112 photo.jpg"
    os.symlink(os.path.relpath(backup, folder / "odd"), folder / "odd/link.jpg")
    for number, path in enumerate(sorted(folder.rglob("*"), key=os.fsencode)):
        if path.is_file() and not path.is_symlink():
            path.chmod((0o644, 0o600, 0o444)[number % 3])
            os.utime(path, ns=(10**18, 10**18 + 1_000_000_007 * number))


def run(*arguments: str | Path) -> dict[str, Any]:
    command = [*PROGRAM, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("curate")
    fill(place / "photos")
    report = run("index", place / "photos", "--dataset", place / "data", "--model", "efficientnet_lite0")
    assert report["images"] >= 5_000 and report["sources"][0]["failed"] == 3
    return place


@pytest.fixture
def data(place: Path) -> Path:
    return place / "data"


@pytest.fixture(scope="module")
def tree(place: Path) -> Tree:
    """What the folder is before anything happens to it."""
    return tree_of(place / "photos")


@pytest.fixture(autouse=True)
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(place / "home"))
    return place / "home"


@pytest.fixture(scope="module")
def far() -> Iterator[Path]:
    """A folder on another disk."""
    folder = Path(f"/dev/shm/twinlens-soak-{os.getpid()}")
    folder.mkdir()
    yield folder / "gone"
    shutil.rmtree(folder)


# -- the promises --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(place: Path) -> Stored:
    return read_stored(place / "data")


@pytest.mark.parametrize("decided", [False, True], ids=["plain", "rejected and protected"])
def test_both_promises_hold_at_ten_thresholds(place: Path, data: Path, stored: Stored, decided: bool) -> None:
    with Dataset.open(data) as dataset:
        ids = {image.path: image.id for image in dataset.images()}
    similarity = stored.similarity
    options: list[str | Path] = []
    number = {id_: n for n, id_ in enumerate(stored.ids)}
    shielded = np.zeros(len(number), np.bool_)
    if decided:
        options = ["--protect", place / "photos/small/1", "--protect", place / "photos/phone"]
        for path, id_ in ids.items():
            shielded[number[id_]] = path.startswith(tuple(f"{folder}/" for folder in options[1::2]))
        similarity = rejected(data, stored, random.Random(5))
    for threshold in THRESHOLDS:
        start = time.monotonic()
        # What is seen in the files changes who stays, not what holds: one threshold is enough for it.
        how = [] if threshold == LOOKED_AT else ["--quick"]
        plan = run("curate", "--dataset", data, "--threshold", str(threshold), *options, *how)
        seconds = time.monotonic() - start
        kept = [number[ids[path]] for path in plan["keep"]]
        for removal in plan["remove"]:
            a, b = number[ids[removal["path"]]], number[ids[removal["twin"]]]
            assert removal["similarity"] == similarity[a, b] == similarity[a, kept].max() >= threshold
        assert sorted([*kept, *(number[ids[r["path"]]] for r in plan["remove"])]) == list(range(len(number)))
        between = similarity[np.ix_(kept, kept)] >= threshold
        np.fill_diagonal(between, False)
        free = ~shielded[kept]
        assert not between[free].any(), "only protected ones may be twins"
        assert set(np.flatnonzero(shielded)) <= set(kept)
        print(f"{threshold}: {len(kept)} stay, {len(plan['remove'])} go, {seconds:.1f} s", flush=True)


def rejected(data: Path, stored: Stored, chance: random.Random) -> np.ndarray:
    """Similarities after 500 twins, identical ones among them, were said to be none."""
    twins = np.argwhere(np.triu(stored.similarity >= 0.9, 1)).tolist()
    pairs = [(stored.ids[a], stored.ids[b]) for a, b in chance.sample(twins, 500)]
    with Dataset.open(data) as dataset:
        dataset.reject_pairs(pairs)
    similarity = stored.similarity.copy()
    number = {id_: n for n, id_ in enumerate(stored.ids)}
    for a, b in pairs:
        similarity[number[a], number[b]] = similarity[number[b], number[a]] = 0
    return similarity


# -- the files -----------------------------------------------------------------------------------------


def command(place: Path, data: Path, far: Path, action: str, threshold: float) -> list[str]:
    to = {"move": ["--to", str(place / "gone")], "far move": ["--to", str(far)]}.get(action, [])
    # By path, so that of two identical files one is kept, and the other can become a link.
    how = ["--threshold", str(threshold), "--rules", "path", "--apply", action.removeprefix("far ")]
    return ["curate", "--dataset", str(data), *how, *to]


@pytest.mark.parametrize("action", ACTIONS)
def test_undo_restores_the_tree(place: Path, data: Path, tree: Tree, far: Path, action: str) -> None:
    start = time.monotonic()
    applied = run(*command(place, data, far, action, 0.99 if action in ("trash", "move") else 1.0))["applied"]
    seconds = time.monotonic() - start
    assert applied["done"] > 500 and tree_of(place / "photos") != tree
    if "link" not in action:
        assert [r["reason"] for r in applied["refused"] if "is this very file" not in r["reason"]] == []
    start = time.monotonic()
    back = run("curate", "--undo", applied["journal"])
    print(f"{action}: {applied['done']} in {seconds:.0f} s, back in {time.monotonic() - start:.0f} s")
    assert (back["undone"], back["refused"]) == (applied["done"], [])
    assert tree_of(place / "photos") == tree
    assert not (place / "gone").exists() and not far.exists() and not (place / "home").exists()


def test_twenty_kills_lose_no_byte(place: Path, data: Path, tree: Tree, far: Path) -> None:
    chance, before, interrupted = random.Random(7), contents(place / "photos"), 0
    for kill in range(KILLS):
        action, journal = ACTIONS[kill % len(ACTIONS)], place / f"{kill}.jsonl"
        words = [*command(place, data, far, action, 1.0), "--journal", str(journal)]
        killed = run_and_kill(words, journal, chance.uniform(0, 250_000))
        interrupted += killed
        assert not before - contents(place / "photos", place / "gone", far, place / "home/Trash/files")
        if kill % 3 == 0:
            run("curate", "--continue", journal)
        elif kill % 3 == 1:
            run_and_kill(["curate", "--undo", str(journal)], journal, chance.uniform(0, 25_000))
            assert not before - contents(place / "photos", place / "gone", far, place / "home/Trash/files")
        assert run("curate", "--undo", journal)["refused"] == []
        assert tree_of(place / "photos") == tree
        assert not (place / "gone").exists() and not far.exists() and not (place / "home").exists()
        print(f"kill {kill}: {action}, {'killed' if killed else 'was done already'}", flush=True)
    assert interrupted >= KILLS * 3 // 4


def run_and_kill(words: list[str], journal: Path, growth: float) -> bool:
    """True if it was killed as soon as its journal had grown by so many bytes, and had not ended before."""
    process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not journal.exists():
        assert process.poll() is None
        time.sleep(0.002)
    start = journal.stat().st_size
    while journal.stat().st_size < start + growth and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def contents(*folders: Path) -> Counter[str]:
    """How often each content is in some folders, under whatever name."""
    return Counter(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    )
