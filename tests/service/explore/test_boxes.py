"""Boxes: fractions of an image as JSON, or pixels in the older form."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.box import Box
from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.boxes import parse_box

WHOLE = Box(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x":0.1,"y":0.2,"width":0.5,"height":0.6}', Box(0.1, 0.2, 0.5, 0.6)),
        (' {"height": 1, "width": 1, "y": 0, "x": 0} ', WHOLE),
        ('{"x":0.5,"y":0.5,"width":0.5000001,"height":0.5}', Box(0.5, 0.5, 0.5000001, 0.5)),
        ("0,0,200,100", WHOLE),
        ("0, 0, 2048, 1536", WHOLE),
        ("100,50,50,25", Box(0.5, 0.5, 0.25, 0.25)),
        ("199,99,1,1", Box(199 / 200, 99 / 100, 1 / 200, 1 / 100)),
    ],
)
def test_a_box_on_an_image_of_200_by_100_pixels(text: str, expected: Box) -> None:
    found = parse_box(text).on(200, 100)
    ours = (found.left, found.top, found.width, found.height)
    assert ours == pytest.approx((expected.left, expected.top, expected.width, expected.height))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[0,0,1,1]",
        "0,0,1",
        "0,0,1,1,1",
        "0,0,0,10",
        "-1,0,5,5",
        "0.1,0.2,0.5,0.6",
        "1e3,0,1,1",
        "٣,0,1,1",
        "0,0,99999999999,1",
        '{"x":0,"y":0,"width":1}',
        '{"x":0,"y":0,"width":1,"height":1,"z":0}',
        '{"x":0,"y":0,"width":0,"height":1}',
        '{"x":-0.1,"y":0,"width":1,"height":1}',
        '{"x":0.6,"y":0,"width":0.5,"height":1}',
        '{"x":"0","y":0,"width":1,"height":1}',
        '{"x":true,"y":0,"width":1,"height":1}',
        '{"x":NaN,"y":0,"width":1,"height":1}',
        '{"x":0,"y":0,"width":1e999,"height":1}',
    ],
)
def test_other_forms_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidValue, match="bounding_box"):
        parse_box(text)


@pytest.mark.parametrize("text", ["200,0,1,1", "0,100,1,1"])
def test_pixels_outside_the_image_are_refused_with_its_size(text: str) -> None:
    with pytest.raises(InvalidValue, match="200x100"):
        parse_box(text).on(200, 100)


@given(st.text())
def test_no_text_ends_in_another_error(text: str) -> None:
    with suppress(InvalidValue):
        parse_box(text)
