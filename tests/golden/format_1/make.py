"""Make tests/golden/format_1: a small dataset of catalog format 1, written by a TwinLens of that time.

    git worktree add /somewhere/old 928ae7a
    PYTHONPATH=/somewhere/old/src:/somewhere/old python tests/golden/format_1/make.py

dataset.zip holds a folder of pictures with the dataset inside it; MANIFEST.json says what that TwinLens
answered. Newer versions must read the one and answer the other, so neither is ever made again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.collections_of_pictures import picture, save
from tests.fakes import ColourGridEmbedder
from twinlens import __version__
from twinlens.engine.catalog import MIGRATIONS
from twinlens.engine.dataset import Dataset

FOLDER = Path(__file__).parent
COMMIT = "928ae7a"
THRESHOLD = 0.9


def fill(photos: Path) -> None:
    """Six scenes, a larger twin, two copies, equal pixels in two files, a flat, a lost and a broken one."""
    for seed in range(6):
        save(photos, f"{seed}.jpg", picture(seed, 80, 60))
    save(photos, "large-3.jpg", picture(3, 120, 90))
    save(photos, "lost.jpg", picture(4, 100, 75))
    shutil.copy(photos / "1.jpg", photos / "copy-1.jpg")
    shutil.copy(photos / "2.jpg", photos / "copy-2.jpg")
    for name in ("pixels.png", "pixels.bmp"):
        save(photos, name, picture(99, 24, 18))
    save(photos, "red.png", Image.new("RGB", (24, 18), "red"))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")


def answers(dataset: Dataset) -> dict[str, Any]:
    """What the dataset holds and says, images by the names of their files."""
    name = {image.id: os.path.basename(image.path) for image in dataset.images()}
    return {
        "ids": {name[image.id]: image.id for image in dataset.images()},
        "failures": [os.path.basename(failure.path) for failure in dataset.failures()],
        "clusters": {
            cluster.cluster_id: [name[member.id] for member in cluster.members]
            for cluster in dataset.duplicates(THRESHOLD)
        },
        "scores": {name[score.id]: [score.score, score.nearest_similarity] for score in dataset.uniqueness()},
    }


def main() -> None:
    if len(MIGRATIONS) != 1:
        raise SystemExit(f"this TwinLens writes catalog format {len(MIGRATIONS)}: run that of {COMMIT}")
    with tempfile.TemporaryDirectory() as work:
        photos = Path(work)
        fill(photos)
        with Dataset.create(photos / ".twinlens", ColourGridEmbedder(), namespace="golden") as dataset:
            dataset.add(photos)
            ids = {os.path.basename(image.path): image.id for image in dataset.images()}
            dataset.reject(ids["copy-2.jpg"], ids["2.jpg"])
            (photos / "lost.jpg").unlink()
            dataset.add(photos)
            manifest = {
                "script": "tests/golden/format_1/make.py",
                "reference": f"TwinLens {__version__}, commit {COMMIT}",
                "threshold": THRESHOLD,
                "rejected": ["copy-2.jpg", "2.jpg"],
                **answers(dataset),
            }
        with zipfile.ZipFile(FOLDER / "dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in photos.rglob("*") if path.is_file()):
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(photos))), path.read_bytes(), 8)
    (FOLDER / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
