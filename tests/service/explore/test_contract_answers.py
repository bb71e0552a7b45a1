"""Fields of answers, their types and their order, as the documents of the API show them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.explore import (
    JsonObject,
    Lab,
    duplicates,
    labels,
    names,
    uniqueness,
)

CLUSTER = [
    *("cluster_id", "type", "n_images", "similarity_threshold"),
    *("relevance_score", "previews", "labels", "user_tags"),
]
PREVIEW = ["type", "media_id", "media_uri", "media_thumb_uri", "file_name", "width", "height"]
METADATA = ["used_duckdb", "total_clusters", "total_media", "page_size", "generation"]
FOUND_CLUSTER = {*CLUSTER, "relevance_score_type", "n_objects", "n_videos", "captions"}
FOUND_PREVIEW = {*PREVIEW, "caption", "bounding_box", "relevance_score", "relevance_score_type"}

QUESTIONS: list[JsonObject] = [
    {"vql": json.dumps([duplicates(0.95)]), "entity_type": "IMAGES", "threshold": 0},
    {"duplicate_threshold": 0.95, "entity_type": "IMAGES", "threshold": 0},
    {"vql": json.dumps([uniqueness(0.8)]), "entity_type": "IMAGES", "threshold": 0},
    {"vql": json.dumps([labels("cat")])},
    {"labels": '["person"]', "threshold": 4},
    {},
]


def is_uuid(text: Any) -> bool:
    return isinstance(text, str) and str(uuid.UUID(text)) == text


def check_preview(lab: Lab, preview: JsonObject) -> None:
    """The fields that every preview has, by type."""
    assert preview["type"] == "IMAGE"
    assert is_uuid(preview["media_id"])
    for name in ("media_uri", "media_thumb_uri"):
        assert preview[name].startswith(f"{lab.server.url}/api/v1/"), preview[name]
    assert urlsplit(preview["media_thumb_uri"]).path.endswith(".webp")
    assert type(preview["file_name"]) is str and "/" not in preview["file_name"]
    for name in ("width", "height"):
        assert type(preview[name]) is int and preview[name] > 0


def check_cluster(lab: Lab, cluster: JsonObject, level: int) -> None:
    """The fields that every cluster has, by type."""
    assert is_uuid(cluster["cluster_id"])
    assert cluster["type"] == "IMAGES"
    assert type(cluster["n_images"]) is int
    assert cluster["similarity_threshold"] == str(level)
    assert 1 <= len(cluster["previews"]) == min(cluster["n_images"], 9)
    for preview in cluster["previews"]:
        check_preview(lab, preview)
    for name in ("labels", "user_tags"):
        counts = cluster[name]
        assert counts is None or (counts and all(type(each) is int for each in counts.values()))


# -- explore ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", QUESTIONS, ids=str)
def test_an_answer_has_the_documented_fields_in_their_order(lab: Lab, params: JsonObject) -> None:
    answer = lab.ann.explore(lab.dataset, **params)
    assert list(answer) == ["clusters", "metadata"]
    assert list(answer["metadata"]) == METADATA
    assert answer["metadata"]["used_duckdb"] is False
    assert answer["metadata"]["page_size"] == 100
    assert all(type(answer["metadata"][name]) is int for name in METADATA[1:])
    assert answer["clusters"]
    extra = ["uniqueness_score"] if "uniqueness" in params.get("vql", "") else []
    for cluster in answer["clusters"]:
        assert list(cluster) == CLUSTER
        assert cluster["relevance_score"] is None
        check_cluster(lab, cluster, params.get("threshold", 0))
        for preview in cluster["previews"]:
            assert list(preview) == PREVIEW + extra


def test_a_duplicates_answer_shows_files_as_they_were_uploaded(lab: Lab) -> None:
    (cluster,) = lab.ann.explore(lab.dataset, [duplicates(0.95), labels("person")])["clusters"]
    (known,) = [each for each in cluster["previews"] if each["file_name"] == "astronaut.jpg"]
    assert (known["width"], known["height"]) == (320, 320)
    assert cluster["labels"] == {"edited": 1, "person": 3}
    assert cluster["user_tags"] is None


def test_labels_of_a_cluster_are_null_where_there_are_none(lab: Lab) -> None:
    answer = lab.ann.explore(lab.dataset, [duplicates(0.95)])
    assert {names(cluster)[0][:5]: cluster["labels"] for cluster in answer["clusters"]}["brick"] is None


def test_uniqueness_answers_have_one_image_a_cluster(lab: Lab) -> None:
    answer = lab.ann.explore(lab.dataset, [uniqueness(0.8)])
    for cluster in answer["clusters"]:
        assert (cluster["n_images"], len(cluster["previews"])) == (1, 1)
        score = cluster["previews"][0]["uniqueness_score"]
        assert type(score) is float and 0.8 < score <= 1
    assert (
        answer["metadata"]["total_media"] == answer["metadata"]["total_clusters"] == len(answer["clusters"])
    )


def test_a_search_answer_has_scores_at_both_levels(lab: Lab) -> None:
    anchor = lab.ann.ids(lab.dataset)["coffee.jpg"]
    answer = lab.ann.explore(lab.dataset, anchor_media_id=anchor, anchor_type="MEDIA", threshold=1)
    assert list(answer["metadata"]) == METADATA
    for cluster in answer["clusters"]:
        assert set(cluster) == FOUND_CLUSTER
        check_cluster(lab, cluster, 1)
        assert type(cluster["relevance_score"]) is float
        assert cluster["relevance_score_type"] == "cosine_distance"
        assert (cluster["n_objects"], cluster["n_videos"]) == (0, 0)
        assert cluster["captions"] is None or all(type(each) is str for each in cluster["captions"])
        for preview in cluster["previews"]:
            assert set(preview) == FOUND_PREVIEW
            assert type(preview["relevance_score"]) is float
            assert preview["relevance_score_type"] == "cosine_distance"
            assert preview["bounding_box"] is None
    previews = [preview for cluster in answer["clusters"] for preview in cluster["previews"]]
    captions = {preview["file_name"]: preview["caption"] for preview in previews}
    assert captions["coffee.jpg"] == 'a "strong" coffee' and captions["coffee-again.jpg"] is None
    assert answer["clusters"][0]["captions"] == ['a "strong" coffee']


# -- beside explore --------------------------------------------------------------------------------


def test_members_of_a_cluster(lab: Lab) -> None:
    (cluster, *_) = lab.ann.explore(lab.dataset, [duplicates(0.95)])["clusters"]
    members = lab.ann.json(f"/explore/{lab.dataset}/clusters/{cluster['cluster_id']}")
    assert list(members) == ["cluster_id", "type", "n_images", "media", "metadata"]
    assert members["cluster_id"] == cluster["cluster_id"]
    assert (members["type"], members["n_images"]) == ("IMAGES", cluster["n_images"])
    assert len(members["media"]) == cluster["n_images"]
    for member in members["media"]:
        # Where a search found the same cluster, its scores may be there as well.
        assert set(PREVIEW) <= set(member) <= FOUND_PREVIEW
        check_preview(lab, member)


def test_exploration_metadata(lab: Lab) -> None:
    answer = lab.ann.json(f"/explore/{lab.dataset}/exploration_metadata")
    assert list(answer) == ["dataset_name", "clusters_count", "media_count", "labels"]
    assert answer["dataset_name"] == "photographs"
    assert answer["media_count"] == lab.ann.status(lab.dataset)["n_images"]
    assert {"name": "person", "count": 4} in answer["labels"]
    asked = {"threshold": 4, "entity_type": "IMAGES", "page_number": 0}
    coarse = lab.ann.json(f"/explore/{lab.dataset}/exploration_metadata", **asked)
    total = lab.ann.explore(lab.dataset, threshold=4)["metadata"]["total_clusters"]
    assert (coarse["clusters_count"], coarse["media_count"]) == (total, answer["media_count"])


def test_duplicates_of_one_image_are_an_array_of_ids(lab: Lab) -> None:
    ids = lab.ann.ids(lab.dataset)
    found = lab.ann.json(f"/dataset/{lab.dataset}/media/{ids['astronaut.jpg']}/duplicates")
    assert found[0] == ids["astronaut-copy.jpg"]
    assert set(found) == {ids[f"astronaut-{edit}.jpg"] for edit in ("again", "copy", "cropped", "smaller")}
    assert lab.ann.json(f"/dataset/{lab.dataset}/media/{ids['retina.jpg']}/duplicates") == []


def test_the_model_of_a_dataset(lab: Lab) -> None:
    (model,) = lab.ann.json(f"/vector_search/{lab.dataset}/embedding_models")
    assert (model["name"], model["dim"], model["text_capable"]) == ("efficientnet_lite0", 1280, False)


# -- form ------------------------------------------------------------------------------------------

ANSWERS: list[Callable[[Lab], str]] = [
    lambda lab: f"/explore/{lab.dataset}",
    lambda lab: f"/dataset/{lab.dataset}",
    lambda lab: "/datasets",
    lambda lab: f"/datasets/{lab.dataset}/creation-status",
    lambda lab: "/ingestion/nothing/data_files",
    lambda lab: "/no/such/path",
    lambda lab: f"/dataset/{lab.dataset}/tags",
    lambda lab: "/healthcheck",
]


@pytest.mark.parametrize("path", ANSWERS)
def test_json_is_compact_so_that_grep_finds_its_keys(lab: Lab, path: Callable[[Lab], str]) -> None:
    answer = lab.ann.get(path(lab))
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == json.dumps(answer.json(), separators=(",", ":"))


def test_grep_reads_the_status(lab: Lab) -> None:
    text = lab.ann.get(f"/dataset/{lab.dataset}").text
    assert re.findall(r'"status_new":"([^"]*)"', text) == ["READY"]
    assert re.findall(r'"status":"([^"]*)"', text) == ["READY"]
    assert re.findall(r'"id":"([^"]*)"', text) == [lab.dataset]


def test_cluster_ids_depend_on_members_alone(lab: Lab) -> None:
    by_names = [
        {
            tuple(sorted(names(each))): each["cluster_id"]
            for each in lab.ann.explore(lab.dataset, vql)["clusters"]
        }
        for vql in ([duplicates(0.95)], [duplicates(0.951)])
    ]
    assert by_names[0] == by_names[1] and len(set(by_names[0].values())) == 5
