"""Searching by an image: uploads and images of the dataset, parts of images, what is refused and when."""

from __future__ import annotations

import io
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.brute_force import Stored
from tests.explore import Client, JsonObject, Lab, done, duplicates, labels, refusal, two_keys
from tests.photographs import BLANK, photographs
from tests.pictures import encode, exif
from tests.servers import running_server
from twinlens.service.keys import NewKey

BOX = {"x": 0.2, "y": 0.1, "width": 0.5, "height": 0.6}
NOBODY = str(uuid.UUID(int=7))


def send(client: Client, dataset: str, *files: bytes | tuple[str, bytes], **params: Any) -> httpx.Response:
    """Upload images to search for, named query.jpg unless they come with a name."""
    form = [("file", file if isinstance(file, tuple) else ("query.jpg", file)) for file in files]
    return client.post(f"/dataset/{dataset}/search-image-similarity", files=form, params=params)


def search(client: Client, dataset: str, file: bytes, box: Any = None, **params: Any) -> JsonObject:
    """What explore answers for an uploaded image."""
    boxed = {} if box is None else {"bounding_box": box if isinstance(box, str) else json.dumps(box)}
    anchor = done(send(client, dataset, file, entity_type="IMAGES", threshold=0, **boxed)).json()
    assert list(anchor) == ["anchor_media_id", "anchor_type"] and anchor["anchor_type"] == "UPLOAD"
    return client.explore(dataset, **anchor, **params)


def distances(answer: JsonObject) -> dict[str, float]:
    """Distances of all images shown, by name, in their order."""
    return {
        preview["file_name"]: preview["relevance_score"]
        for cluster in answer["clusters"]
        for preview in cluster["previews"]
    }


def assert_rising(answer: JsonObject) -> None:
    clusters = answer["clusters"]
    scores = [cluster["relevance_score"] for cluster in clusters]
    assert scores == sorted(scores)
    for cluster in clusters:
        inside = [preview["relevance_score"] for preview in cluster["previews"]]
        assert inside == sorted(inside) and inside[0] == cluster["relevance_score"]
        assert {each["relevance_score_type"] for each in (cluster, *cluster["previews"])} == {
            "cosine_distance"
        }


def assert_by_hand(answer: JsonObject, stored: Stored, name: str) -> None:
    """Distances are those of the stored rows, and flat images are nobody's neighbours."""
    for other, distance in distances(answer).items():
        assert distance == pytest.approx(1 - stored.between(name, other), abs=2e-6)
    assert answer["metadata"]["total_media"] == len(stored.ids) - len(BLANK)
    assert not set(BLANK) & distances(answer).keys()


@pytest.mark.parametrize("name", ["astronaut.jpg", "retina.jpg", "chelsea-q50.jpg"])
def test_an_image_of_the_dataset_is_at_no_distance_from_itself(lab: Lab, stored: Stored, name: str) -> None:
    uploaded = search(lab.ann, lab.dataset, photographs()[name])
    anchor = {"anchor_media_id": stored.ids[stored.names.index(name)], "anchor_type": "MEDIA"}
    for answer in (uploaded, lab.ann.explore(lab.dataset, **anchor)):
        assert_rising(answer)
        assert_by_hand(answer, stored, name)
        assert distances(answer)[name] == 0.0 == answer["clusters"][0]["relevance_score"]


def test_identical_bytes_are_at_no_distance(lab: Lab) -> None:
    found = distances(search(lab.ann, lab.dataset, photographs()["astronaut.jpg"]))
    assert found["astronaut.jpg"] == found["astronaut-copy.jpg"] == 0.0
    assert 0 < found["astronaut-again.jpg"] < found["rocket.jpg"]


def test_an_edited_image_finds_what_it_was_made_of(lab: Lab) -> None:
    with Image.open(io.BytesIO(photographs()["coffee.jpg"])) as file:
        edited = encode(file.resize((200, 130)), "WEBP", quality=70)
    found = search(lab.ann, lab.dataset, edited)
    first = next(iter(distances(found)))
    assert first.startswith("coffee") and 0 < distances(found)[first] < 0.2


@pytest.mark.parametrize("turn", [1, 6])
def test_a_box_searches_for_what_is_in_it(lab: Lab, turn: int) -> None:
    """The box lies on the upright image, however its file is turned."""
    with Image.open(io.BytesIO(photographs()["chelsea.jpg"])) as file:
        upright = file.convert("RGB")
    width, height = upright.size
    left, top = int(width * BOX["x"]), int(height * BOX["y"])
    right, bottom = (
        -int(-width * (BOX["x"] + BOX["width"]) // 1),
        -int(-height * (BOX["y"] + BOX["height"]) // 1),
    )
    cropped = distances(search(lab.ann, lab.dataset, encode(upright.crop((left, top, right, bottom)), "PNG")))
    stored_as = upright if turn == 1 else upright.rotate(90, expand=True)
    whole = encode(stored_as, "PNG", exif=exif(turn))
    boxes = (BOX, f"{left},{top},{right - left},{bottom - top}")
    for box in boxes:
        found = distances(search(lab.ann, lab.dataset, whole, box))
        assert found.keys() == cropped.keys()
        np.testing.assert_allclose([found[name] for name in cropped], list(cropped.values()), atol=1e-4)
    assert distances(search(lab.ann, lab.dataset, whole)) != cropped


def test_a_box_may_come_with_the_form(lab: Lab) -> None:
    file, box = photographs()["coins.jpg"], json.dumps(BOX)
    path = f"/dataset/{lab.dataset}/search-image-similarity"
    form = lab.ann.post(path, files={"file": ("q.jpg", file)}, data={"bounding_box": box})
    answer = lab.ann.explore(lab.dataset, **done(form).json())
    assert distances(answer) == distances(search(lab.ann, lab.dataset, file, BOX))
    assert distances(answer)["coins.jpg"] > 0


def test_a_part_is_not_what_its_file_is_identical_to(lab: Lab) -> None:
    found = distances(search(lab.ann, lab.dataset, photographs()["rocket.jpg"], BOX))
    assert found["rocket.jpg"] > 0


def test_a_flat_image_finds_its_twins_and_nothing_else(lab: Lab) -> None:
    white = photographs()[BLANK[0]]
    assert distances(search(lab.ann, lab.dataset, white)) == {BLANK[0]: 0.0, BLANK[1]: 0.0}
    same_pixels = encode(np.full((48, 64, 3), 255, np.uint8), "BMP")
    assert distances(search(lab.ann, lab.dataset, same_pixels)) == {BLANK[0]: 0.0, BLANK[1]: 0.0}
    flat = encode(np.full((48, 64, 3), 99, np.uint8), "PNG")
    nothing = search(lab.ann, lab.dataset, flat)
    assert nothing["clusters"] == [] and nothing["metadata"]["total_clusters"] == 0


def test_labels_and_duplicates_go_with_a_search(lab: Lab) -> None:
    file = photographs()["astronaut.jpg"]
    persons = search(lab.ann, lab.dataset, file, vql=json.dumps([labels("person")]))
    assert set(distances(persons)) == {
        *("astronaut.jpg", "astronaut-again.jpg", "astronaut-smaller.jpg", "camera.jpg")
    }
    twins = search(lab.ann, lab.dataset, file, vql=json.dumps([labels("person"), duplicates(0.9)]))
    assert len(twins["clusters"]) == 1 and "camera.jpg" not in distances(twins)


def test_the_filter_of_vql_takes_a_largest_distance(lab: Lab) -> None:
    anchor = done(send(lab.ann, lab.dataset, photographs()["brick.jpg"])).json()["anchor_media_id"]
    everything = lab.ann.explore(lab.dataset, anchor_media_id=anchor, anchor_type="UPLOAD")
    without = lab.ann.explore(lab.dataset, [{"similarity": {"op": "upload", "value": anchor}}])
    assert without == everything
    bound = sorted(distances(everything).values())[2]
    near = lab.ann.explore(
        lab.dataset, [{"similarity": {"op": "upload", "value": anchor, "threshold": bound}}]
    )
    assert distances(near) == {name: d for name, d in distances(everything).items() if d <= bound}
    assert near["metadata"]["total_media"] == 3


@pytest.mark.parametrize(
    ("files", "code", "named"),
    [
        ([b"no image at all"], 400, "cannot be read"),
        ([photographs()["rocket.jpg"][:300]], 400, "cannot be read"),
        ([b"<html><script>alert(1)</script></html>"], 400, "cannot be read"),
        ([b""], 400, "cannot be read"),
        ([("notes.txt", b"text")], 400, "notes.txt"),
        ([("image_annotations.csv", b"filename,label\na.jpg,cat\n")], 400, ""),
        ([("film.mp4", b"\0\0\0\x18ftypmp42")], 422, "film.mp4"),
        ([photographs()["rocket.jpg"]] * 2, 400, "one image"),
    ],
)
def test_what_is_no_image_is_refused(lab: Lab, files: list[Any], code: int, named: str) -> None:
    assert named in refusal(send(lab.ann, lab.dataset, *files), code)


def test_no_file_and_another_field_are_refused(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/search-image-similarity"
    refusal(lab.ann.post(path, data={"bounding_box": ""}, files={"other": (None, b"x")}), 400)
    assert "'image'" in refusal(lab.ann.post(path, files={"image": ("a.jpg", b"x")}), 422)
    refusal(lab.ann.post(path, json={"file": "x"}), 422)
    refusal(lab.ann.post(path), 422)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"entity_type": "OBJECTS"}, "OBJECTS"),
        ({"entity_type": "VIDEOS"}, "VIDEOS"),
        ({"entity_type": "images"}, "entity_type"),
        ({"threshold": "5"}, "threshold"),
        ({"threshold": "0.95"}, "threshold"),
    ],
)
def test_parameters_are_those_of_explore(lab: Lab, params: dict[str, str], named: str) -> None:
    assert named in refusal(send(lab.ann, lab.dataset, photographs()["rocket.jpg"], **params), 422)


@pytest.mark.parametrize(
    "box",
    [
        "{}",
        "[0,0,1,1]",
        '{"x":0,"y":0,"width":1}',
        '{"x":0,"y":0,"width":1,"height":1,"z":1}',
        '{"x":"0","y":0,"width":1,"height":1}',
        '{"x":true,"y":0,"width":1,"height":1}',
        '{"x":NaN,"y":0,"width":1,"height":1}',
        '{"x":-0.1,"y":0,"width":1,"height":1}',
        '{"x":0.5,"y":0,"width":0.6,"height":1}',
        '{"x":0,"y":0,"width":0,"height":1}',
        '{"x":0,"y":0,"width":1e999,"height":1}',
        "1,2,3",
        "1,2,0,4",
        "-1,2,3,4",
        "1.5,2,3,4",
        "4000,0,10,10",
        "x",
        '{"x":0',
    ],
)
def test_boxes_that_are_none_are_refused(lab: Lab, box: str) -> None:
    sent = send(lab.ann, lab.dataset, photographs()["rocket.jpg"], bounding_box=box)
    assert "bounding_box" in refusal(sent, 422)


@pytest.mark.parametrize("kind", ["UPLOAD", "MEDIA"])
def test_anchors_that_nobody_knows_are_not_found(lab: Lab, stored: Stored, kind: str) -> None:
    said = refusal(lab.ann.ask(lab.dataset, anchor_media_id=NOBODY, anchor_type=kind), 404)
    assert NOBODY in said
    anchor = done(send(lab.ann, lab.dataset, photographs()["rocket.jpg"])).json()["anchor_media_id"]
    other = anchor if kind == "MEDIA" else stored.ids[0]
    refusal(lab.ann.ask(lab.dataset, anchor_media_id=other, anchor_type=kind), 404)


def test_others_neither_search_nor_use_anchors(lab: Lab) -> None:
    refusal(send(lab.bob, lab.dataset, photographs()["rocket.jpg"]), 404)
    anchor = done(send(lab.ann, lab.dataset, photographs()["rocket.jpg"])).json()
    refusal(lab.bob.ask(lab.dataset, **anchor), 404)


@contextmanager
def served(home: Path, key: NewKey, *options: str, **settings: object) -> Iterator[Client]:
    """Ann's client of a server for datasets of hers."""
    with (
        running_server(home, *options, "--owner", "ann", **settings) as server,
        Client(server.url, key) as client,
    ):
        yield client


def test_an_anchor_belongs_to_its_dataset_outlives_a_restart_and_expires(lab: Lab, tmp_path: Path) -> None:
    options = []
    for name in ("one", "two"):
        options += ["--dataset", str(shutil.copytree(lab.folder, tmp_path / name))]
    home, file = tmp_path / "home", photographs()["moon.jpg"]
    with two_keys(home) as (key, _):
        with served(home, key, *options) as ann:
            one, two = (each["id"] for each in ann.json("/datasets"))
            anchor = done(send(ann, one, file)).json()
            before = ann.explore(one, **anchor)
            refusal(ann.ask(two, **anchor), 404)
        with served(home, key, *options) as ann:
            assert distances(ann.explore(one, **anchor)) == distances(before)
        with served(home, key, *options, anchor_seconds=1) as ann:
            fresh = done(send(ann, one, file)).json()
            assert distances(ann.explore(one, **fresh, threshold=1)) == distances(before)
            time.sleep(2.1)
            for old in (anchor, fresh):
                said = refusal(ann.ask(one, **old), 404)
                assert old["anchor_media_id"] in said and "upload it" in said
