"""Rows of structure: alike where a hash is, whatever a picture lost in detail and colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy.fft import dctn

from tests.models.squares import pixels_of
from twinlens.models.structure import DIM, PRODUCTS_SHARE, SIGNS, structure

SIDE = 160

Edit = Callable[[Image.Image], Image.Image]


def cosines(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(rows, others, dim=1)


def test_rows_have_unit_length_and_shares_that_are_known(pictures: list[Image.Image]) -> None:
    rows = structure(pixels_of(pictures, SIDE))
    assert rows.shape == (len(pictures), DIM) and rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5)
    assert torch.allclose(rows[:, SIGNS:].pow(2).sum(dim=1), torch.tensor(PRODUCTS_SHARE), atol=1e-5)


def test_a_sign_is_that_of_its_coefficient(pictures: list[Image.Image]) -> None:
    """The lowest frequencies of the brightness, by their distance from zero; scipy transforms it."""
    pixels = pixels_of(pictures, SIDE)
    brightness = np.tensordot(pixels.numpy().astype(float), (0.299, 0.587, 0.114), axes=(1, 0))
    coefficients = dctn(brightness, axes=(1, 2))
    rows = structure(pixels).numpy()
    places = sorted((y * y + x * x, y, x) for y in range(20) for x in range(20))[1 : SIGNS + 1]
    for column, (_, y, x) in enumerate(places):
        clear = np.abs(rows[:, column]) > 0.01
        assert (np.sign(rows[clear, column]) == np.sign(coefficients[clear, y, x])).all()
    assert np.mean(np.abs(rows[:, :SIGNS]) > 0.01) > 0.95


def test_a_sign_counts_by_the_inverse_of_its_frequency(pictures: list[Image.Image]) -> None:
    rows = structure(pixels_of(pictures, SIDE))[:, :SIGNS].abs()
    places = sorted((y * y + x * x) ** 0.5 for y in range(20) for x in range(20))[1 : SIGNS + 1]
    counted = rows.amax(dim=0) ** 2 * torch.tensor(places)
    assert counted.max() / counted.min() < 1.4


@pytest.mark.parametrize(
    ("edit", "least"),
    [
        (lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 40)), 0.8),
        (lambda image: ImageOps.grayscale(image).convert("RGB"), 0.97),
        (lambda image: ImageOps.posterize(image, 3), 0.75),
        (lambda image: image.resize((24, 24)).resize(image.size, Image.Resampling.NEAREST), 0.7),
        (lambda image: image.point(lambda value: value // 2), 0.9),
    ],
    ids=["blurred", "grey", "few colours", "mosaic", "darker"],
)
def test_lost_detail_and_colour_leave_a_row_where_it_was(
    edit: Edit, least: float, pictures: list[Image.Image]
) -> None:
    rows, edited = (
        structure(pixels_of(pictures, SIDE)),
        structure(pixels_of([edit(each) for each in pictures], SIDE)),
    )
    assert cosines(rows, edited).min() > least


@pytest.mark.parametrize(
    "edit", [ImageOps.mirror, ImageOps.flip, ImageOps.invert], ids=["mirrored", "flipped", "inverted"]
)
def test_products_stay_where_signs_turn(edit: Edit, pictures: list[Image.Image]) -> None:
    pixels = pixels_of(pictures, SIDE)
    turned = pixels_of([edit(Image.fromarray(each.permute(1, 2, 0).numpy())) for each in pixels], SIDE)
    rows, after = structure(pixels), structure(turned)
    assert cosines(rows[:, SIGNS:], after[:, SIGNS:]).min() > 0.99
    assert cosines(rows[:, :SIGNS], after[:, :SIGNS]).max() < 0.4


def test_strangers_have_little_in_common(pictures: list[Image.Image]) -> None:
    rows = structure(pixels_of(pictures, SIDE))
    strangers = (rows @ rows.T)[~torch.eye(len(pictures), dtype=torch.bool)]
    assert strangers.abs().max() < 0.4 and strangers.abs().mean() < 0.1


def test_one_brightness_has_no_structure_and_a_faint_edge_has() -> None:
    flat = torch.full((2, 3, 112, 112), 200, dtype=torch.uint8)
    flat[1, :, :56] = 199
    rows = structure(flat)
    assert rows[0].norm() < 0.01 and rows[1].norm() > 0.5


def test_a_smaller_square_gives_nearly_the_same_row(pictures: list[Image.Image]) -> None:
    assert cosines(structure(pixels_of(pictures, SIDE)), structure(pixels_of(pictures, 112))).min() > 0.95


def test_a_row_does_not_depend_on_its_neighbours(pictures: list[Image.Image]) -> None:
    pixels = pixels_of(pictures, SIDE)
    alone = torch.cat([structure(pixels[place : place + 1]) for place in range(len(pixels))])
    assert torch.allclose(alone, structure(pixels), atol=1e-5)
