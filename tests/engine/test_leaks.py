"""Leaks: pairs across two sets, equal to brute force, whichever set comes first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.collections_of_pictures import picture, save
from tests.fakes import ColourGridEmbedder, load_fake
from tests.rows import Pair, Rows, clustered_rows, lattice_rows, near_copies, random_rows
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue, ModelMismatch, TooManyPairs
from twinlens.engine.leaks import Leaks, find_leaks
from twinlens.engine.results import Evidence, Leak


@contextmanager
def sets(train: NDArray[Any], test: NDArray[Any], *names: str) -> Iterator[tuple[Dataset, Dataset]]:
    """Two datasets of rows whose ids are their numbers."""
    name, other = names or ("own", "own")
    ids = [[f"{number:06}" for number in range(len(rows))] for rows in (train, test)]
    with (
        Dataset.from_vectors(ids[0], train, name=name, device="cpu") as first,
        Dataset.from_vectors(ids[1], test, name=other, device="cpu") as second,
    ):
        yield first, second


def leaks(train: Dataset, test: Dataset, threshold: float, **options: Any) -> Leaks:
    return find_leaks(train.snapshot(), test.snapshot(), threshold, **options)


def brute(train: NDArray[Any], test: NDArray[Any], threshold: float) -> set[Pair]:
    """All pairs at or above a threshold in plain float64."""
    left, right = (rows.astype(np.float64) for rows in (train, test))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    similarity = np.minimum(np.round(np.round(left @ right.T, 12), 6), 1.0)
    a, b = np.nonzero(similarity >= threshold)
    return set(zip(a.tolist(), b.tolist(), similarity[a, b].tolist(), strict=True))


def numbered(found: Leaks) -> set[Pair]:
    pairs = [(int(leak.train), int(leak.test), leak.similarity) for leak in found]
    assert len(pairs) == len(set(pairs)), "each pair once"
    return set(pairs)


def order(leak: Leak) -> tuple[float, str, str]:
    return -leak.similarity, leak.train_path, leak.test_path


@settings(max_examples=15, deadline=None)
@given(lattice_rows(), st.integers(0, 30), st.sampled_from([0.5, 0.75, 0.9, 1.0]))
def test_equal_brute_force(rows: Rows, cut: int, threshold: float) -> None:
    assume(len(rows) > 1)
    cut = 1 + cut % (len(rows) - 1)
    with sets(rows[:cut], rows[cut:]) as (train, test):
        found = leaks(train, test, threshold)
        assert numbered(found) == brute(rows[:cut], rows[cut:], threshold)


@pytest.fixture(scope="module")
def planted() -> tuple[Rows, Rows]:
    """2,000 and 1,000 rows; every fifth of the second is a copy of one of the first, nearer and nearer."""
    rng = np.random.default_rng(5)
    train = clustered_rows(0, 2000, 64, groups=300, noise=0.9)
    test = random_rows(1, 1000, 64)
    chosen = np.arange(0, 1000, 5)
    noise = np.linspace(0, 0.5, len(chosen))[:, None] * rng.standard_normal((len(chosen), 64))
    test[chosen] = train[rng.integers(0, 2000, len(chosen))] + noise
    return train, test


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.95, 0.999, 1.0])
def test_planted_twins_are_found_and_nothing_else(planted: tuple[Rows, Rows], threshold: float) -> None:
    with sets(*planted) as (train, test):
        found = leaks(train, test, threshold)
    expected = brute(*planted, threshold)
    assert numbered(found) == expected and expected
    assert found.leaked_train == len({a for a, _, _ in expected})
    assert found.leaked_test == len({b for _, b, _ in expected})


def test_the_most_similar_come_first_then_by_path() -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(-1, 2, (60, 5)).astype(np.float16) + np.float16(0.5) for _ in range(2))
    with sets(train, test) as (first, second):
        found = [*leaks(first, second, 0.7)]
    assert found == sorted(found, key=order)
    assert len({leak.similarity for leak in found}) < len(found) // 2, "many of equal similarity"
    assert found != sorted(found, key=lambda leak: (-leak.similarity, leak.test_path))


def test_swapping_the_sets_gives_the_same_pairs(planted: tuple[Rows, Rows]) -> None:
    with sets(*planted) as (train, test):
        there, back = leaks(train, test, 0.85), leaks(test, train, 0.85)
    assert {(b, a, similarity) for a, b, similarity in numbered(back)} == numbered(there)
    assert {leak.evidence for leak in there} == {Evidence.EMBEDDING}


def test_vectors_of_two_models_never_meet() -> None:
    rows = random_rows(0, 3, 4)
    with sets(rows, rows, "one", "two") as (train, test), pytest.raises(ModelMismatch, match=r"one.*two"):
        leaks(train, test, 0.9)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_thresholds_outside_their_range_are_refused(threshold: float) -> None:
    rows = random_rows(0, 3, 4)
    with sets(rows, rows) as (train, test), pytest.raises(InvalidValue, match="threshold"):
        leaks(train, test, threshold)


def test_a_threshold_with_too_many_leaks_names_the_lowest_that_is_served() -> None:
    rows = near_copies(0, 300, 32, mutual=0.9)
    with sets(rows[:200], rows[200:]) as (train, test):
        with pytest.raises(TooManyPairs) as refused:
            leaks(train, test, 0.8, limit=500)
        lowest = refused.value.lowest_served
        assert refused.value.pairs == len(brute(rows[:200], rows[200:], 0.8))
        assert 0 < len(leaks(train, test, lowest, limit=500)) <= 500
        assert len(brute(rows[:200], rows[200:], lowest - 0.001)) > 500


def test_copies_that_alone_are_too_many_are_refused_as_such() -> None:
    copies = np.ones((40, 4), np.float16)
    with sets(copies, copies) as (train, test):
        assert len(leaks(train, test, 0.9, limit=1600)) == 1600
        with pytest.raises(InvalidValue, match="identical images alone make 1,600 leaks"):
            leaks(train, test, 0.9, limit=1599)
        with pytest.raises(InvalidValue, match="identical images alone make 1,600 leaks"):
            leaks(train, test, 0.9, limit=30)


# -- files -------------------------------------------------------------------------------------------


@contextmanager
def indexed(train: Path, test: Path) -> Iterator[tuple[Dataset, Dataset]]:
    with (
        Dataset.create(train / ".twinlens", ColourGridEmbedder(), namespace="train") as first,
        Dataset.create(test / ".twinlens", ColourGridEmbedder(), namespace="test") as second,
    ):
        first.add(train)
        second.add(test)
        yield first, second


def named(found: Leaks) -> dict[tuple[str, str], tuple[float, Evidence]]:
    return {
        (Path(leak.train_path).name, Path(leak.test_path).name): (leak.similarity, leak.evidence)
        for leak in found
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a test folder with leaks of every kind."""
    train, test = tmp_path / "train", tmp_path / "test"
    for seed in range(4):
        save(train, f"{seed}.jpg", picture(seed))
    test.mkdir()
    shutil.copy(train / "0.jpg", test / "copy.jpg")
    with Image.open(train / "1.jpg") as decoded:
        decoded.save(test / "lossless.png")
    save(test, "smaller.jpg", picture(2).resize((120, 90)))
    save(test, "other.jpg", picture(9))
    for folder, names in ((train, ("white.png",)), (test, ("blank.png", "grey.png"))):
        for name in names:
            Image.new("RGB", (64, 48), "grey" if name == "grey.png" else "white").save(folder / name)
    with Image.open(test / "blank.png") as blank:
        blank.save(test / "blank.bmp")
    return train, test


def test_bytes_pixels_and_look_alikes(folders: tuple[Path, Path]) -> None:
    with indexed(*folders) as (train, test):
        found = named(leaks(train, test, 0.95))
        swapped = named(leaks(test, train, 0.95))
        assert len(leaks(train, test, 0.95, limit=len(found))) == len(found)
        with pytest.raises(TooManyPairs):
            leaks(train, test, 0.95, limit=len(found) - 1)
    similarity = found[("2.jpg", "smaller.jpg")][0]
    assert 0.95 <= similarity < 1.0
    assert found == {
        ("0.jpg", "copy.jpg"): (1.0, Evidence.BYTES),
        ("1.jpg", "lossless.png"): (1.0, Evidence.PIXELS),
        ("2.jpg", "smaller.jpg"): (similarity, Evidence.EMBEDDING),
        ("white.png", "blank.png"): (1.0, Evidence.BYTES),
        ("white.png", "blank.bmp"): (1.0, Evidence.PIXELS),
    }
    assert swapped == {(b, a): said for (a, b), said in found.items()}


def test_identity_counts_as_one_whatever_the_rows_say(folders: tuple[Path, Path]) -> None:
    with indexed(*folders) as (train, test):
        snapshot = train.snapshot()
        rows = np.array(snapshot.rows)
        rows += (0.02 * np.abs(rows).max() * np.random.default_rng(0).standard_normal(rows.shape)).astype(
            "f2"
        )
        found = named(find_leaks(replace(snapshot, rows=rows), test.snapshot(), 1.0))
    assert {pair for pair, _ in found.items()} == {
        ("0.jpg", "copy.jpg"),
        ("1.jpg", "lossless.png"),
        ("white.png", "blank.png"),
        ("white.png", "blank.bmp"),
    }


def test_pixels_of_files_that_are_gone_are_no_evidence(folders: tuple[Path, Path]) -> None:
    with indexed(*folders) as (train, test):
        (folders[0] / "1.jpg").unlink()
        (folders[1] / "lossless.png").write_bytes((folders[1] / "other.jpg").read_bytes())
        found = named(leaks(train, test, 0.95))
    assert found[("1.jpg", "lossless.png")][1] is Evidence.EMBEDDING


def test_several_contents_of_one_row_are_told_apart(tmp_path: Path) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    image = picture(3)
    save(train, "a.png", image)
    save(train, "b.bmp", image)
    save(test, "c.tiff", image)
    save(test, "d.webp", image.resize((40, 30)))
    with indexed(train, test) as (first, second):
        found = named(leaks(first, second, 0.9))
    assert {pair: said[1] for pair, said in found.items()} == {
        ("a.png", "c.tiff"): Evidence.PIXELS,
        ("b.bmp", "c.tiff"): Evidence.PIXELS,
        ("a.png", "d.webp"): Evidence.EMBEDDING,
        ("b.bmp", "d.webp"): Evidence.EMBEDDING,
    }


def test_a_rejection_inside_a_set_is_none_across_sets(folders: tuple[Path, Path]) -> None:
    shutil.copy(folders[0] / "0.jpg", folders[0] / "again.jpg")
    with indexed(*folders) as (train, test):
        train.reject(*(image.id for image in train.images() if Path(image.path).stem in ("0", "again")))
        found = named(leaks(train, test, 0.95))
    assert {("0.jpg", "copy.jpg"), ("again.jpg", "copy.jpg")} <= set(found)


def test_a_file_in_both_sets_leaks_to_itself(tmp_path: Path) -> None:
    save(tmp_path, "0.jpg", picture(0))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        Dataset.create(tmp_path / "a" / "data", ColourGridEmbedder()) as train,
        Dataset.create(tmp_path / "b" / "data", ColourGridEmbedder()) as test,
    ):
        for dataset in (train, test):
            listing = tmp_path / "list.txt"
            listing.write_text(f"{tmp_path / '0.jpg'}\n")
            dataset.add(listing)
        (leak,) = leaks(train, test, 0.9, limit=1)
    assert leak.train_path == leak.test_path and leak.evidence is Evidence.BYTES


def test_datasets_that_were_opened_again_say_the_same(folders: tuple[Path, Path]) -> None:
    with indexed(*folders) as (train, test):
        before = named(leaks(train, test, 0.95))
    with (
        Dataset.open(folders[0] / ".twinlens", models=load_fake) as train,
        Dataset.open(folders[1] / ".twinlens", models=load_fake) as test,
    ):
        assert named(leaks(train, test, 0.95)) == before
