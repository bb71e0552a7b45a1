"""Previews are kept as JPEG and handed out as WebP."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.collections_of_pictures import picture
from twinlens.engine.previews import LONGEST_SIDE, Previews, encode_preview

ID = "5b7bd3a0-0000-5000-8000-0000000000ab"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 641), (161, 160)])
def test_a_preview_is_small_and_looks_like_its_image(width: int, height: int, tmp_path: Path) -> None:
    whole = picture(1, width, height)
    previews = Previews(tmp_path)
    previews.write(ID, encode_preview(np.asarray(whole)))
    assert previews.path(ID).is_file() and previews.path(ID).parent.name == "ab"
    data = previews.read(ID)
    assert data is not None
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "WEBP" and max(shown.size) <= LONGEST_SIDE
        assert shown.width / shown.height == pytest.approx(width / height, rel=0.02)
        small = np.asarray(whole.resize(shown.size, Image.Resampling.BOX), np.float64)
        assert np.abs(np.asarray(shown.convert("RGB")) - small).mean() < 12
    previews.remove(ID)
    assert previews.read(ID) is None


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (9000, 2)])
def test_odd_shapes_have_previews(width: int, height: int) -> None:
    with Image.open(io.BytesIO(encode_preview(np.zeros((height, width, 3), np.uint8)))) as shown:
        assert shown.format == "JPEG" and 1 <= max(shown.size) <= LONGEST_SIDE


def test_previews_of_earlier_versions_are_handed_out(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    earlier = previews.path(ID).with_suffix(".webp")
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"RIFF....WEBP")
    assert previews.read(ID) == b"RIFF....WEBP"
    previews.remove(ID)
    assert not earlier.exists()
