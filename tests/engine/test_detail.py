"""What a file shows of a picture: detail, frames, and whether a larger copy shows more than a smaller one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.copies import (
    Edit,
    blurred,
    cropped,
    framed,
    photograph,
    scaled,
    screenshot,
    turned,
    upended,
)
from twinlens.engine import detail
from twinlens.engine.detail import is_enlargement, look_at
from twinlens.engine.types import Rgb

PHOTOGRAPHS = ("astronaut", "camera", "coins")


@pytest.fixture(scope="module", params=PHOTOGRAPHS)
def original(request: pytest.FixtureRequest) -> Image.Image:
    return photograph(request.param)


def rgb(image: Image.Image) -> Rgb:
    return np.asarray(image.convert("RGB"))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def share(edited: Image.Image, original: Image.Image) -> float:
    """Detail of an edited picture, as a share of the original's."""
    return look_at(rgb(edited)).detail / look_at(rgb(original)).detail


# -- detail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "most"),
    [
        (lambda image: scaled(image, 0.5), 0.5),
        (lambda image: scaled(image, 0.75), 0.8),
        (lambda image: blurred(image, 2), 0.7),
        (lambda image: jpeg(image, 30), 0.86),
        (lambda image: cropped(image, 0.85), 0.86),
    ],
    ids=["half", "three quarters", "blurred", "compressed", "cropped"],
)
def test_what_is_lost_is_missed(original: Image.Image, edit: Edit, most: float) -> None:
    assert share(edit(original), original) < most


@pytest.mark.parametrize("turn", [upended, ImageOps.mirror, ImageOps.flip])
def test_turning_a_picture_changes_nothing(original: Image.Image, turn: Edit) -> None:
    assert share(turn(original), original) == pytest.approx(1, abs=0.1)


def test_light_compression_changes_little(original: Image.Image) -> None:
    assert share(jpeg(original, 92), original) == pytest.approx(1, abs=0.12)


def test_flat_and_tiny_pictures_have_detail_too() -> None:
    for size in ((1, 1), (1, 300), (3, 3), (300, 1), (640, 480)):
        assert 0 < look_at(rgb(Image.new("RGB", size, "white"))).detail < 10_000


def test_very_long_pictures_are_stored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG has at most 65,535 pixels along a side."""
    assert look_at(np.zeros((4, 70_000, 3), np.uint8)).detail > 0
    picture = rgb(photograph("coffee"))
    whole = look_at(picture).detail
    monkeypatch.setattr(detail, "_JPEG_SIDE", 128)
    assert look_at(picture).detail == pytest.approx(whole, rel=0.1)


# -- frames --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        framed,
        lambda image: ImageOps.expand(image, (0, 40), "black"),
        screenshot,
        lambda image: jpeg(screenshot(image), 90),
        lambda image: ImageOps.pad(image, (image.width, image.width * 2), color="black"),
    ],
    ids=["frame", "bars", "screenshot", "compressed screenshot", "padded"],
)
def test_a_frame_is_seen_and_adds_nothing(original: Image.Image, frame: Edit) -> None:
    look = look_at(rgb(frame(original)))
    assert look.padded
    assert look.width == pytest.approx(original.width, abs=8)
    assert look.height == pytest.approx(original.height, abs=8)
    assert look.detail / look_at(rgb(original)).detail == pytest.approx(0.98, abs=0.1)


def test_a_photograph_has_no_frame(original: Image.Image) -> None:
    look = look_at(rgb(original))
    assert (look.padded, look.width, look.height) == (False, *original.size)


@pytest.mark.parametrize("degrees", [2, -5, 10])
def test_the_corners_of_a_rotation_are_seen(original: Image.Image, degrees: int) -> None:
    look = look_at(rgb(turned(original, degrees)))
    assert (look.padded, look.width, look.height) == (True, *original.size)


# -- enlargements --------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.5, 3])
@pytest.mark.parametrize("kernel", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_an_enlargement_is_recognised(original: Image.Image, factor: float, kernel: str) -> None:
    larger = scaled(original, factor, Image.Resampling[kernel])
    assert is_enlargement(rgb(larger), rgb(original))
    # A JPEG of hard little squares has edges of its own making.
    assert kernel == "NEAREST" or is_enlargement(rgb(jpeg(larger, 90)), rgb(original))


@pytest.mark.parametrize("factor", [1.5, 3])
@pytest.mark.parametrize("kernel", ["BILINEAR", "BICUBIC", "LANCZOS"])
def test_a_picture_is_no_enlargement_of_its_thumbnail(
    original: Image.Image, factor: float, kernel: str
) -> None:
    smaller = scaled(original, 1 / factor, Image.Resampling[kernel])
    assert not is_enlargement(rgb(original), rgb(smaller))
    assert not is_enlargement(rgb(jpeg(original, 80)), rgb(jpeg(smaller, 80)))


def test_a_soft_picture_is_no_enlargement_of_its_thumbnail(original: Image.Image) -> None:
    """Its thumbnail lacks nothing; the larger one stays all the same."""
    soft = blurred(original, 8)
    assert is_enlargement(rgb(soft), rgb(scaled(soft, 0.5))) is None


def test_large_pictures_are_compared_in_places(original: Image.Image) -> None:
    tiled = Image.new("RGB", (original.width * 3, original.height * 3))
    for column in range(3):
        for row in range(3):
            tiled.paste(original, (column * original.width, row * original.height))
    assert max(tiled.size) > 1024
    smaller = scaled(tiled, 0.5)
    assert not is_enlargement(rgb(tiled), rgb(smaller))
    assert is_enlargement(rgb(scaled(smaller, 2)), rgb(smaller))


def test_detail_in_one_corner_is_enough(original: Image.Image) -> None:
    """Most of the picture is out of focus; the larger copy still shows more."""
    soft = blurred(scaled(original, 3), 8)
    soft.paste(original.resize((soft.width // 3, soft.height // 3)), (0, 0))
    assert not is_enlargement(rgb(soft), rgb(scaled(soft, 0.4)))
