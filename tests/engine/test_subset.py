"""Keeping a number of images: what is promised, what must stay, and shares of classes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.collections_of_pictures import picture, save
from tests.fakes import ColourGridEmbedder
from tests.rows import brute_similarity, clustered_rows
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.engine.subset import Subset, choose_subset, images_to_keep


@pytest.fixture(scope="module")
def vectors() -> Iterator[Dataset]:
    """300 images without files, in 12 crowds."""
    rows = clustered_rows(2, 300, 24, groups=12, noise=0.7)
    with Dataset.from_vectors([f"{n:03}" for n in range(300)], rows, name="own", device="cpu") as dataset:
        yield dataset


def kept(found: Subset) -> list[str]:
    return [image.id for image in found.keep]


def names(found: Subset) -> list[str]:
    return [Path(image.path).name for image in found.keep]


def test_every_image_is_kept_or_removed_and_stands_beside_its_nearest(vectors: Dataset) -> None:
    found = choose_subset(vectors.snapshot(), keep=20)
    similarity = np.clip(brute_similarity(vectors.vectors()), 0, 1)
    chosen = [int(id_) for id_ in kept(found)]
    assert len(set(chosen)) == 20
    gone = [int(removed.image.id) for removed in found.remove]
    assert sorted([*chosen, *gone]) == list(range(300))
    for removed in found.remove:
        near = similarity[int(removed.image.id), chosen]
        assert removed.similarity == pytest.approx(near.max(), abs=1e-9)
        assert similarity[int(removed.image.id), int(removed.twin.id)] == near.max()
        assert removed.rule == "covered"
    worst = max(1 - removed.similarity for removed in found.remove)
    assert found.coverage == pytest.approx(worst, abs=1e-9)
    assert found.after[-1] == pytest.approx(worst, abs=1e-9) and len(found.after) == 20


def test_a_fraction_is_a_number_of_images(vectors: Dataset) -> None:
    assert kept(choose_subset(vectors.snapshot(), fraction=0.1)) == kept(
        choose_subset(vectors.snapshot(), keep=30)
    )
    assert [images_to_keep(10, fraction=f) for f in (0.001, 0.25, 0.35, 1.0)] == [1, 3, 4, 10]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "a number of images to keep, or for a fraction"),
        ({"keep": 3, "fraction": 0.3}, "a number of images to keep, or for a fraction"),
        ({"keep": 0}, "0 images cannot be kept of 10"),
        ({"keep": 11}, "11 images cannot be kept of 10"),
        ({"fraction": 0.0}, "fraction 0 is not in"),
        ({"fraction": 1.5}, "fraction 1.5 is not in"),
        ({"fraction": float("nan")}, "fraction nan is not in"),
    ],
)
def test_other_numbers_are_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        images_to_keep(10, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="no images"):
        images_to_keep(0, keep=1)


def test_all_images_can_stay(vectors: Dataset) -> None:
    found = choose_subset(vectors.snapshot(), keep=300)
    assert found.remove == () and found.coverage == 0.0


def test_protected_images_and_those_chosen_by_hand_come_first(vectors: Dataset) -> None:
    vectors.keep(["150"])
    found = choose_subset(vectors.snapshot(), keep=10, protected={"007", "200"}, rules=("path",))
    assert kept(found)[:3] == ["007", "150", "200"]
    with pytest.raises(InvalidValue, match="3 images must be kept, and 2 are asked for"):
        choose_subset(vectors.snapshot(), keep=2, protected={"007", "200"})
    vectors.unkeep(["150"])


def test_rejections_change_nothing(vectors: Dataset) -> None:
    before = choose_subset(vectors.snapshot(), keep=40)
    pairs = [(removed.image.id, removed.twin.id) for removed in before.remove[:20]]
    vectors.reject_pairs(pairs)
    after = choose_subset(vectors.snapshot(), keep=40)
    vectors.unreject_pairs(pairs)
    assert kept(after) == kept(before) and after.coverage == before.coverage


def test_the_order_in_which_images_came_changes_nothing(vectors: Dataset) -> None:
    rows = vectors.vectors()
    order = np.random.default_rng(0).permutation(300)
    ids = [f"{n:03}" for n in order]
    with Dataset.from_vectors(ids, rows[order], name="own", device="cpu") as moved:
        labels = {id_: str(int(id_) % 4) for id_ in ids}
        for chosen in (None, labels):
            there = choose_subset(moved.snapshot(), keep=25, labels=chosen)
            here = choose_subset(vectors.snapshot(), keep=25, labels=chosen)
            assert kept(there) == kept(here) and there.coverage == here.coverage
            assert [each.twin.id for each in there.remove] == [each.twin.id for each in here.remove]


# -- classes -----------------------------------------------------------------------------------------


def test_classes_keep_their_share_chosen_among_their_own(vectors: Dataset) -> None:
    label = {f"{n:03}": "many" if n < 250 else "few" for n in range(290)} | {"000": "one"}
    found = choose_subset(vectors.snapshot(), keep=30, labels=label)
    assert [(c.label, c.images, c.kept) for c in found.classes] == [
        ("few", 40, 4),
        ("many", 249, 24),
        ("one", 1, 1),
        (None, 10, 1),
    ]
    assert Counter(label.get(id_) for id_ in kept(found)) == {c.label: c.kept for c in found.classes}
    assert found.after == ()
    similarity = np.clip(brute_similarity(vectors.vectors()), 0, 1)
    for share in found.classes:
        members = [n for n in range(300) if label.get(f"{n:03}") == share.label]
        chosen = [int(id_) for id_ in kept(found) if label.get(id_) == share.label]
        reached = 1 - similarity[np.ix_(members, chosen)].max(axis=1).min()
        assert share.coverage == pytest.approx(reached, abs=1e-9)
    assert found.coverage <= max(share.coverage for share in found.classes)


def test_what_must_stay_counts_in_its_class(vectors: Dataset) -> None:
    label = {f"{n:03}": "even" if n % 2 == 0 else "odd" for n in range(300)}
    protected = {"001", "003", "005", "007"}
    found = choose_subset(vectors.snapshot(), keep=6, labels=label, protected=protected)
    assert [(c.label, c.kept) for c in found.classes] == [("even", 2), ("odd", 4)]
    assert set(kept(found)) >= protected


def test_fewer_images_than_classes_leave_classes_without_any(vectors: Dataset) -> None:
    label = {f"{n:03}": str(n % 5) for n in range(300)}
    found = choose_subset(vectors.snapshot(), keep=3, labels=label)
    assert [share.kept for share in found.classes] == [1, 1, 1, 0, 0]
    assert [share.coverage for share in found.classes[3:]] == [1.0, 1.0]


# -- files -------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Dataset]:
    """Four different pictures, two copies of one of them, and flat pictures, two of them alike."""
    folder = tmp_path / "photos"
    for seed in range(4):
        save(folder, f"{seed}.jpg", picture(seed, width=160 + 4 * seed))
    shutil.copy(folder / "1.jpg", folder / "1 again.jpg")
    with Image.open(folder / "1.jpg") as decoded:
        decoded.save(folder / "1 lossless.png")
    for name, colour in (("white", "white"), ("blank", "white"), ("grey", "grey")):
        Image.new("RGB", (64, 48), colour).save(folder / f"{name}.png")
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(folder)
        yield dataset


def test_the_best_picture_starts_and_copies_and_flat_pictures_come_last(files: Dataset) -> None:
    found = choose_subset(files.snapshot(), keep=9)
    order = names(found)
    assert order[0] == "3.jpg", "the one with the most pixels"
    assert set(order[1:4]) == {"0.jpg", "1 lossless.png", "2.jpg"}, (
        "the lossless file is the largest of three"
    )
    assert set(order[4:6]) == {"1.jpg", "1 again.jpg"}
    assert "grey.png" in order[6:8] and order[8] in ("white.png", "blank.png"), "a copy of the other"
    assert found.after[3:] == (0.0,) * 6


def test_removed_copies_have_their_copy_as_twin_and_flat_pictures_say_so(files: Dataset) -> None:
    found = choose_subset(files.snapshot(), keep=4)
    said = {
        Path(removed.image.path).name: (Path(removed.twin.path).name, removed.similarity, removed.rule)
        for removed in found.remove
    }
    assert said == {
        "1.jpg": ("1 lossless.png", 1.0, "covered"),
        "1 again.jpg": ("1 lossless.png", 1.0, "covered"),
        "white.png": ("3.jpg", 0.0, "flat"),
        "blank.png": ("3.jpg", 0.0, "flat"),
        "grey.png": ("3.jpg", 0.0, "flat"),
    }
    assert found.coverage == 0.0, "flat pictures are no part of it"


def test_a_protected_flat_picture_stays_and_stands_for_its_copy(files: Dataset) -> None:
    (white,) = (image.id for image in files.images() if image.path.endswith("white.png"))
    found = choose_subset(files.snapshot(), keep=2, protected={white})
    assert names(found) == ["white.png", "0.jpg"]
    (blank,) = (removed for removed in found.remove if removed.image.path.endswith("blank.png"))
    assert (Path(blank.twin.path).name, blank.similarity, blank.rule) == ("white.png", 1.0, "flat")
    assert found.after == (1.0, found.coverage), "a flat picture covers nothing"


def test_a_file_that_was_indexed_twice_is_one_image(files: Dataset, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{tmp_path / 'photos' / '0.jpg'}\n")
    files.add(listing)
    assert len(files) == 10
    found = choose_subset(files.snapshot(), keep=9)
    assert len(set(names(found))) == 9 and found.remove == ()


def test_only_images_that_may_stay_are_chosen_and_all_are_covered(vectors: Dataset) -> None:
    may_stay = {f"{n:03}" for n in range(0, 300, 3)}
    found = choose_subset(vectors.snapshot(), keep=20, among=may_stay)
    assert len(found.keep) == 20 and set(kept(found)) <= may_stay
    assert len(found.remove) == 280
    worst = max(1 - removed.similarity for removed in found.remove)
    assert found.coverage == pytest.approx(worst, abs=1e-9) == pytest.approx(found.after[-1], abs=1e-9)
    with pytest.raises(InvalidValue, match="101 images cannot be kept of 100 without twins"):
        choose_subset(vectors.snapshot(), keep=101, among=may_stay)


def test_classes_share_out_what_may_stay(vectors: Dataset) -> None:
    labels = {f"{n:03}": "odd" if n % 2 else "even" for n in range(300)}
    may_stay = {f"{n:03}" for n in range(300) if n % 2 or n < 20}
    found = choose_subset(vectors.snapshot(), keep=40, among=may_stay, labels=labels)
    assert set(kept(found)) <= may_stay
    assert [(share.label, share.images, share.kept) for share in found.classes] == [
        ("even", 150, 2),
        ("odd", 150, 38),
    ]
