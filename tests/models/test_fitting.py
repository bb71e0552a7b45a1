"""Preparations without torch: the very pixels of the steps that they stand for, in any process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import Compose

from twinlens.engine.types import Rgb
from twinlens.models.clip import preparation_of, split_preprocess
from twinlens.models.fitting import MiddleSquare, Squash

SHAPES = [(1, 1), (1, 40), (40, 1), (33, 500), (224, 224), (97, 31), (299, 224), (223, 225), (480, 640)]


def pictures() -> list[Rgb]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]


def geometry_of(size: Any, mode: str, interpolation: str) -> Any:
    geometry, _ = split_preprocess(
        image_transform(size, is_train=False, resize_mode=mode, interpolation=interpolation)
    )
    return geometry


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("size", "mode"),
    [(32, "shortest"), ((224, 224), "shortest"), (337, "shortest"), (224, "squash"), ((64, 48), "squash")],
)
def test_preparations_equal_open_clip_pixel_by_pixel(size: Any, mode: str, interpolation: str) -> None:
    geometry = geometry_of(size, mode, interpolation)
    preparation = preparation_of(geometry)
    assert isinstance(preparation, MiddleSquare if mode == "shortest" else Squash)
    for picture in pictures():
        assert np.array_equal(preparation(picture), np.asarray(geometry(Image.fromarray(picture))))


@pytest.mark.parametrize(("size", "mode"), [(224, "longest"), ((64, 48), "shortest")])
def test_other_ways_are_left_to_open_clip(size: Any, mode: str) -> None:
    assert preparation_of(geometry_of(size, mode, "bicubic")) is None


def test_pictures_that_are_not_resized_are_left_to_open_clip() -> None:
    assert preparation_of(Compose([])) is None


@pytest.mark.parametrize(
    "preparation",
    [MiddleSquare(20, Image.Resampling.BICUBIC), Squash(30, 20, Image.Resampling.BILINEAR, gap=2.0)],
)
def test_another_process_prepares_without_torch(preparation: Any) -> None:
    picture = pictures()[-1]
    code = (
        "import pickle, sys; preparation, picture = pickle.load(sys.stdin.buffer);"
        "pixels = preparation(picture); assert 'torch' not in sys.modules;"
        "sys.stdout.buffer.write(pixels.tobytes())"
    )
    given = pickle.dumps((preparation, picture))
    run = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    assert run.stdout == preparation(picture).tobytes()
