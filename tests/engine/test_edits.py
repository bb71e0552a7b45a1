"""Graded edits: the same seed gives the same files, every kind works on every size, grades rise."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image

from tests.collections_of_pictures import picture
from twinlens.engine.decode import decode
from twinlens.engine.edits import EDITS, LARGEST_SIDE, Grade, draw_edits
from twinlens.engine.types import Rgb


def pixels(width: int = 160, height: int = 120) -> Rgb:
    """Colour fields with some grain."""
    grain = np.random.default_rng(1).integers(-9, 10, (height, width, 3))
    return (np.asarray(picture(1, width, height)) + grain).clip(0, 255).astype(np.uint8)


def difference(a: Rgb, b: Rgb) -> float:
    """Mean difference of two pictures at a common size, in grey levels."""
    small = [np.asarray(Image.fromarray(each).resize((32, 32)), np.float64) for each in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def test_a_seed_gives_the_same_files_and_another_one_others() -> None:
    first, again, other = (list(draw_edits(pixels(), 3, Random(seed))) for seed in ("7 a", "7 a", "8 a"))
    assert first == again
    assert [edit.data for edit in first] != [edit.data for edit in other]


def test_every_grade_comes_as_often_as_asked_and_no_edit_twice() -> None:
    edits = list(draw_edits(pixels(), 4, Random(1)))
    assert [edit.grade for edit in edits] == [grade for grade in Grade for _ in range(4)]
    assert len({(edit.grade, edit.name) for edit in edits}) == 12


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 5), (64, 200)])
def test_every_edit_of_every_size_is_a_file_that_can_be_read(size: tuple[int, int]) -> None:
    image = Image.fromarray(pixels(*size))
    for changes in EDITS.values():
        for name, change in changes.items():
            edited = change(image, Random(name))
            assert edited.mode == "RGB" and min(edited.size) >= 1, name
    for edit in draw_edits(pixels(*size), 5, Random(3)):
        assert decode(edit.data).format in ("jpeg", "png")


def test_every_edit_changes_something_and_leaves_its_picture_alone() -> None:
    original = pixels()
    for changes in EDITS.values():
        for name, change in changes.items():
            edited = np.asarray(change(Image.fromarray(original), Random(5)))
            assert edited.shape != original.shape or (edited != original).any(), name
    assert (original == pixels()).all()


def test_grades_rise() -> None:
    distances: dict[Grade, list[float]] = {grade: [] for grade in Grade}
    for seed in range(20):
        original = np.asarray(picture(seed))
        for edit in draw_edits(original, 6, Random(seed)):
            distances[edit.grade].append(difference(original, decode(edit.data).rgb))
    mild, medium, strong = (float(np.median(distances[grade])) for grade in Grade)
    assert mild < medium < strong


def test_large_pictures_are_scaled_down_first() -> None:
    for edit in draw_edits(pixels(3000, 1500), 2, Random(2)):
        assert max(decode(edit.data).rgb.shape) <= LARGEST_SIDE * 1.5
