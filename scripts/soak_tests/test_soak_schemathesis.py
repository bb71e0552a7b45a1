"""Requests made up from `/openapi.json` for a quarter of an hour: no 5xx, no undeclared answer, no leak.

SOAK_SECONDS says how long. A failure prints its requests as curl commands, and the seed of the run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzzing import fuzz
from tests.matching import record
from tests.pictures import picture
from tests.servers import running_server
from twinlens.service.keys import KeyStore

SECONDS = float(os.environ.get("SOAK_SECONDS", "900"))
KEPT = 48 * 2**20
"""Bytes that the server may have grown by: memory that its threads keep for the next image, and hashes."""


@pytest.mark.parametrize(("with_keys", "share"), [(False, 0.8), (True, 0.2)], ids=["open", "with keys"])
def test_made_up_requests_are_answered_as_declared(tmp_path: Path, with_keys: bool, share: float) -> None:
    token = None
    if with_keys:
        keys = KeyStore(tmp_path)
        token = keys.create("soak").token
        keys.close()
    with running_server(tmp_path, workers=2, url_seconds=2) as server:
        headers = {"Authorization": f"Token {token}"}
        for _ in range(20):
            server.post("insert", {"records": [record(picture(seed=1))] * 10}, headers=headers)
        before = server.memory()
        seed = str(random.SystemRandom().randrange(2**32))
        seconds = str(max(1, round(share * SECONDS)))
        print(fuzz(server, tmp_path, "--max-time", seconds, "--seed", seed, token=token))
        lines = server.lines()
        print(Counter(line["status"] for line in lines if line["message"] == "request"))
        print(f"memory: {before / 2**20:.0f} MiB before, {server.memory() / 2**20:.0f} MiB after")
        assert not [line for line in lines if line["level"] == "error"]
        assert server.memory() < before + KEPT
