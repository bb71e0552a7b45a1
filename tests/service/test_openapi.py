"""`/openapi.json` tells the truth: schemathesis makes up requests from it and compares every answer with it.

Its checks: no 5xx, no status, content type or header that is not declared, answers that fit their schemas,
405 with `Allow` for other verbs, 400 for what the document forbids, none for what it allows, and 401 without
a valid token where one is needed. The long run is `scripts/soak`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from tests.fuzzing import fuzz
from tests.servers import MATCHING, RunningServer, running_server
from twinlens.engine.errors import InvalidValue
from twinlens.service.keys import KeyStore
from twinlens.service.matching.filter_schema import COMPONENTS, FILTER
from twinlens.service.matching.filters import compile_filter

OURS = ("--include-path-regex", "^/(image_matching/|healthz)")
"""tests/service/explore/test_made_up_requests.py has the other dialect."""

REPRODUCIBLE = (*OURS, "--generation-deterministic", "--max-examples")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "home", url_seconds=2, max_records=50, max_hash_records=7) as running:
        yield running


def document(server: RunningServer) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()
    return answer


def body_schema(openapi: dict[str, Any], method: str) -> dict[str, Any]:
    body = openapi["paths"][f"{MATCHING}/{method}"]["post"]["requestBody"]
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    return schema


def test_made_up_requests_are_answered_as_declared(server: RunningServer, tmp_path: Path) -> None:
    printed = fuzz(server, tmp_path, *REPRODUCIBLE, "25")
    assert re.search(r"\d{3,} generated, \d+ passed", printed), printed
    counted = httpx.get(f"{server.url}/metrics").text
    for outcome in ("hashed", "failed"):
        assert re.search(rf'twinlens_images_total{{outcome="{outcome}"}} \d\d\d', counted), counted


def test_with_keys_nothing_is_answered_without_one(server: RunningServer, tmp_path: Path) -> None:
    store = KeyStore(server.home)
    token = store.create("fuzz").token
    store.close()
    fuzz(server, tmp_path, *REPRODUCIBLE, "3", "--phases", "examples,fuzzing", token=token)
    seen = {line["status"] for line in server.lines() if line["message"] == "request"}
    assert {200, 400, 401} <= seen


def test_the_document_says_whether_a_key_is_needed_now(server: RunningServer) -> None:
    assert document(server)["security"] == [{"token": []}, {}]
    store = KeyStore(server.home)
    store.create("first")
    store.close()
    openapi = document(server)
    assert openapi["security"] == [{"token": []}]
    assert openapi["paths"]["/healthz"]["get"]["security"] == []


def test_the_document_has_the_limits_of_this_server(server: RunningServer) -> None:
    openapi = document(server)
    for method, most in (("visual_hash", 7), ("remove_duplicates", 50)):
        assert body_schema(openapi, method)["properties"]["records"]["maxItems"] == most
        records: list[dict[str, Any]] = [{}] * (most + 1)
        assert server.post(method, {"records": records}).status_code == 400
        assert server.post(method, {"records": records[:-1]}).status_code == 200


# -- the filter language ---------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b.c", "", "$and", "$or", "$eq", "$in", "$gt", "$exists", "$not", "_id"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=1000)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_the_schema_of_filters_allows_what_they_take(filter: dict[str, Any]) -> None:
    allowed = Draft202012Validator({**FILTER, "components": {"schemas": COMPONENTS}}).is_valid(filter)
    try:
        compile_filter(filter)
    except InvalidValue:
        assert not allowed, f"{filter} is refused"
    else:
        assert allowed, f"{filter} is taken"
