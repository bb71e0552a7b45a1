"""Rows of colours: alike wherever in a picture its colours lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from tests.models.squares import pixels_of
from twinlens.models.copy_descriptor import FAST_WEIGHTS, WEIGHTS, read_network
from twinlens.models.lite import SLIM_STAGES, STAGES
from twinlens.models.palette import BINS, DIM, LEVELS, Palette, roots

SIDE = 160

Edit = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module", params=[(WEIGHTS, STAGES), (FAST_WEIGHTS, SLIM_STAGES)], ids=["copy", "fast"])
def palette(request: pytest.FixtureRequest) -> Palette:
    path, stages = request.param
    assert isinstance(path, Path)
    return read_network(path, None, stages)[0].palette


def cosines(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(rows, others, dim=1)


def test_a_colour_on_a_level_is_one_bin_and_any_other_is_shared_among_those_around() -> None:
    grey = torch.full((3, 3, SIDE, SIDE), 51, dtype=torch.uint8)
    grey[1] = 0
    grey[2, 0] = 64
    shares = roots(grey) ** 2
    first = 1 + LEVELS + LEVELS**2
    assert torch.allclose(shares.sum(dim=1), torch.ones(3))
    assert shares[0, first] == 1 and shares[1, 0] == 1
    # A quarter of the way to the next level of red.
    assert shares[2, first + LEVELS**2] == pytest.approx(13 / 51, abs=1e-5)
    assert shares[2, first] == pytest.approx(38 / 51, abs=1e-5)


def test_shares_are_those_of_the_area() -> None:
    half = torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)
    half[:, :, :40] = 255
    shares = roots(half)[0] ** 2
    assert shares.shape == (BINS,)
    # Along the edge, places are grey: their bins lie between black and white.
    levels = torch.arange(LEVELS**3) // LEVELS**2 / (LEVELS - 1)
    assert float(shares @ levels) == pytest.approx(0.25, abs=1e-3)
    assert shares[0] > 0.69 and shares[-1] > 0.19


def test_rows_have_unit_length(pictures: list[Image.Image], palette: Palette) -> None:
    rows = palette(pixels_of(pictures, SIDE))
    assert rows.shape == (len(pictures), DIM) and rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5)


@pytest.mark.parametrize(
    ("edit", "least"),
    [
        (ImageOps.mirror, 0.99),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), 0.99),
        (lambda image: image.rotate(20, Image.Resampling.BICUBIC, expand=False), 0.5),
        (lambda image: ImageOps.crop(image, round(0.1 * min(image.size))), 0.7),
    ],
    ids=["mirrored", "a quarter turned", "turned", "cropped"],
)
def test_moved_colours_leave_a_row_where_it_was(
    edit: Edit, least: float, pictures: list[Image.Image], palette: Palette
) -> None:
    rows = palette(pixels_of(pictures, SIDE))
    edited = palette(pixels_of([edit(each) for each in pictures], SIDE))
    assert cosines(rows, edited).median() > least


def test_strangers_have_little_in_common(pictures: list[Image.Image], palette: Palette) -> None:
    rows = palette(pixels_of(pictures, SIDE))
    strangers = (rows @ rows.T)[~torch.eye(len(pictures), dtype=torch.bool)]
    assert strangers.abs().mean() < 0.2


def test_a_smaller_square_gives_nearly_the_same_row(pictures: list[Image.Image], palette: Palette) -> None:
    assert cosines(palette(pixels_of(pictures, SIDE)), palette(pixels_of(pictures, 96))).min() > 0.9


def test_a_row_does_not_depend_on_its_neighbours(pictures: list[Image.Image], palette: Palette) -> None:
    pixels = pixels_of(pictures, SIDE)
    alone = torch.cat([palette(pixels[place : place + 1]) for place in range(len(pixels))])
    assert torch.allclose(alone, palette(pixels), atol=1e-5)


def test_bytes_and_numbers_are_resized_alike(pictures: list[Image.Image]) -> None:
    """A GPU resizes numbers."""
    pixels = pixels_of(pictures, SIDE)
    assert (roots(pixels) ** 2 - roots(pixels.float()) ** 2).abs().max() < 0.01
