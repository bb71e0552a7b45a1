"""A dataset: made, filled, changed, asked, closed, copied, mounted read-only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.collections_of_pictures import fill, picture, save
from tests.fakes import ColourGridEmbedder, load_fake
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import (
    DatasetCorrupt,
    DatasetExists,
    DatasetLocked,
    FormatTooNew,
    InvalidValue,
    ModelMismatch,
    NotADataset,
    SourceError,
)
from twinlens.engine.ingest import IngestReport
from twinlens.engine.pixels import SIGNATURES_AGREE
from twinlens.engine.results import Evidence
from twinlens.engine.search import INDEX_FILE


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    fill(folder, 6)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as made:
        yield made


def names(dataset: Dataset) -> dict[str, str]:
    """File name of each id."""
    return {image.id: os.path.basename(image.path) for image in dataset.images()}


def clusters(dataset: Dataset, threshold: float = 0.95) -> list[set[str]]:
    named = names(dataset)
    return [{named[m.id] for m in c.members} for c in dataset.duplicates(threshold)]


# -- the main job ------------------------------------------------------------------------------------


def test_twins_are_found_and_the_larger_one_is_kept(dataset: Dataset, photos: Path) -> None:
    save(photos, "small.jpg", picture(3).resize((80, 60)), quality=80)
    report = dataset.add(photos)
    (cluster,) = dataset.duplicates(0.95)
    assert (report.added, report.failed) == (7, 0)
    assert os.path.basename(cluster.keeper.path) == "00003.jpg"
    assert [os.path.basename(m.path) for m in cluster.members] == ["00003.jpg", "small.jpg"]
    assert (
        0.95 <= cluster.min_similarity == cluster.mean_similarity == cluster.members[1].similarity_to_keeper
    )
    assert (cluster.evidence, cluster.links_out) == (Evidence.EMBEDDING, 0)


def test_identical_files_are_certain_twins(dataset: Dataset, photos: Path) -> None:
    shutil.copy(photos / "00001.jpg", photos / "copy.jpg")
    dataset.add(photos)
    (cluster,) = dataset.duplicates(1.0)
    assert (cluster.evidence, cluster.min_similarity, cluster.size) == (Evidence.BYTES, 1.0, 2)


def test_identical_pixels_in_other_files_are_certain_twins(dataset: Dataset, photos: Path) -> None:
    image = picture(99)
    save(photos, "a.png", image)
    save(photos, "b.bmp", image)
    dataset.add(photos)
    (cluster,) = dataset.duplicates(1.0)
    assert (cluster.evidence, clusters(dataset, 1.0)) == (Evidence.PIXELS, [{"a.png", "b.bmp"}])


def test_a_jpeg_and_its_own_decoded_pixels_are_certain_twins(dataset: Dataset, photos: Path) -> None:
    path = save(photos, "large.jpg", picture(7, 1600, 1200), quality=85)
    with path.open("rb") as file:
        from PIL import Image

        save(photos, "large.png", Image.open(file))
    dataset.add(photos)
    assert clusters(dataset, 1.0) == [{"large.jpg", "large.png"}]


def test_so_they_are_where_a_reduced_decode_shows_something_else(dataset: Dataset, photos: Path) -> None:
    """Fine black and white: at an eighth of the size, what was cut off at black and at white is missing."""
    from PIL import Image

    dots = np.random.default_rng(5).random((600, 800)) < np.linspace(0.0, 0.3, 800)
    path = save(photos, "dots.jpg", Image.fromarray(np.where(dots, 0, 255).astype(np.uint8)), quality=40)
    with Image.open(path) as image:
        save(photos, "dots.png", image)
    dataset.add(photos)
    signatures = [
        np.frombuffer(dataset._catalog.signature(image.id) or b"", np.uint8).astype(int)
        for image in dataset.images()
        if "dots" in image.path
    ]
    assert 8 < np.abs(signatures[0] - signatures[1]).max() <= SIGNATURES_AGREE
    assert clusters(dataset, 1.0) == [{"dots.jpg", "dots.png"}]


def test_flat_images_are_twins_of_identical_ones_only(dataset: Dataset, photos: Path) -> None:
    from PIL import Image

    for name, colour in (
        ("red.png", "red"),
        ("blue.png", "blue"),
        ("blue.bmp", "blue"),
        ("white.jpg", "white"),
    ):
        save(photos, name, Image.new("RGB", (64, 48), colour))
    dataset.add(photos)
    assert clusters(dataset, 0.5) == [{"blue.png", "blue.bmp"}]
    scores = {os.path.basename(s.path): s.score for s in dataset.uniqueness()}
    assert (scores["red.png"], scores["blue.png"]) == (None, 0.0)
    found = dataset.search(image=photos / "00000.jpg", k=20)
    assert {os.path.basename(n.path) for n in found} == {f"{seed:05}.jpg" for seed in range(6)}
    assert [os.path.basename(n.path) for n in dataset.search(image=photos / "red.png", k=20)] == ["red.png"]


def test_icons_that_differ_in_transparency_only_are_no_twins(dataset: Dataset, photos: Path) -> None:
    from PIL import Image, ImageDraw

    for name, box in (("a.png", (2, 2, 20, 20)), ("b.png", (30, 10, 60, 40))):
        icon = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
        ImageDraw.Draw(icon).rectangle(box, fill=(0, 0, 0, 255))
        icon.save(photos / name)
    shutil.copy(photos / "a.png", photos / "copy-of-a.png")
    dataset.add(photos)
    assert clusters(dataset, 0.5) == [{"a.png", "copy-of-a.png"}]


def test_pairs_are_streamed_with_paths_and_evidence(dataset: Dataset, photos: Path) -> None:
    shutil.copy(photos / "00001.jpg", photos / "copy.jpg")
    save(photos, "small.jpg", picture(1).resize((80, 60)), quality=80)
    dataset.add(photos)
    found = {
        (frozenset(map(os.path.basename, (p.path_a, p.path_b))), p.evidence.value)
        for p in dataset.pairs(0.95)
    }
    assert found == {
        (frozenset({"00001.jpg", "copy.jpg"}), "bytes"),
        (frozenset({"00001.jpg", "small.jpg"}), "embedding"),
        (frozenset({"copy.jpg", "small.jpg"}), "embedding"),
    }
    assert dataset.count_pairs(0.95) == 3


def test_a_threshold_below_the_kept_pairs_costs_a_join_and_gives_the_same(
    dataset: Dataset, photos: Path
) -> None:
    dataset.add(photos)
    rows = dataset.vectors().astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    above = np.round(rows @ rows.T, 6) >= 0.05
    assert dataset.count_pairs(0.05) == (above.sum() - len(rows)) / 2 > 0


def test_uniqueness_is_zero_for_a_perfect_twin_and_one_when_isolated(dataset: Dataset, photos: Path) -> None:
    shutil.copy(photos / "00001.jpg", photos / "copy.jpg")
    dataset.add(photos)
    scores = {os.path.basename(s.path): s for s in dataset.uniqueness()}
    assert scores["copy.jpg"].score == scores["00001.jpg"].score == 0.0
    assert os.path.basename(scores["copy.jpg"].nearest_path or "") == "00001.jpg"
    assert all(0.0 < (scores[f"{seed:05}.jpg"].score or 0.0) <= 1.0 for seed in (0, 2, 3, 4, 5))


def test_search_by_file_and_by_id_agree(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    by_image = dataset.search(image=photos / "00002.jpg", k=6)
    assert os.path.basename(by_image[0].path) == "00002.jpg"
    assert by_image[0].similarity > 0.9999
    by_id = dataset.search(id=by_image[0].id, k=6)
    assert [n.id for n in by_id] == [n.id for n in by_image[1:]]


def test_searches_of_one_generation_open_the_index_once(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    id_ = dataset.images()[2].id
    before = dataset.search(id=id_, k=6)
    (dataset.folder / INDEX_FILE).unlink()
    assert dataset.search(id=id_, k=6) == before and not (dataset.folder / INDEX_FILE).exists()
    save(photos, "small.jpg", picture(7).resize((80, 60)), quality=80)
    dataset.add(photos)
    assert len(dataset.search(id=id_, k=7)) == len(before) + 1


def test_explain_says_why(dataset: Dataset, photos: Path) -> None:
    save(photos, "small.jpg", picture(1).resize((80, 60)), quality=80)
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    together = dataset.explain(ids["00001.jpg"], ids["small.jpg"], 0.95)
    apart = dataset.explain(ids["00001.jpg"], ids["00002.jpg"], 0.95)
    assert together.together and "at or above the threshold 0.95" in together.reason
    assert not apart.together and "below the threshold 0.95" in apart.reason
    assert together.bmh1_distance is not None and together.bmh1_distance < 100


# -- change ------------------------------------------------------------------------------------------


def test_adding_twice_is_adding_once(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    before = (dataset.images(), dataset.vectors().tobytes())
    again = dataset.add(photos)
    assert again == IngestReport(listed=6, unchanged=6)
    assert (dataset.images(), dataset.vectors().tobytes()) == before


def test_new_changed_and_removed_files(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    (photos / "00000.jpg").unlink()
    save(photos, "00001.jpg", picture(77, 200, 100), quality=90)
    save(photos, "new.jpg", picture(2), quality=60)
    report = dataset.add(photos)
    assert (report.added, report.changed, report.removed, report.unchanged) == (1, 1, 1, 4)
    after = {name: id_ for id_, name in names(dataset).items()}
    assert "00000.jpg" not in after and after["00001.jpg"] == ids["00001.jpg"]
    assert clusters(dataset) == [{"00002.jpg", "new.jpg"}]
    changed = next(image for image in dataset.images() if image.id == after["00001.jpg"])
    assert (changed.width, changed.height) == (200, 100)


def test_an_incremental_dataset_answers_like_one_made_at_once(tmp_path: Path, photos: Path) -> None:
    embedder = ColourGridEmbedder()
    with Dataset.create(tmp_path / "steps", embedder, namespace="p") as steps:
        steps.add(photos)
        save(photos, "zz-small.jpg", picture(1).resize((80, 60)), quality=80)
        shutil.copy(photos / "00004.jpg", photos / "zz-copy.jpg")
        steps.add(photos)
        stepwise = ([c.cluster_id for c in steps.duplicates(0.9)], steps.uniqueness())
    with Dataset.create(tmp_path / "once", embedder, namespace="p") as once:
        once.add(photos)
        assert ([c.cluster_id for c in once.duplicates(0.9)], once.uniqueness()) == stepwise


def test_a_moved_file_keeps_its_id_and_is_not_embedded_again(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    (photos / "deep").mkdir()
    (photos / "00003.jpg").rename(photos / "deep" / "renamed.jpg")
    report = dataset.add(photos)
    assert (report.moved, report.added, report.removed) == (1, 0, 0)
    assert {name: id_ for id_, name in names(dataset).items()}["renamed.jpg"] == ids["00003.jpg"]
    assert len(dataset.snapshot().rows) == 6


def test_a_copy_of_what_a_changed_file_was(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    shutil.copy(photos / "00001.jpg", photos / "zz-old.jpg")
    fill(photos / "many", 40, first=1000)
    save(photos, "00001.jpg", picture(77))
    report = dataset.add(photos)
    assert (report.added, report.changed, report.failed) == (41, 1, 0)


def test_a_touched_file_is_not_embedded_again(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    os.utime(photos / "00003.jpg", (1, 1))
    report = dataset.add(photos)
    assert (report.changed, report.moved, report.added) == (0, 0, 0)
    assert len(dataset.snapshot().rows) == 6


def test_a_removed_twin_gives_its_partner_another_nearest(dataset: Dataset, photos: Path) -> None:
    save(photos, "small.jpg", picture(1).resize((80, 60)), quality=80)
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    dataset.remove([ids["small.jpg"]])
    scores = {os.path.basename(s.path): s for s in dataset.uniqueness()}
    assert dataset.duplicates(0.95) == []
    assert scores["00001.jpg"].nearest_id in set(ids.values()) - {ids["small.jpg"], ids["00001.jpg"]}
    (photos / "small.jpg").touch()
    dataset.add(photos)
    assert clusters(dataset) == [{"00001.jpg", "small.jpg"}]


def test_an_empty_source_does_not_empty_the_dataset(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="held 6"):
        dataset.add(photos)
    assert len(dataset) == 6


def test_a_rejection_holds_after_indexing_again(dataset: Dataset, photos: Path) -> None:
    shutil.copy(photos / "00001.jpg", photos / "copy.jpg")
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    dataset.reject(ids["copy.jpg"], ids["00001.jpg"])
    os.utime(photos / "copy.jpg", (1, 1))
    dataset.add(photos)
    assert dataset.duplicates(0.95) == []
    assert "not duplicates" in dataset.explain(ids["copy.jpg"], ids["00001.jpg"], 0.95).reason
    assert all((score.score or 0.0) > 0.0 for score in dataset.uniqueness())
    dataset.unreject(ids["00001.jpg"], ids["copy.jpg"])
    assert clusters(dataset) == [{"00001.jpg", "copy.jpg"}]


def test_a_rejection_does_not_speak_for_further_copies(dataset: Dataset, photos: Path) -> None:
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        shutil.copy(photos / "00001.jpg", photos / name)
    dataset.add(photos)
    ids = {name: id_ for id_, name in names(dataset).items()}
    dataset.reject(ids["b.jpg"], ids["c.jpg"])
    found = clusters(dataset)
    assert sum(len(cluster) for cluster in found) >= 3
    assert not any({"b.jpg", "c.jpg"} <= cluster for cluster in found)


# -- the folder --------------------------------------------------------------------------------------


def test_ids_are_the_same_in_another_process(dataset: Dataset, photos: Path, tmp_path: Path) -> None:
    dataset.add(photos)
    code = (
        "import sys, json\n"
        "from tests.fakes import ColourGridEmbedder\n"
        "from twinlens.engine.dataset import Dataset\n"
        "with Dataset.create(sys.argv[2], ColourGridEmbedder(), namespace='photos') as d:\n"
        "    d.add(sys.argv[1])\n"
        "    print(json.dumps([i.id for i in d.images()]))\n"
    )
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "other")]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [image.id for image in dataset.images()]


def test_a_copied_folder_is_a_dataset(dataset: Dataset, photos: Path, tmp_path: Path) -> None:
    dataset.add(photos)
    expected = dataset.images()
    dataset.close()
    shutil.copytree(dataset.folder, tmp_path / "copy")
    with Dataset.open(tmp_path / "copy", models=load_fake) as copy:
        assert copy.images() == expected
        assert copy.search(image=photos / "00001.jpg", k=1)[0].similarity > 0.9999


def test_a_dataset_inside_its_images_moves_with_them(photos: Path, tmp_path: Path) -> None:
    with Dataset.create(photos / ".twinlens", ColourGridEmbedder(), namespace="photos") as inside:
        inside.add(photos)
        assert len(inside) == 6
    photos.rename(tmp_path / "elsewhere")
    with Dataset.open(tmp_path / "elsewhere" / ".twinlens", models=load_fake) as moved:
        assert all(os.path.exists(image.path) for image in moved.images())
        assert moved.add(tmp_path / "elsewhere").unchanged == 6


def test_a_second_writer_is_told_who_writes(dataset: Dataset, photos: Path) -> None:
    with dataset._writing(), Dataset.open(dataset.folder, models=load_fake) as second:
        with pytest.raises(DatasetLocked, match=f"process {os.getpid()} on "):
            second.add(photos)
        assert second.images() == []


def test_readers_see_what_was_committed_before_they_looked(dataset: Dataset, photos: Path) -> None:
    with Dataset.open(dataset.folder, models=load_fake) as reader:
        assert len(reader) == 0
        dataset.add(photos)
        assert len(reader) == 6
        assert reader.duplicates(0.95) == []


def test_a_folder_is_made_once(dataset: Dataset) -> None:
    with pytest.raises(DatasetExists, match="holds a dataset already"):
        Dataset.create(dataset.folder, ColourGridEmbedder())


def test_what_is_no_dataset_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(NotADataset, match="holds no dataset"):
        Dataset.open(tmp_path)
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatasetCorrupt):
        Dataset.open(tmp_path)


def test_damage_is_named(dataset: Dataset, photos: Path) -> None:
    dataset.add(photos)
    dataset.close()
    vectors = dataset.folder / "vectors.f16"
    os.truncate(vectors, vectors.stat().st_size - 100)
    with pytest.raises(DatasetCorrupt, match=r"holds 5 rows, the catalog says 6"):
        Dataset.open(dataset.folder)
    vectors.write_bytes(b"\x00" * 5000)
    with pytest.raises(DatasetCorrupt, match="not a vector file"):
        Dataset.open(dataset.folder)


def test_a_newer_format_is_refused(dataset: Dataset) -> None:
    import sqlite3

    dataset.close()
    with sqlite3.connect(dataset.folder / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FormatTooNew, match="format 99"):
        Dataset.open(dataset.folder)


def test_another_model_is_refused(dataset: Dataset, photos: Path) -> None:
    class Other(ColourGridEmbedder):
        @property
        def description(self):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return replace(super().description, revision="2")

    with (
        Dataset.open(dataset.folder, models=lambda name: Other()) as opened,
        pytest.raises(ModelMismatch, match="cannot be compared"),
    ):
        opened.add(photos)


# -- vectors of one's own ------------------------------------------------------------------------------


def test_vectors_of_ones_own(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 16))
    vectors[7] = 3 * vectors[3]
    with Dataset.from_vectors([f"item {n}" for n in range(50)], vectors, name="mine") as dataset:
        (cluster,) = dataset.duplicates(0.99)
        assert {member.id for member in cluster.members} == {"item 3", "item 7"}
        assert dataset.search(id="item 3", k=1)[0].id == "item 7"
        assert len(dataset.uniqueness()) == 50
        folder = dataset.folder
    assert not folder.exists()


def test_a_chain_of_twelve_is_not_one_cluster() -> None:
    angle = np.arange(12) * np.arccos(0.99)
    with Dataset.from_vectors(
        [f"{n:02}" for n in range(12)], np.stack([np.cos(angle), np.sin(angle)], 1), name="arc"
    ) as chain:
        found = chain.duplicates(0.985)
        assert max(cluster.size for cluster in found) < 12
        assert all(cluster.min_similarity >= 0.985 for cluster in found)
        explanation = chain.explain("00", "11", 0.985)
        assert not explanation.together and len(explanation.chain) == 12
        assert "A chain of 10 images links them" in explanation.reason
        (single,) = chain.duplicates(0.985, linkage="single")
        assert single.size == 12


def test_every_member_of_a_star_is_a_twin_of_its_keeper() -> None:
    # In keeper order (by path): a is a keeper, b is its twin, c is a keeper; b is nearer to c than to a.
    angle = np.array([0.0, 0.30, 0.55, 0.85])
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1)
    with Dataset.from_vectors(["a", "b", "c", "d"], vectors, name="fan") as fan:
        stars = fan.duplicates(0.95, linkage="star")
        assert [[m.id for m in star.members] for star in stars] == [["c", "b", "d"]]
        assert all(m.similarity_to_keeper >= 0.95 for star in stars for m in star.members)


@pytest.mark.parametrize("bad", [np.zeros((2, 4)), np.full((2, 4), np.nan)])
def test_vectors_without_direction_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match="row 0"):
        Dataset.from_vectors(["a", "b"], bad, name="mine")


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_thresholds_outside_their_range_are_refused(threshold: float, rng: np.random.Generator) -> None:
    with (
        Dataset.from_vectors(["a", "b"], rng.normal(size=(2, 4)), name="mine") as dataset,
        pytest.raises(InvalidValue, match="threshold"),
    ):
        dataset.duplicates(threshold)
