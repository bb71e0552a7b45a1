"""`/openapi.json` tells the truth about `/api/v1`: schemathesis makes up requests from it and checks each answer.

All its checks are made, on datasets that are there: no 5xx, no status, content type or field that is not
declared, all verbs of a path in `Allow`, what the document forbids is refused, what it allows is not, and
nothing without a key. The long run is `scripts/soak`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzzing import answered, fuzz
from tests.fuzzing_world import fuzzed_server

# These take the parameters of explore as well, of which a thousand right and wrong values are sent there.
QUICK = """
[[operations]]
include-path-regex = "/(exploration_metadata|export|export_context_async)$"
phases.coverage.enabled = false
"""


def test_made_up_requests_are_answered_as_declared(tmp_path: Path) -> None:
    with fuzzed_server(tmp_path, keys=True) as (server, world):
        printed = fuzz(
            server,
            tmp_path,
            *("--include-path-regex", "^/api/v1/"),
            *("--generation-deterministic", "--max-examples", "6"),
            *("--generation-with-security-parameters", "false"),
            world=world,
            configuration=QUICK,
        )
        counts = answered(server)
        assert not [line for line in server.lines() if line["level"] == "error"]
    print(printed)
    assert re.search(r"\d{4} generated, \d+ passed", printed), printed
    ours = {label: codes for label, codes in counts.items() if "/api/v1/" in label}
    assert len(ours) > 40
    for label, codes in ours.items():
        assert codes[200] + codes[202] > 0, f"{label} never succeeded: {codes}"
        assert codes[401] > 0 or label in ASK_NO_KEY, f"{label} was never asked without a key: {codes}"
    assert sum(codes[422] for codes in ours.values()) > 500


ASK_NO_KEY = {
    "GET /api/v1/healthcheck",
    "GET /api/v1/dataset/{dataset_id}/media/{media_id}/image",
    "GET /api/v1/dataset/{dataset_id}/media/{media_id}/thumbnail.webp",
    "GET /api/v1/dataset/{dataset_id}/exports/{export_id}/{file_name}",
}
"""Anybody may know that the server is up; who has a signed URL needs no key."""
