"""An ingest that is killed, runs out of disk or finds a read-only folder."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.collections_of_pictures import fill, picture, save
from tests.disks import read_only, small_disk
from tests.fakes import ColourGridEmbedder, load_fake
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import DatasetReadOnly, DatasetUnfinished, StorageFull
from twinlens.engine.results import Cluster, Uniqueness

ROOT = Path(__file__).parent.parent.parent
DRIVER = ROOT / "tests" / "drivers" / "index_folder.py"
KILLS = 20
IMAGES = 1200
BATCH = 32
IN_FLIGHT = 2 * BATCH


def start(photos: Path, folder: Path, journal: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(DRIVER), str(photos), str(folder), str(journal), str(pause)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    return run


def state(folder: Path) -> tuple[object, bytes, list[Cluster], list[Uniqueness], list[object]]:
    with Dataset.open(folder, models=load_fake) as dataset:
        snapshot = dataset.snapshot()
        rows = snapshot.rows.tobytes()
        return dataset.images(), rows, dataset.duplicates(0.9), dataset.uniqueness(), list(dataset.failures())


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, IMAGES - 30)
    for seed in range(20):
        save(photos, f"twin-{seed}.jpg", picture(seed).resize((80, 60)), quality=75)
    for seed in range(10):
        (photos / f"broken-{seed}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(seed))
    unbroken = start(photos, tmp_path / "unbroken", tmp_path / "unbroken.txt", 0.0)
    assert "done" in unbroken.communicate(timeout=300)[0]

    chance = random.Random(7)
    journal, kills = tmp_path / "killed.txt", 0
    while True:
        run = start(photos, tmp_path / "killed", journal, 0.03)
        try:
            out, err = run.communicate(timeout=chance.uniform(0.0, 0.6) if kills < KILLS else 300)
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            kills += 1
    assert "done" in out, err
    assert kills == KILLS

    assert state(tmp_path / "killed") == state(tmp_path / "unbroken")
    embedded = Counter(journal.read_text().split())
    again = sum(count - 1 for count in embedded.values())
    assert again <= kills * IN_FLIGHT, f"{again} images were embedded again over {kills} kills"
    assert set(embedded) == set((tmp_path / "unbroken.txt").read_text().split())


@pytest.mark.parametrize("size", ["300k", "500k", "700k", "1m"])
def test_a_full_disk_is_said_and_the_dataset_still_opens(tmp_path: Path, size: str) -> None:
    photos = tmp_path / "photos"
    fill(photos, 600)
    with small_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(StorageFull, match="free some space"):
            make_and_fill(disk / "data", photos)
        if not (disk / "data" / "catalog.sqlite").exists():
            return
        with Dataset.open(disk / "data", models=load_fake) as dataset:
            before = len(dataset)
            assert len(dataset.duplicates(0.9)) >= 0
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with Dataset.open(disk / "data", models=load_fake) as dataset:
            report = dataset.add(photos)
            assert (len(dataset), report.added) == (600, 600 - before)


def make_and_fill(folder: Path, photos: Path) -> None:
    with Dataset.create(folder, ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos)


def test_a_closed_dataset_answers_on_a_read_only_mount(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, 20)
    save(photos, "small.jpg", picture(1).resize((80, 60)), quality=80)
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos)
    expected = state(tmp_path / "data")
    with read_only(tmp_path / "mounted", tmp_path / "data") as mounted:
        assert state(mounted) == expected
        with Dataset.open(mounted, models=load_fake) as dataset:
            assert dataset.search(image=photos / "00003.jpg", k=1)[0].similarity > 0.9999
            with pytest.raises(DatasetReadOnly, match="cannot be written"):
                dataset.add(photos)


def test_an_unfinished_dataset_on_a_read_only_mount_is_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, 200)
    run = start(photos, tmp_path / "data", tmp_path / "journal.txt", 0.1)
    while not (tmp_path / "journal.txt").exists() or len((tmp_path / "journal.txt").read_text()) < 65 * 100:
        assert run.poll() is None
    run.kill()
    run.communicate()
    with (
        read_only(tmp_path / "mounted", tmp_path / "data") as mounted,
        pytest.raises(DatasetUnfinished, match="did not finish"),
    ):
        Dataset.open(mounted)
    assert len(state(tmp_path / "data")[0]) >= 32  # type: ignore[arg-type]


def test_memory_is_not_held_for_waiting_images(tmp_path: Path) -> None:
    """Large files wait as small prepared grids: 60 pictures of 12 MB each pass through 100 MB."""
    photos = tmp_path / "photos"
    original = save(photos, "0.png", Image.effect_noise((2000, 2000), 60).convert("RGB"))
    for number in range(1, 60):
        shutil.copy(original, photos / f"{number}.png")
        with (photos / f"{number}.png").open("ab") as file:
            file.write(bytes([number]))
    code = (
        "import resource, sys; from tests.drivers.index_folder import main; from pathlib import Path;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "data"), str(tmp_path / "j.txt")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(run.stdout.split()[-1]) < 200_000
