"""Uploads between their last byte and the index: whole or not at all, known again, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.explore_life import files_below
from twinlens.engine.errors import StorageFull
from twinlens.service.database import Database
from twinlens.service.explore.annotation_files import Annotation
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, Kind, Status
from twinlens.service.explore.failures import BadRequest, NotFound
from twinlens.service.explore.intake import INCOMING, Delivery, Intake
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.explore.notes import NoteBook


class Bench:
    """A data folder with one dataset."""

    def __init__(self, home: Path, database: Database) -> None:
        self.home = home
        self.datasets = DatasetStore(database)
        self.intake = Intake(database, home / "datasets")
        self.notes = NoteBook(database)
        self.row = self.dataset()

    def dataset(self) -> DatasetRow:
        return self.datasets.create("", "d", Kind.UPLOAD, self.home / "datasets", status=Status.DRAFT)

    def arrived(self, name: str = "a.jpg", digest: bytes = b"1", **fields: object) -> Delivery:
        """A request with one file, as it lies in the staging folder."""
        folder = self.intake.home(self.row.id) / "staging" / name
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"data")
        return Delivery(folder, 1, digest, **fields)  # type: ignore[arg-type]

    def files(self) -> list[str]:
        """Uploaded ones, in the order in which ingest takes them."""
        return sorted(files_below(self.intake.home(self.row.id)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database(tmp_path / "datasets.sqlite", LAYOUT)) as database:
        yield Bench(tmp_path, database)


def test_files_lie_in_the_order_of_their_requests(bench: Bench) -> None:
    intake, id_ = bench.intake, bench.row.id
    first, second = intake.begin(id_), intake.begin(id_)
    intake.deliver(id_, second, bench.arrived("late.jpg", b"1"))
    intake.deliver(id_, first, bench.arrived("early.jpg", b"2"))
    assert intake.hand_over(id_, first) and not intake.is_settled(id_)
    intake.settle(id_)
    assert intake.is_settled(id_)
    intake.settle(id_)
    assert intake.hand_over(id_, second) and not intake.hand_over(id_, second)
    intake.settle(id_)
    assert [name.split("/")[-1] for name in bench.files()] == ["early.jpg", "late.jpg"]
    assert files_below(intake.images(id_)) == {name.removeprefix("images/") for name in bench.files()}


def test_what_is_sent_again_is_known_until_it_was_answered(bench: Bench) -> None:
    intake, id_ = bench.intake, bench.row.id
    number = intake.begin(id_)
    first = intake.deliver(id_, number, bench.arrived("a.jpg"))
    assert intake.deliver(id_, number, bench.arrived("again.jpg")) == first
    other = intake.deliver(id_, number, bench.arrived("b.jpg", b"other"))
    elsewhere = intake.deliver(id_, intake.begin(id_), bench.arrived("elsewhere.jpg"))
    intake.answered(first)
    second = intake.deliver(id_, number, bench.arrived("second.jpg"))
    assert len({first, other, elsewhere, second}) == 4
    assert {name.split("/")[-1] for name in bench.files() if name.startswith("uploads")} == {
        "a.jpg",
        "b.jpg",
        "elsewhere.jpg",
        "second.jpg",
    }


def test_an_addition_that_is_sent_again_is_known_across_transactions(bench: Bench) -> None:
    intake, id_ = bench.intake, bench.row.id
    # Uploaded and never handed over: whoever adds the same file wants it in the dataset.
    intake.deliver(id_, intake.begin(id_), bench.arrived("waiting.jpg"))
    first = intake.deliver_at_once(id_, bench.arrived("a.jpg"))
    assert intake.deliver_at_once(id_, bench.arrived("again.jpg")) == first
    intake.answered(first)
    assert intake.deliver_at_once(id_, bench.arrived("second.jpg")) != first
    intake.settle(id_)
    assert {name.split("/")[-1] for name in files_below(intake.images(id_))} == {"a.jpg", "second.jpg"}
    assert intake.holds_any(id_) and not intake.holds_any(bench.dataset().id)
    with pytest.raises(BadRequest, match="no image"):
        intake.deliver_at_once(id_, Delivery(bench.arrived("labels").folder, 0, b"2"))


def test_an_upload_that_cannot_be_committed_leaves_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "home", "1m") as home,
        closing(Database(home / "datasets.sqlite", LAYOUT)) as database,
    ):
        bench = Bench(home, database)
        number = bench.intake.begin(bench.row.id)
        # They fit into memory, and are written in the end.
        labels = tuple(Annotation(f"{count}.jpg", "x" * 190, None) for count in range(4000))
        with pytest.raises(StorageFull):
            bench.intake.deliver(bench.row.id, number, bench.arrived("a.jpg", b"1", annotations=labels))
        assert bench.files() == []
        bench.intake.deliver(bench.row.id, number, bench.arrived("b.jpg", b"2"))
        assert [name.split("/")[-1] for name in bench.files()] == ["b.jpg"]
        assert bench.notes.read(bench.row.id).labels == {}


def test_a_processed_transaction_takes_nothing(bench: Bench) -> None:
    intake, id_ = bench.intake, bench.row.id
    number = intake.begin(id_)
    with pytest.raises(BadRequest, match="holds no image"):
        intake.hand_over(id_, number)
    intake.deliver(id_, number, bench.arrived())
    intake.hand_over(id_, number)
    for attempt in (
        lambda: intake.check_open(id_, number),
        lambda: intake.deliver(id_, number, bench.arrived("late.jpg", b"2")),
        lambda: intake.check_open(bench.dataset().id, number),
        lambda: intake.hand_over(id_, 1 << 80),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_staging_folders_go_with_their_request(bench: Bench) -> None:
    async def fail(dataset: str) -> None:
        async with bench.intake.staging(dataset) as folder:
            (folder / "half.jpg").write_bytes(b"half")
            raise RuntimeError("the client is gone")

    for dataset in (bench.row.id, INCOMING):
        with pytest.raises(RuntimeError):
            asyncio.run(fail(dataset))
    assert files_below(bench.home / "datasets") == set()


def test_requests_for_a_dataset_that_is_deleted_meanwhile_leave_no_folder(bench: Bench) -> None:
    async def late() -> None:
        async with bench.intake.staging(bench.row.id) as folder:
            (folder / "late.jpg").write_bytes(b"late")
            bench.datasets.delete(bench.row.id)

    asyncio.run(late())
    assert not bench.intake.home(bench.row.id).exists()


def test_tidying_up_keeps_what_was_acknowledged(bench: Bench) -> None:
    intake, id_ = bench.intake, bench.row.id
    number = intake.begin(id_)
    taken = intake.deliver(id_, number, bench.arrived("kept.jpg"))
    bench.arrived("staged.jpg")
    for place in (f"{number}/{taken + 1:010d}", f"{number + 1}/{taken:010d}"):
        folder = intake.home(id_) / "uploads" / place
        folder.mkdir(parents=True)
        (folder / "stray.jpg").write_bytes(b"stray")
    intake.tidy(id_)
    assert [name.split("/")[-1] for name in bench.files()] == ["kept.jpg"]
    intake.tidy(INCOMING)
