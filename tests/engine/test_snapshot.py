"""A snapshot can be copied, to be asked while the dataset changes, and narrowed to a selection."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from tests.rows import brute_similarity, clustered_rows
from twinlens.engine.dataset import Dataset
from twinlens.engine.duplicates import find_clusters, group
from twinlens.engine.keeper import DEFAULT_RULES
from twinlens.engine.results import MAX_PAIRS, Linkage
from twinlens.engine.scores import score_places
from twinlens.engine.snapshot import Snapshot

IMAGES = 300


@pytest.fixture
def data() -> Iterator[Dataset]:
    rows = clustered_rows(7, IMAGES, 16, groups=40, noise=0.5)
    names = [f"image-{number:03d}" for number in range(IMAGES)]
    with Dataset.from_vectors(names, rows, name="planted") as dataset:
        yield dataset


def clusters(snapshot: Snapshot, threshold: float) -> list[list[str]]:
    found = find_clusters(snapshot, threshold, Linkage.COMPLETE, DEFAULT_RULES, max_pairs=MAX_PAIRS)
    return [[member.id for member in cluster.members] for cluster in found]


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9, 0.97])
def test_a_copy_answers_as_the_dataset_did(data: Dataset, threshold: float) -> None:
    """Also below the kept pairs, where it joins anew."""
    copied = data.copy_snapshot()
    assert clusters(copied, threshold) == [
        [member.id for member in cluster.members] for cluster in data.duplicates(threshold)
    ]
    scores = {score.id: score.score for score in data.uniqueness()}
    values = score_places(copied).values
    assert {image.id: value for image, value in zip(copied.images, values, strict=True)} == scores


def test_a_copy_stays_what_it_was_when_images_are_removed(data: Dataset) -> None:
    copied = data.copy_snapshot()
    before = clusters(copied, 0.85)
    data.remove([image.id for image in copied.images[:100]])
    assert clusters(copied, 0.85) == before
    assert clusters(data.copy_snapshot(), 0.85) != before


def test_a_copy_can_be_asked_from_many_threads_after_the_dataset_was_closed(data: Dataset) -> None:
    copied = data.copy_snapshot()
    expected = clusters(copied, 0.9)
    data._catalog.close()
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: clusters(copied, 0.9), range(16)))


def test_images_that_were_not_compared_yet_are_no_part_of_a_copy(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, 6)
    with Dataset.create(tmp_path / "data", ColourGridEmbedder()) as data:
        data.add(photos)
        fill(photos, 4, first=6)
        data.add(photos, relate=False)
        assert len(data) == 10
        assert len(data.copy_snapshot().images) == 6
        data.relate()
        assert len(data.copy_snapshot().images) == 10


def test_a_selection_is_the_dataset_with_some_images_only(data: Dataset) -> None:
    """Clusters of a selection are clusters by brute force over its rows alone."""
    copied = data.copy_snapshot()
    chosen = np.arange(IMAGES) % 3 != 0
    selected = copied.select(chosen)
    assert [image.id for image in selected.images] == [
        image.id for image, keep in zip(copied.images, chosen, strict=True) if keep
    ]
    ids = {image.id: place for place, image in enumerate(selected.images)}
    similarity = brute_similarity(copied.rows[[image.row for image in selected.images]])
    found = clusters(selected, 0.85)
    assert found and all(
        similarity[ids[a], ids[b]] >= 0.85 for members in found for a in members for b in members
    )
    together = {id_ for members in found for id_ in members}
    for a, b in zip(*np.nonzero(np.triu(similarity >= 0.85, 1)), strict=True):
        assert {selected.images[a].id, selected.images[b].id} & together


def test_everything_selected_is_the_snapshot_itself(data: Dataset) -> None:
    copied = data.copy_snapshot()
    assert copied.select(np.ones(IMAGES, np.bool_)) is copied
    assert copied.select(np.zeros(IMAGES, np.bool_)).images == []


def test_rejections_hold_in_copies_and_selections(data: Dataset) -> None:
    first = next(cluster for cluster in data.duplicates(0.8) if cluster.size > 2)
    a, b = first.members[0].id, first.members[1].id
    data.reject(a, b)
    copied = data.copy_snapshot()
    half = copied.select(np.array([image.id in {m.id for m in first.members} for image in copied.images]))
    for snapshot in (copied, half):
        assert not any({a, b} <= set(members) for members in clusters(snapshot, 0.8))


@pytest.mark.parametrize("linkage", list(Linkage))
def test_groups_are_outlined_as_they_are_described(data: Dataset, linkage: Linkage) -> None:
    """Size, tightness, id and keeper of an outline are those of the cluster that `describe` makes of it."""
    copied = data.copy_snapshot()
    grouping = group(copied, 0.8, linkage, max_pairs=MAX_PAIRS)
    described = [grouping.describe(outline) for outline in grouping.outlines]
    assert described == find_clusters(copied, 0.8, linkage, DEFAULT_RULES, max_pairs=MAX_PAIRS)
    for outline, cluster in zip(grouping.outlines, described, strict=True):
        assert (outline.size, outline.min_similarity) == (cluster.size, cluster.min_similarity)
        assert grouping.id_of(outline) == cluster.cluster_id
        places = grouping.places(outline)
        assert [copied.images[place].id for place in places] == [member.id for member in cluster.members]


def test_images_alone_follow_as_groups_of_their_own(data: Dataset) -> None:
    copied = data.copy_snapshot()
    grouping = group(copied, 0.9, Linkage.COMPLETE, max_pairs=MAX_PAIRS, alone=True)
    places = sorted(place for outline in grouping.outlines for place in grouping.places(outline))
    assert places == list(range(IMAGES))
    sizes = [outline.size for outline in grouping.outlines]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 1


def test_an_image_to_keep_is_the_keeper_of_its_group(data: Dataset) -> None:
    cluster = data.duplicates(0.8)[0]
    chosen = cluster.members[-1].id
    data.keep([chosen])
    copied = data.copy_snapshot()
    grouping = group(copied, 0.8, Linkage.COMPLETE, max_pairs=MAX_PAIRS)
    keepers = {copied.images[grouping.places(outline)[0]].id for outline in grouping.outlines}
    assert chosen in keepers
