"""Exports from asking to downloading: who may, how they end, kills on the way, memory."""

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
from tests.explore import Client, JsonObject, Lab, done, duplicates, refusal
from tests.servers import RunningServer, running_server
from tests.service.explore.exported import download, export_json, finished, task_of, unpacked
from twinlens.service.wiring import create_dataset

NOBODY = "00000000-0000-4000-8000-000000000007"
ORIGINALS = 200
ORIGINAL_BYTES = 2**20
MOST_MEMORY = 48 * 2**20
"""What an export may take, a quarter of its archive."""


def start(client: Client, dataset: str, **params: str) -> str:
    return task_of(client.get(f"/dataset/{dataset}/export_context_async", **params))


# -- how it ends, and for whom ---------------------------------------------------------------------


def test_the_archive_is_downloaded_under_the_name_that_was_asked_for(lab: Lab) -> None:
    for asked, name in (
        ({"file_name": "cats & dogs"}, "cats_dogs.zip"),
        ({"file_name": "../../etc/cats.ZIP"}, "cats.zip"),
        ({"file_name": "\r\nx: y"}, "x_y.zip"),
        ({"file_name": "Ünï"}, "n.zip"),
        ({"file_name": "..."}, "export.zip"),
        ({}, "photographs.zip"),
    ):
        state = finished(lab.ann, lab.dataset, start(lab.ann, lab.dataset, **asked))
        assert httpx.URL(state["download_uri"]).path.endswith(f"/{name}")
        headers = done(httpx.get(state["download_uri"], verify=False)).headers
        assert headers["content-disposition"] == f'attachment; filename="{name}"'
        assert headers["x-content-type-options"] == "nosniff"


def test_only_the_url_that_was_signed_is_served(lab: Lab) -> None:
    tasks = [start(lab.ann, lab.dataset) for _ in range(2)]
    one, other = (finished(lab.ann, lab.dataset, task) for task in tasks)
    url = httpx.URL(one["download_uri"])
    signature = str(url.params["signature"])
    changed = [
        url.copy_set_param("signature", signature[:-1] + ("A" if signature[-1] != "A" else "B")),
        url.copy_set_param("expires", str(int(url.params["expires"]) + 1)),
        url.copy_remove_param("signature"),
        url.copy_remove_param("expires"),
        url.copy_with(query=None),
        url.copy_with(path=httpx.URL(other["download_uri"]).path),
        url.copy_with(path=url.path.replace(".zip", "2.zip")),
    ]
    for each in changed:
        refusal(httpx.get(each, verify=False), 403)
    assert unpacked(download(one)).keys() == {"metadata.json"}


def test_nothing_to_export_is_rejected(lab: Lab) -> None:
    cluster = lab.ann.explore(lab.dataset, [duplicates(0.9)])["clusters"][-1]
    members = [media["media_id"] for media in cluster["previews"]]
    payload = {"cluster_id": cluster["cluster_id"], "exclude_media_ids": members}
    selection = {"media_selection": [{"type": "cluster", "payload": payload}]}
    for started in (
        lab.ann.get(f"/dataset/{lab.dataset}/export_context_async", labels="nobody"),
        lab.ann.post(f"/dataset/{lab.dataset}/export_entities_async", json=selection),
    ):
        state = finished(lab.ann, lab.dataset, task_of(started))
        assert (state["status"], state["entities_count"], state["download_uri"]) == ("REJECTED", 0, None)
        assert "no image" in state["result_message"]


def test_who_may_see_a_dataset_exports_it_under_the_own_name(lab: Lab) -> None:
    task = start(lab.ann, lab.dataset)
    grant = {"grant_to_user_email": "bob"}
    for call in ("export_context_async", "export", "export_media_id"):
        refusal(lab.bob.get(f"/dataset/{lab.dataset}/{call}"), 404)
    refusal(lab.bob.get(f"/dataset/{lab.dataset}/export_status", export_task_id=task), 404)
    done(lab.ann.put(f"/manage/{lab.dataset}/invite", json=grant))
    assert export_json(lab.bob, lab.dataset)["info"]["exported_by"] == "bob"
    assert lab.bob.json(f"/dataset/{lab.dataset}/export")["info"]["exported_by"] == "bob"
    done(lab.ann.request("DELETE", f"/manage/{lab.dataset}/invite", json=grant))


def test_a_dataset_that_is_not_ready_is_not_exported(lab: Lab) -> None:
    draft = lab.ann.new_dataset("draft")
    path = f"/dataset/{draft}"
    body = {"media_selection": [{"type": "media", "payload": {"media_ids": [NOBODY]}}]}
    for answer in (
        *(lab.ann.get(f"{path}/{call}") for call in ("export_context_async", "export", "export_media_id")),
        lab.ann.post(f"{path}/export_entities_async", json=body),
    ):
        assert "DRAFT" in refusal(answer, 409)
    task = start(lab.ann, lab.dataset)
    refusal(lab.ann.get(f"{path}/export_status", export_task_id=task), 404)
    done(lab.ann.delete(path))


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({"export_format": "coco"}, 422, "export_format"),
        ({"include_images": "maybe"}, 422, "include_images"),
        ({"duplicate_threshold": "2"}, 422, "duplicate_threshold"),
        ({"vql": "[{}]"}, 422, "vql"),
        ({"entity_type": "OBJECTS"}, 422, "OBJECTS"),
        ({"caption": "a cat"}, 409, "efficientnet_lite0"),
        ({"anchor_media_id": NOBODY, "anchor_type": "UPLOAD"}, 404, NOBODY),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(
    lab: Lab, asked: JsonObject, code: int, named: str
) -> None:
    assert named in refusal(lab.ann.get(f"/dataset/{lab.dataset}/export_context_async", **asked), code)


def test_tasks_that_nobody_knows(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/export_status"
    assert "export_task_id" in refusal(lab.ann.get(path), 400)
    for task in (NOBODY, "x", "\0"):
        refusal(lab.ann.get(path, export_task_id=task), 404)


# -- large ones ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heavy:
    """A running server with a dataset of large files."""

    server: RunningServer
    client: Client
    dataset: str


Serve: TypeAlias = Callable[[], AbstractContextManager[Heavy]]


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
    def serving() -> Iterator[Heavy]:
        with (
            running_server(tmp_path / "home", "--dataset", str(folder)) as server,
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
        target = tmp_path / "home" / "datasets" / first.dataset / "exports" / task / "export.zip"
        part = target.with_name("export.zip.part")
        happens(lambda: part.exists() and part.stat().st_size > 3 * ORIGINAL_BYTES)
        first.server.process.send_signal(how)
        first.server.process.wait(timeout=30)
        assert not target.exists() and part.exists() == (how is signal.SIGKILL)
    with serve() as second:
        state = finished(second.client, second.dataset, task)
        assert state["entities_count"] == ORIGINALS and state["result_message"] is None
        assert_whole(saved(state, tmp_path / "heavy.zip"), folder)
        assert not part.exists()


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
