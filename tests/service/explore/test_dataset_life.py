"""Datasets from their first call to their deletion."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.explore import Client, Running, all_names, done, labels, laboratory, refusal
from tests.explore_life import (
    files_below,
    folder_of,
    images_of,
    is_running,
    pictures,
    wait_for,
    workers,
)
from tests.servers import RunningServer
from twinlens import __version__

MANY = 240
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the keys ann and bob."""
    with laboratory(tmp_path_factory.mktemp("life"), index_processes=2) as running:
        yield running


@pytest.fixture(scope="module")
def labelled(ann: Client) -> str:
    """A READY dataset whose labels came as CSV with the first files and as Parquet with the last."""
    table = pa.table(
        {"filename": ["00001.jpg", "00002.jpg"], "label": ["dog", "cat"], "caption": [None, "a"]}
    )
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    dataset = ann.new_dataset("labelled")
    transaction = ann.begin(dataset)
    csv = b"filename,label,caption\n00000.jpg,cat,a cat\n00000.jpg,grey,\n"
    ann.upload(dataset, transaction, {**pictures(2), "image_annotations.csv": csv})
    ann.upload(dataset, transaction, {**pictures(2, 2), "image_annotations.parquet": parquet.getvalue()})
    ann.process(dataset, transaction)
    ann.wait_ready(dataset)
    return dataset


# -- from DRAFT to READY ---------------------------------------------------------------------------


def test_four_calls_make_a_dataset_and_its_state_says_how_far_it_is(ann: Client, bob: Client) -> None:
    created = ann.json("/ingestion/new_dataset", dataset_name="  my photos ")
    dataset = created["dataset_id"]
    assert created == {"dataset_id": dataset, "id": dataset}
    draft = ann.status(dataset)
    assert (draft["status_new"], draft["status"], draft["progress"]) == ("DRAFT", "UPLOADING", 0)
    assert (draft["display_name"], draft["n_images"], draft["owned_by"]) == ("my photos", 0, "ann")

    transaction = ann.begin(dataset)
    for start in range(0, MANY, 60):
        form = [("files", file) for file in pictures(60, start).items()]
        sent = ann.post(f"/ingestion/{dataset}/data_files/{transaction}", files=form)
        assert (sent.status_code, sent.content) == (202, b"")
    assert ann.status(dataset)["status_new"] == "DRAFT"
    assert "DRAFT" in refusal(ann.ask(dataset), 409)

    sent = ann.post(f"/ingestion/{dataset}/process_files/{transaction}")
    assert (sent.status_code, sent.content) == (202, b"")
    seen, slowest = [], 0.0
    while (state := ann.status(dataset))["status_new"] == "INDEXING":
        told = ann.json(f"/datasets/{dataset}/creation-status")
        seen.append(state["progress"])
        assert told["progress"] >= state["progress"] and told["status"] in ("INDEXING", "READY")
        started = time.perf_counter()
        assert ann.get("/healthcheck").status_code == 200
        slowest = max(slowest, time.perf_counter() - started)
        assert len(seen) < 1000
        time.sleep(0.1)
    assert state["status_new"] == "READY" and state["progress"] == 100 and state["n_images"] == MANY
    assert state["fatal_error_msg"] is None
    assert seen == sorted(seen) and seen[0] >= 0 and seen[-1] < 100
    assert any(0 < progress < 90 for progress in seen), set(seen)
    assert slowest < 1.0, "the API waits for the index process"
    assert ann.json(f"/datasets/{dataset}/creation-status") == {"status": "READY", "progress": 100}
    assert images_of(ann, dataset) == sorted(pictures(MANY))

    ann.process(dataset, transaction)
    assert ann.status(dataset)["status_new"] == "READY", "process_files does nothing the second time"
    assert refusal(bob.get(f"/dataset/{dataset}"), 404) == "Dataset not found"


def test_labels_come_with_the_files_as_csv_and_as_parquet(ann: Client, labelled: str) -> None:
    assert set.union(*all_names(ann.explore(labelled, [labels("cat")]))) == {"00000.jpg", "00002.jpg"}
    assert all_names(ann.explore(labelled, [labels("dog")])) == [{"00001.jpg"}]
    told = ann.json(f"/explore/{labelled}/exploration_metadata")["labels"]
    assert {each["name"]: each["count"] for each in told} == {"cat": 2, "dog": 1, "grey": 1}
    assert images_of(ann, labelled) == sorted(pictures(4)), "labels are no images"


def test_a_wrong_file_of_labels_refuses_its_request_and_no_other(ann: Client) -> None:
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    form = [("files", ("image_annotations.csv", b"file,label\na.jpg,cat\n")), ("files", ("a.jpg", b"x"))]
    said = refusal(ann.post(f"/ingestion/{dataset}/data_files/{transaction}", files=form), 422)
    assert "image_annotations.csv" in said and "filename" in said
    said = refusal(ann.post(f"/ingestion/{dataset}/process_files/{transaction}"), 400)
    assert "holds no image" in said


# -- transactions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["999999", "0", "-1", "x", "1" * 30, "9" * 18])
def test_an_unknown_transaction_is_not_found(ann: Client, number: str) -> None:
    dataset = ann.new_dataset()
    form = [("files", file) for file in pictures(1).items()]
    for path in (f"/ingestion/{dataset}/data_files/{number}", f"/ingestion/{dataset}/process_files/{number}"):
        assert number[:20] in refusal(ann.post(path, files=form), 404)


def test_a_transaction_of_another_dataset_is_not_found(ann: Client, bob: Client) -> None:
    mine, other, bobs = ann.new_dataset(), ann.new_dataset(), bob.new_dataset()
    for foreign in (ann.begin(other), bob.begin(bobs)):
        form = [("files", file) for file in pictures(1).items()]
        refusal(ann.post(f"/ingestion/{mine}/data_files/{foreign}", files=form), 404)
        refusal(ann.post(f"/ingestion/{mine}/process_files/{foreign}"), 404)
        refusal(ann.post(f"/ingestion/{bobs}/process_files/{foreign}"), 404)


def test_a_processed_transaction_takes_no_more(ann: Client, labelled: str) -> None:
    transaction = ann.begin(labelled) - 1
    while (again := ann.post(f"/ingestion/{labelled}/process_files/{transaction}")).status_code == 404:
        transaction -= 1
    assert again.status_code == 202 and again.content == b""
    sent = ann.post(f"/ingestion/{labelled}/data_files/{transaction}", files=[("files", ("z.jpg", b"x"))])
    assert "begin another" in refusal(sent, 404)


def test_an_empty_transaction_is_refused(ann: Client) -> None:
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    said = refusal(ann.post(f"/ingestion/{dataset}/process_files/{transaction}"), 400)
    assert "holds no image" in said
    assert ann.status(dataset)["status_new"] == "DRAFT"


def test_a_large_body_for_nothing_is_told_why(ann: Client) -> None:
    body = [("files", ("large.jpg", bytes(20 * 2**20)))]
    refusal(ann.post(f"/ingestion/{NOWHERE}/data_files/1", files=body), 404)
    refusal(ann.post(f"/ingestion/{ann.new_dataset()}/data_files/999999", files=body), 404)
    with Client(ann.url) as stranger:
        refusal(stranger.post(f"/ingestion/{NOWHERE}/data_files/1", files=body), 401)


# -- lists -----------------------------------------------------------------------------------------


def test_the_list_is_ordered_and_holds_ones_own(ann: Client, bob: Client) -> None:
    made = [bob.new_dataset(name) for name in ("b", "a", "B")]
    listed = bob.json("/datasets")
    assert [each["id"] for each in listed][:3] == made[::-1], "the newest first"
    assert [each["id"] for each in bob.json("/datasets", sort_by="date", include_hidden="true")] == [
        each["id"] for each in listed
    ]
    by_name = [each["display_name"] for each in bob.json("/datasets", sort_by="name")]
    assert by_name == sorted(by_name) and {"a", "b", "B"} <= set(by_name)
    assert set(made).isdisjoint(each["id"] for each in ann.json("/datasets"))
    assert "sort_by" in refusal(bob.get("/datasets", sort_by="size"), 422)
    assert listed[0] == bob.status(made[2])


@pytest.mark.parametrize("name", ["", "   "])
def test_a_dataset_has_a_name(ann: Client, name: str) -> None:
    assert "dataset_name" in refusal(ann.get("/ingestion/new_dataset", dataset_name=name), 400)
    refusal(ann.get("/ingestion/new_dataset"), 400)


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "a\0b"])
def test_a_name_is_a_printable_one(ann: Client, name: str) -> None:
    assert "dataset_name" in refusal(ann.get("/ingestion/new_dataset", dataset_name=name), 422)


def test_the_health_check_asks_for_no_key(server: RunningServer) -> None:
    answer = done(httpx.get(f"{server.url}/api/v1/healthcheck", verify=False))
    assert answer.json() == {"status": "Green", "service-health-message": "none", "version": __version__}


# -- deletion --------------------------------------------------------------------------------------


def test_deleting_a_dataset_removes_its_files(ann: Client, bob: Client, server: RunningServer) -> None:
    dataset = ann.make_dataset(pictures(3))
    image = ann.explore(dataset)["clusters"][0]["previews"][0]["media_uri"]
    assert httpx.get(image, verify=False).status_code == 200
    assert files_below(folder_of(server, dataset))
    refusal(bob.delete(f"/dataset/{dataset}"), 404)
    assert ann.delete(f"/dataset/{dataset}").json() is None
    assert not folder_of(server, dataset).exists()
    refusal(ann.get(f"/dataset/{dataset}"), 404)
    refusal(ann.delete(f"/dataset/{dataset}"), 404)
    refusal(httpx.get(image, verify=False), 404)
    assert dataset not in [each["id"] for each in ann.json("/datasets")]


@pytest.mark.parametrize("moment", ["at once", "as its process starts", "as it works"])
def test_deleting_a_dataset_ends_its_job(ann: Client, server: RunningServer, moment: str) -> None:
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    ann.upload(dataset, transaction, pictures(100))
    ann.process(dataset, transaction)
    if moment != "at once":
        wait_for(lambda: workers(server.process.pid), "an index process")
    if moment == "as it works":
        wait_for(lambda: (folder_of(server, dataset) / "index" / "catalog.sqlite").exists(), "a catalog")
    at_work = workers(server.process.pid)
    assert ann.delete(f"/dataset/{dataset}").status_code == 200
    assert not any(map(is_running, at_work))
    assert not folder_of(server, dataset).exists()
    time.sleep(0.2)
    assert workers(server.process.pid) == [] and not folder_of(server, dataset).exists()


def test_nothing_is_left_on_the_disk_of_what_is_gone(ann: Client, bob: Client, server: RunningServer) -> None:
    known = {each["id"] for client in (ann, bob) for each in client.json("/datasets")}
    kept = {entry.name for entry in (server.home / "datasets").iterdir()}
    assert kept and kept <= known | {"incoming"}
    assert not [name for name in files_below(server.home / "datasets") if "staging" in name]
