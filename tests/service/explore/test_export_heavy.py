"""Exports of large files: they outlive their server, take little memory, and end at a full disk."""

from __future__ import annotations

import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from tests.collections_of_pictures import fill
from tests.disks import small_disk
from tests.explore import Client, JsonObject, done
from tests.servers import RunningServer, running_server
from tests.service.explore.exported import download, finished, start, unpacked
from twinlens.service.wiring import create_dataset

ORIGINALS = 200
ORIGINAL_BYTES = 2**20
MOST_MEMORY = 48 * 2**20
"""What an export may take, a quarter of its archive."""


@dataclass(frozen=True)
class Heavy:
    """A running server with a dataset of large files."""

    server: RunningServer
    client: Client
    dataset: str


Serve: TypeAlias = Callable[..., AbstractContextManager[Heavy]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of pictures whose files are large: behind what decoders read, they have holes."""
    made = tmp_path_factory.mktemp("heavy")
    for path in fill(made / "photos", ORIGINALS):
        with path.open("r+b") as file:
            file.truncate(ORIGINAL_BYTES)
    with create_dataset(made / "data", "efficientnet_lite0", device="cpu") as data:
        assert data.add(made / "photos").added == ORIGINALS
    return made / "data"


@pytest.fixture
def serve(folder: Path, tmp_path: Path) -> Serve:
    """Starts a server for it, each time in the same place."""

    @contextmanager
    def serving(**settings: object) -> Iterator[Heavy]:
        with (
            running_server(tmp_path / "home", "--dataset", str(folder), **settings) as server,
            Client(server.url) as client,
        ):
            (dataset,) = client.json("/datasets")
            yield Heavy(server, client, dataset["id"])

    return serving


def saved(state: JsonObject, target: Path) -> Path:
    """The ZIP of an export in a file."""
    assert state["status"] == "COMPLETED"
    with httpx.stream("GET", state["download_uri"], verify=False) as answer, target.open("wb") as file:
        assert int(answer.headers["content-length"]) > ORIGINALS * ORIGINAL_BYTES
        for chunk in answer.iter_bytes():
            file.write(chunk)
    return target


def assert_whole(archive: Path, folder: Path) -> None:
    photos = {f"images/{path.name}": path for path in (folder.parent / "photos").iterdir()}
    with zipfile.ZipFile(archive) as held:
        assert set(held.namelist()) == {"metadata.json", *photos}
        assert held.testzip() is None
        assert all(held.read(name) == photos[name].read_bytes() for name in sorted(photos)[::40])


def happens(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_export_outlives_its_server(
    serve: Serve, folder: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with serve() as first:
        task = start(first.client, first.dataset, file_name="heavy", include_images="true")
        waiting = start(first.client, first.dataset, labels="nobody")
        target = tmp_path / "home" / "datasets" / first.dataset / "exports" / task / "export.zip"
        part = target.with_name("export.zip.part")
        happens(lambda: part.exists() and part.stat().st_size > 3 * ORIGINAL_BYTES)
        first.server.process.send_signal(how)
        first.server.process.wait(timeout=30)
        if how is signal.SIGKILL:
            assert part.exists() and not target.exists()
        else:  # A server that is asked to end may still end the export, and leaves nothing half done.
            assert not part.exists()
    with serve() as second:
        state = finished(second.client, second.dataset, task)
        assert state["entities_count"] == ORIGINALS and state["result_message"] is None
        assert_whole(saved(state, tmp_path / "heavy.zip"), folder)
        assert not part.exists()
        assert finished(second.client, second.dataset, waiting)["status"] == "REJECTED"


def test_an_export_of_what_is_forgotten_by_then_fails(serve: Serve, folder: Path) -> None:
    query = next((folder.parent / "photos").iterdir()).read_bytes()
    with serve() as first:
        path = f"/dataset/{first.dataset}/search-image-similarity"
        anchor = done(first.client.post(path, files={"file": ("query.jpg", query)})).json()
        start(first.client, first.dataset, include_images="true")
        task = start(first.client, first.dataset, **anchor)
        first.server.process.kill()
        first.server.process.wait()
    # Ages are counted in whole seconds, and a server may be back before the second one is over.
    time.sleep(2)
    with serve(anchor_seconds=1) as second:
        state = finished(second.client, second.dataset, task)
        assert state["status"] == "FAILED" and anchor["anchor_media_id"] in state["result_message"]


def test_memory_does_not_grow_with_what_is_exported(serve: Serve, folder: Path, tmp_path: Path) -> None:
    with serve() as running:
        client, dataset, memory = running.client, running.dataset, running.server.memory
        finished(client, dataset, start(client, dataset))
        before = memory()
        task = start(client, dataset, include_images="true")
        used: list[int] = []

        def ended() -> bool:
            used.append(memory())
            state: Any = client.json(f"/dataset/{dataset}/export_status", export_task_id=task)
            return bool(state["status"] != "INIT")

        happens(ended)
        saved(finished(client, dataset, task), tmp_path / "heavy.zip")
        used.append(memory())
        assert len(used) > 10 and max(used) - before < MOST_MEMORY
        assert (tmp_path / "heavy.zip").stat().st_size > 4 * MOST_MEMORY


def test_a_full_disk_ends_an_export_and_not_the_next(folder: Path, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "32m") as disk,
        running_server(disk / "home", "--dataset", str(folder)) as server,
        Client(server.url) as client,
    ):
        (dataset,) = client.json("/datasets")
        tasks = [start(client, dataset["id"], include_images=each) for each in ("true", "false")]
        first, second = (finished(client, dataset["id"], task) for task in tasks)
        assert (first["status"], first["download_uri"]) == ("FAILED", None)
        assert "room" in first["result_message"] and str(disk) not in first["result_message"]
        assert unpacked(download(second)).keys() == {"metadata.json"}
