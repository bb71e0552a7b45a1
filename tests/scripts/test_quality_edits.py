"""The edits of the quality benchmark: each family on pictures of several shapes."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image

from scripts.quality_edits import PLAIN, SMALLEST_SIDE, Family, Setting, upright_box
from scripts.quality_hard_edits import HARD
from tests.pictures import picture as drawn


def picture(seed: int, width: int, height: int) -> Image.Image:
    """A picture with fine detail."""
    grain = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return Image.fromarray((drawn(height, width, seed) * 0.8 + grain).astype(np.uint8))


FILLERS = [picture(seed, 90 + 40 * seed, 120) for seed in range(1, 6)]
FAMILIES = pytest.mark.parametrize("family", [*PLAIN, *HARD], ids=lambda family: family.name)


def edited(family: Family, image: Image.Image, strength: float, seed: int = 3) -> Image.Image:
    return family.change(image, Setting(strength, Random(seed), FILLERS[: family.fillers]))


def test_there_are_seventeen_plain_families_and_no_name_comes_twice() -> None:
    names = [family.name for family in (*PLAIN, *HARD)]
    assert len(PLAIN) == 17 and len(set(names)) == len(names)


@FAMILIES
@pytest.mark.parametrize("size", [(160, 120), (96, 300), (640, 200)])
def test_an_edit_changes_the_picture_the_same_way_every_time(family: Family, size: tuple[int, int]) -> None:
    image = picture(7, *size)
    before = image.tobytes()
    for strength in (0.0, 0.5, 1.0):
        first, second = (edited(family, image, strength) for _ in range(2))
        assert first.mode == "RGB" and first.tobytes() == second.tobytes()
        assert min(first.size) >= min(SMALLEST_SIDE, *size) // 3
        assert first.size != image.size or first.tobytes() != before
    assert image.tobytes() == before


@pytest.mark.parametrize("name", ["recompression", "blur", "noise", "heavy blur", "mosaic"])
def test_stronger_is_further_from_the_picture(name: str) -> None:
    (family,) = (each for each in (*PLAIN, *HARD) if each.name == name)
    image = picture(2, 320, 240)
    distances = [
        float(np.abs(np.asarray(edited(family, image, strength), float) - np.asarray(image, float)).mean())
        for strength in (0.0, 0.5, 1.0)
    ]
    assert distances == sorted(distances) and distances[0] < distances[-1]


@pytest.mark.parametrize("degrees", [-30.0, -3.0, 3.0, 12.0, 30.0])
def test_the_box_in_a_rotated_picture_has_none_of_its_corners(degrees: float) -> None:
    white = Image.new("RGB", (300, 200), "white")
    turned = white.rotate(degrees, Image.Resampling.NEAREST)
    width, height = upright_box(300, 200, degrees)
    left, top = (300 - width) / 2, (200 - height) / 2
    box = turned.crop((round(left) + 1, round(top) + 1, round(left + width) - 1, round(top + height) - 1))
    assert np.asarray(box).min() == 255
