"""Pictures that were turned are found by the moments of their cells, and turned back."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.squares import pixels_of
from twinlens.models.parallelograms import Parallelograms, completed, cut, fitted

SIDE, WIDE = 24, 192
SIZES = ((400, 300), (300, 400), (300, 300), (500, 250))


def turned_cells(size: tuple[int, int], degrees: float, *, whole: bool) -> torch.Tensor:
    """Which share of each cell a turned picture has, [1, 24, 24], on a larger sheet or one of its size."""
    mask = Image.new("L", size, 255).rotate(degrees, Image.Resampling.BICUBIC, expand=whole)
    cells = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
    return torch.from_numpy(cells)[None]


def true_edges(size: tuple[int, int], degrees: float, *, whole: bool) -> tuple[complex, complex]:
    """Half edges of a turned picture, in cells, after what shows it was squashed to a square."""
    edges = [half * cmath.exp(-1j * math.radians(degrees)) for half in (size[0] / 2, 1j * size[1] / 2)]
    width, height = (
        (2 * sum(abs(edge.real) for edge in edges), 2 * sum(abs(edge.imag) for edge in edges))
        if whole
        else size
    )
    across, down = (complex(SIDE * edge.real / width, SIDE * edge.imag / height) for edge in edges)
    return across, down


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("degrees", [0, 2, -5, 12, -20, 35])
def test_a_turned_picture_is_found_where_it_lies(size: tuple[int, int], degrees: float) -> None:
    found = fitted(turned_cells(size, degrees, whole=True))
    across, down = true_edges(size, degrees, whole=True)
    assert abs(found.across[0].item() - across) < 0.2 and abs(found.down[0].item() - down) < 0.2
    assert abs(found.centres[0].item() - complex(SIDE / 2, SIDE / 2)) < 0.1
    assert found.agreement[0] > 0.98 and not found.stick_out(SIDE)
    true_lean = max(abs(across.imag) / abs(across), abs(down.real) / abs(down))
    assert found.lean()[0].item() == pytest.approx(math.degrees(math.asin(true_lean)), abs=1)
    assert found.areas[0].item() == pytest.approx(4 * (across.conjugate() * down).imag / SIDE**2, abs=0.02)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("degrees", [8, -15, 25])
def test_corners_that_are_not_seen_are_thought_of(size: tuple[int, int], degrees: float) -> None:
    """As an editor turns a picture that keeps its size."""
    cells = turned_cells(size, degrees, whole=False)
    assert fitted(cells).stick_out(SIDE).all()
    found = completed(fitted(cells), cells)
    across, down = true_edges(size, degrees, whole=False)
    for edge, true in ((found.across[0].item(), across), (found.down[0].item(), down)):
        missed = abs(math.degrees(cmath.phase(edge / true)))
        assert missed < max(3, abs(math.degrees(cmath.phase(true))) / 2)
        assert abs(edge) == pytest.approx(abs(true), rel=0.12)
    assert found.agreement[0] > 0.96


def test_shapes_do_not_depend_on_those_beside_them() -> None:
    cells = torch.cat([turned_cells(size, 17, whole=whole) for size in SIZES for whole in (True, False)])
    for found in (fitted, lambda some: completed(fitted(some), some)):
        together = found(cells)
        for place in range(len(cells)):
            alone = found(cells[place : place + 1])
            for part, other in zip(together, alone, strict=True):
                assert torch.allclose(part[place], other[0], atol=1e-3)


def test_what_is_no_parallelogram_agrees_with_none() -> None:
    random = torch.from_numpy(np.random.default_rng(1).random((1, SIDE, SIDE), np.float32))
    corners = torch.zeros(1, SIDE, SIDE)
    corners[:, :8, :8] = corners[:, 16:, 16:] = corners[:, 2:6, 16:] = 1
    found = fitted(torch.cat([random, corners, torch.zeros(1, SIDE, SIDE)]))
    assert (found.agreement < 0.6).all()
    assert all(
        torch.isfinite(torch.view_as_real(part) if part.is_complex() else part).all() for part in found
    )
    assert len(fitted(torch.zeros(0, SIDE, SIDE)).centres) == 0


@pytest.mark.parametrize("degrees", [-25, 10, 30])
def test_a_picture_that_is_cut_out_stands_upright(degrees: float, pictures: list[Image.Image]) -> None:
    plain = pixels_of(pictures, WIDE)
    turned = pixels_of(
        [each.rotate(degrees, Image.Resampling.BICUBIC, expand=True) for each in pictures], WIDE
    )
    found = fitted(torch.cat([turned_cells(each.size, degrees, whole=True) for each in pictures]))
    for place in range(len(pictures)):
        upright = cut(turned[place : place + 1], found, place, SIDE)
        assert upright.shape == (1, 3, WIDE, WIDE)
        seen, wanted, before = (
            each.to(torch.float32).mean(dim=0)[:, 8:-8, 8:-8]
            for each in (upright, plain[place][None], turned[place][None])
        )
        assert (seen - wanted).abs().mean() < (before - wanted).abs().mean() / 3


def test_an_upright_picture_is_cut_at_its_edges() -> None:
    pixels = torch.zeros(1, 3, WIDE, WIDE, dtype=torch.uint8)
    pixels[..., 40:136, 24:168] = 200
    shape = Parallelograms(
        torch.tensor([complex(12, 11)]),
        torch.tensor([complex(9, 0)]),
        torch.tensor([complex(0, 6)]),
        torch.ones(1),
        torch.ones(1),
    )
    assert (cut(pixels, shape, 0, SIDE)[..., 2:-2, 2:-2] == 200).all()
