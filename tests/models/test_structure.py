"""Rows of structure: alike where a hash is, whatever a picture lost in detail and colour."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy.fft import dctn
from scipy.ndimage import uniform_filter

from tests.models.squares import pixels_of
from twinlens.models.copy_descriptor import FAST_WEIGHTS, WEIGHTS, read_network
from twinlens.models.lite import SLIM_STAGES, STAGES
from twinlens.models.structure import (
    CELLS,
    COARSE,
    CONTRASTS,
    DIM,
    NEIGHBOURS,
    PARTS,
    PLACES,
    SCALES,
    STEP,
    WAVES,
    Scale,
    Structure,
    brightness,
    contrasts,
    neighbours,
    signs,
    waves,
)

SIDE = 192
LUMA = (0.299, 0.587, 0.114)
WAYS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda square: square,
    lambda square: square.flip(1),
    lambda square: square.flip(2),
    lambda square: square.flip(1, 2),
    lambda square: square.transpose(1, 2),
    lambda square: square.transpose(1, 2).flip(1),
    lambda square: square.transpose(1, 2).flip(2),
    lambda square: square.transpose(1, 2).flip(1, 2),
)
"""To lay squares [n, side, side] down."""

Edit = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module", params=[(WEIGHTS, STAGES), (FAST_WEIGHTS, SLIM_STAGES)], ids=["copy", "fast"])
def structure(request: pytest.FixtureRequest) -> Structure:
    path, stages = request.param
    assert isinstance(path, Path)
    return read_network(path, None, stages)[0].structure


def cosines(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(rows, others, dim=1)


def means(pixels: torch.Tensor) -> NDArray[np.float64]:
    """Of the brightness of all cells, [n, 32, 32]."""
    grey = np.tensordot(pixels.numpy().astype(float), LUMA, axes=(1, 0))
    size = pixels.shape[-1] // CELLS
    cells: NDArray[np.float64] = grey.reshape(-1, CELLS, size, CELLS, size).mean(axis=(2, 4))
    return cells


def test_rows_have_unit_length_and_shares_that_are_known(
    pictures: list[Image.Image], structure: Structure
) -> None:
    rows = structure(pixels_of(pictures, SIDE))
    assert rows.shape == (len(pictures), DIM) and rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5)
    for part, own in zip(PARTS, torch.split(rows, [part.dim for part in PARTS], dim=1), strict=True):
        assert torch.allclose(own.pow(2).sum(dim=1), torch.tensor(part.share), atol=1e-5)


@pytest.mark.parametrize("side", [96, 192, 224])
def test_cells_hold_mean_brightness(side: int, pictures: list[Image.Image]) -> None:
    pixels = pixels_of(pictures, side)
    assert np.allclose(brightness(pixels).numpy(), means(pixels), atol=1e-3)


def test_a_cell_takes_its_share_of_a_pixel_that_lies_in_two() -> None:
    """A square whose side is no multiple of theirs."""
    ramp = torch.arange(100, dtype=torch.uint8).expand(1, 3, 100, 100)
    seen = brightness(ramp)[0, 0]
    edges = torch.arange(CELLS + 1) * 100 / CELLS
    assert torch.allclose(seen, (edges[1:] + edges[:-1]) / 2 - 0.5, atol=0.1)


@pytest.mark.parametrize("scale", [COARSE, *SCALES], ids=str)
def test_a_sign_says_whether_a_place_is_brighter_than_around(
    scale: Scale, pictures: list[Image.Image]
) -> None:
    """Squares of cells with one middle; scipy filters."""
    pixels = pixels_of(pictures, SIDE)
    soft = signs(brightness(pixels), scale).numpy()
    for cells, found in zip(means(pixels), soft, strict=True):
        place, around = (uniform_filter(cells, size, mode="nearest")[1::2, 1::2] for size in scale)
        clear = np.abs(place - around) > 1
        assert clear.any() and (np.sign(place - around) == np.sign(found))[clear].all()
    assert soft.shape == (len(pictures), PLACES, PLACES)
    assert np.abs(soft).max() <= 1 and np.mean(np.abs(soft) > 0.7) > 0.6


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
    edit: Edit, least: float, pictures: list[Image.Image], structure: Structure
) -> None:
    rows, edited = (
        structure(pixels_of(pictures, SIDE)),
        structure(pixels_of([edit(each) for each in pictures], SIDE)),
    )
    assert cosines(rows, edited).min() > least


def test_what_is_pasted_into_a_picture_turns_the_signs_where_it_lies(pictures: list[Image.Image]) -> None:
    pixels = pixels_of(pictures, SIDE)
    pasted = pixels.clone()
    pasted[:, :, : SIDE // 2, : SIDE // 2] = pixels.roll(1, dims=0)[:, :, : SIDE // 2, : SIDE // 2]
    before, after = (signs(brightness(each), COARSE) for each in (pixels, pasted))
    reached = PLACES // 2 + COARSE.around // 4
    assert cosines(before[:, reached:].flatten(1), after[:, reached:].flatten(1)).min() > 0.9
    assert cosines(before.flatten(1), after.flatten(1)).mean() > 0.65


@pytest.mark.parametrize(
    "edit",
    [
        ImageOps.mirror,
        ImageOps.flip,
        ImageOps.invert,
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    ],
    ids=["mirrored", "flipped", "inverted", "turned", "turned and mirrored"],
)
@pytest.mark.parametrize("products", [neighbours, waves])
def test_products_stay_where_signs_turn(
    products: Callable[[torch.Tensor], torch.Tensor], edit: Edit, pictures: list[Image.Image]
) -> None:
    pixels = pixels_of(pictures, SIDE)
    turned = pixels_of([edit(Image.fromarray(each.permute(1, 2, 0).numpy())) for each in pixels], SIDE)
    before, after = brightness(pixels), brightness(turned)
    assert cosines(products(before), products(after)).min() > 0.99
    # Of all: some pictures are nearly symmetrical.
    assert cosines(contrasts(before), contrasts(after)).median() < 0.3


def test_a_negative_is_more_like_its_picture_than_strangers_are(
    pictures: list[Image.Image], structure: Structure
) -> None:
    """Both parts of products are as they were, and the third is turned."""
    negatives = structure(pixels_of([ImageOps.invert(each) for each in pictures], SIDE))
    similarities = (structure(pixels_of(pictures, SIDE)) * negatives).sum(dim=1)
    assert (similarities - (NEIGHBOURS.share + WAVES.share - CONTRASTS.share)).abs().max() < 0.05


def test_neighbours_are_products_a_step_apart_over_eight_ways(pictures: list[Image.Image]) -> None:
    """Each of the first quarter of a square; no others are needed, since the ways fold onto it."""
    seen = brightness(pixels_of(pictures, SIDE))
    rows, per_scale = neighbours(seen), PLACES // 2 * ((PLACES - STEP) // 2)
    assert rows.shape == (len(pictures), len(SCALES) * per_scale)
    for scale, own in zip(SCALES, torch.split(rows, per_scale, dim=1), strict=True):
        square = signs(seen, scale)
        laid = [way(square) for way in WAYS]
        found = own.reshape(len(pictures), PLACES // 2, -1)
        for y, x in ((0, 0), (3, 5), (7, 6)):
            product = torch.stack([each[:, y, x] * each[:, y, x + STEP] for each in laid]).mean(dim=0)
            assert torch.allclose(found[:, y, x], product, atol=1e-5)


def test_waves_are_products_of_the_lowest_ones_over_eight_ways(pictures: list[Image.Image]) -> None:
    """Those of one parity, by their distance from zero; scipy transforms."""
    pixels = pixels_of(pictures, SIDE)
    waves_of = dctn(means(pixels), axes=(1, 2), norm="ortho")[:, :12, :12] / CELLS
    waves_of[:, 0, 0] = 0
    size = np.sqrt(np.mean(waves_of**2, axis=(1, 2), keepdims=True))
    soft = waves_of / np.sqrt(waves_of**2 + (0.05 * size) ** 2 + 0.01**2)
    places = sorted((y * y + x * x, y, x) for y in range(12) for x in range(12))[1:]
    pairs = []
    for parity in ((0, 0), (1, 1), (0, 1)):
        alike = [(y, x) for _, y, x in places if (y % 2, x % 2) == parity]
        pairs += [(after[0] ** 2 + after[1] ** 2, first, after) for first, after in pairwise(alike)]
    lowest = [(first, second) for _, first, second in sorted(pairs)[: WAVES.dim]]
    wanted = np.stack(
        [soft[:, *a] * soft[:, *b] + soft[:, *a[::-1]] * soft[:, *b[::-1]] for a, b in lowest], axis=1
    )
    rows = waves(brightness(pixels)).numpy()
    assert rows.shape == (len(pictures), WAVES.dim)
    assert np.allclose(rows, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-3)


def test_strangers_have_little_in_common(pictures: list[Image.Image], structure: Structure) -> None:
    rows = structure(pixels_of(pictures, SIDE))
    strangers = (rows @ rows.T)[~torch.eye(len(pictures), dtype=torch.bool)]
    assert strangers.abs().max() < 0.4 and strangers.abs().mean() < 0.1


def test_one_brightness_has_next_to_no_structure_and_a_faint_edge_has(structure: Structure) -> None:
    flat = torch.full((2, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    flat[1, :, : SIDE // 2] = 199
    seen = brightness(flat)
    assert all(part(seen)[0].norm() < 0.01 for part in (contrasts, neighbours, waves))
    rows = structure(flat)
    assert rows[0].norm() < 0.1 and rows[1].norm() > 0.5


def test_a_smaller_square_gives_nearly_the_same_row(
    pictures: list[Image.Image], structure: Structure
) -> None:
    assert cosines(structure(pixels_of(pictures, SIDE)), structure(pixels_of(pictures, 96))).min() > 0.95


def test_a_row_does_not_depend_on_its_neighbours(pictures: list[Image.Image], structure: Structure) -> None:
    pixels = pixels_of(pictures, SIDE)
    alone = torch.cat([structure(pixels[place : place + 1]) for place in range(len(pixels))])
    assert torch.allclose(alone, structure(pixels), atol=1e-5)
