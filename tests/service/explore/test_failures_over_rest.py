"""Failures of the server and of its disks: their codes, and what clients are told of them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from starlette.requests import Request

from tests.disks import read_only
from tests.explore import Client, done, refusal
from tests.servers import running_server
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import DatasetCorrupt, NotAStore, StorageFull, WeightsCorrupt
from twinlens.service.bodies import Busy
from twinlens.service.explore.batching import BatchFailed, Closing
from twinlens.service.explore.export_items import ItemsChanged
from twinlens.service.explore.routes import failure

IDS = [str(uuid.UUID(int=number)) for number in range(1, 4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset made on the command line."""
    rows = np.eye(3) + 0.5
    Dataset.from_vectors(IDS, rows, name="vectors", folder=tmp_path / "data", device="cpu").close()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Closing("the server is shutting down: ask again"), 503, "shutting down"),
        (BatchFailed("3 queries got 2 answers"), 500, "the server failed"),
        (ItemsChanged("the dataset changed meanwhile"), 409, "changed meanwhile"),
        (Busy("256 queries wait already"), 429, "256 queries"),
        (StorageFull("no room left in /srv/twins"), 503, "no room"),
        (DatasetCorrupt("/srv/twins/catalog.sqlite is damaged"), 503, "cannot be used now"),
        (NotAStore("/srv/twins/datasets.sqlite is damaged"), 503, "data folder"),
        (WeightsCorrupt("the weights are not those of clip"), 503, "the weights are not those of clip"),
        (ZeroDivisionError("/srv/twins"), 500, "the server failed"),
    ],
)
def test_codes_of_failures(error: Exception, code: int, told: str) -> None:
    answer = failure(Request({"type": "http"}), error)
    detail = json.loads(bytes(answer.body))["detail"]
    assert answer.status_code == code and told in detail and "/srv/twins" not in detail
    assert answer.headers.get("retry-after") == ("1" if code == 429 else None)


def test_a_dataset_on_a_read_only_disk_is_asked_and_not_decided_on(folder: Path, tmp_path: Path) -> None:
    with (
        read_only(tmp_path / "disk", folder) as disk,
        running_server(tmp_path / "home", "--dataset", str(disk)) as server,
        Client(server.url) as client,
    ):
        (dataset,) = (each["id"] for each in client.json("/datasets"))
        path = f"/dataset/{dataset}"
        for verb in ("POST", "DELETE"):
            for what, body in (("rejections", {"pairs": [IDS[:2]]}), ("keepers", {"media_ids": IDS[:1]})):
                assert "read-only" in refusal(client.request(verb, f"{path}/{what}", json=body), 409)
        tag = done(client.post(f"{path}/tags", json={"name": "odd"})).json()["id"]
        done(client.post(f"{path}/tags/{tag}/media", json={"media_ids": IDS[:2]}))
        asked = {"tags": tag, "anchor_media_id": IDS[0], "anchor_type": "MEDIA"}
        assert client.explore(dataset, **asked)["metadata"]["total_media"] == 2


def test_a_damaged_dataset_says_nothing_of_where_it_is(folder: Path, tmp_path: Path) -> None:
    with running_server(tmp_path / "home", "--dataset", str(folder)) as server, Client(server.url) as client:
        (dataset,) = client.json("/datasets")
        (folder / "vectors.f16").unlink()
        said = refusal(client.ask(dataset["id"]), 503)
        assert "cannot be used now" in said and str(tmp_path) not in said
        assert "vectors.f16" in server.log.read_text()
