"""What people decide about images: which to keep, which are no duplicates. It outlives their files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.collections_of_pictures import fill, picture, save
from tests.fakes import ColourGridEmbedder, load_fake
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import DEFAULT_RULES, RULES
from twinlens.engine.results import Linkage


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six scenes; of the third one a smaller and a larger copy."""
    folder = tmp_path / "photos"
    fill(folder, 6)
    save(folder, "small.jpg", picture(3).resize((80, 60)), quality=80)
    save(folder, "large.jpg", picture(3, 320, 240))
    return folder


@pytest.fixture
def dataset(tmp_path: Path, photos: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as made:
        made.add(photos)
        yield made


def ids(dataset: Dataset) -> dict[str, str]:
    """The id of each file name."""
    return {os.path.basename(image.path): image.id for image in dataset.images()}


def keepers(dataset: Dataset, linkage: Linkage = Linkage.COMPLETE, *rules: str) -> list[str]:
    found = dataset.duplicates(0.95, linkage=linkage, rules=rules or DEFAULT_RULES)
    return [os.path.basename(cluster.keeper.path) for cluster in found]


def kept(dataset: Dataset) -> set[str]:
    return set(dataset.snapshot().kept)


# -- images to keep ------------------------------------------------------------------------------------


@pytest.mark.parametrize("linkage", Linkage)
def test_a_kept_image_is_the_keeper_whatever_the_rules(dataset: Dataset, linkage: Linkage) -> None:
    assert keepers(dataset, linkage, "pixels") == ["large.jpg"]
    dataset.keep([ids(dataset)["small.jpg"]])
    for rule in RULES:
        assert keepers(dataset, linkage, rule) == ["small.jpg"]
    dataset.unkeep([ids(dataset)["small.jpg"]])
    assert keepers(dataset, linkage, "pixels") == ["large.jpg"]


def test_of_several_kept_images_the_rules_choose(dataset: Dataset) -> None:
    dataset.keep([ids(dataset)[name] for name in ("small.jpg", "00003.jpg", "00001.jpg")])
    assert keepers(dataset, Linkage.COMPLETE, "pixels") == ["00003.jpg"]
    assert keepers(dataset, Linkage.COMPLETE, "bytes") == ["00003.jpg"]


def test_keeping_says_nothing_about_which_images_are_twins(dataset: Dataset) -> None:
    before = dataset.uniqueness()
    dataset.keep(list(ids(dataset).values()))
    (cluster,) = dataset.duplicates(0.95)
    assert (cluster.size, dataset.uniqueness()) == (3, before)


def test_a_kept_image_stays_one_when_its_file_is_touched_moved_and_changed(
    dataset: Dataset, photos: Path
) -> None:
    small = ids(dataset)["small.jpg"]
    dataset.keep([small])
    os.utime(photos / "small.jpg", (1, 1))
    dataset.add(photos)
    (photos / "small.jpg").rename(photos / "moved.jpg")
    assert dataset.add(photos).moved == 1
    assert keepers(dataset) == ["moved.jpg"]
    save(photos, "moved.jpg", picture(3).resize((60, 45)), quality=70)
    assert dataset.add(photos).changed == 1
    assert keepers(dataset) == ["moved.jpg"]
    assert kept(dataset) == {small}


def test_a_kept_image_that_went_and_came_back_is_kept(dataset: Dataset, photos: Path, tmp_path: Path) -> None:
    dataset.keep([ids(dataset)["small.jpg"]])
    (photos / "small.jpg").rename(tmp_path / "elsewhere.jpg")
    dataset.add(photos)
    assert keepers(dataset) == ["large.jpg"]
    (tmp_path / "elsewhere.jpg").rename(photos / "small.jpg")
    dataset.add(photos)
    assert keepers(dataset) == ["small.jpg"]


def test_what_was_kept_is_there_when_a_dataset_is_opened_again(dataset: Dataset) -> None:
    small = ids(dataset)["small.jpg"]
    dataset.keep([small])
    dataset.close()
    with Dataset.open(dataset.folder, models=load_fake) as again:
        assert (keepers(again), kept(again)) == (["small.jpg"], {small})


def test_an_unknown_image_is_refused_and_none_is_kept(dataset: Dataset) -> None:
    small = ids(dataset)["small.jpg"]
    generation = dataset.generation
    with pytest.raises(InvalidValue, match="no image has the id 'nobody'"):
        dataset.keep([small, "nobody"])
    with pytest.raises(InvalidValue, match="no image has the id 'nobody'"):
        dataset.unkeep([small, "nobody"])
    assert (kept(dataset), dataset.generation) == (set(), generation)


# -- pairs that are no duplicates ----------------------------------------------------------------------


def test_several_pairs_are_rejected_at_once(dataset: Dataset) -> None:
    id_ = ids(dataset)
    pairs = [(id_["small.jpg"], id_["large.jpg"]), (id_["00003.jpg"], id_["large.jpg"])]
    generation = dataset.generation
    dataset.reject_pairs(pairs)
    assert dataset.generation == generation + 1
    (cluster,) = dataset.duplicates(0.95)
    assert {member.id for member in cluster.members} == {id_["small.jpg"], id_["00003.jpg"]}
    dataset.unreject_pairs([(b, a) for a, b in pairs])
    assert [cluster.size for cluster in dataset.duplicates(0.95)] == [3]


def test_of_pairs_with_a_wrong_one_none_is_rejected(dataset: Dataset) -> None:
    id_ = ids(dataset)
    sound = (id_["small.jpg"], id_["large.jpg"])
    with pytest.raises(InvalidValue, match="no image has the id 'nobody'"):
        dataset.reject_pairs([sound, (id_["small.jpg"], "nobody")])
    with pytest.raises(InvalidValue, match="duplicate of itself"):
        dataset.reject_pairs([sound, (id_["small.jpg"], id_["small.jpg"])])
    assert [cluster.size for cluster in dataset.duplicates(0.95)] == [3]


# -- and what was compared -----------------------------------------------------------------------------


def test_a_decision_leaves_what_was_compared_as_it_is(dataset: Dataset, photos: Path) -> None:
    id_ = ids(dataset)
    decisions: list[Callable[[], None]] = [
        lambda: dataset.keep([id_["small.jpg"]]),
        lambda: dataset.unkeep([id_["small.jpg"]]),
        lambda: dataset.reject(id_["small.jpg"], id_["large.jpg"]),
        lambda: dataset.unreject(id_["small.jpg"], id_["large.jpg"]),
    ]
    for decide in decisions:
        generation = dataset.generation
        decide()
        assert dataset.related and dataset.generation == generation + 1
    shutil.copy(photos / "00001.jpg", photos / "copy.jpg")
    dataset.add(photos, relate=False)
    dataset.keep([id_["small.jpg"]])
    assert not dataset.related
