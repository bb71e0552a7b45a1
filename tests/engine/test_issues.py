"""Issues of images: confidence 0 without one, else 0.8 at the limit and 1.0 at the end of the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from tests.collections_of_pictures import picture, save
from tests.fakes import ColourGridEmbedder
from tests.matching import photographs
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.engine.issues import (
    BLUR,
    BRIGHT,
    DARK,
    ISSUES,
    Measures,
    blur,
    bright,
    dark,
    duplicates,
    edge_strength,
    issue_confidences,
    lightest_part,
    luma_without_paper,
    outliers,
)
from twinlens.engine.quality import measure

YES, NO = np.array([True]), np.array([False])
values = st.lists(st.floats(-1.0, 300.0) | st.just(float("nan")), max_size=20).map(np.array)
similarities = st.lists(st.floats(-1.0, 1.0) | st.just(float("nan")), max_size=20).map(np.array)


def photograph(name: str) -> Image.Image:
    with Image.open(photographs() / name) as image:
        return image.convert("RGB")


def lit(image: Image.Image, factor: float) -> Image.Image:
    """That many times as bright, in levels, clipped at white."""
    return image.point(lambda level: min(255, level * factor))


def cut_out(colour: str) -> Image.Image:
    """A thing on white paper."""
    image = Image.new("RGB", (200, 160), "white")
    ImageDraw.Draw(image).ellipse((60, 40, 140, 120), fill=colour)
    return image


def signature(levels: np.ndarray | int) -> np.ndarray:
    """A signature of one image: uint8 [1, 256]."""
    return np.broadcast_to(np.asarray(levels, np.uint8), (16, 16)).reshape(1, 256)


@pytest.fixture
def measures(tmp_path: Path) -> Measures:
    """Of pictures that an ingest measured, by file name: see the test that uses it for which they are."""
    photos = tmp_path / "photos"
    chelsea = photograph("chelsea.png")
    for name, image in (
        ("a-photograph.png", chelsea),
        ("b-blurred.png", chelsea.filter(ImageFilter.GaussianBlur(chelsea.width / 60))),
        ("c-dark.png", lit(chelsea, 0.2)),
        ("d-bright.png", lit(chelsea, 3)),
        ("e-cut-out.png", cut_out("brown")),
        ("f-black.png", Image.new("RGB", (64, 48), "black")),
        ("g-white.png", Image.new("RGB", (64, 48), "white")),
        ("h-grey.png", Image.new("RGB", (64, 48), "grey")),
    ):
        save(photos, name, image)
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(photos)
        images = sorted(dataset.images(), key=lambda image: image.path)
        return Measures.of(images, dataset.snapshot().catalog.signatures())


# -- pictures ------------------------------------------------------------------------------------------


def test_each_issue_is_found_where_it_is(measures: Measures) -> None:
    found = {name: issue_confidences(name, measures).round(2).tolist() for name in ISSUES}
    flagged = {
        name: "".join("abcdefgh"[place] for place, confidence in enumerate(confidences) if confidence)
        for name, confidences in found.items()
    }
    assert flagged == {"blur": "b", "dark": "cf", "bright": "dg"}
    assert found["dark"][5] == found["bright"][6] == 1.0


def test_an_unknown_issue_is_refused_with_the_ones_there_are(measures: Measures) -> None:
    with pytest.raises(InvalidValue, match=r"'mislabels'.*blur, dark, bright"):
        issue_confidences("mislabels", measures)


def test_vectors_without_images_have_no_issue(rng: np.random.Generator) -> None:
    with Dataset.from_vectors(["a", "b"], rng.normal(size=(2, 4)), name="mine") as dataset:
        found = Measures.of(dataset.images(), dataset.snapshot().catalog.signatures())
        assert not any(issue_confidences(name, found).any() for name in ISSUES)


def test_signatures_may_come_in_any_order_and_of_other_images(tmp_path: Path) -> None:
    for seed in range(6):
        save(tmp_path / "photos", f"{seed}.jpg", picture(seed))
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(tmp_path / "photos")
        images, stored = dataset.images(), list(dataset.snapshot().catalog.signatures())
    known = Measures.of(images, stored)
    shuffled = Measures.of(images, [("nobody", bytes(256)), *reversed(stored)])
    assert np.array_equal(known.lightest, shuffled.lightest) and np.array_equal(known.luma, shuffled.luma)
    assert np.isfinite(known.lightest).all()
    without = Measures.of(images, stored[1:])
    assert np.isnan(without.lightest[0]) and not issue_confidences("dark", without)[0]


def test_nothing_has_no_issue() -> None:
    nothing = Measures.of([], [])
    assert all(issue_confidences(name, nothing).shape == (0,) for name in ISSUES)


# -- confidences ---------------------------------------------------------------------------------------


def test_confidence_grows_from_the_limit_to_the_end_of_the_scale() -> None:
    pixels, rich = np.ones(4, bool), np.zeros(4, bool)
    edges = np.array([BLUR, BLUR * 0.999, BLUR / 2, 0.0])
    assert blur(edges, has_pixels=pixels, low_information=rich).tolist() == pytest.approx(
        [0.0, 0.8002, 0.9, 1.0]
    )
    assert dark(np.array([DARK, DARK * 0.999, DARK / 2, 0.0]), has_pixels=pixels).tolist() == pytest.approx(
        [0.0, 0.8002, 0.9, 1.0]
    )
    halfway = (BRIGHT + 255) / 2
    assert bright(np.array([BRIGHT, BRIGHT + 0.07, halfway, 255.0]), has_pixels=pixels).tolist() == (
        pytest.approx([0.0, 0.8002, 0.9, 1.0])
    )


@given(values)
def test_a_confidence_is_0_or_from_08_to_1(drawn: np.ndarray) -> None:
    pixels, rich = np.ones(len(drawn), bool), np.zeros(len(drawn), bool)
    for found, expected in (
        (blur(drawn, has_pixels=pixels, low_information=rich), drawn < BLUR),
        (dark(drawn, has_pixels=pixels), drawn < DARK),
        (bright(drawn, has_pixels=pixels), drawn > BRIGHT),
    ):
        assert ((found == 0.0) | ((found >= 0.8) & (found <= 1.0))).all()
        assert ((found > 0.0) == expected).all()


def test_without_pixels_there_is_no_issue_and_without_information_no_blur() -> None:
    assert blur(np.zeros(1), has_pixels=NO, low_information=NO).tolist() == [0.0]
    assert blur(np.zeros(1), has_pixels=YES, low_information=YES).tolist() == [0.0]
    assert blur(np.zeros(1), has_pixels=YES, low_information=NO).tolist() == [1.0]
    assert dark(np.zeros(1), has_pixels=NO).tolist() == [0.0]
    assert bright(np.full(1, 255.0), has_pixels=NO).tolist() == [0.0]


# -- what is blurred, what is dark, what is bright -----------------------------------------------------


def test_edges_count_for_what_there_is_to_see() -> None:
    sharpness, contrast = np.array([400.0, 100.0, 0.0]), np.array([200.0, 100.0, 100.0])
    assert edge_strength(sharpness, contrast).tolist() == [10.0, 10.0, 0.0]


def test_little_contrast_counts_as_60_levels() -> None:
    sharpness, contrast = np.full(3, 36.0), np.array([61.0, 60.0, 9.0])
    assert edge_strength(sharpness, contrast).tolist() == pytest.approx([600 / 61, 10.0, 10.0])


@pytest.mark.parametrize("factor", [0.4, 0.7])
def test_a_picture_is_not_blurred_for_being_dark(factor: float) -> None:
    found = [measure(lit(photograph("chelsea.png"), times)) for times in (1.0, factor)]
    sharpness, contrast = (np.array([getattr(q, name) for q in found]) for name in ("sharpness", "contrast"))
    usual, darker = edge_strength(sharpness, contrast)
    assert sharpness[1] < factor * sharpness[0]
    assert darker == pytest.approx(usual, rel=0.1)


def test_a_few_lights_do_not_make_a_night_light_but_a_lit_part_does() -> None:
    night = np.full((16, 16), 8, np.uint8)
    night[3, :4] = 255
    assert lightest_part(signature(night)).tolist() == [8.0]
    night[3, 4] = 200
    assert lightest_part(signature(night)).tolist() == [200.0]


def test_luma_is_the_mean_where_there_is_no_paper() -> None:
    levels = np.full((16, 16), 90, np.uint8)
    levels[0] = 255
    assert luma_without_paper(np.array([101.5]), signature(levels)).tolist() == [101.5]


def test_of_what_lies_on_paper_the_thing_counts() -> None:
    levels = np.full((16, 16), 252, np.uint8)
    levels[4:8, 4:9] = 120
    levels[4, 4:6] = 60
    assert luma_without_paper(np.array([240.0]), signature(levels)).tolist() == [60.0]
    levels[4, 5] = 120
    assert luma_without_paper(np.array([240.0]), signature(levels)).tolist() == [120.0]


def test_next_to_nothing_on_paper_is_white() -> None:
    levels = np.full((16, 16), 252, np.uint8)
    levels[8, :12] = 0
    assert luma_without_paper(np.array([240.0]), signature(levels)).tolist() == [255.0]
    levels[8, 12] = 0
    assert luma_without_paper(np.array([240.0]), signature(levels)).tolist() == [0.0]


def test_paper_is_half_of_the_border_and_nearly_white() -> None:
    levels = np.full((16, 16), 100, np.uint8)
    levels[0], levels[15, :14] = 250, 250
    assert luma_without_paper(np.array([130.0]), signature(levels)).tolist() == [100.0]
    levels[15, 13] = 249
    assert luma_without_paper(np.array([130.0]), signature(levels)).tolist() == [130.0]


@pytest.mark.parametrize(("colour", "is_bright"), [("brown", False), ("ivory", True)])
def test_a_thing_on_paper_is_bright_when_it_is_pale(colour: str, is_bright: bool) -> None:
    quality = measure(cut_out(colour))
    assert quality.brightness > BRIGHT
    levels = np.frombuffer(quality.signature, np.uint8)[np.newaxis]
    assert (luma_without_paper(np.array([quality.brightness]), levels)[0] > BRIGHT) == is_bright


# -- outliers and duplicates ---------------------------------------------------------------------------


def test_the_most_isolated_are_outliers() -> None:
    nearest = np.array([0.9, 0.5, 0.499, 0.25, 0.0, -0.3, np.nan])
    found = outliers(nearest, 0.5, low_information=np.zeros(7, bool))
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.8004, 0.9, 1.0, 1.0, 0.0])


def test_flat_images_are_no_outliers() -> None:
    assert outliers(np.array([0.1]), 0.5, low_information=YES).tolist() == [0.0]


def test_images_with_a_twin_are_duplicates() -> None:
    found = duplicates(np.array([0.8999, 0.9, 0.95, 1.0, np.nan]), 0.9)
    assert found.tolist() == pytest.approx([0.0, 0.8, 0.9, 1.0, 0.0])
    assert duplicates(np.array([0.999, 1.0]), 1.0).tolist() == [0.0, 1.0]


@given(similarities, st.floats(0.0, 0.99), st.floats(0.01, 1.0))
def test_similarities_give_0_or_from_08_to_1(nearest: np.ndarray, isolation: float, threshold: float) -> None:
    alone = outliers(nearest, isolation, low_information=np.zeros(len(nearest), bool))
    twins = duplicates(nearest, threshold)
    for found, expected in ((alone, nearest < isolation), (twins, nearest >= threshold)):
        assert ((found == 0.0) | ((found >= 0.8) & (found <= 1.0))).all()
        assert ((found > 0.0) == expected).all()
