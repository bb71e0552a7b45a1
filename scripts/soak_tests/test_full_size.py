"""The promises of the engine at full size: too long for every test run."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.cuts import save_cuts
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset

KILLS = 20
IMAGES = 2000


def twinlens(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from twinlens.service.cli import main; main()", *map(str, arguments)]


def test_twenty_kills_of_the_command_line_with_the_embedded_model(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_cuts(photos, IMAGES, (800, 600))
    index: list[str | Path] = ["index", photos, "--model", "efficientnet_lite0", "--dataset"]
    start = time.monotonic()
    subprocess.run(twinlens(*index, tmp_path / "unbroken"), check=True)
    longest = time.monotonic() - start
    chance, kills = random.Random(3), 0
    while kills < KILLS:
        run = subprocess.Popen(twinlens(*index, tmp_path / "killed"))
        try:
            run.wait(timeout=chance.uniform(2.0, 2.0 + longest / KILLS * 1.5))
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            kills += 1
    subprocess.run(twinlens(*index, tmp_path / "killed"), check=True)
    with Dataset.open(tmp_path / "unbroken") as whole, Dataset.open(tmp_path / "killed") as killed:
        assert killed.images() == whole.images()
        assert killed.vectors().tobytes() == whole.vectors().tobytes()
        assert killed.duplicates() == whole.duplicates()
        assert killed.uniqueness() == whole.uniqueness()


def test_twenty_thousand_flat_images_form_no_cluster(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20_000):
        colour = (number % 256, number // 256, (number * 7) % 256)
        Image.new("RGB", (32, 24), colour).save(photos / f"{number:05}.png")
    shutil.copy(photos / "00007.png", photos / "copy.png")
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="flat") as dataset:
        dataset.add(photos)
        (cluster,) = dataset.duplicates(0.5)
    assert {Path(member.path).name for member in cluster.members} == {"00007.png", "copy.png"}


def test_copies_and_near_copies_in_bounded_memory() -> None:
    rng = np.random.default_rng(5)
    copies = rng.normal(size=(100_000, 512)).astype(np.float16)
    copies[::2] = copies[0]
    near = rng.normal(size=(1, 512)) + 0.0223 * rng.normal(size=(10_000, 512))
    for vectors, size in ((copies, 50_000), (near, 10_000)):
        ids = [f"{number:06}" for number in range(len(vectors))]
        with Dataset.from_vectors(ids, vectors, name="own") as dataset:
            start = time.monotonic()
            (cluster,) = dataset.duplicates(0.95)
            assert cluster.size == size and cluster.min_similarity >= 0.95
            assert time.monotonic() - start < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20
