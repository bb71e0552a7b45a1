"""Requests made up from `/openapi.json` for a quarter of an hour: no 5xx, no undeclared answer, no leak.

SOAK_SECONDS says how long. A failure prints its requests as curl commands, and the seed of the run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.explore import PREFIX
from tests.fuzzing import fuzz
from tests.fuzzing_world import PICTURES, World, fuzzed_server
from tests.matching import record
from tests.pictures import picture
from tests.servers import RunningServer

SECONDS = float(os.environ.get("SOAK_SECONDS", "900"))
KEPT = 64 * 2**20
"""Bytes that the server may have grown by: what its threads keep for the next image, hashes, answers."""


@pytest.mark.parametrize(("with_keys", "share"), [(False, 0.5), (True, 0.5)], ids=["open", "with keys"])
def test_made_up_requests_are_answered_as_declared(tmp_path: Path, with_keys: bool, share: float) -> None:
    # What is kept on purpose is small, so that what is kept by mistake shows.
    with fuzzed_server(tmp_path, keys=with_keys, page_cache_bytes=2**20) as (server, world):
        warm_up(server, world)
        before = server.memory()
        seed = str(random.SystemRandom().randrange(2**32))
        seconds = str(max(1, round(share * SECONDS)))
        options = ("--max-time", seconds, "--seed", seed)
        print(fuzz(server, tmp_path, *options, token=world.token, world=world))
        lines = server.lines()
        print(Counter(line["status"] for line in lines if line["message"] == "request"))
        print(f"memory: {before / 2**20:.0f} MiB before, {server.memory() / 2**20:.0f} MiB after")
        assert not [line for line in lines if line["level"] == "error"]
        assert server.memory() < before + KEPT


def warm_up(server: RunningServer, world: World) -> None:
    """Have the server load what it keeps: models, datasets, buffers of its threads."""
    token = {"Authorization": f"Token {world.token}"} if world.token else {}
    for _ in range(20):
        server.post("insert", {"records": [record(picture(seed=1))] * 10}, headers=token)
    key = {"Authorization": f"Bearer {world.bearer}"} if world.bearer else {}
    with httpx.Client(base_url=server.url + PREFIX, headers=key, timeout=60, verify=False) as client:
        for place in world.places[1:]:
            for number in range(20):
                file = {"file": ("a.png", PICTURES[f"{number % 8}.png"])}
                anchor = client.post(f"/dataset/{place.id}/search-image-similarity", files=file).json()
                for asked in (anchor, {"caption": f"a picture with the number {number}"}, {}):
                    client.get(f"/explore/{place.id}", params=asked).raise_for_status()
            for kind in ("json", "parquet"):
                export(client, place.id, kind)


def export(client: httpx.Client, dataset: str, kind: str) -> None:
    """Have an export made."""
    asked = {"export_format": kind, "include_images": "true"}
    begun = client.get(f"/dataset/{dataset}/export_context_async", params=asked).json()["id"]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        state = client.get(f"/dataset/{dataset}/export_status", params={"export_task_id": begun}).json()
        if state["status"] == "COMPLETED":
            return
        time.sleep(0.05)
    raise AssertionError(state)
