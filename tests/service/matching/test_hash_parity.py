"""Hashes that a server answers are those of OpenCV, for files of every kind and pictures of every shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.matching import by_opencv, photographs, record
from tests.pictures import beyond_opencv, encode, like_opencv
from tests.servers import RunningServer
from twinlens.engine.decode import decode
from twinlens.engine.hashing import image_hashes, to_bits

IN_ONE_REQUEST = 10
SUFFIXES = (".png", ".jpg", ".tif", ".gif")
SIDES = (1, 2, 3, 31, 32, 33, 100, 255, 256, 257, 450)


def ours(data: bytes) -> dict[str, Any]:
    image = decode(data)
    hashes = image_hashes(image.rgb)
    bits = {"bmh1": to_bits(hashes.bmh1), "phash": to_bits(hashes.phash)}
    return {"_width": image.width, "_height": image.height, **bits}


def answered(server: RunningServer, files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What the server answers to files, sent in full requests, by name."""
    records = [record(data, name=name) for name, data in files.items()]
    answers: dict[str, dict[str, Any]] = {}
    for start in range(0, len(records), IN_ONE_REQUEST):
        asked = records[start : start + IN_ONE_REQUEST]
        answer = server.post("visual_hash", {"records": asked}).json()
        assert answer["status"]["code"] == 200, answer["status"]
        answers |= {each.pop("name"): each for each in answer["records"]}
    return answers


def assert_as_opencv(server: RunningServer, files: Mapping[str, bytes]) -> None:
    answers = answered(server, files)
    assert list(answers) == list(files)
    assert [name for name, data in files.items() if answers[name] != by_opencv(data)] == []


def test_files_of_every_kind(server: RunningServer) -> None:
    files = like_opencv()
    formats = Counter(name.split()[0] for name in files)
    assert formats["jpeg"] >= 18 and formats["png"] >= 30 and formats["tiff"] >= 150 and len(files) >= 280
    assert_as_opencv(server, files)


def test_files_that_opencv_cannot_read_hash_as_in_the_engine(server: RunningServer) -> None:
    files = beyond_opencv()
    answers = answered(server, files)
    assert [name for name, data in files.items() if answers[name] != ours(data)] == []


@pytest.mark.parametrize("content", ["noise", "smooth"])
def test_pictures_of_every_shape(server: RunningServer, rng: np.random.Generator, content: str) -> None:
    files = {}
    for height, width in [*product(SIDES, SIDES), (1, 2000), (1999, 1), (777, 1111)]:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if content == "smooth":
            blobs = Image.fromarray(pixels[:7, :5]).resize((width, height), Image.Resampling.BICUBIC)
            pixels = np.asarray(blobs)
        files[f"{height} x {width}"] = encode(pixels, "PNG", compress_level=1)
    assert_as_opencv(server, files)


def test_real_photographs(server: RunningServer) -> None:
    files = {path.name: path.read_bytes() for path in photographs().iterdir() if path.suffix in SUFFIXES}
    # Its samples have 64 bits: OpenCV refuses it, and so does the server.
    del files["multipage_rgb.tif"]
    assert len(files) >= 25
    assert_as_opencv(server, files)
