"""Decoding: whose pixels, how large, which way up, and what happens to bytes that are no image."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.encoders import png, png_chunk, tiff
from tests.pictures import (
    HEIGHT,
    MISREAD_TILES,
    WIDTH,
    beyond_opencv,
    encode,
    exif,
    like_opencv,
    picture,
    tiff_layouts,
)
from twinlens.engine.decode import Decoded, DecodeLimits, decode, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.types import DecodePolicy, Rgb

LIKE_OPENCV = like_opencv()
BEYOND_OPENCV = beyond_opencv()
ALL = LIKE_OPENCV | BEYOND_OPENCV
DEFAULT = DecodeLimits()


def opencv(data: bytes) -> Rgb:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    rgb: Rgb = image[..., ::-1]
    return rgb


def refusal(data: bytes, limits: DecodeLimits = DEFAULT) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, limits=limits)
    return caught.value


# -- pixels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LIKE_OPENCV)
def test_pixels_are_those_of_opencv(kind: str) -> None:
    image = decode(LIKE_OPENCV[kind])
    np.testing.assert_array_equal(image.rgb, opencv(LIKE_OPENCV[kind]))


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_gives_contiguous_rgb_and_its_full_size(kind: str) -> None:
    image = decode(ALL[kind])
    assert image.rgb.dtype == np.uint8
    assert image.rgb.shape == (image.height, image.width, 3)
    assert image.rgb.flags.c_contiguous and image.rgb.flags.writeable
    assert image.format == {"bmp": "bmp", "heic": "heif", "apng": "png"}.get(kind.split()[0], kind.split()[0])
    assert not image.reduced


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("layout", MISREAD_TILES)
def test_tiles_that_opencv_misreads_are_those_of_the_untiled_file(layout: str, deflate: bool) -> None:
    samples, photometric, options = tiff_layouts()[layout]
    tiled = tiff(samples, photometric, tile=(128, 64), deflate=deflate, **options)
    ours, theirs = decode(tiled).rgb, opencv(tiled)
    np.testing.assert_array_equal(ours, decode(LIKE_OPENCV[f"tiff {layout}"]).rgb)
    np.testing.assert_array_equal(ours[:, :128], theirs[:, :128])
    assert (ours[:, 128:] != theirs[:, 128:]).any(), "OpenCV reads it now: take it from the list"


def test_a_palette_in_planes() -> None:
    samples, photometric, options = tiff_layouts()["palette alpha"]
    planes = tiff(samples, photometric, planar=True, **options)
    np.testing.assert_array_equal(decode(planes).rgb, decode(LIKE_OPENCV["tiff palette alpha"]).rgb)


def test_heic_shows_the_picture() -> None:
    image = decode(BEYOND_OPENCV["heic"])
    difference = np.abs(image.rgb.astype(int) - picture())
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert difference.mean() < 4


def test_avif_is_turned_as_its_properties_say() -> None:
    upright, turned = decode(LIKE_OPENCV["avif"]), decode(BEYOND_OPENCV["avif turned"])
    assert (turned.width, turned.height) == (HEIGHT, WIDTH)
    difference = np.abs(np.rot90(upright.rgb, -1).astype(int) - turned.rgb)
    assert difference.mean() < 4


def test_float_and_32_bit_samples_are_stretched_and_unit_floats_are_not() -> None:
    grey = np.linspace(40, 200, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    unit = decode(tiff((grey / 255).astype(np.float32), 1)).rgb
    np.testing.assert_array_equal(unit[..., :1], np.rint(grey))
    stretched = decode(tiff((grey * 1000).astype(np.int32), 1)).rgb
    assert (stretched.min(), stretched.max()) == (0, 255)
    unsigned = np.array([0, 2**31, 2**32 - 1], np.uint32).reshape(1, 3, 1)
    assert decode(tiff(unsigned, 1)).rgb[0, :, 0].tolist() == [0, 128, 255]
    broken = np.array([0.0, np.nan, np.inf, 1.0], np.float32).reshape(1, 4, 1)
    assert decode(tiff(broken, 1)).rgb[0, :, 0].tolist() == [0, 0, 0, 255]


def test_tiff_samples_of_undefined_format_are_numbers_and_half_floats_are_refused() -> None:
    grey = tiff_layouts()["grey"][0]
    undefined = decode(BEYOND_OPENCV["tiff of undefined samples"])
    np.testing.assert_array_equal(undefined.rgb, decode(LIKE_OPENCV["tiff grey"]).rgb)
    assert "unknown pixel mode" in refusal(tiff(grey.astype(np.float16), 1)).reason


def test_an_animated_png_shows_its_still_picture() -> None:
    image = decode(BEYOND_OPENCV["apng whose still picture is no frame"])
    np.testing.assert_array_equal(image.rgb, picture())


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (2, 3), (17, 16)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_tiny_images(shape: tuple[int, int], format: str) -> None:
    data = encode(picture(*shape), format)
    np.testing.assert_array_equal(decode(data).rgb, opencv(data))


# -- size, orientation, EXIF --------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_honoured(format: str, turn: int) -> None:
    image = decode(LIKE_OPENCV[f"{format} exif {turn}"])
    assert (image.width, image.height) == ((WIDTH, HEIGHT) if turn < 5 else (HEIGHT, WIDTH))


def test_exif_tags_are_counted_in_all_three_directories() -> None:
    # Orientation and Make in IFD0, one tag in the Exif, one in the GPS directory; Pillow writes
    # the orientation of an AVIF as a property of the picture instead.
    for format, tags in (("JPEG", 4), ("PNG", 4), ("WEBP", 4), ("AVIF", 3)):
        assert decode(encode(picture(), format, exif=exif(1))).exif_tags == tags, format
    block = exif(1).tobytes()
    from pillow_heif import from_pillow

    heic = io.BytesIO()
    from_pillow(Image.fromarray(picture())).save(heic, exif=block)
    assert decode(heic.getvalue()).exif_tags == 4
    assert decode(encode(picture(), "JPEG")).exif_tags == 0


def test_exif_tags_of_a_tiff_are_those_that_tell_something() -> None:
    assert decode(tiff(picture(), 2)).exif_tags == 0
    described = encode(picture(), "TIFF", exif=exif(1).tobytes())
    assert decode(described).exif_tags == 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
@given(
    cut=st.integers(0, 120), flips=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=8)
)
@settings(max_examples=40, deadline=None)
def test_corrupt_exif_neither_fails_nor_warns(format: str, cut: int, flips: list[tuple[int, int]]) -> None:
    block = bytearray(exif(6).tobytes())
    for at, value in flips:
        block[6 + at % (len(block) - 6)] = value
    damaged = bytes(block[: 6 + cut])
    if format == "JPEG":
        plain = encode(picture(20, 30), "JPEG")
        segment = b"\xff\xe1" + (len(damaged) + 2).to_bytes(2, "big") + damaged
        data = plain[:2] + segment + plain[2:]
    elif format == "PNG":
        data = png(picture(20, 30), before=png_chunk(b"eXIf", damaged[6:]))
    else:
        whole = encode(picture(20, 30), format, exif=exif(6))
        start = whole.index(b"TwinLens") - 60
        data = whole[:start] + damaged[6:][:60].ljust(60, b"\xff") + whole[start + 60 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(data)
    assert {image.width, image.height} == {20, 30}


# -- reduced decoding ---------------------------------------------------------------------------


@cache
def jpeg_of(size: tuple[int, int], turn: int) -> bytes:
    return encode(picture(size[1], size[0]), "JPEG", exif=exif(turn))


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("min_side", [1, 64, 100, 224, 225, 5000])
@pytest.mark.parametrize("size", [(1001, 800), (1000, 225), (225, 1801), (449, 450), (100, 80)])
def test_reduced_jpegs_never_fall_below_the_policy(size: tuple[int, int], min_side: int, turn: int) -> None:
    width, height = size
    data = jpeg_of(size, turn)
    image = decode(data, policy=DecodePolicy(min_side=min_side))
    upright = (width, height) if turn == 1 else (height, width)
    assert (image.width, image.height) == upright
    assert min(image.rgb.shape[:2]) >= min(min_side, *size)
    assert image.reduced == (image.rgb.shape[:2] != (upright[1], upright[0]))
    # A decoder offers 1/2, 1/4 and 1/8, so it stops short of twice the side that is asked for.
    assert min(image.rgb.shape[:2]) <= max(2 * min_side, -(-min(size) // 8))


@pytest.mark.parametrize("kind", [kind for kind in ALL if not kind.startswith("jpeg")])
def test_other_formats_are_decoded_in_full(kind: str) -> None:
    assert not decode(ALL[kind], policy=DecodePolicy(min_side=16)).reduced


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_reduced_jpeg_shows_the_same_picture(mode: str) -> None:
    data = encode(Image.fromarray(picture(800, 960)).convert(mode), "JPEG", quality=95)
    full, reduced = decode(data), decode(data, policy=DecodePolicy(min_side=100))
    assert reduced.rgb.shape == (100, 120, 3)
    blocks = full.rgb.reshape(100, 8, 120, 8, 3).mean(axis=(1, 3))
    assert np.abs(blocks - reduced.rgb).mean() < 2


# -- sources of bytes ---------------------------------------------------------------------------


def test_path_bytes_and_file_object_give_the_same(tmp_path: Path) -> None:
    data = LIKE_OPENCV["png rgb"]
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(data)
    images = [decode(data), decode(path), decode(str(path)), decode(io.BytesIO(data))]
    with path.open("rb") as file:
        images.append(decode(file))
    assert len({image.rgb.tobytes() for image in images}) == 1


def test_a_file_is_what_its_bytes_are_not_what_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(LIKE_OPENCV["jpeg 4:2:0"])
    assert decode(path).format == "jpeg"


def test_unreadable_paths_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    expected = {
        "missing.jpg": ("missing", True),
        "dangling.jpg": ("dangling", True),
        "loop.jpg": ("cannot be read", True),
        "pipe.jpg": ("pipe", False),
        ".": ("directory", False),
        "nul\0.jpg": ("null", False),
        "x" * 300: ("too long", True),
    }
    for name, (words, retryable) in expected.items():
        with pytest.raises(DecodeError, match=words) as caught:
            read_bytes(str(tmp_path) + "/" + name)
        assert (caught.value.stage, caught.value.retryable) == ("open", retryable), name


def test_no_permission_is_retryable(tmp_path: Path) -> None:
    locked = tmp_path / "locked.jpg"
    locked.write_bytes(LIKE_OPENCV["jpeg 4:4:4"])
    locked.chmod(0)
    # Modes mean nothing to root, so root becomes nobody first.
    code = (
        "import os, sys\n"
        "from twinlens.engine.decode import DecodeError, read_bytes\n"
        "os.geteuid() or os.setuid(65534)\n"
        "try: read_bytes(sys.argv[1])\n"
        "except DecodeError as error: print(error.stage, error.retryable, error.reason)"
    )
    run = subprocess.run([sys.executable, "-c", code, locked], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("open True there is no permission to read it")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(DecodeError, match="max_bytes") as caught:
        read_bytes(path)
    assert caught.value.stage == "limits"
    assert "max_bytes" in refusal(bytes(101), DecodeLimits(max_bytes=100)).reason


# -- refusals -----------------------------------------------------------------------------------


def test_limits_are_checked_before_decoding() -> None:
    for kind, data in ALL.items():
        error = refusal(data, DecodeLimits(max_pixels=1000))
        assert (error.stage, error.retryable) == ("limits", False), kind
        assert "raise max_pixels" in error.reason, kind


@pytest.mark.parametrize("kind", ALL)
def test_truncated_files_never_come_out_whole(kind: str) -> None:
    data, whole = ALL[kind], decode(ALL[kind])
    for tenth in range(10):
        cut = data[: len(data) * tenth // 10]
        try:
            image = decode(cut)
        except DecodeError as error:
            assert error.stage in ("identify", "decode")
            assert not error.retryable
        else:
            # Some formats keep more pictures, or other things, behind the one that is decoded.
            np.testing.assert_array_equal(image.rgb, whole.rgb)
            assert "animated" in kind or "pages" in kind or "apng" in kind or "multi" in kind


def test_a_truncated_jpeg_is_an_error_and_not_grey() -> None:
    data = LIKE_OPENCV["jpeg 4:2:0"]
    assert all("JPEG data is damaged" in refusal(data[: len(data) * i // 10]).reason for i in range(1, 10))


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_corrupt_bytes_raise_only_the_decode_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(ALL)))
    damaged = bytearray(ALL[kind])
    places = st.integers(0, len(damaged) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=12)):
        damaged[at] = value
    first, second = sorted(data.draw(st.tuples(places, places)))
    how = data.draw(st.sampled_from(["keep", "cut", "remove", "repeat"]))
    parts = {
        "keep": damaged,
        "cut": damaged[:second],
        "remove": damaged[:first] + damaged[second:],
        "repeat": damaged[:second] + damaged[first:],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = decode(bytes(parts[how]), limits=DecodeLimits(max_pixels=2_000_000))
        except DecodeError as error:
            assert error.reason and "\n" not in error.reason
        else:
            assert image.rgb.shape == (image.height, image.width, 3)


# -- side effects -------------------------------------------------------------------------------


def test_globals_of_pillow_are_left_alone_and_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = dict(Image.OPEN)
    expected = {kind: decode(data).rgb.tobytes() for kind, data in ALL.items()}
    # Smaller than the pictures. Pillow's WebP alone refuses above twice this number.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for kind, data in ALL.items():
        assert decode(data).rgb.tobytes() == expected[kind], kind
    assert Image.MAX_IMAGE_PIXELS == 10_000
    assert "HEIF" not in Image.OPEN.keys() - registered.keys()


def test_many_threads_decode_at_once() -> None:
    work = list(ALL.values()) * 2
    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        together = [image.rgb.tobytes() for image in pool.map(decode, work)]
    assert together == [decode(data).rgb.tobytes() for data in work]


def test_results_are_values() -> None:
    image: Decoded = decode(LIKE_OPENCV["png grey"])
    with pytest.raises(FrozenInstanceError):
        image.width = 1  # type: ignore[misc]
