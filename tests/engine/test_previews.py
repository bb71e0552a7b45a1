"""Previews are kept as JPEGs in one file and found by row; who wants a WebP gets one made of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.collections_of_pictures import picture
from twinlens.engine.previews import LONGEST_SIDE, Previews, encode_preview

ID = "5b7bd3a0-0000-5000-8000-0000000000ab"


def encoded(number: int) -> bytes:
    return encode_preview(picture(number, 64, 48))


def looks_like(data: bytes | None, number: int) -> bool:
    """Whether a preview shows picture `number` and none of the others."""
    assert data is not None
    with Image.open(io.BytesIO(data)) as shown:
        levels = np.asarray(shown.convert("RGB"), np.float64)
    return bool(np.abs(levels - np.asarray(picture(number, 64, 48))).mean() < 12)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 641), (161, 160)])
def test_a_preview_is_small_and_looks_like_its_image(width: int, height: int, tmp_path: Path) -> None:
    whole = picture(1, width, height)
    previews = Previews(tmp_path)
    previews.write(0, [encode_preview(whole)])
    for data, format in ((previews.read(0, ID), "JPEG"), (previews.read_webp(0, ID), "WEBP")):
        assert data is not None
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.format == format and max(shown.size) <= LONGEST_SIDE
            assert shown.width / shown.height == pytest.approx(width / height, rel=0.02)
            small = np.asarray(whole.resize(shown.size, Image.Resampling.BOX), np.float64)
            assert np.abs(np.asarray(shown.convert("RGB")) - small).mean() < 12


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (9000, 2)])
def test_odd_shapes_have_previews(width: int, height: int) -> None:
    with Image.open(io.BytesIO(encode_preview(Image.new("RGB", (width, height))))) as shown:
        assert shown.format == "JPEG" and 1 <= max(shown.size) <= LONGEST_SIDE


def test_each_row_has_its_own(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    previews.write(0, [encoded(0), encoded(1)])
    Previews(tmp_path).write(2, [encoded(2)])
    assert all(looks_like(previews.read(row, ID), row) for row in range(3))
    assert not looks_like(previews.read(1, ID), 2)
    assert {path.name for path in (tmp_path / "thumbs").iterdir()} == {"previews.jpgs", "previews.places"}


def test_rows_without_a_preview_lie_between_those_that_have_one(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    assert previews.read(0, ID) is None
    previews.write(7, [encoded(1)])
    assert [row for row in range(9) if previews.read(row, ID)] == [7]


def test_what_a_killed_run_wrote_is_not_shown_for_the_rows_of_the_next(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    previews.write(0, [encoded(0)])
    previews.write(1, [encoded(1), encoded(2)])
    previews.write(1, [encoded(3)])
    assert looks_like(previews.read(0, ID), 0) and looks_like(previews.read(1, ID), 3)


def test_a_removed_preview_is_gone_from_the_disk(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    previews.write(0, [encoded(0), encoded(1), encoded(2)])
    previews.remove(1, ID)
    assert previews.read(1, ID) is None and encoded(1) not in (tmp_path / "thumbs/previews.jpgs").read_bytes()
    assert looks_like(previews.read(0, ID), 0) and looks_like(previews.read(2, ID), 2)
    previews.remove(1, ID)
    previews.remove(99, ID)


def test_a_preview_that_the_disk_lost_is_none(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    previews.write(0, [encoded(0), encoded(1)])
    file = tmp_path / "thumbs/previews.jpgs"
    file.write_bytes(file.read_bytes()[: len(encoded(0))])
    assert looks_like(previews.read(0, ID), 0) and previews.read(1, ID) is None
    file.unlink()
    assert previews.read(0, ID) is None


def test_of_bytes_that_are_no_picture_there_is_no_webp(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    previews.write(0, [bytes(100), encoded(1)])
    assert previews.read_webp(0, ID) is None and looks_like(previews.read_webp(1, ID), 1)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_previews_of_earlier_versions_are_handed_out(suffix: str, tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    earlier = tmp_path / "thumbs" / "ab" / f"{ID}.{suffix}"
    earlier.parent.mkdir(parents=True)
    picture(5, 64, 48).save(earlier)
    previews.write(1, [encoded(1)])
    assert previews.read(0, ID) == earlier.read_bytes()
    webp = previews.read_webp(0, ID)
    assert looks_like(webp, 5) and (webp == earlier.read_bytes()) == (suffix == "webp")
    previews.remove(0, ID)
    assert not earlier.exists() and previews.read(0, ID) is None
