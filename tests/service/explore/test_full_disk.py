"""A server whose disk is full says so, keeps nothing half, answers on, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.explore import Client, laboratory, refusal
from tests.explore_life import a_zip, files_below, folder_of, images_of, pictures, received, wait_for
from tests.servers import RunningServer

MIB = 2**20
SIZE = 24 * MIB
FULL = "no room is left"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[RunningServer, Client]]:
    """A server, and its key, whose data folder has room for 24 MiB; its log lies elsewhere."""
    with small_disk(tmp_path / "home", str(SIZE)) as home:
        (home / "server.log").symlink_to(tmp_path / "server.log")
        with laboratory(home) as (server, ann, _):
            yield server, ann


@contextmanager
def little_room(server: RunningServer, left: int) -> Iterator[None]:
    """Fill the disk of a server up to so many bytes."""
    filler = server.home / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
                file.flush()
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(max(filler.stat().st_size - left, 0))
    try:
        yield
    finally:
        filler.unlink()


def staged(server: RunningServer) -> list[str]:
    return [name for name in files_below(server.home / "datasets") if "staging" in name.split("/")]


def test_uploads_that_find_no_room_leave_nothing(full: tuple[RunningServer, Client]) -> None:
    server, ann = full
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    ann.upload(dataset, transaction, pictures(3))
    path = f"/ingestion/{dataset}/data_files/{transaction}"
    large = [("files", (f"large-{number}.jpg", bytes(8 * MIB))) for number in range(4)]
    assert FULL in refusal(ann.post(path, files=large), 503)
    zeros = a_zip({"00000.jpg": bytes(10 * MIB), "00001.jpg": bytes(8 * MIB)})
    made = ann.post("/dataset", files=[("dataset_name", (None, "d")), ("archive", ("a.zip", zeros))])
    assert FULL in refusal(made, 503)
    assert staged(server) == []
    assert received(server, dataset) == set(pictures(3))
    assert [each["id"] for each in ann.json("/datasets")] == [dataset]
    ann.upload(dataset, transaction, pictures(2, 3))
    assert received(server, dataset) == set(pictures(5))


def test_without_any_room_it_answers_and_takes_nothing(full: tuple[RunningServer, Client]) -> None:
    server, ann = full
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    archive = ("archive", ("a.zip", a_zip(pictures(1))))
    with little_room(server, 0):
        for sent in (
            ann.post(f"/ingestion/{dataset}/data_files/{transaction}", files=[("files", ("a.jpg", b"x"))]),
            ann.post("/dataset", files=[("dataset_name", (None, "d")), archive]),
        ):
            assert FULL in refusal(sent, 503)
        for sent in (
            ann.get("/ingestion/new_dataset", dataset_name="d"),
            ann.get(f"/ingestion/{dataset}/data_files"),
        ):
            # Small changes may still find room in files that are there.
            assert sent.status_code in (200, 503), sent.text
        assert ann.status(dataset)["status_new"] == "DRAFT"
        assert ann.get("/healthcheck").status_code == 200
    assert staged(server) == []
    assert received(server, dataset) == set()
    ann.upload(dataset, transaction, pictures(1))


def test_indexing_that_finds_no_room_is_an_error_and_goes_on_later(
    full: tuple[RunningServer, Client],
) -> None:
    server, ann = full
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    ann.upload(dataset, transaction, pictures(100))
    ann.process(dataset, transaction)
    wait_for(lambda: (folder_of(server, dataset) / "images").exists(), "what is read")
    with little_room(server, 0):
        # Where not even that can be written, it is written as soon as there is room.
        wait_for(lambda: '"indexing failed"' in server.log.read_text(), "an index process that fails")
    wait_for(lambda: ann.status(dataset)["status_new"] == "ERROR", "an error")
    assert FULL in ann.status(dataset)["fatal_error_msg"]
    assert received(server, dataset) == set(pictures(100))
    assert ann.post(f"/dataset/{dataset}/reindex").status_code == 202
    assert ann.wait_ready(dataset)["n_images"] == 100
    assert images_of(ann, dataset) == sorted(pictures(100))
