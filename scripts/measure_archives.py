"""Index the same photographs from a folder and from archives, and print what each costs.

    .venv/bin/python -m scripts.measure_archives [IMAGES]

Photographs are those that the scikit-image wheel ships, cropped by seed. Seconds are of the processor, over
all threads, so that other programs on the machine count little; each way is taken twice and the lower counts.
"""

from __future__ import annotations

import io
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from scripts.make_demo import SEED, photographs
from twinlens.engine.dataset import Dataset
from twinlens.models import load_model

SHARDS = 20


def crops(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and JPEG files."""
    chance = random.Random(SEED)
    originals = photographs()
    for number in range(count):
        with Image.open(originals[number % len(originals)]) as image:
            width, height = image.size
            left, top = chance.randrange(width // 4 + 1), chance.randrange(height // 4 + 1)
            part = image.convert("RGB").crop((left, top, left + width * 3 // 4, top + height * 3 // 4))
        packed = io.BytesIO()
        part.save(packed, "JPEG", quality=90)
        yield f"{number:06}.jpg", packed.getvalue()


def pack(files: list[tuple[str, bytes]], place: Path) -> dict[str, Path]:
    """The same files in every kind of source."""
    folder, shards = place / "folder", place / "shards"
    folder.mkdir()
    shards.mkdir()
    for name, data in files:
        (folder / name).write_bytes(data)
    for number in range(SHARDS):
        _tar(shards / f"{number:03}.tar", files[number::SHARDS], "w:")
    with zipfile.ZipFile(place / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    _tar(place / "all.tar.gz", files, "w:gz")
    return {
        "folder": folder,
        f"{SHARDS} tar shards": shards,
        "zip": place / "all.zip",
        "tar.gz": place / "all.tar.gz",
    }


def _tar(path: Path, files: list[tuple[str, bytes]], mode: str) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    embedder = load_model("efficientnet_lite0", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        sources = pack(list(crops(count)), Path(name))
        cost: dict[str, list[float]] = {kind: [] for kind in sources}
        again: dict[str, float] = {}
        for turn in range(2):
            for kind, source in sources.items():
                with Dataset.create(Path(name) / f"{turn} {kind}", embedder) as dataset:
                    start = time.process_time()
                    report = dataset.add(source)
                    assert (report.added, report.failed) == (count, 0), report
                    cost[kind].append(time.process_time() - start)
                    start = time.process_time()
                    assert dataset.add(source).unchanged == count
                    again[kind] = time.process_time() - start
    print(f"{count} images          ms an image   ms an image, unchanged")
    for kind, seconds in cost.items():
        print(f"{kind:<20} {min(seconds) / count * 1e3:>8.2f} {again[kind] / count * 1e3:>18.3f}")


if __name__ == "__main__":
    main()
