"""Whose a dataset is: to others it is not there, unless it is shared with them to be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.explore import Client, Lab, done, duplicates, refusal

NOBODY = "b9eeab12-2b10-4956-a8bf-f8b8fabf32bf"


# -- whose it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id_", [NOBODY, "12345", "draft", "%2e%2e", "'; --", "0" * 5000, "%ff", NOBODY.upper()]
)
def test_ids_of_no_dataset(lab: Lab, id_: str) -> None:
    for path in (f"/dataset/{id_}", f"/explore/{id_}", f"/datasets/{id_}/creation-status"):
        assert refusal(lab.ann.get(path), 404) == "Dataset not found"
    assert refusal(lab.ann.delete(f"/dataset/{id_}"), 404) == "Dataset not found"


def operations(lab: Lab) -> Iterator[tuple[str, str]]:
    """Verb and path of each operation on the dataset that asks for a key, ids filled in."""
    ids = {"dataset_id": lab.dataset, "file_name": "x.zip", "transaction_id": "1"}
    document = done(httpx.get(f"{lab.server.url}/openapi.json", verify=False)).json()
    for path, verbs in document["paths"].items():
        if path.startswith("/api/v1/") and "{dataset_id}" in path:
            filled = re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], NOBODY), path)
            for verb, operation in verbs.items():
                if operation["security"]:
                    yield verb.upper(), filled.removeprefix("/api/v1")


def test_to_others_a_dataset_is_not_there(lab: Lab) -> None:
    found = list(operations(lab))
    assert len(found) > 30
    for verb, path in found:
        assert refusal(lab.bob.request(verb, path), 404) == "Dataset not found", (verb, path)


def test_without_a_token_there_is_nothing(lab: Lab) -> None:
    with Client(lab.server.url) as stranger:
        for verb, path in operations(lab):
            refusal(stranger.request(verb, path), 401)


# -- sharing ---------------------------------------------------------------------------------------

CHANGES: list[tuple[str, str, Any]] = [
    ("GET", "/ingestion/{}/data_files", None),
    ("POST", "/ingestion/{}/data_files/1", None),
    ("POST", "/ingestion/{}/process_files/1", None),
    ("POST", "/dataset/{}/add_media", None),
    ("POST", "/dataset/{}/reindex", None),
    ("DELETE", "/dataset/{}", None),
    ("PUT", "/manage/{}/invite", {"grant_to_user_email": "bob"}),
    ("DELETE", "/manage/{}/invite", {"grant_to_user_email": "bob"}),
    ("POST", "/dataset/{}/tags", {"name": "mine"}),
    ("POST", "/dataset/{}/rejections", {"pairs": [[NOBODY, "8a038477-98f0-42ed-8ba5-9a28562a26eb"]]}),
    ("DELETE", "/dataset/{}/rejections", {"pairs": [[NOBODY, "8a038477-98f0-42ed-8ba5-9a28562a26eb"]]}),
    ("POST", "/dataset/{}/keepers", {"media_ids": [NOBODY]}),
    ("DELETE", "/dataset/{}/keepers", {"media_ids": [NOBODY]}),
]


@pytest.fixture
def shared(lab: Lab) -> Iterator[Lab]:
    """The dataset, shared with bob as a viewer."""
    body = {"grant_to_user_email": "bob"}
    assert done(lab.ann.put(f"/manage/{lab.dataset}/invite", json=body)).json() is None
    yield lab
    assert done(lab.ann.delete(f"/manage/{lab.dataset}/invite", json=body)).json() is None
    refusal(lab.bob.get(f"/dataset/{lab.dataset}"), 404)


def test_a_viewer_sees_all_of_it(shared: Lab) -> None:
    shares = [{"email": "ann", "role": "owner"}, {"email": "bob", "role": "viewer"}]
    assert shared.bob.json(f"/manage/{shared.dataset}/share") == shares
    assert shared.bob.json("/datasets") == [shared.ann.status(shared.dataset)]
    assert shared.bob.explore(shared.dataset, [duplicates(0.95)]) == shared.ann.explore(
        shared.dataset, [duplicates(0.95)]
    )


@pytest.mark.parametrize(("verb", "path", "body"), CHANGES, ids=lambda value: str(value)[:40])
def test_a_viewer_changes_nothing(shared: Lab, verb: str, path: str, body: Any) -> None:
    content = None if body is None else json.dumps(body)
    answer = shared.bob.request(verb, path.format(shared.dataset), content=content)
    assert "to be seen, not changed" in refusal(answer, 403)


def test_sharing_with_whom_there_is_not(lab: Lab) -> None:
    path = f"/manage/{lab.dataset}/invite"
    refusal(lab.ann.put(path, json={"grant_to_user_email": "carol"}), 404)
    refusal(lab.ann.put(path, json={"grant_to_user_email": "ann"}), 409)
    bodies: list[Any] = [{}, {"grant_to_user_email": ""}, {"grant_to_user_email": 5}, [], "bob"]
    for body in bodies:
        refusal(lab.ann.put(path, json=body), 422)
    assert lab.ann.json(f"/manage/{lab.dataset}/share") == [{"email": "ann", "role": "owner"}]


def test_sharing_by_the_id_of_a_key(lab: Lab) -> None:
    assert lab.bob.key is not None
    draft = lab.ann.new_dataset("a draft")
    done(lab.ann.put(f"/manage/{draft}/invite", json={"grant_to_user_email": lab.bob.key.api_key}))
    assert lab.bob.status(draft)["owned_by"] == "ann"
    done(lab.ann.delete(f"/dataset/{draft}"))
