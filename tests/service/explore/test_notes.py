"""Notes: labels and captions by file name, tags by image; they last as long as their dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinlens.engine.errors import InvalidValue
from twinlens.service.database import Database
from twinlens.service.explore.annotation_files import Annotation
from twinlens.service.explore.datasets import DatasetStore, Kind, Status
from twinlens.service.explore.failures import Conflict, NotFound
from twinlens.service.explore.intake import Intake
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.explore.notes import NoteBook


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "datasets.sqlite", LAYOUT)
    yield database
    database.close()


@pytest.fixture
def datasets(database: Database) -> DatasetStore:
    return DatasetStore(database)


@pytest.fixture
def dataset(datasets: DatasetStore, tmp_path: Path) -> str:
    return datasets.create("alice", "photos", Kind.UPLOAD, tmp_path, status=Status.DRAFT).id


@pytest.fixture
def book(database: Database) -> NoteBook:
    return NoteBook(database)


def test_labels_are_found_under_every_end_of_a_path(
    database: Database, book: NoteBook, dataset: str, tmp_path: Path
) -> None:
    rows = [
        Annotation("a.jpg", "cat", None),
        Annotation("a.jpg", "animal", "a cat"),
        Annotation("trip/a.jpg", "holiday", None),
        Annotation("other/a.jpg", "never", None),
    ]
    Intake(database, tmp_path).annotate(dataset, rows)
    notes = book.read(dataset)
    assert notes.labels_of("/data/trip/a.jpg") == ["animal", "cat", "holiday"]
    assert notes.labels_of("/data/a.jpg") == ["animal", "cat"]
    assert notes.labels_of("/data/ba.jpg") == []
    assert notes.captions_of("a.jpg") == ["a cat"]


def test_tags_are_made_put_on_images_and_counted(book: NoteBook, dataset: str) -> None:
    tag = book.make_tag(dataset, "  to be checked ")
    book.assign(dataset, tag.id, ["one", "two", "one"])
    assert [(each.name, each.media) for each in book.tags(dataset)] == [("to be checked", 2)]
    book.unassign(dataset, tag.id, ["two", "three"])
    ((id_, name, assigned),) = book.read(dataset).tags["one"]
    assert (id_, name) == (tag.id, "to be checked") and assigned.startswith("20")
    book.drop_tag(dataset, tag.id)
    assert book.tags(dataset) == [] and book.read(dataset).tags == {}


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "two\nlines", "nul\0"])
def test_names_that_nobody_can_read_are_refused(book: NoteBook, dataset: str, name: str) -> None:
    with pytest.raises(InvalidValue, match="1 to 100 characters"):
        book.make_tag(dataset, name)


def test_a_name_is_used_once_in_a_dataset(
    book: NoteBook, datasets: DatasetStore, dataset: str, tmp_path: Path
) -> None:
    other = datasets.create("bob", "photos", Kind.UPLOAD, tmp_path, status=Status.DRAFT).id
    tag = book.make_tag(dataset, "same")
    with pytest.raises(Conflict, match="'same'"):
        book.make_tag(dataset, "same")
    assert book.make_tag(other, "same").id != tag.id
    with pytest.raises(NotFound, match="Tag"):
        book.drop_tag(other, tag.id)
    for change in (book.assign, book.unassign):
        with pytest.raises(NotFound, match="Tag"):
            change(other, tag.id, ["m"])


def test_every_change_is_a_new_edition(book: NoteBook, datasets: DatasetStore, dataset: str) -> None:
    """Answers are kept by edition, so that none outlives what it shows."""
    seen = [datasets.find(dataset).edition]
    tag = book.make_tag(dataset, "a")
    for change in (book.assign, book.unassign):
        change(dataset, tag.id, ["m"])
        seen.append(datasets.find(dataset).edition)
    book.drop_tag(dataset, tag.id)
    seen.append(datasets.find(dataset).edition)
    assert seen == sorted(set(seen))


def test_notes_go_with_their_dataset(
    database: Database, book: NoteBook, datasets: DatasetStore, dataset: str, tmp_path: Path
) -> None:
    Intake(database, tmp_path).annotate(dataset, [Annotation("a.jpg", "cat", None)])
    book.assign(dataset, book.make_tag(dataset, "t").id, ["m"])
    datasets.delete(dataset)
    with database.reading() as db:
        for table in ("annotations", "tags", "tagged"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
