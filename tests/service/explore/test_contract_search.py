"""Visual search as documented: what its answers hold, in which order and how much; see test_visual_search."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.brute_force import Stored
from tests.explore import (
    JsonObject,
    Lab,
    all_names,
    done,
    duplicates,
    labels,
    laboratory,
    names,
)
from tests.photographs import BLANK, photographs

FILES = photographs()
FINEST = 0.93
"""Similarity of the finest level of the model."""


def upload(lab: Lab, content: bytes) -> JsonObject:
    """The anchor of an uploaded image."""
    path = f"/dataset/{lab.dataset}/search-image-similarity"
    asked = {"entity_type": "IMAGES", "threshold": 0}
    anchor: JsonObject = done(lab.ann.post(path, params=asked, files={"file": ("query.jpg", content)})).json()
    return anchor


def near(lab: Lab, name: str, **params: Any) -> JsonObject:
    """What explore answers to an image of the dataset."""
    ids = {path.rsplit("/", 1)[-1]: id_ for path, id_ in lab.ann.ids(lab.dataset).items()}
    return lab.ann.explore(lab.dataset, anchor_media_id=ids[name], anchor_type="MEDIA", **params)


def distances(answer: JsonObject) -> dict[str, float]:
    previews = [preview for cluster in answer["clusters"] for preview in cluster["previews"]]
    return {preview["file_name"]: preview["relevance_score"] for preview in previews}


# -- the answer ------------------------------------------------------------------------------------


def test_an_upload_is_answered_with_an_anchor(lab: Lab) -> None:
    answer = upload(lab, FILES["coffee.jpg"])
    assert list(answer) == ["anchor_media_id", "anchor_type"]
    assert answer["anchor_type"] == "UPLOAD"
    assert str(uuid.UUID(answer["anchor_media_id"])) == answer["anchor_media_id"]


@pytest.mark.parametrize("level", [0, 2, 4])
def test_scores_are_cosine_distances_that_rise(lab: Lab, stored: Stored, level: int) -> None:
    answer = near(lab, "coffee.jpg", threshold=level)
    for name, distance in distances(answer).items():
        assert distance == pytest.approx(1 - stored.between("coffee.jpg", name), abs=1e-9), name
    scores = [cluster["relevance_score"] for cluster in answer["clusters"]]
    assert scores[0] == 0 and scores == sorted(scores)
    for cluster in answer["clusters"]:
        inner = [preview["relevance_score"] for preview in cluster["previews"]]
        assert inner == sorted(inner) and cluster["relevance_score"] == inner[0]
    assert answer["metadata"]["total_media"] == len(stored.names) - len(BLANK)


def test_what_is_found_is_grouped_at_the_level(lab: Lab, stored: Stored) -> None:
    answer = near(lab, "coffee.jpg", threshold=0)
    groups = {frozenset(names(each)) for each in answer["clusters"] if 1 < each["n_images"] <= 9}
    flat = frozenset(BLANK[:2])
    assert groups == {each for each in stored.clusters(FINEST) if len(each) <= 9} - {flat}
    assert near(lab, "coffee.jpg", threshold=4)["metadata"]["total_clusters"] < len(answer["clusters"])


def test_an_uploaded_file_is_compared_like_a_stored_one(lab: Lab) -> None:
    anchor = upload(lab, FILES["coffee.jpg"])
    asked: JsonObject = {"threshold": 0, "entity_type": "IMAGES", "page_number": 0}
    assert lab.ann.explore(lab.dataset, **asked, **anchor) == near(lab, "coffee.jpg", threshold=0)


def test_an_anchor_is_good_for_many_questions(lab: Lab) -> None:
    anchor = upload(lab, FILES["astronaut.jpg"])
    everything = lab.ann.explore(lab.dataset, **anchor)
    assert lab.ann.explore(lab.dataset, **anchor) == everything
    people = lab.ann.explore(lab.dataset, [labels("person")], **anchor)
    assert set(distances(people)) == {
        *("astronaut.jpg", "astronaut-again.jpg", "astronaut-smaller.jpg", "camera.jpg")
    }
    assert distances(people).items() <= distances(everything).items()


def test_duplicates_of_what_is_found(lab: Lab, stored: Stored) -> None:
    found = near(lab, "coffee.jpg", vql=json.dumps([duplicates(0.95)]))
    assert found["clusters"][0]["relevance_score"] == 0
    assert {frozenset(each) for each in all_names(found) if len(each) < 9} == {
        each for each in stored.clusters(0.95) - {frozenset(BLANK[:2])} if len(each) <= 9
    }


# -- how much --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another server for the same dataset, which shows the nearest five images."""
    home = tmp_path_factory.mktemp("few")
    options = ("--dataset", str(lab.folder), "--owner", "ann")
    with laboratory(home, *options, max_nearest=5) as (server, ann, bob):
        (dataset,) = ann.json("/datasets")
        yield Lab(server, ann, bob, dataset["id"])


def test_a_search_shows_the_nearest_images_up_to_a_setting(few: Lab, stored: Stored) -> None:
    answer = near(few, "coffee.jpg", threshold=4)
    assert answer["metadata"]["total_media"] == 5
    place = stored.names.index("coffee.jpg")
    furthest = max(distances(answer).values())
    assert furthest == pytest.approx(1 - sorted(stored.similarity[place])[-5], abs=1e-9)
