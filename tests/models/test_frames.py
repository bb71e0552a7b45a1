"""What frames a picture is found and cut away; what stands in no frame stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import load_file, save_file

from tests.models.squares import pixels_of
from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable
from twinlens.models import weights
from twinlens.models.frames import (
    CELLS,
    DOUBTFUL,
    FLAT,
    LARGE,
    LARGEST,
    LARGEST_CLEAR,
    SIDE,
    SMALLEST,
    WEIGHT,
    WEIGHTS,
    WEIGHTS_DIGEST,
    FrameFinder,
    _bytes,
    load_finder,
    rectangles,
    shapes,
    weights_of,
)
from twinlens.models.onednn import fuse_for

WIDE = 192

Frame = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module")
def finder() -> FrameFinder:
    return load_finder()


def on_sheet(
    picture: Image.Image, size: tuple[float, float], place: tuple[float, float], ground: str
) -> Image.Image:
    """On a larger sheet, whose size and the picture's place are told in sides of the picture."""
    width, height = picture.size
    sheet = Image.new("RGB", (round(width * size[0]), round(height * size[1])), ground)
    sheet.paste(picture, (round(width * place[0]), round(height * place[1])))
    return sheet


def viewer(picture: Image.Image) -> Image.Image:
    """In the window of a program: a bar above, a list at the left, a line below."""
    screen = on_sheet(picture, (1.35, 1.3), (0.35, 0.2), "gainsboro")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, screen.width, screen.height // 20), "slateblue")
    for line in range(14):
        y = screen.height * (0.2 + 0.05 * line)
        pen.line((8, y, screen.width * (0.08 + 0.1 * (line % 3) / 2), y), "dimgrey", 4)
    pen.text((screen.width // 3, screen.height * 0.95), "IMG_2041.jpg", "black")
    return screen


def post(picture: Image.Image) -> Image.Image:
    """On a telephone, between the name of whoever shows it and what others say of it."""
    screen = on_sheet(picture, (1, 1.9), (0, 0.3), "white")
    pen = ImageDraw.Draw(screen)
    edge = picture.width // 12
    pen.ellipse((edge // 2, edge, 2 * edge, 2.5 * edge), "tomato")
    for line, length in enumerate((0.8, 0.6, 0.9, 0.4)):
        y = picture.height * (1.42 + 0.09 * line)
        pen.line((edge, y, picture.width * length, y), "dimgrey", picture.width // 60)
    return screen


def mat(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, picture.width // 6, "navajowhite")


def letter_box(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, (0, picture.height // 3), "black")


def paper_print(picture: Image.Image) -> Image.Image:
    """With a narrow white rim."""
    return ImageOps.expand(picture, picture.width // 16, "white")


FRAMES = {each.__name__.replace("_", " "): each for each in (viewer, post, mat, letter_box, paper_print)}


def apart(squares: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean difference of colours, [n], in levels."""
    return (squares.float() - others.float()).abs().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("side", [SIDE, WIDE])
def test_a_framed_picture_is_seen_without_its_frame(
    frame: Frame, side: int, finder: FrameFinder, pictures: list[Image.Image]
) -> None:
    plain, framed = (pixels_of(shown, side) for shown in (pictures, [frame(each) for each in pictures]))
    with torch.inference_mode():
        inner = finder.inner(framed)
    assert len(inner.places) >= 6 and inner.squares.shape[1:] == framed.shape[1:]
    assert inner.weights.shape == (len(inner.places), 1) and inner.weights.median() > WEIGHT / 2
    near = apart(inner.squares, plain[inner.places]) < apart(framed, plain)[inner.places] / 2
    assert near.float().mean() >= 0.75


def test_what_stands_in_no_frame_has_nothing_in_it(finder: FrameFinder, pictures: list[Image.Image]) -> None:
    shown = pixels_of(pictures, WIDE)
    with torch.inference_mode():
        for squares in (shown, shown.flip(3), shown[..., 40:150, 30:160].contiguous()):
            inner = finder.inner(squares)
            assert inner.squares.shape == (0, *squares.shape[1:]) and inner.weights.shape == (0, 1)


def test_text_within_narrow_margins_is_no_picture_in_a_frame(finder: FrameFinder) -> None:
    """Where its lines end, paper lies beside paper: there are no edges to be seen."""
    pages = []
    for seed in range(8):
        chance, page = Random(seed), Image.new("RGB", (400, 560), "white")
        pen = ImageDraw.Draw(page)
        for y in range(30, 530, 14):
            words = "".join(chance.choice("aeimnorstu  ") for _ in range(chance.choice((34, 62, 62))))
            pen.text((24, y), words, "black")
        pages.append(page)
    with torch.inference_mode():
        assert not len(finder.inner(pixels_of(pages, WIDE)).places)


def test_pictures_do_not_depend_on_those_beside_them(
    finder: FrameFinder, pictures: list[Image.Image]
) -> None:
    shown = pixels_of([*map(viewer, pictures), *pictures, *map(mat, pictures)], WIDE)
    before = shown.clone()
    with torch.inference_mode():
        together = finder.inner(shown)
        alone = [finder.inner(shown[place : place + 1]) for place in range(len(shown))]
    assert torch.equal(torch.cat([each.squares for each in alone]), together.squares)
    assert torch.allclose(torch.cat([each.weights for each in alone]), together.weights, atol=1e-3)
    assert together.places.tolist() == [place for place, each in enumerate(alone) if len(each.places)]
    assert torch.equal(shown, before), "what was given is not written to"


def test_a_flat_box_is_no_picture(finder: FrameFinder, pictures: list[Image.Image]) -> None:
    """A box of one colour over a photograph is what hides it."""
    hidden = []
    for picture in pictures:
        copy = picture.copy()
        copy.paste("black", (copy.width // 4, copy.height // 4, copy.width * 3 // 4, copy.height * 3 // 4))
        hidden.append(copy)
    with torch.inference_mode():
        inner = finder.inner(pixels_of(hidden, WIDE))
    rim = WIDE // 8
    seen = inner.squares[..., rim:-rim, rim:-rim].float()
    assert all(square.std(dim=(1, 2)).max() > FLAT for square in seen)


# --- rectangles


def cells_of(left: float, top: float, right: float, bottom: float) -> torch.Tensor:
    """Which share of each cell a rectangle covers, [1, 24, 24]; edges in cells."""
    cells = torch.arange(CELLS)
    across, down = (
        (torch.minimum(torch.tensor(high), cells + 1) - torch.maximum(torch.tensor(low), cells)).clamp(min=0)
        for low, high in ((left, right), (top, bottom))
    )
    return (down[:, None] * across)[None].float()


@pytest.mark.parametrize(
    "edges",
    [
        (0, 0, 24, 24),
        (1, 2, 23, 23),
        (3, 5, 20, 21),
        (3.25, 5.75, 20.25, 21.25),
        (2, 3, 22, 23),
        (0, 4.5, 24, 12),
        (7, 0, 9, 24),
    ],
)
def test_a_rectangle_is_found_where_it_lies(edges: tuple[float, float, float, float]) -> None:
    cells = cells_of(*edges)
    found = rectangles(cells)
    assert torch.allclose(found.boxes[0] * CELLS, torch.tensor(edges, dtype=torch.float32), atol=0.51)
    assert found.agreement[0] > 0.95
    area = (edges[2] - edges[0]) * (edges[3] - edges[1]) / CELLS**2
    unseen, seen = (float(weights_of(shapes(cells), torch.tensor([share]))[0]) for share in (0.0, 1.0))
    if SMALLEST <= area <= LARGE:
        assert unseen == seen == WEIGHT
    elif area < SMALLEST or area > LARGEST:
        assert unseen == 0
        assert (seen > 0) == (SMALLEST <= area < LARGEST_CLEAR)
    else:
        assert 0 < unseen < seen == WEIGHT


def test_what_is_no_rectangle_agrees_with_none() -> None:
    places = torch.arange(CELLS)
    diagonal = ((places[:, None] - places).abs() < 5).float()[None]
    chequer = ((places[:, None] + places) % 2).float()[None]
    two = (cells_of(1, 2, 8, 9) + cells_of(15, 14, 22, 23)).clamp(max=1)
    cells = torch.cat([diagonal, chequer, two])
    assert (rectangles(cells).agreement < DOUBTFUL).all()
    assert not weights_of(shapes(cells), torch.ones(len(cells))).any()


def test_cells_that_are_all_nothing_are_no_picture() -> None:
    assert not weights_of(shapes(torch.zeros(2, CELLS, CELLS)), torch.ones(2)).any()


# --- weights


def test_weights_are_small_and_their_log_is_beside_them() -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    state = load_file(WEIGHTS)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert weights.digest(state) == WEIGHTS_DIGEST
    entries = [json.loads(line) for line in WEIGHTS.with_suffix(".log.jsonl").read_text().splitlines()]
    assert entries[-1]["step"] == entries[0]["plan"]["steps"]
    assert entries[-1]["found"] > entries[1]["found"] and entries[-1]["loss"] < entries[1]["loss"]


@pytest.mark.parametrize("change", ["one value", "one name less", "truncated"])
def test_other_weights_are_corrupt(change: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = load_file(WEIGHTS)
    if change == "one value":
        state["last.bias"][0] += 1e-2
    elif change == "one name less":
        del state["last.bias"]
    save_file(state, path)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsCorrupt, match=r"w\.safetensors"):
        load_finder(path)


def test_missing_weights_are_unavailable(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="no file"):
        load_finder(tmp_path / "w.safetensors")


def test_squares_of_numbers_are_seen_as_squares_of_bytes_are() -> None:
    """A GPU resizes numbers."""
    random = np.random.default_rng(3).integers(0, 256, (2, 3, WIDE, WIDE), np.uint8)
    shown = torch.from_numpy(random)
    assert (_bytes(shown, SIDE).float() - _bytes(shown.float(), SIDE).float()).abs().max() <= 1


@pytest.mark.parametrize(("dtype", "apart_by"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_fused_convolutions_say_the_same(
    dtype: torch.dtype, apart_by: float, pictures: list[Image.Image]
) -> None:
    plain, fused = (load_finder().to(dtype).to(memory_format=torch.channels_last) for _ in range(2))
    fuse_for(fused, "cpu")
    shown = pixels_of([*pictures, *map(viewer, pictures)], SIDE)
    with torch.inference_mode():
        wanted, found = torch.sigmoid(plain(shown)), torch.sigmoid(fused(shown))
    assert (found - wanted).abs().max() < apart_by and wanted.std() > 0.1
