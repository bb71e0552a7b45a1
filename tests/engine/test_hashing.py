"""bmh1 and phash equal OpenCV's, bit for bit, on arrays and on files; digests tell images apart."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from twinlens.engine.decode import decode
from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import bmh1, byte_digest, from_bits, image_hashes, phash, pixel_digest, to_bits
from twinlens.engine.types import Rgb

_SKIMAGE = find_spec("skimage")
assert _SKIMAGE is not None and _SKIMAGE.origin is not None
PHOTOS = sorted(
    path for path in (Path(_SKIMAGE.origin).parent / "data").iterdir() if path.suffix in (".png", ".jpg")
)
GOLDEN = Path(__file__).parent.parent / "golden" / "hashes"
SIDES = (1, 2, 3, 7, 31, 32, 33, 64, 100, 255, 256, 257, 450)


@pytest.fixture
def golden() -> dict[str, dict[str, str]]:
    """File names and the hashes that `scripts/make_golden_hashes.py` had from OpenCV."""
    hashes: dict[str, dict[str, str]] = json.loads((GOLDEN / "MANIFEST.json").read_text())["hashes"]
    return hashes


def opencv_hashes(rgb: Rgb) -> tuple[str, str]:
    """bmh1 and phash by OpenCV, printed by hand: each byte most significant bit first."""
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    img_hash: Any = cv2.img_hash  # its stubs lack what follows
    hashers = (img_hash.BlockMeanHash_create(mode=1), img_hash.PHash_create())
    packed = [hasher.compute(bgr)[0] for hasher in hashers]
    bits = ["".join(f"{byte:08b}" for byte in code) for code in packed]
    return bits[0], bits[1]


def opencv_file_hashes(data: bytes) -> tuple[str, str]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return opencv_hashes(np.asarray(bgr[..., ::-1], dtype=np.uint8))


def file_hashes(data: bytes) -> tuple[str, str]:
    hashes = image_hashes(decode(data).rgb)
    return to_bits(hashes.bmh1), to_bits(hashes.phash)


def assert_as_opencv(rgb: Rgb, name: str) -> None:
    hashes = image_hashes(rgb)
    assert (to_bits(hashes.bmh1), to_bits(hashes.phash)) == opencv_hashes(rgb), name


def read(path: Path) -> Rgb:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert bgr is not None, path
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def noise(rng: np.random.Generator, height: int, width: int) -> Rgb:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(rng: np.random.Generator, height: int, width: int) -> Rgb:
    blobs = cv2.resize(noise(rng, 5, 7), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(blobs, dtype=np.uint8)


def generated(rng: np.random.Generator) -> Iterator[tuple[str, Rgb]]:
    for height, width in product(SIDES, SIDES):
        yield f"noise {height} x {width}", noise(rng, height, width)
        yield f"smooth {height} x {width}", smooth(rng, height, width)
    for height, width in ((1333, 2000), (1, 2000), (1999, 1), (1500, 31)):
        yield f"large smooth {height} x {width}", smooth(rng, height, width)
    for color in rng.integers(0, 256, (40, 3)):
        yield f"flat {color}", np.full((61, 47, 3), color, np.uint8)
    for step in (1, 2, 5, 8, 16, 32):
        stripes: NDArray[np.intp] = np.indices((96, 96)) // step
        board = stripes.sum(axis=0) % 2 * 255
        yield f"chessboard {step}", board.astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)
    for weights in ((1, 0), (0, 1), (1, 1), (2, 1)):
        ramp = np.tensordot(weights, np.indices((200, 300)), 1) % 256
        yield f"ramp {weights}", ramp.astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)


def crops(photo: Rgb, rng: np.random.Generator) -> Iterator[Rgb]:
    """The photo itself and parts of odd sizes, one of them squeezed."""
    yield photo
    height, width = photo.shape[:2]
    for _ in range(4):
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        yield photo[
            top : top + int(rng.integers(1, height // 2)), left : left + int(rng.integers(1, width // 2))
        ]
    yield np.asarray(cv2.resize(photo, (width // 3, 32), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def test_real_photographs_hash_as_in_opencv(rng: np.random.Generator) -> None:
    pictures = [(path.name, crop) for path in PHOTOS for crop in crops(read(path), rng)]
    assert len(pictures) >= 150
    for name, rgb in pictures:
        assert_as_opencv(rgb, f"{name} {rgb.shape}")


def test_generated_images_of_every_size_hash_as_in_opencv(rng: np.random.Generator) -> None:
    pictures = list(generated(rng))
    assert len(pictures) >= 300
    for name, rgb in pictures:
        assert_as_opencv(rgb, name)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def encodings(rgb: Rgb) -> Iterator[tuple[str, bytes]]:
    """One picture as files of every kind that OpenCV and the decoder both take."""
    color = Image.fromarray(rgb)
    grey, alpha = color.convert("L"), color.convert("RGBA")
    alpha.putalpha(grey.rotate(180))
    for sampling in (0, 1, 2):
        yield f"JPEG, sampling {sampling}", saved(color, "JPEG", quality=80, subsampling=sampling)
    yield "JPEG, progressive", saved(color, "JPEG", quality=60, progressive=True)
    yield "JPEG, grey", saved(grey, "JPEG")
    yield "JPEG, CMYK", saved(color.convert("CMYK"), "JPEG", quality=90)
    for orientation in range(1, 9):
        yield f"JPEG, EXIF {orientation}", saved(color, "JPEG", exif=turned(orientation))
        yield f"PNG, EXIF {orientation}", saved(color, "PNG", exif=turned(orientation))
    palette = color.quantize(64)
    for image in (color, grey, alpha, alpha.convert("LA"), palette, color.convert("1")):
        yield f"PNG, {image.mode}", saved(image, "PNG")
    yield "PNG, palette with a transparent color", saved(palette, "PNG", transparency=3)
    yield "WebP", saved(color, "WEBP", quality=80)
    yield "WebP, lossless with alpha", saved(alpha, "WEBP", lossless=True)
    yield "BMP", saved(color, "BMP")
    yield "GIF", saved(palette, "GIF")
    for image in (color, grey, alpha, palette, color.convert("1"), color.convert("CMYK")):
        yield f"TIFF, {image.mode}", saved(image, "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"TIFF, {compression}", saved(color, "TIFF", compression=compression)
    deep = rgb.astype(np.uint16) * 256 + rgb[::-1]
    for extension, levels in product((".png", ".tiff"), (deep, deep[..., 0])):
        yield f"16 bit {extension} {levels.shape}", cv2.imencode(extension, levels)[1].tobytes()


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "page.png", "rocket.jpg"])
def test_files_of_every_kind_hash_as_in_opencv(name: str) -> None:
    picture = read(next(path for path in PHOTOS if path.name == name))[:211, :307]
    files = list(encodings(picture))
    assert len(files) >= 45
    for kind, data in files:
        assert file_hashes(data) == opencv_file_hashes(data), kind


def test_golden_files_hash_as_they_did(golden: dict[str, dict[str, str]]) -> None:
    assert sorted(golden) == sorted(path.name for path in GOLDEN.iterdir() if path.suffix != ".json")
    for name, hashes in golden.items():
        assert file_hashes((GOLDEN / name).read_bytes()) == (hashes["bmh1"], hashes["phash"]), name


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_any_image_hashes_as_in_opencv(height: int, width: int, seed: int) -> None:
    assert_as_opencv(noise(np.random.default_rng(seed), height, width), f"{height} x {width}, seed {seed}")


def test_views_hash_like_their_copies(rng: np.random.Generator) -> None:
    view = noise(rng, 120, 90)[::-2, 5:80]
    assert to_bits(bmh1(view)) == to_bits(bmh1(view.copy()))
    assert to_bits(phash(view)) == to_bits(phash(view.copy()))
    assert pixel_digest(view) == pixel_digest(view.copy())


def test_red_and_blue_are_not_swapped(rng: np.random.Generator) -> None:
    rgb = smooth(rng, 200, 300)
    assert to_bits(bmh1(rgb)) != to_bits(bmh1(rgb[..., ::-1]))


def test_a_flat_image_has_all_blocks_at_the_mean_and_no_frequencies() -> None:
    flat = np.full((20, 30, 3), (200, 10, 77), np.uint8)
    assert to_bits(bmh1(flat)) == "1" * 960 + "00000001"
    assert to_bits(phash(flat)) == "0" * 64


def test_coefficients_that_cancel_are_compared_with_zero_not_with_rounding_noise(
    rng: np.random.Generator,
) -> None:
    """A picture that is its own negative when mirrored in the diagonal has a mean coefficient of 0."""
    for level in rng.integers(1, 128, 400):
        half = rng.integers(0, level + 1, (32, 32))
        picture = (level + half - half.T).astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)
        bits = np.unpackbits(phash(picture)).reshape(8, 8)[:, ::-1]
        assert not (bits & bits.T).any(), "a coefficient and its negative are both above the mean"


@given(
    st.one_of(
        st.binary(min_size=8, max_size=8), st.binary(min_size=120, max_size=120).map(lambda b: b + b"\1")
    )
)
def test_bits_can_be_written_and_read_back(code: bytes) -> None:
    packed = np.frombuffer(code, np.uint8)
    bits = to_bits(packed)
    assert bits == "".join(f"{byte:08b}" for byte in code)
    assert from_bits(bits).tobytes() == code


@pytest.mark.parametrize(
    ("bits", "complaint"),
    [
        ("", "not 0"),
        ("01" * 31, "not 62"),
        ("0" * 961, "not 961"),
        ("0" * 63 + "2", "'2'"),
        ("0" * 63 + "١", "'١'"),
        (" " + "0" * 63, "' '"),
        ("0" * 960 + "10000000", "10000000"),
    ],
)
def test_bits_that_are_no_hash_are_refused(bits: str, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        from_bits(bits)


@pytest.mark.parametrize("packed", [np.zeros(9, np.uint8), np.zeros((1, 8), np.uint8), np.zeros(8, np.int64)])
def test_what_is_no_packed_hash_is_not_printed(packed: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidValue, match="packed hash"):
        to_bits(packed)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: Rgb) -> None:
    for function in (bmh1, phash, image_hashes, pixel_digest):
        with pytest.raises(InvalidValue, match="uint8"):
            function(image)


def test_byte_digest_is_sha256() -> None:
    assert byte_digest(b"abc").hex() == hashlib.sha256(b"abc").hexdigest()


def test_pixel_digest_depends_on_shape_and_on_every_pixel(rng: np.random.Generator) -> None:
    assert pixel_digest(np.full((20, 10, 3), 255, np.uint8)) != pixel_digest(
        np.full((10, 20, 3), 255, np.uint8)
    )
    image = noise(rng, 30, 40)
    other = image.copy()
    other[29, 39, 2] ^= 1
    assert pixel_digest(image) == pixel_digest(image.copy())
    assert pixel_digest(image) != pixel_digest(other)
