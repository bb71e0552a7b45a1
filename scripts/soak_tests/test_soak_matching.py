"""Image matching under load, and at full size.

SOAK_SECONDS says how long the clients call, five minutes unless given.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.load import Load, run_together
from scripts.matching_clients import METHODS, clients
from scripts.processes import cpu_seconds, forget_peak, peak_mib, resident_mib
from tests.collections_of_pictures import picture
from tests.greedy import greedily
from tests.matching import JsonObject, ids, record
from tests.pictures import encode
from tests.servers import RunningServer, running_server
from twinlens.engine.hashing import image_hashes
from twinlens.service.keys import KeyStore

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
KEYS = 8
RECORDS = 10_000


def test_64_clients_are_answered_their_own(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    tokens = [keys.create(f"owner {number}").token for number in range(KEYS)]
    keys.close()
    with running_server(tmp_path) as server:
        idle, spent = server.memory(), cpu_seconds(server.process.pid)
        load = run_together(clients(server.matching, tokens), SECONDS)
        if load.failure is not None:
            raise load.failure
        print(figures(load, cpu_seconds(server.process.pid) - spent))
        assert len(load.latencies) == len(METHODS)
        assert images_hashed(server) == load.images
        failed = [
            line for line in server.lines() if line["level"] != "info" or line.get("status", 200) != 200
        ]
        assert failed == []
        assert server.memory() < 3 * idle


def figures(load: Load, cpu: float) -> str:
    lines = [
        f"{load.requests / load.seconds:.0f} requests/s with {load.images / load.seconds:.0f} images/s, "
        f"{1000 * cpu / load.images:.2f} ms of the server's CPU for each image; p50 and p99 in ms:"
    ]
    for method, latencies in sorted(load.latencies.items()):
        p50, p99 = load.milliseconds(method)
        lines.append(f"  {method}: {p50:.0f} {p99:.0f} ({len(latencies)} requests)")
    return "\n".join(lines)


def images_hashed(server: RunningServer) -> float:
    found = re.search(
        r'twinlens_images_total{outcome="hashed"} (\S+)', httpx.get(f"{server.url}/metrics").text
    )
    assert found is not None
    return float(found[1])


@pytest.fixture(scope="module")
def many() -> tuple[list[JsonObject], NDArray[np.uint8]]:
    """Records whose images form families, and the hashes of these."""
    rng = np.random.default_rng(4)
    records, codes = [], []
    for number in range(RECORDS):
        pixels = np.asarray(picture(int(rng.integers(RECORDS // 4)), 28, 20)).astype(np.int16)
        pixels += rng.integers(-rng.choice([0, 4, 30]), 31, pixels.shape, np.int16) * (number % 3 == 0)
        rgb = pixels.clip(0, 255).astype(np.uint8)
        records.append(record(encode(rgb, "PNG"), _id=number))
        codes.append(image_hashes(rgb).bmh1)
    return records, np.array(codes)


@pytest.mark.parametrize(("range_", "radius"), [(0, 0), (10, 97)])
def test_ten_thousand_records_in_bounded_memory(
    tmp_path: Path, many: tuple[list[JsonObject], NDArray[np.uint8]], range_: int, radius: int
) -> None:
    records, codes = many
    with running_server(tmp_path, max_records=RECORDS, request_seconds=600) as server:
        before = resident_mib(server.process.pid)
        forget_peak(server.process.pid)
        body = httpx.Request("POST", server.url, json={"records": records, "range": range_}).read()
        answer = httpx.post(f"{server.matching}/remove_duplicates", content=body, timeout=600).json()
        peak = peak_mib(server.process.pid) - before - 2 * len(body) / 2**20
    found = {kept["_id"]: ids(kept.get("removed_records", [])) for kept in answer["records"]}
    assert found == greedily(codes, radius)
    assert RECORDS // 10 < len(found) < 9 * RECORDS // 10
    assert peak < RECORDS**2 / 4 / 2**20, "two bits for each pair"
