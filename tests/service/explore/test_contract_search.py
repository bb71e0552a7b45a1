"""Visual search: an image is uploaded or named, and explore shows what is near it."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.brute_force import Stored
from tests.explore import (
    Client,
    JsonObject,
    Lab,
    all_names,
    done,
    duplicates,
    labels,
    laboratory,
    names,
    refusal,
)
from tests.photographs import BLANK, photographs

FILES = photographs()
FINEST = 0.93
"""Similarity of the finest level of the model."""


def upload(lab: Lab, content: bytes, client: Client | None = None, **params: Any) -> httpx.Response:
    """Upload an image to search for."""
    path = f"/dataset/{lab.dataset}/search-image-similarity"
    asked = {"entity_type": "IMAGES", "threshold": 0, **params}
    return (client or lab.ann).post(path, params=asked, files={"file": ("query.jpg", content)})


def search(lab: Lab, content: bytes, **params: Any) -> JsonObject:
    """What explore answers to the anchor of an uploaded image."""
    anchor = done(upload(lab, content, **params)).json()
    return lab.ann.explore(lab.dataset, threshold=0, entity_type="IMAGES", page_number=0, **anchor)


def near(lab: Lab, name: str, **params: Any) -> JsonObject:
    """What explore answers to an image of the dataset."""
    ids = {path.rsplit("/", 1)[-1]: id_ for path, id_ in lab.ann.ids(lab.dataset).items()}
    return lab.ann.explore(lab.dataset, anchor_media_id=ids[name], anchor_type="MEDIA", **params)


def distances(answer: JsonObject) -> dict[str, float]:
    previews = [preview for cluster in answer["clusters"] for preview in cluster["previews"]]
    return {preview["file_name"]: preview["relevance_score"] for preview in previews}


# -- the answer ------------------------------------------------------------------------------------


def test_an_upload_is_answered_with_an_anchor(lab: Lab) -> None:
    answer = done(upload(lab, FILES["coffee.jpg"])).json()
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
    assert search(lab, FILES["coffee.jpg"]) == near(lab, "coffee.jpg", threshold=0)
    scaled = distances(search(lab, rescaled("coffee.jpg")))
    assert min(scaled, key=lambda name: scaled[name]).startswith("coffee")
    assert 0 < min(scaled.values()) < 0.05


def rescaled(name: str) -> bytes:
    """The same picture as a PNG of two thirds of its size."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(FILES[name])) as picture:
        picture.resize((picture.width * 2 // 3, picture.height * 2 // 3)).save(target, "PNG")
    return target.getvalue()


def test_an_anchor_is_good_for_many_questions(lab: Lab) -> None:
    anchor = done(upload(lab, FILES["astronaut.jpg"])).json()
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


def test_a_limit_on_the_distance(lab: Lab) -> None:
    anchor = done(upload(lab, FILES["coffee.jpg"])).json()["anchor_media_id"]
    everything = distances(lab.ann.explore(lab.dataset, [{"similarity": {"op": "upload", "value": anchor}}]))
    limit = everything["coffee-again.jpg"]
    within = {"similarity": {"op": "upload", "value": anchor, "threshold": limit}}
    held = distances(lab.ann.explore(lab.dataset, [within]))
    assert held == {name: distance for name, distance in everything.items() if distance <= limit}
    assert "coffee-again.jpg" in held


def test_flat_images_are_nobodys_neighbours(lab: Lab) -> None:
    assert not set(BLANK) & set(distances(near(lab, "coffee.jpg")))
    assert distances(near(lab, BLANK[0])) == dict.fromkeys(BLANK[:2], 0)
    assert distances(search(lab, FILES[BLANK[2]])) == {BLANK[2]: 0}


# -- parts of an image -----------------------------------------------------------------------------

WIDTH, HEIGHT = Image.open(io.BytesIO(FILES["coffee.jpg"])).size
INNER = (WIDTH // 12, HEIGHT // 12, WIDTH - 2 * (WIDTH // 12), HEIGHT - 2 * (HEIGHT // 12))
FRACTIONS = dict(
    zip(
        ("x", "y", "width", "height"),
        (each / side for each, side in zip(INNER, (WIDTH, HEIGHT) * 2, strict=True)),
        strict=True,
    )
)


@pytest.mark.parametrize(
    "box", [json.dumps(FRACTIONS), ",".join(map(str, INNER))], ids=["fractions", "pixels"]
)
def test_a_part_of_an_image_finds_its_like(lab: Lab, box: str) -> None:
    found = distances(search(lab, FILES["coffee.jpg"], bounding_box=box))
    assert min(found, key=lambda name: found[name]) == "coffee-cropped.jpg"
    assert found["coffee-cropped.jpg"] < 0.03 < found["coffee.jpg"]


@pytest.mark.parametrize(
    "box", ['{"x":0,"y":0,"width":1,"height":1}', f"0,0,{WIDTH},{HEIGHT}", "0,0,9999,9999"]
)
def test_the_whole_image_as_a_part(lab: Lab, box: str) -> None:
    found = distances(search(lab, FILES["coffee.jpg"], bounding_box=box))
    assert min(found, key=lambda name: found[name]) == "coffee.jpg" and found["coffee.jpg"] < 1e-3


@pytest.mark.parametrize(
    "box",
    [
        *('{"x":0.5,"y":0,"width":0.6,"height":1}', '{"x":-0.1,"y":0,"width":1,"height":1}'),
        *(
            '{"x":0,"y":0,"width":0,"height":1}',
            '{"x":0,"y":0,"width":1}',
            '{"x":0,"y":0,"width":1,"height":"1"}',
        ),
        *(
            '{"x":NaN,"y":0,"width":1,"height":1}',
            '{"x":0,"y":0,"width":1,"height":1,"z":1}',
            "{}",
            "[0,0,1,1]",
        ),
        *(
            "0,0,0,10",
            "0,0,10",
            "-1,0,10,10",
            "0,0,1.5,10",
            "a,b,c,d",
            "9000,0,10,10",
            "{",
            "0.1,0.1,0.5,0.5",
        ),
    ],
)
def test_parts_that_are_none(lab: Lab, box: str) -> None:
    assert refusal(upload(lab, FILES["coffee.jpg"], bounding_box=box), 422).startswith("bounding_box ")


# -- refused ---------------------------------------------------------------------------------------


def test_a_client_may_leave_the_parameters_out(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/search-image-similarity?allow_deleted=false"
    done(lab.ann.post(path, files={"file": ("query.jpg", FILES["coffee.jpg"])}))


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"entity_type": "OBJECTS"}, "entity_type"),
        ({"threshold": 5}, "threshold"),
        ({"threshold": "0.5"}, "threshold"),
    ],
)
def test_parameters_that_are_not_served(lab: Lab, params: JsonObject, named: str) -> None:
    assert refusal(upload(lab, FILES["coffee.jpg"], **params), 422).startswith(named)


def test_files_that_are_none(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/search-image-similarity"
    image = ("query.jpg", FILES["coffee.jpg"])
    assert "'file'" in refusal(lab.ann.post(path, files={"note": (None, "text")}), 400)
    assert "'file'" in refusal(lab.ann.post(path, files=[("file", image), ("file", image)]), 400)
    assert "'files'" in refusal(lab.ann.post(path, files={"files": image}), 422)
    refusal(lab.ann.post(path, content=FILES["coffee.jpg"]), 422)
    for content in (b"", b"<html></html>", FILES["coffee.jpg"][:500]):
        assert "the image cannot be read" in refusal(upload(lab, content), 400)


def test_an_anchor_belongs_to_its_dataset(lab: Lab) -> None:
    anchor = done(upload(lab, FILES["coffee.jpg"])).json()
    refusal(lab.bob.ask(lab.dataset, **anchor), 404)
    refusal(upload(lab, FILES["coffee.jpg"], lab.bob), 404)
    kinds = [{**anchor, "anchor_type": "MEDIA"}, {**anchor, "anchor_media_id": str(uuid.uuid4())}]
    for asked in kinds:
        assert asked["anchor_media_id"] in refusal(lab.ann.ask(lab.dataset, **asked), 404)


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
    assert all(a <= b for a, b in pairwise(sorted(distances(answer).values())))
