"""Leaks of 50,000 training and 10,000 test images: exact, and inside a memory bound.

The bound is on the peak resident memory of a whole process, Python, its libraries and mapped files included:
250 MiB for the join alone, 400 MiB for the command, whose catalogs hold 60,000 images. The vectors of both
sets as float32 would be 117 MiB, all their similarities 1,907 MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench_leaks import THRESHOLD, save_sets
from twinlens.engine.dataset import Dataset

TRAIN, TEST = 50_000, 10_000
JOIN_BOUND_MIB, COMMAND_BOUND_MIB = 250, 400

JOIN = """
import json, sys
import numpy as np
from twinlens.engine.join import cross_join
train, test = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
pairs = [
    pair
    for block in cross_join(train, test, float(sys.argv[3]))
    for pair in zip(block.a.tolist(), block.b.tolist(), block.similarity.tolist())
]
print(json.dumps({"pairs": sorted(pairs)}))
"""

# A process starts with the peak of the one that it was forked from: here of a small Python, not of pytest.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def measured(command: list[str], code: int) -> tuple[Any, float]:
    """The JSON that a process prints, and its peak memory in MiB; says how long it took."""
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True)
    taken = time.monotonic() - start
    assert run.returncode == code, run.stderr
    peak = float(run.stderr.splitlines()[-1])
    print(f"{taken:.1f} s, {peak:.0f} MiB")
    return json.loads(run.stdout), peak


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    save_sets(folder, TRAIN, TEST)
    return folder


def brute(folder: Path) -> list[list[float]]:
    train, test = (np.load(folder / f"{name}.npy").astype(np.float64) for name in ("train", "test"))
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    test /= np.linalg.norm(test, axis=1, keepdims=True)
    found: list[list[float]] = []
    for start in range(0, TRAIN, 1000):
        similarity = np.minimum(np.round(np.round(train[start : start + 1000] @ test.T, 12), 6), 1.0)
        a, b = np.nonzero(similarity >= THRESHOLD)
        found += [[int(i) + start, int(j), float(similarity[i, j])] for i, j in zip(a, b, strict=True)]
    return sorted(found)


def test_the_join_equals_brute_force_within_its_bound(sets: Path) -> None:
    arguments = [str(sets / "train.npy"), str(sets / "test.npy"), str(THRESHOLD)]
    answer, peak = measured([sys.executable, "-c", JOIN, *arguments], 0)
    assert answer["pairs"] == brute(sets) and len(answer["pairs"]) >= TEST // 10
    assert peak < JOIN_BOUND_MIB


def test_the_command_finds_the_same_within_its_bound(sets: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = np.load(sets / f"{name}.npy")
        ids = [f"{number:06}" for number in range(len(rows))]
        Dataset.from_vectors(ids, rows, name="own", folder=tmp_path / name, device="cpu").close()
    command = [sys.executable, "-m", "twinlens.service", "leaks", "--threshold", str(THRESHOLD), "--json"]
    command += ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--device", "cpu"]
    answer, peak = measured(command, 3)
    found = sorted([int(leak["train"]), int(leak["test"]), leak["similarity"]] for leak in answer["leaks"])
    assert found == brute(sets)
    assert peak < COMMAND_BOUND_MIB
