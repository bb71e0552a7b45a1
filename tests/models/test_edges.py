"""Edges can be seen where both of their sides differ, however they lie."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from PIL import Image, ImageDraw

from tests.models.squares import pixels_of
from twinlens.models.edges import DIFFERENT, seen
from twinlens.models.parallelograms import Parallelograms

SIDE, CELLS = 96, 24
CELL = SIDE // CELLS


def found(centre: complex, across: complex, down: complex) -> Parallelograms:
    """One, in cells: its middle, and half of its edges."""
    area = 4 * abs((across.conjugate() * down).imag) / CELLS**2
    middle, right, below = (torch.tensor([each], dtype=torch.complex64) for each in (centre, across, down))
    return Parallelograms(middle, right, below, torch.ones(1), torch.tensor([area]))


def drawn(shape: Parallelograms, ink: str, paper: str) -> Image.Image:
    """What was found in ink on paper."""
    picture = Image.new("RGB", (SIDE, SIDE), paper)
    centre, across, down = (complex(each[0]) * CELL for each in shape[:3])
    corners = (across + down, across - down, -across - down, -across + down)
    ImageDraw.Draw(picture).polygon([((centre + each).real, (centre + each).imag) for each in corners], ink)
    return picture


def share_of(picture: Image.Image, shape: Parallelograms) -> float:
    return float(seen(pixels_of([picture], SIDE), shape, CELLS)[0])


@pytest.mark.parametrize("degrees", [0, 7, -30])
def test_edges_between_two_colours_are_seen(degrees: float) -> None:
    turn = cmath.rect(1, math.radians(degrees))
    shape = found(12 + 12j, 8 * turn, 6j * turn)
    assert share_of(drawn(shape, "navy", "white"), shape) == 1
    assert share_of(drawn(shape, "white", "navy"), shape) == 1


@pytest.mark.parametrize(("step", "share"), [(DIFFERENT - 4, 0), (DIFFERENT + 4, 1)])
def test_colours_that_are_nearly_the_same_make_no_edge(step: int, share: float) -> None:
    shape = found(12 + 12j, 8, 7j)
    assert share_of(drawn(shape, f"rgb(100,100,{100 + step})", "rgb(100,100,100)"), shape) == share


def test_an_edge_counts_as_far_as_it_is_seen() -> None:
    """Lines of text reach an edge here and there."""
    shape = found(12 + 12j, 8, 8j)
    picture = drawn(shape, "white", "white")
    pen = ImageDraw.Draw(picture)
    for y in range(16, 80, 8):
        pen.rectangle((16, y, 79, y + 3), "black")
    assert 0.3 < share_of(picture, shape) < 0.8


def test_where_a_picture_ends_there_is_no_edge_of_it() -> None:
    """A letter box has two."""
    shape = found(12 + 12j, 12, 8j)
    assert share_of(drawn(shape, "navy", "white"), shape) == 1
    whole = found(12 + 12j, 12, 12j)
    assert share_of(drawn(whole, "navy", "white"), whole) == 0


def test_each_square_has_a_share_of_its_own() -> None:
    shape = found(12 + 12j, 8, 7j)
    pictures = [drawn(shape, "navy", "white"), drawn(shape, "white", "white"), drawn(shape, "red", "lime")]
    shapes = Parallelograms(*(part.expand(3) for part in shape))
    assert seen(pixels_of(pictures, SIDE), shapes, CELLS).tolist() == [1, 0, 1]
