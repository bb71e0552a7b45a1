"""Exports asked for over REST, waited for and opened."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import httpx

from tests.explore import Client, JsonObject, done

SECONDS = 60
_FIELDS = [
    *("id", "dataset_id", "created_at", "download_uri", "progress", "status", "entities_count"),
    "result_message",
]


def task_of(started: httpx.Response) -> str:
    """Id of an export that was asked for."""
    assert list(done(started).json()) == ["id"]
    return str(started.json()["id"])


def start(client: Client, dataset: str, **params: str) -> str:
    """Ask for the export of an answer; its id."""
    return task_of(client.get(f"/dataset/{dataset}/export_context_async", **params))


def finished(client: Client, dataset: str, task: str) -> JsonObject:
    """What export_status says in the end; on the way, every answer has the documented fields."""
    progress, deadline = 0.0, time.monotonic() + SECONDS
    while True:
        state: JsonObject = client.json(f"/dataset/{dataset}/export_status", export_task_id=task)
        assert list(state) == _FIELDS and (state["id"], state["dataset_id"]) == (task, dataset)
        assert isinstance(state["progress"], float) and isinstance(state["entities_count"], int)
        if state["status"] != "INIT":
            return state
        assert state["download_uri"] is None and progress <= state["progress"] < 100
        progress = state["progress"]
        assert time.monotonic() < deadline, state
        time.sleep(0.02)


def download(state: JsonObject) -> bytes:
    """The ZIP of an export, fetched as a browser does: without a key."""
    assert (state["status"], state["progress"]) == ("COMPLETED", 100.0), state
    answer = done(httpx.get(state["download_uri"], timeout=60, verify=False))
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


def unpacked(content: bytes) -> dict[str, bytes]:
    """Entries of a ZIP, whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None and len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


def export(client: Client, dataset: str, **params: Any) -> tuple[JsonObject, dict[str, bytes]]:
    """Export the answer to a question: the state in the end, and the entries of the ZIP."""
    state = finished(client, dataset, start(client, dataset, **params))
    return state, unpacked(download(state))


def export_json(client: Client, dataset: str, **params: Any) -> JsonObject:
    """The metadata.json of the export of an answer, without images."""
    state, entries = export(client, dataset, export_format="json", **params)
    assert list(entries) == ["metadata.json"] and state["result_message"] is None
    content: JsonObject = json.loads(entries["metadata.json"])
    assert content["info"]["total_media_items"] == len(content["media_items"]) == state["entities_count"]
    return content


def properties(item: JsonObject, kind: str) -> list[JsonObject]:
    """Properties of the metadata items of one type."""
    return [each["properties"] for each in item["metadata_items"] if each["type"] == kind]
