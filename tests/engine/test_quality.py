"""What counts as low information, and what sharpness, brightness and signature measure."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from twinlens.engine.quality import Quality, is_low_information, shows_something
from twinlens.engine.quality import measure as measure_picture
from twinlens.engine.types import Rgb

_SKIMAGE = find_spec("skimage")
assert _SKIMAGE is not None and _SKIMAGE.origin is not None
DATA = Path(_SKIMAGE.origin).parent / "data"
PHOTOS = sorted(path for path in DATA.iterdir() if path.suffix in (".png", ".jpg"))
SIZES = ((450, 340), (64, 64), (20, 30), (1000, 800))


def photo(name: str) -> Rgb:
    with Image.open(DATA / name) as image:
        return np.asarray(image.convert("RGB"))


def measure(rgb: Rgb) -> Quality:
    return measure_picture(Image.fromarray(rgb))


def flat(size: tuple[int, int], color: tuple[int, int, int]) -> Rgb:
    return np.asarray(Image.new("RGB", size, color))


def as_jpeg(rgb: Rgb, quality: int = 60, reduced: int = 1) -> Rgb:
    """Through a JPEG and back, decoded at 1/reduced of its size."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        image.draft("RGB", (image.width // reduced, image.height // reduced))
        return np.asarray(image)


def gray(levels: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Rgb:
    return np.clip(levels, 0, 255).astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)


def blank_scan(rng: np.random.Generator, width: int, noise: float, shading: float) -> Rgb:
    """Paper at level 245, darker towards the corners by the share `shading`."""
    y, x = np.meshgrid(np.linspace(-1, 1, width * 7 // 5), np.linspace(-1, 1, width), indexing="ij")
    paper = 245 * (1 - shading * (x * x + y * y) / 2)
    return gray(paper + rng.normal(0, noise, paper.shape))


def page_with_a_line(width: int, text: str, ink: int) -> Rgb:
    """An A4 page scanned at 150 dpi with one line of 12-point text, reduced to a width."""
    page = Image.new("L", (1240, 1754), 250)
    ImageDraw.Draw(page).text((150, 400), text, fill=ink, font=ImageFont.load_default(25))
    return np.asarray(page.convert("RGB").resize((width, width * 7 // 5), Image.Resampling.BOX))


def night(rng: np.random.Generator, lights: int) -> Rgb:
    dark = np.clip(rng.normal(6, 2, (340, 450, 3)), 0, 255).astype(np.uint8)
    for y, x in zip(rng.integers(5, 335, lights), rng.integers(5, 445, lights), strict=True):
        dark[y - 1 : y + 2, x - 1 : x + 2] = (255, 220, 150)
    return dark


def drawing(side: int, color: int) -> Rgb:
    image = Image.new("L", (side, side), 255)
    ImageDraw.Draw(image).line(
        (side // 5, side // 5, side * 3 // 4, side // 2), fill=color, width=side // 200 + 1
    )
    return np.asarray(image.convert("RGB"))


def is_low(rgb: Rgb) -> bool:
    """What ingest finds by measuring everything, and a search by as little as decides it."""
    low = is_low_information(measure(rgb))
    assert shows_something(rgb) is not low
    return low


@pytest.mark.parametrize("size", SIZES)
def test_flat_images_are_low_information_in_every_color(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    for red, green, blue in rng.integers(0, 256, (20, 3)):
        image = flat(size, (int(red), int(green), int(blue)))
        assert is_low(image)
        assert is_low(as_jpeg(image, quality=30))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [2, 128, 253])
def test_noise_of_two_levels_does_not_help(
    rng: np.random.Generator, size: tuple[int, int], level: int
) -> None:
    image = (level + rng.integers(-2, 3, (size[1], size[0], 3))).astype(np.uint8)
    assert is_low(image)
    assert is_low(as_jpeg(image, quality=50))


@pytest.mark.parametrize("width", [310, 620, 1240])
@pytest.mark.parametrize("noise", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("shading", [0.0, 0.03, 0.06])
def test_a_blank_page_stays_blank_when_scanned(
    rng: np.random.Generator, width: int, noise: float, shading: float
) -> None:
    assert is_low(blank_scan(rng, width, noise, shading))


def test_a_pixel_is_low_information() -> None:
    assert is_low(flat((1, 1), (255, 0, 0)))
    assert is_low(flat((1, 900), (255, 0, 0)))


def test_a_speck_of_dust_is_not_a_picture(rng: np.random.Generator) -> None:
    page = blank_scan(rng, 620, 1.0, 0.0)
    page[400:406, 300:306] = 40
    assert is_low(page)


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_photographs_and_graphics_have_information(path: Path) -> None:
    assert not is_low(photo(path.name))


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg"])
def test_a_photograph_in_dense_fog_has_information(name: str) -> None:
    """A tenth of its contrast is left: 25 grey levels."""
    clear = photo(name)
    fog = (200 + (clear - clear.mean()) * 0.1).round().astype(np.uint8)
    assert np.ptp(fog) < 30
    assert not is_low(fog)


@pytest.mark.parametrize("width", [310, 620, 1240])
@pytest.mark.parametrize(
    ("text", "ink"),
    [("This page is left blank.", 30), ("Chapter One", 30), ("A faint line of small text.", 110)],
)
def test_one_line_of_small_text_is_information(width: int, text: str, ink: int) -> None:
    assert not is_low(page_with_a_line(width, text, ink))


@pytest.mark.parametrize("lights", [6, 10, 40])
def test_a_few_lights_in_the_night_are_information(rng: np.random.Generator, lights: int) -> None:
    assert not is_low(night(rng, lights))


@pytest.mark.parametrize("side", [16, 64, 512, 1024])
def test_a_simple_drawing_is_information(side: int) -> None:
    assert not is_low(drawing(side, 0))
    assert not is_low(drawing(side, 150))


def test_a_gradient_is_information_when_it_is_strong() -> None:
    for levels, low in ((12, True), (25, False), (255, False)):
        ramp = gray(np.tile(np.linspace(0, levels, 450), (340, 1)))
        assert is_low(ramp) is low, levels


def test_color_counts_where_luma_is_constant() -> None:
    """Red and green of equal luma, side by side."""
    halves = np.concatenate([flat((100, 200), (170, 0, 0)), flat((100, 200), (0, 87, 0))], axis=1)
    assert np.ptp(np.asarray(Image.fromarray(halves).convert("L"))) <= 1
    assert not is_low(halves)


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "camera.png", "page.png", "rocket.jpg"])
@pytest.mark.parametrize("reduced", [2, 4])
def test_decoding_at_a_reduced_size_changes_little(name: str, reduced: int) -> None:
    with Image.open(DATA / name) as image:
        large = np.asarray(image.convert("RGB").resize((900 * reduced // 2, 600 * reduced // 2)))
    full, small = measure(as_jpeg(large, 90)), measure(as_jpeg(large, 90, reduced))
    assert small.contrast == pytest.approx(full.contrast, rel=0.1)
    assert small.sharpness == pytest.approx(full.sharpness, rel=0.4)
    assert small.brightness == pytest.approx(full.brightness, abs=1)
    levels = [np.frombuffer(quality.signature, np.uint8).astype(int) for quality in (full, small)]
    assert np.abs(levels[0] - levels[1]).max() <= 6


def test_measuring_twice_gives_the_same_and_leaves_the_image_alone() -> None:
    rgb = photo("coffee.png").copy()
    before = rgb.copy()
    assert measure(rgb) == measure(rgb[::-1][::-1])
    assert (rgb == before).all()


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    board = gray(np.indices((224, 224)).sum(axis=0) % 2 * 100.0)
    assert measure(board).sharpness == pytest.approx(400.0**2, rel=1e-6)
    assert measure(flat((300, 200), (9, 99, 199))).sharpness == 0


def test_blur_lowers_sharpness_and_little_else() -> None:
    sharp = photo("coffee.png")
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4)))
    assert measure(blurred).sharpness < measure(sharp).sharpness / 3
    assert measure(blurred).contrast == pytest.approx(measure(sharp).contrast, rel=0.1)


def test_brightness_is_the_mean_luma() -> None:
    assert measure(flat((30, 50), (100, 100, 100))).brightness == 100
    assert measure(flat((30, 50), (255, 0, 0))).brightness == 76


def test_the_signature_is_the_picture_at_16_by_16_row_by_row() -> None:
    image = flat((320, 160), (0, 0, 0)).copy()
    image[:80] = 200
    signature = measure(image).signature
    assert len(signature) == 256
    assert set(signature[: 16 * 7]) == {200} and set(signature[16 * 9 :]) == {0}
