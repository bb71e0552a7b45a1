"""What exports hold: all that explore answers, of all images, of answers, of images and clusters by hand."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.explore import JsonObject, Lab, done, duplicates, issue, labels, refusal
from tests.photographs import photographs
from tests.service.explore.exported import (
    download,
    export,
    export_json,
    finished,
    properties,
    task_of,
    unpacked,
)
from twinlens.service.explore.export_json import file_size_text

NOBODY = "00000000-0000-4000-8000-000000000007"
ISSUES = ("blur", "dark", "bright", "duplicates", "outliers")


@pytest.fixture(scope="module")
def tag(lab: Lab) -> Iterator[str]:
    """Name of a tag that two images carry as long as these tests run."""
    path, ids = f"/dataset/{lab.dataset}/tags", lab.ann.ids(lab.dataset)
    made = done(lab.ann.post(path, json={"name": "to check"})).json()["id"]
    chosen = {"media_ids": [ids["coffee.jpg"], ids["rocket.jpg"]]}
    done(lab.ann.post(f"{path}/{made}/media", json=chosen))
    yield "to check"
    done(lab.ann.delete(f"{path}/{made}"))


@pytest.fixture(scope="module")
def whole(lab: Lab, tag: str) -> JsonObject:
    return export_json(lab.ann, lab.dataset, file_name="everything")


def members(lab: Lab, vql: Any = None, **params: Any) -> dict[str, str]:
    """Cluster id of every image in the answer to a question."""
    clusters = lab.ann.explore(lab.dataset, vql, **params)["clusters"]
    return {
        media["media_id"]: cluster["cluster_id"]
        for cluster in clusters
        for media in lab.ann.json(f"/explore/{lab.dataset}/clusters/{cluster['cluster_id']}")["media"]
    }


def by_name(content: JsonObject) -> dict[str, JsonObject]:
    return {item["file_name"]: item for item in content["media_items"]}


def test_the_head_says_what_whose_and_when(lab: Lab, whole: JsonObject) -> None:
    state, info = lab.ann.status(lab.dataset), whole["info"]
    assert list(whole) == ["info", "media_items"]
    assert list(info) == [
        *("schema_version", "dataset", "description", "dataset_url", "export_time", "dataset_creation_time"),
        *("exported_by", "total_media_items"),
    ]
    assert (info["schema_version"], info["dataset"], info["exported_by"]) == ("1.1", "photographs", "ann")
    assert info["dataset_url"] == f"{lab.server.url}/api/v1/dataset/{lab.dataset}"
    assert info["dataset_creation_time"] == state["created_at"] < info["export_time"]
    assert info["total_media_items"] == state["n_images"] == len(photographs())


def test_every_image_is_in_it_once_as_the_service_describes_it(lab: Lab, whole: JsonObject) -> None:
    items, files = by_name(whole), photographs()
    assert items.keys() == files.keys() and len(whole["media_items"]) == len(files)
    for name, item in items.items():
        described = lab.ann.json(f"/dataset/{lab.dataset}/media/{item['media_id']}")
        assert item["media_type"] == "image" and item["file_path"] == described["original_uri"] == name
        assert item["file_size"] == file_size_text(len(files[name]))
        for field in ("width", "height", "uniqueness_score"):
            assert item[field] == described[field]
        assert [each["category_name"] for each in properties(item, "image_label")] == described["labels"]
        assert [each["text"] for each in properties(item, "caption")] == described["captions"]
        assert "search_confidence" not in item and "archive_path" not in item
    assert done(httpx.get(items["moon.jpg"]["url"], verify=False)).content == files["moon.jpg"]


def test_clusters_are_those_of_explore(lab: Lab, whole: JsonObject) -> None:
    exported = {item["media_id"]: item["cluster_id"] for item in whole["media_items"]}
    assert exported == members(lab)
    assert len(set(exported.values())) < len(exported)


def test_labels_captions_and_tags_are_items_of_their_types(whole: JsonObject, tag: str) -> None:
    items = by_name(whole)
    label = {"category_name": "cup, full", "source": "User", "original_id": -1}
    assert properties(items["coffee.jpg"], "image_label") == [label]
    (caption,) = properties(items["coffee.jpg"], "caption")
    assert caption == {"text": 'a "strong" coffee', "caption": 'a "strong" coffee', "source": "User"}
    tagged = {name for name, item in items.items() if properties(item, "user_tag")}
    assert tagged == {"coffee.jpg", "rocket.jpg"}
    (user_tag,) = properties(items["rocket.jpg"], "user_tag")
    assert list(user_tag) == ["tag_name", "assigned_date"] and user_tag["tag_name"] == tag


@pytest.mark.parametrize("name", ISSUES)
def test_issues_are_those_that_explore_finds(lab: Lab, whole: JsonObject, name: str) -> None:
    found = {
        item["media_id"]: each
        for item in whole["media_items"]
        for each in properties(item, "issue")
        if each["issue_type"] == name
    }
    assert found.keys() == members(lab, [issue(name, mode="in")]).keys()
    assert all(0.8 <= each["confidence"] <= 1 for each in found.values())
    if name == "duplicates":
        (threshold,) = {each["duplicate_threshold"] for each in found.values()}
        groups = {id_: each["duplicate_group_id"] for id_, each in found.items()}
        assert groups == members(lab, [duplicates(threshold)]) and groups
    else:
        assert all(list(each) == ["issue_type", "confidence"] for each in found.values())


def test_some_photographs_have_issues(whole: JsonObject) -> None:
    kinds = {each["issue_type"] for item in whole["media_items"] for each in properties(item, "issue")}
    assert kinds >= {"blur", "dark", "duplicates"}


@pytest.mark.parametrize(
    "asked",
    [
        {"vql": json.dumps([duplicates(0.9)])},
        {"duplicate_threshold": "0.9", "linkage": "star"},
        {"labels": '["person"]', "entity_type": "IMAGES", "threshold": "2"},
        {"vql": json.dumps([labels("person", op="not_one_of"), duplicates(0.9)]), "threshold": "0"},
    ],
)
def test_an_answer_is_exported_with_its_clusters(lab: Lab, asked: dict[str, str]) -> None:
    content = export_json(lab.ann, lab.dataset, **asked)
    exported = {item["media_id"]: item["cluster_id"] for item in content["media_items"]}
    assert exported == members(lab, **asked)
    assert 0 < len(exported) < len(photographs())


def test_a_search_tells_how_sure_it_is(lab: Lab) -> None:
    anchor = {"anchor_media_id": lab.ann.ids(lab.dataset)["brick.jpg"], "anchor_type": "MEDIA"}
    clusters = lab.ann.explore(lab.dataset, **anchor)["clusters"]
    near = {each["media_id"]: each["relevance_score"] for cluster in clusters for each in cluster["previews"]}
    items = export_json(lab.ann, lab.dataset, **anchor)["media_items"]
    sure = {item["media_id"]: item["search_confidence"] for item in items}
    assert sure[anchor["anchor_media_id"]] == 1.0
    assert {id_: sure[id_] for id_ in near} == pytest.approx(
        {id_: 1 - d for id_, d in near.items()}, abs=1e-6
    )


def test_parquet_holds_the_same(lab: Lab, whole: JsonObject) -> None:
    _, entries = export(lab.ann, lab.dataset, export_format="parquet")
    assert list(entries) == ["metadata.parquet"]
    table = pq.read_table(io.BytesIO(entries["metadata.parquet"]))
    head = json.loads(table.schema.metadata[b"info"])
    assert {**head, "export_time": ""} == {**whole["info"], "export_time": ""}
    rows, files = table.to_pylist(), photographs()
    assert len(rows) == len(files)
    for row, item in zip(rows, whole["media_items"], strict=True):
        for field in (
            "media_id",
            "file_name",
            "file_path",
            "width",
            "height",
            "cluster_id",
            "uniqueness_score",
        ):
            assert row[field] == item[field]
        assert row["image_filename"] == row["file_name"] and row["file_size_bytes"] == len(
            files[row["file_name"]]
        )
        assert row["labels"] == [each["category_name"] for each in properties(item, "image_label")]
        assert row["user_tags"] == [each["tag_name"] for each in properties(item, "user_tag")]
        assert row["captions"] == [each["text"] for each in properties(item, "caption")]
        kept = [{name: value for name, value in each.items() if value is not None} for each in row["issues"]]
        assert kept == properties(item, "issue")


@pytest.mark.parametrize("fmt", ["json", "parquet"])
def test_originals_come_along_as_they_were_uploaded(lab: Lab, fmt: str) -> None:
    asked = {"labels": '["cat","vehicle"]', "include_images": "true", "export_format": fmt}
    state, entries = export(lab.ann, lab.dataset, **asked)
    metadata = entries.pop(f"metadata.{fmt}")
    if fmt == "json":
        items = json.loads(metadata)["media_items"]
    else:
        items = pq.read_table(io.BytesIO(metadata)).to_pylist()
    names = {"chelsea.jpg", "chelsea-q50.jpg", "motorcycle_left.jpg", "rocket.jpg"}
    assert entries == {f"images/{name}": photographs()[name] for name in names}
    assert {item["archive_path"] for item in items} == entries.keys() and state["entities_count"] == 4


def entities(lab: Lab, *selections: JsonObject, **params: str) -> httpx.Response:
    path = f"/dataset/{lab.dataset}/export_entities_async"
    return lab.ann.post(path, json={"media_selection": list(selections)}, params=params)


def chosen(kind: str, **payload: Any) -> JsonObject:
    return {"type": kind, "payload": payload}


def test_images_and_clusters_are_chosen_by_hand(lab: Lab) -> None:
    ids = lab.ann.ids(lab.dataset)
    twins = members(lab, [duplicates(0.9)])
    cats = twins[ids["chelsea.jpg"]]
    of_cats = [id_ for id_, cluster in twins.items() if cluster == cats]
    assert len(of_cats) > 9
    filters = {"cluster_filters": {"entity_type": "IMAGES"}, "exclude_media_ids": of_cats[:2]}
    selection = [
        chosen("media", media_ids=[ids["moon.jpg"], ids["rocket.jpg"]]),
        chosen("cluster", cluster_id=cats, **filters),
        chosen("media", media_ids=[of_cats[5], ids["moon.jpg"]]),
    ]
    state = finished(lab.ann, lab.dataset, task_of(entities(lab, *selection, export_format="json")))
    content = json.loads(unpacked(download(state))["metadata.json"])
    exported = [item["media_id"] for item in content["media_items"]]
    assert sorted(exported) == sorted([*of_cats[2:], ids["moon.jpg"], ids["rocket.jpg"]])
    everything = members(lab)
    assert all(item["cluster_id"] == everything[item["media_id"]] for item in content["media_items"])


@pytest.mark.parametrize(
    ("selection", "code", "named"),
    [
        ([], 422, "media_selection"),
        ([chosen("folder")], 422, "media_selection[0]"),
        ([{"type": "media"}], 422, "media_selection[0]"),
        ([chosen("media")], 422, "media_ids"),
        ([chosen("media", media_ids=["x"])], 422, "media_ids[0]"),
        ([chosen("media", media_ids=[NOBODY])], 404, NOBODY),
        ([chosen("cluster")], 422, "cluster_id"),
        ([chosen("cluster", cluster_id="x")], 422, "cluster_id"),
        ([chosen("cluster", cluster_id=NOBODY)], 404, "Cluster"),
        ([chosen("cluster", cluster_id=NOBODY, exclude_media_ids=[7])], 422, "exclude_media_ids"),
        ([chosen("cluster", cluster_id=NOBODY, cluster_filters="x")], 422, "cluster_filters"),
    ],
)
def test_selections_that_are_none(lab: Lab, selection: Any, code: int, named: str) -> None:
    assert named in refusal(entities(lab, *selection), code)


def test_json_at_once_is_what_the_archive_holds(lab: Lab, whole: JsonObject) -> None:
    answer = done(lab.ann.get(f"/dataset/{lab.dataset}/export", export_format="json"))
    assert answer.headers["content-type"] == "application/json"
    for content in (at_once := answer.json(), whole):
        content["info"].pop("export_time")
    assert at_once == whole
    some = lab.ann.json(f"/dataset/{lab.dataset}/export", vql=json.dumps([labels("cat")]))
    assert by_name(some).keys() == {"chelsea.jpg", "chelsea-q50.jpg"}
    assert "parquet" in refusal(lab.ann.get(f"/dataset/{lab.dataset}/export", export_format="parquet"), 422)


def test_names_and_ids_as_csv(lab: Lab, whole: JsonObject) -> None:
    answer = done(lab.ann.get(f"/dataset/{lab.dataset}/export_media_id"))
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert head == ["filename", "media_id"]
    assert dict(rows) == {name: item["media_id"] for name, item in by_name(whole).items()}


def test_the_documented_greps_read_the_answers(lab: Lab) -> None:
    def grep(answer: httpx.Response, key: str) -> str:
        script = f"""grep -o '"{key}":"[^"]*"' | head -1 | cut -d'"' -f4"""
        return subprocess.run(
            ["bash", "-c", script], input=answer.content, capture_output=True
        ).stdout.decode()[:-1]

    started = lab.ann.get(f"/dataset/{lab.dataset}/export_context_async", file_name="x", export_format="json")
    task, deadline = grep(started, "id"), time.monotonic() + 30
    assert task == started.json()["id"]
    while (
        grep(state := lab.ann.get(f"/dataset/{lab.dataset}/export_status", export_task_id=task), "status")
        == "INIT"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert grep(state, "id") == task and grep(state, "status") == "COMPLETED"
    assert unpacked(done(httpx.get(grep(state, "download_uri"), verify=False)).content)
