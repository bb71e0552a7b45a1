"""Pictures to train on: few, and found as the real ones are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from scripts import descriptor_pictures
from scripts.descriptor_pictures import Pictures, open_pictures, save_pictures
from scripts.make_demo import photographs
from tests.qt_collections import resource_collection
from twinlens.models import load_model


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few photographs dealt out to all packages, one of them inside a resource collection."""
    folder = tmp_path_factory.mktemp("packages")
    for name in descriptor_pictures.PACKAGES:
        (folder / name).mkdir()
    chosen = sorted(photographs())[:12]
    for number, path in enumerate(chosen):
        package = descriptor_pictures.PACKAGES[number % len(descriptor_pictures.PACKAGES)]
        if number:
            shutil.copyfile(path, folder / package / path.name)
    inner = "activities/animals.webp"
    Image.open(chosen[0]).convert("RGB").save(folder / "first.webp")
    (folder / descriptor_pictures.PACKAGES[0] / "a.rcc").write_bytes(
        resource_collection({inner: (folder / "first.webp").read_bytes(), "readme.txt": b"no picture"})
    )
    return folder


@pytest.fixture(scope="session")
def pictures_folder(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    save_pictures(packages, folder, load_model("efficientnet_lite0", device="cpu", precision="float32"))
    return folder


@pytest.fixture(scope="session")
def pictures(pictures_folder: Path) -> Pictures:
    return open_pictures(pictures_folder)
