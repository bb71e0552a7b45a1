"""Datasets before they are indexed: how they are made, listed and deleted, and that they cannot be asked."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.explore import Client, JsonObject, Lab, done, duplicates, refusal

DATASET = [
    *("id", "display_name", "description", "source_type", "owned_by", "created_at", "status", "status_new"),
    *("progress", "n_images", "n_videos", "n_objects", "fatal_error_msg", "source_dataset_id"),
]
NOBODY = "b9eeab12-2b10-4956-a8bf-f8b8fabf32bf"


@pytest.fixture
def draft(lab: Lab) -> Iterator[str]:
    """A dataset that nothing was uploaded to."""
    id_ = lab.ann.new_dataset("a draft")
    yield id_
    assert lab.ann.delete(f"/dataset/{id_}").status_code in (200, 404)


# -- making one ------------------------------------------------------------------------------------


def test_both_keys_of_the_create_reply_name_the_dataset(lab: Lab) -> None:
    created = lab.ann.json("/ingestion/new_dataset", dataset_name="My Dataset")
    assert list(created) == ["dataset_id", "id"]
    assert created["id"] == created["dataset_id"] == str(uuid.UUID(created["id"]))
    assert lab.ann.status(created["id"])["display_name"] == "My Dataset"
    done(lab.ann.delete(f"/dataset/{created['id']}"))


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 400),
        ({"dataset_name": ""}, 400),
        ({"dataset_name": "  "}, 400),
        ({"name": "other parameter"}, 400),
        ({"dataset_name": "x" * 256}, 422),
        ({"dataset_name": "two\nlines"}, 422),
        ({"dataset_name": "\0"}, 422),
    ],
)
def test_names_that_are_none(lab: Lab, params: JsonObject, code: int) -> None:
    assert refusal(lab.ann.get("/ingestion/new_dataset", **params), code).startswith("dataset_name ")


def test_transactions_are_numbers(lab: Lab, draft: str) -> None:
    answers = [lab.ann.json(f"/ingestion/{draft}/data_files") for _ in range(2)]
    assert [list(answer) for answer in answers] == [["trans_id"]] * 2
    first, second = (answer["trans_id"] for answer in answers)
    assert type(first) is type(second) is int and first != second


def send(client: Client, path: str, *parts: tuple[str, tuple[str, bytes]]) -> httpx.Response:
    return client.post(path, files=list(parts))


def test_uploads_are_accepted_without_a_word(lab: Lab, draft: str) -> None:
    path = f"/ingestion/{draft}/data_files/{lab.ann.begin(draft)}"
    sent = send(
        lab.ann, path, ("files", ("a.jpg", b"a")), ("files", ("b.PNG", b"b")), ("files", ("c.webp", b"c"))
    )
    assert (sent.status_code, sent.content) == (202, b"")


@pytest.mark.parametrize(
    ("field", "name", "code", "said"),
    [
        ("file", "a.jpg", 422, "form field 'file'"),
        ("images", "a.jpg", 422, "form field 'images'"),
        ("files", "a.txt", 400, "Unsupported format: 'a.txt'"),
        ("files", "a.zip", 400, "Unsupported format: 'a.zip'"),
        ("files", "jpg", 400, "Unsupported format: 'jpg'"),
        ("files", "a.mp4", 422, "a video, which is not supported by this server"),
        ("files", "a.MOV", 422, "a video, which is not supported by this server"),
        ("files", "object_annotations.csv", 422, "objects in images"),
        ("files", "image_annotations.csv", 422, "image_annotations.csv"),
    ],
)
def test_uploads_that_are_not_taken(
    lab: Lab, draft: str, field: str, name: str, code: int, said: str
) -> None:
    path = f"/ingestion/{draft}/data_files/{lab.ann.begin(draft)}"
    assert said in refusal(send(lab.ann, path, (field, (name, b"no table"))), code)


def test_uploads_of_no_form(lab: Lab, draft: str) -> None:
    path = f"/ingestion/{draft}/data_files/{lab.ann.begin(draft)}"
    refusal(lab.ann.post(path, json={"files": []}), 422)
    refusal(lab.ann.post(path), 422)
    assert "no file was sent" in refusal(lab.ann.post(path, files={"note": (None, "text")}), 400)


@pytest.mark.parametrize("number", ["0", "999999999", "-1", "1.5", "one", "9" * 400, "%00"])
def test_transactions_that_are_not_there(lab: Lab, draft: str, number: str) -> None:
    file = ("files", ("a.jpg", b"a"))
    assert "ransaction" in refusal(send(lab.ann, f"/ingestion/{draft}/data_files/{number}", file), 404)
    assert "ransaction" in refusal(lab.ann.post(f"/ingestion/{draft}/process_files/{number}"), 404)


def test_transactions_belong_to_their_dataset(lab: Lab, draft: str) -> None:
    other = lab.ann.new_dataset("another draft")
    number = lab.ann.begin(other)
    refusal(send(lab.ann, f"/ingestion/{draft}/data_files/{number}", ("files", ("a.jpg", b"a"))), 404)
    refusal(lab.ann.post(f"/ingestion/{draft}/process_files/{number}"), 404)
    done(lab.ann.delete(f"/dataset/{other}"))


def test_nothing_cannot_be_processed(lab: Lab, draft: str) -> None:
    number = lab.ann.begin(draft)
    assert "holds no image" in refusal(lab.ann.post(f"/ingestion/{draft}/process_files/{number}"), 400)


# -- state -----------------------------------------------------------------------------------------


def test_a_dataset_has_the_documented_fields(lab: Lab, draft: str) -> None:
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=1)
    state = lab.ann.status(draft)
    assert list(state) == DATASET
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", state["created_at"])
    assert before < datetime.fromisoformat(state["created_at"]) < before + timedelta(minutes=2)
    known = {name: state[name] for name in DATASET if name != "created_at"}
    assert known == {
        **{"id": draft, "display_name": "a draft", "description": "", "source_type": "VL", "owned_by": "ann"},
        **{"status": "UPLOADING", "status_new": "DRAFT", "progress": 0},
        **{"n_images": 0, "n_videos": 0, "n_objects": 0, "fatal_error_msg": None, "source_dataset_id": None},
    }


def test_a_ready_dataset(lab: Lab) -> None:
    state = lab.ann.status(lab.dataset)
    assert (state["status"], state["status_new"], state["progress"]) == ("READY", "READY", 100)
    assert type(state["progress"]) is type(state["n_images"]) is int
    assert state["n_images"] == len(lab.ann.ids(lab.dataset)) > 30
    assert lab.ann.json(f"/datasets/{lab.dataset}/creation-status") == {"status": "READY", "progress": 100}


def test_creation_status_of_a_draft(lab: Lab, draft: str) -> None:
    assert lab.ann.json(f"/datasets/{draft}/creation-status") == {"status": "DRAFT", "progress": 0}


def test_datasets_are_listed_the_newest_first_or_by_name(lab: Lab, draft: str) -> None:
    second = lab.ann.new_dataset("the second draft")
    listed = lab.ann.json("/datasets")
    assert [each["id"] for each in listed][:2] == [second, draft]
    assert listed[1] == lab.ann.status(draft)
    assert [each["created_at"] for each in listed] == sorted(
        (each["created_at"] for each in listed), reverse=True
    )
    assert listed == lab.ann.json("/datasets", sort_by="date", include_hidden="true")
    by_name = [each["display_name"] for each in lab.ann.json("/datasets", sort_by="name")]
    assert by_name == sorted(each["display_name"] for each in listed)
    assert refusal(lab.ann.get("/datasets", sort_by="size"), 422).startswith("sort_by")
    assert not {each["id"] for each in listed} & {each["id"] for each in lab.bob.json("/datasets")}
    done(lab.ann.delete(f"/dataset/{second}"))


# -- not READY -------------------------------------------------------------------------------------

FILE = {"file": ("query.jpg", b"a")}
ASKED: list[Callable[[Client, str], httpx.Response]] = [
    lambda client, id_: client.ask(id_, [duplicates(0.95)], entity_type="IMAGES", threshold=0),
    lambda client, id_: client.ask(id_, duplicate_threshold=0.95),
    lambda client, id_: client.ask(id_),
    lambda client, id_: client.get(f"/explore/{id_}/exploration_metadata"),
    lambda client, id_: client.get(f"/dataset/{id_}/media/{NOBODY}"),
    lambda client, id_: client.get(f"/dataset/{id_}/media/{NOBODY}/duplicates"),
    lambda client, id_: client.get(f"/vector_search/{id_}/embedding_models"),
    lambda client, id_: client.post(f"/vector_search/{id_}", json={"text": "a dog"}),
    lambda client, id_: client.post(f"/dataset/{id_}/search-image-similarity", files=FILE),
    lambda client, id_: client.get(f"/dataset/{id_}/rejections"),
    lambda client, id_: client.get(f"/dataset/{id_}/keepers"),
    lambda client, id_: client.get(f"/dataset/{id_}/export", export_format="json"),
    lambda client, id_: client.get(
        f"/dataset/{id_}/export_context_async", file_name="x", export_format="json"
    ),
    lambda client, id_: client.get(f"/dataset/{id_}/export_media_id"),
    lambda client, id_: client.post(f"/dataset/{id_}/reindex"),
    lambda client, id_: client.post(f"/dataset/{id_}/add_media", files={"files": ("a.jpg", b"a")}),
]


@pytest.mark.parametrize("ask", ASKED)
def test_a_dataset_that_is_not_ready_says_so(
    lab: Lab, draft: str, ask: Callable[[Client, str], httpx.Response]
) -> None:
    assert "DRAFT" in refusal(ask(lab.ann, draft), 409)


def test_the_ids_of_a_draft_are_checked_before_its_parameters(lab: Lab, draft: str) -> None:
    assert lab.ann.ask(draft, "no vql").status_code in (409, 422)
    refusal(lab.ann.ask(NOBODY, "no vql"), 404)


# -- the end ---------------------------------------------------------------------------------------


def test_a_deleted_dataset_is_gone(lab: Lab) -> None:
    id_ = lab.ann.new_dataset("short-lived")
    assert done(lab.ann.delete(f"/dataset/{id_}")).json() is None
    refusal(lab.ann.get(f"/dataset/{id_}"), 404)
    refusal(lab.ann.delete(f"/dataset/{id_}"), 404)
    assert id_ not in [each["id"] for each in lab.ann.json("/datasets")]
    assert not (lab.server.home / "datasets" / id_).exists()


def test_the_health_check_asks_for_no_key(lab: Lab) -> None:
    with Client(lab.server.url) as stranger:
        health = stranger.json("/healthcheck")
    assert list(health) == ["status", "service-health-message", "version"]
    assert (health["status"], health["service-health-message"]) == ("Green", "none")
    assert type(health["version"]) is str
