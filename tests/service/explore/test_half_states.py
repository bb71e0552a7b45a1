"""What a kill between two writes leaves, as the next server finds it: nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.explore import Client, refusal
from tests.explore_life import files_below, images_of, jpeg, pictures, wait_for
from tests.servers import running_server
from twinlens.service.auth import ANONYMOUS
from twinlens.service.database import Database
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, Kind, Status
from twinlens.service.explore.intake import INCOMING, Delivery, Intake
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.explore.work import JobState, Task, WorkList


@dataclass(frozen=True)
class Left:
    """A data folder, as a server leaves it that is killed."""

    home: Path
    datasets: DatasetStore
    intake: Intake
    work: WorkList

    def dataset(self, name: str, status: Status, kind: Kind = Kind.UPLOAD) -> DatasetRow:
        return self.datasets.create(ANONYMOUS, name, kind, self.home / "datasets", status=status)

    def uploaded(self, row: DatasetRow, first: int, *, hand_over: bool) -> int:
        """A transaction with two pictures; its number."""
        number = self.intake.begin(row.id)
        folder = self.intake.home(row.id) / "staging" / "arrived"
        folder.mkdir(parents=True)
        for name, data in pictures(2, first).items():
            (folder / name).write_bytes(data)
        self.intake.answered(self.intake.deliver(row.id, number, Delivery(folder, 2, b"digest")))
        if hand_over:
            assert self.intake.hand_over(row.id, number)
        return number

    def stray(self, *parts: str) -> None:
        """A picture that nobody was told is there."""
        path = self.home.joinpath("datasets", *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(99))


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    home = tmp_path / "home"
    with closing(Database(home / "datasets.sqlite", LAYOUT)) as database:
        intake = Intake(database, home / "datasets")
        yield Left(home, DatasetStore(database), intake, WorkList(database))


def before_its_job(left: Left) -> DatasetRow:
    row = left.dataset("handed over, and no job yet", Status.DRAFT)
    left.uploaded(row, 0, hand_over=True)
    return row


def before_its_state(left: Left) -> DatasetRow:
    row = left.dataset("a job, and DRAFT still", Status.DRAFT)
    left.uploaded(row, 10, hand_over=True)
    left.work.add(row.id, Task.CREATE, compare=True)
    return row


def after_its_job(left: Left) -> DatasetRow:
    row = left.dataset("INDEXING, and the job is done", Status.INDEXING)
    left.uploaded(row, 20, hand_over=True)
    job = left.work.add(row.id, Task.CREATE, compare=True)
    left.intake.settle(row.id)
    left.work.set_state(job, JobState.DONE)
    return row


def before_its_error(left: Left) -> DatasetRow:
    row = left.dataset("INDEXING, and the job failed", Status.INDEXING)
    left.uploaded(row, 30, hand_over=True)
    job = left.work.add(row.id, Task.CREATE, compare=True)
    left.work.set_state(job, JobState.FAILED, "killed")
    left.intake.settle(row.id)
    return row


def test_every_dataset_that_waits_for_a_job_gets_it(left: Left) -> None:
    ways: list[Callable[[Left], DatasetRow]] = [
        before_its_job,
        before_its_state,
        after_its_job,
        before_its_error,
    ]
    rows = [make(left) for make in ways]
    for row in rows:
        left.stray(row.id, "staging", "token", "half.jpg")
    running = running_server(left.home, model="efficientnet_lite0", device="cpu", index_processes=2)
    with running as server, Client(server.url) as client:
        for row in rows:
            assert client.status(row.id)["status_new"] in ("INDEXING", "READY"), row.name
        for number, row in enumerate(rows):
            assert client.wait_ready(row.id)["n_images"] == 2, row.name
            assert images_of(client, row.id) == sorted(pictures(2, 10 * number)), row.name
    assert not [name for name in files_below(left.home) if "half.jpg" in name]


def test_what_nobody_was_told_of_is_gone(left: Left) -> None:
    draft = left.dataset("a draft", Status.DRAFT)
    open_ = left.uploaded(draft, 0, hand_over=False)
    left.stray(draft.id, "uploads", str(open_), "0000009999", "moved-but-not-committed.jpg")
    left.stray(draft.id, "uploads", "77", "0000009998", "of-no-transaction.jpg")
    left.stray(INCOMING, "staging", "token", "half.jpg")
    left.stray("00000000-0000-4000-8000-000000000000", "images", "1", "1", "of-a-deleted-dataset.jpg")
    half_made = left.dataset("POST /dataset did not answer", Status.INDEXING)
    left.uploaded(half_made, 10, hand_over=False)
    half_named = left.dataset("GET /process did not answer", Status.INDEXING, Kind.FOLDER)
    with running_server(left.home, model="efficientnet_lite0") as server, Client(server.url) as client:
        assert [each["id"] for each in client.json("/datasets")] == [draft.id]
        for row in (half_made, half_named):
            refusal(client.get(f"/dataset/{row.id}"), 404)

        def kept() -> set[str]:
            return {Path(name).name for name in files_below(left.home / "datasets")}

        wait_for(lambda: kept() == set(pictures(2)), "the end of the strays")
        client.upload(draft.id, open_, pictures(1, 5))
