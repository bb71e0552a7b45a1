"""Catalogs of older formats: brought to the newest where they can be written, read as they are elsewhere."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from tests.disks import read_only
from tests.fakes import load_fake
from tests.golden.format_1.make import answers
from twinlens.engine import catalog as formats
from twinlens.engine.catalog import MIGRATIONS, Catalog, NewImage
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import DatasetLocked, FormatTooNew
from twinlens.engine.ingest import IngestReport
from twinlens.engine.join import PairBlock

GOLDEN = Path(__file__).parent.parent / "golden" / "format_1"
MANIFEST = json.loads((GOLDEN / "MANIFEST.json").read_text())
SAID: dict[str, Any] = {key: MANIFEST[key] for key in ("ids", "failures", "clusters", "scores")}
ID: dict[str, str] = MANIFEST["ids"]
NEWEST = len(MIGRATIONS)

IMAGE = NewImage(
    id="b",
    row=0,
    source=1,
    relative=b"deep/b.jpg",
    size=1000,
    mtime_ns=5,
    digest=b"bytes",
    pixel_digest=None,
    width=40,
    height=30,
    format="jpeg",
    exif_tags=3,
    sharpness=12.5,
    contrast=80.0,
    brightness=99.5,
    signature=bytes(256),
    low_information=False,
    bmh1=None,
    phash=None,
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures, and in `.twinlens` what TwinLens 0.1.0 made of them when the catalog had format 1."""
    with zipfile.ZipFile(GOLDEN / "dataset.zip") as archive:
        archive.extractall(tmp_path / "photos")
    return tmp_path / "photos"


def format_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def old_catalog(folder: Path) -> Path:
    """A catalog as format 1 was made, with two images that are no duplicates of each other."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db, db:
        db.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
        db.execute("INSERT INTO meta VALUES ('generation', '7')")
        db.execute("INSERT INTO sources VALUES (1, '/photos', '/photos')")
        fields = NewImage.__slots__
        for image in (IMAGE, replace(IMAGE, id="a", row=1, relative=b"a.jpg")):
            db.execute(
                f"INSERT INTO images ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})",
                [getattr(image, field) for field in fields],
            )
        db.execute("INSERT INTO rejections VALUES ('a', 'b')")
    return folder


# -- a dataset of a real older version -----------------------------------------------------------------


def test_a_dataset_of_format_1_answers_as_before(photos: Path) -> None:
    assert format_of(photos / ".twinlens") == 1
    with Dataset.open(photos / ".twinlens", models=load_fake) as dataset:
        assert answers(dataset) == SAID
        a, b = (ID[name] for name in MANIFEST["rejected"])
        assert "not duplicates" in dataset.explain(a, b).reason
    assert format_of(photos / ".twinlens") == NEWEST


def test_a_dataset_of_format_1_takes_new_decisions_and_files(photos: Path) -> None:
    with Dataset.open(photos / ".twinlens", models=load_fake) as dataset:
        dataset.keep([ID["3.jpg"]])
        assert dataset.add(photos) == IngestReport(listed=13, unchanged=12, failed=1)
        assert ID["3.jpg"] in {cluster.keeper.id for cluster in dataset.duplicates(MANIFEST["threshold"])}
        assert {**answers(dataset), "clusters": SAID["clusters"]} == SAID


def test_a_dataset_of_format_1_on_a_read_only_mount_answers_as_before(photos: Path, tmp_path: Path) -> None:
    with (
        read_only(tmp_path / "mounted", photos) as mounted,
        Dataset.open(mounted / ".twinlens", models=load_fake) as dataset,
    ):
        assert answers(dataset) == SAID
    assert format_of(photos / ".twinlens") == 1


# -- catalogs made by hand -----------------------------------------------------------------------------


def test_rows_survive_the_change_of_format(tmp_path: Path) -> None:
    folder = old_catalog(tmp_path / "data")
    with closing(Catalog.open(folder)) as catalog:
        a, b = catalog.images()
        assert (a.id, b.id, b.path) == ("a", "b", os.path.join("/photos", "deep/b.jpg"))
        assert (b.width, b.height, b.sharpness, b.digest) == (40, 30, 12.5, b"bytes")
        assert list(catalog.signatures()) == [("a", bytes(256)), ("b", bytes(256))]
        assert (catalog.rejections(), catalog.kept()) == ([("a", "b")], [])
        assert catalog.meta("generation") == "7"
        with catalog.transaction():
            catalog.keep(["b", "a", "b"])
        assert catalog.kept() == ["a", "b"]
    assert format_of(folder) == NEWEST


def test_a_catalog_of_format_1_that_is_only_read_stays_one(tmp_path: Path) -> None:
    folder = old_catalog(tmp_path / "data")
    with closing(Catalog.open(folder, read_only=True)) as catalog:
        assert (len(catalog.images()), catalog.rejections(), catalog.kept()) == (2, [("a", "b")], [])
    assert format_of(folder) == 1


def test_a_reader_sees_the_format_that_another_process_changed(tmp_path: Path) -> None:
    folder = old_catalog(tmp_path / "data")
    with closing(Catalog.open(folder, read_only=True)) as reader:
        with closing(Catalog.open(folder)) as writer, writer.transaction():
            writer.keep(["a"])
        assert reader.kept() == ["a"]


def test_an_older_version_is_told_to_be_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_catalog(tmp_path / "data")
    Catalog.open(folder).close()
    monkeypatch.setattr(formats, "MIGRATIONS", MIGRATIONS[:1])
    with pytest.raises(FormatTooNew, match="catalog format 2, this TwinLens knows up to 1: update TwinLens"):
        Catalog.open(folder)


def test_of_many_that_open_it_at_once_one_changes_the_format(tmp_path: Path) -> None:
    openers = 8
    folder, barrier = old_catalog(tmp_path / "data"), Barrier(openers)

    def open_it(_: int) -> list[str]:
        barrier.wait()
        with closing(Catalog.open(folder)) as catalog:
            return [image.id for image in catalog.images()]

    with ThreadPoolExecutor(openers) as pool:
        assert list(pool.map(open_it, range(openers))) == [["a", "b"]] * openers
    assert format_of(folder) == NEWEST


def test_the_format_does_not_change_under_an_older_writer(tmp_path: Path) -> None:
    folder = old_catalog(tmp_path / "data")
    path = folder / "catalog.sqlite"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as opener,
    ):
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatasetLocked, match="older TwinLens: wait for it"):
            formats._migrate_unlocked(opener, folder)
        writer.execute("ROLLBACK")
    assert format_of(folder) == 1


# -- what is asked of all images at once ---------------------------------------------------------------


def test_looks_are_of_units_with_informative_images_of_known_bytes(tmp_path: Path) -> None:
    """Rows 0 and 2 are a unit of different bytes, 1 and 3 one of a file and its copy; 4 and 5 say nothing."""
    with closing(Catalog.create(tmp_path, {"rows": "6"})) as catalog:
        catalog.source(tmp_path, tmp_path)
        images = [replace(IMAGE, id=str(row), row=row, relative=b"%d" % row) for row in range(6)]
        images[2] = replace(images[2], digest=b"others", width=400)
        images[3] = replace(images[3], format="png")
        images[1] = replace(images[1], format="png")
        images[4] = replace(images[4], low_information=True)
        images[5] = replace(images[5], digest=None)
        with catalog.transaction():
            catalog.add_images(images)
            catalog.set_units(np.array([0, 1, 0, 1, 4, 5]))
        looks = catalog.looks()
        assert looks["unit"].tolist() == [0, 1]
        assert looks["contents"].tolist() == [2, 1]
        assert looks[1].tolist() == (1, 1, 40 << 32 | 30, 99.5, False)
        assert [image.id for image in catalog.images_of_unit(1)] == ["1", "3"]
        assert [image.unit for image in catalog.images()] == [0, 1, 0, 1, 4, 5]
        assert dict(catalog.signatures_of_units(np.arange(6))) == {0: bytes(256), 1: bytes(256)}


def test_the_nth_similarity_is_counted_from_the_most_similar_pair(tmp_path: Path) -> None:
    """Two pairs are equally similar; behind the last pair there is none."""
    similarity = np.array([0.9, 0.85, 1.0, 0.9, 0.8])
    with closing(Catalog.create(tmp_path, {})) as catalog:
        with catalog.transaction():
            catalog.add_pairs(PairBlock(np.arange(5), np.arange(5) + 5, similarity))
        assert [catalog.nth_similarity(n) for n in range(6)] == [1.0, 0.9, 0.9, 0.85, 0.8, 0.0]
        assert catalog.count_pairs() == 5
