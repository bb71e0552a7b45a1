"""`/openapi.json` tells the truth about `/api/v1`: requests are made up from it, and each answer is checked.

The checks are those of schemathesis, on datasets that are there: no 5xx, no status, content type or field
that is not declared, all verbs of a path in `Allow`, what the document forbids is refused, what it allows is
not, and nothing is answered without a key. The long run is `scripts/soak`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzzing import answered, fuzz
from tests.fuzzing_world import fuzzed_server

ASK_NO_KEY = {
    "GET /api/v1/healthcheck",
    "GET /api/v1/dataset/{dataset_id}/media/{media_id}/image",
    "GET /api/v1/dataset/{dataset_id}/media/{media_id}/thumbnail.webp",
    "GET /api/v1/dataset/{dataset_id}/exports/{export_id}/{file_name}",
}
"""Anybody may know that the server is up; who has a signed URL needs no key."""

AT_REST = {
    "POST /api/v1/dataset/{dataset_id}/add_media",
    "POST /api/v1/dataset/{dataset_id}/reindex",
    "GET /api/v1/process/add_media",
}
"""Refused while a dataset is being indexed, as the one that takes files mostly is."""

# These take the parameters of explore as well, to which hundreds of right and wrong values of them are sent.
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
            # Keys that are made up are refused before anything else is looked at.
            *("--generation-with-security-parameters", "false"),
            world=world,
            configuration=QUICK,
        )
        assert re.search(r"\d{4} generated, \d+ passed", printed), printed
        assert not [line for line in server.lines() if line["level"] == "error"]
        counts = {label: codes for label, codes in answered(server).items() if "/api/v1/" in label}
    for label, codes in counts.items():
        if label not in AT_REST:
            assert codes[200] + codes[202] > 0, f"{label} never succeeded: {codes}"
            assert codes[401] > 0 or label in ASK_NO_KEY, f"{label} was never asked without a key: {codes}"
    assert sum(codes[422] for codes in counts.values()) > 500
