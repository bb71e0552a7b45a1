"""Searching by text: distances as computed by hand, filters, groups, captions, models of images only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.explore import Client, done, duplicates, labels, refusal, text
from tests.models.checkpoints import save_folder_of
from tests.servers import running_server
from tests.service.explore.clip import (
    DIFFERENT,
    MICRO,
    ByHand,
    Stored,
    assert_equal,
    files,
    found,
    in_order,
)
from twinlens.engine.dataset import Dataset
from twinlens.service.keys import KeyStore

NEAREST = 8
"""Images that one search shows, fewer than there are."""
LEVELS = (0.99, 0.97, 0.95, 0.925, 0.9)
"""Similarities of the levels of `threshold` for CLIP: strict 0.99, default 0.95, loose 0.9, and between."""
OWN_ID = "6f6b7f0e-6f4e-4c1e-9a53-3f6a5b0c7d11"


@dataclass(frozen=True)
class Place:
    """A server with a dataset of a CLIP model, and one of vectors of another model."""

    client: Client
    dataset: str
    images_only: str
    index: Path
    weights: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("text")
    weights = save_folder_of("twinlens-vit", folder / "weights")
    home, own = folder / "home", folder / "own"
    Dataset.from_vectors([OWN_ID], np.eye(1, 4), name="own-vectors", folder=own).close()
    with closing(KeyStore(home)) as keys:
        key = keys.create("ann")
    settings = {"model": f"local-dir:{weights}", "max_nearest": NEAREST, "device": "cpu"}
    with (
        running_server(home, "--dataset", str(own), "--owner", "ann", **settings) as server,
        Client(server.url, key) as client,
    ):
        (mounted,) = [each["id"] for each in client.json("/datasets")]
        dataset = client.make_dataset(files())
        yield Place(client, dataset, mounted, home / "datasets" / dataset / "index", weights)


@pytest.fixture(scope="module")
def stored(place: Place) -> Stored:
    return Stored.read(place.index)


@pytest.fixture(scope="module")
def by_hand(place: Place, stored: Stored) -> ByHand:
    return ByHand(f"local-dir:{place.weights}", stored, NEAREST)


def test_distances_are_those_of_open_clip_and_the_stored_vectors(place: Place, by_hand: ByHand) -> None:
    answer = place.client.explore(place.dataset, [text("a dog on a beach")], entity_type="IMAGES")
    assert_equal(found(answer), by_hand.nearest("a dog on a beach"))
    assert answer["metadata"]["total_media"] == NEAREST
    scores = [cluster["relevance_score"] for cluster in answer["clusters"]]
    assert scores == sorted(scores)
    for cluster in answer["clusters"]:
        inside = [preview["relevance_score"] for preview in cluster["previews"]]
        assert inside == sorted(inside) and cluster["relevance_score"] == inside[0]
        kinds = {each["relevance_score_type"] for each in (cluster, *cluster["previews"])}
        assert kinds == {"cosine_distance"}


@pytest.mark.parametrize("parameter", ["caption", "image_caption"])
def test_the_parameter_asks_what_the_filter_asks(place: Place, parameter: str) -> None:
    filtered = place.client.explore(place.dataset, [text("a red car")])
    assert place.client.explore(place.dataset, **{parameter: "a red car"}) == filtered


@pytest.mark.parametrize("level", range(5))
def test_results_are_grouped_as_finely_as_asked(place: Place, stored: Stored, level: int) -> None:
    answer = place.client.explore(place.dataset, caption="a dog", threshold=level)
    groups = [
        stored.rows([each["media_id"] for each in cluster["previews"]]) for cluster in answer["clusters"]
    ]
    assert {cluster["similarity_threshold"] for cluster in answer["clusters"]} == {str(level)}
    assert all(((group @ group.T) >= LEVELS[level] - MICRO).all() for group in groups)
    # No two of them could be one.
    assert all((one @ other.T).min() < LEVELS[level] for one, other in combinations(groups, 2))


def test_finer_levels_have_more_groups(place: Place) -> None:
    counts = [
        len(place.client.explore(place.dataset, caption="a dog", threshold=n)["clusters"]) for n in range(5)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


@pytest.mark.parametrize("how", ["parameter", "filter", "both"])
def test_a_threshold_is_the_largest_distance(place: Place, how: str) -> None:
    images = found(place.client.explore(place.dataset, [text("a house by the sea")]))
    bound = images[3][1]
    in_filter: dict[str, Any] = {"parameter": {}, "filter": {"threshold": bound}, "both": {"threshold": 1.0}}[
        how
    ]
    parameter = {} if how == "filter" else {"textual_similarity_threshold": bound}
    asked = place.client.explore(place.dataset, [text("a house by the sea", **in_filter)], **parameter)
    assert 4 <= len(found(asked)) < NEAREST
    assert_equal(found(asked), [image for image in images if image[1] <= bound])


def test_several_texts_must_all_be_near(place: Place, by_hand: ByHand) -> None:
    texts = ("a dog", "snow on a mountain at night")
    asked = place.client.explore(place.dataset, [text(each) for each in texts])
    assert_equal(found(asked), by_hand.nearest(*texts))
    assert found(asked) != found(place.client.explore(place.dataset, [text(texts[0])]))


def test_each_of_several_texts_has_its_own_threshold(place: Place, by_hand: ByHand) -> None:
    near, far = "a dog", "snow on a mountain at night"
    nearest = found(place.client.explore(place.dataset, [text(near)]))[:5]
    distances = dict(by_hand.nearest(far, most=DIFFERENT + 2))
    bound = nearest[-1][1]
    assert bound < min(distances.values()), "one threshold for both would leave nothing"
    answer = place.client.explore(place.dataset, [text(near, threshold=bound), text(far, threshold=1)])
    assert_equal(found(answer), in_order((id_, distances[id_]) for id_, _ in nearest))


def test_labels_choose_before_the_nearest_are_counted(place: Place, by_hand: ByHand) -> None:
    asked = place.client.explore(place.dataset, [text("a dog"), labels("odd")])
    assert_equal(
        found(asked), by_hand.nearest("a dog", among=lambda name: name[1] in "13579" and len(name) == 6)
    )
    assert {frozenset(cluster["labels"]) for cluster in asked["clusters"]} == {frozenset({"odd"})}


def test_duplicates_among_the_nearest(place: Place, stored: Stored, by_hand: ByHand) -> None:
    asked = place.client.explore(place.dataset, [text("a dog"), duplicates(0.97)])
    images = dict(by_hand.nearest("a dog"))
    assert asked["clusters"] and all(cluster["n_images"] > 1 for cluster in asked["clusters"])
    for cluster in asked["clusters"]:
        members = [preview["media_id"] for preview in cluster["previews"]]
        assert set(members) <= images.keys()
        assert (stored.rows(members) @ stored.rows(members).T >= 0.97 - MICRO).all()
    units = stored.rows([id_ for id_ in images if id_ not in dict(found(asked))])
    assert np.triu(units @ units.T, 1).max(initial=0.0) < 0.97


@pytest.mark.parametrize("words", ["running", "RUNS dog", "beach run"])
def test_words_are_found_in_captions_by_their_stems(place: Place, words: str) -> None:
    answer = place.client.explore(place.dataset, [text(words, op="fts")])
    previews = [preview["file_name"] for cluster in answer["clusters"] for preview in cluster["previews"]]
    assert previews == ["02.jpg"] and answer["clusters"][0]["relevance_score"] is None


def test_all_words_must_be_in_a_caption(place: Place) -> None:
    assert place.client.explore(place.dataset, [text("dog beach", op="fts")])["metadata"]["total_media"] == 2
    assert place.client.explore(place.dataset, [text("dog cat", op="fts")])["clusters"] == []


def test_captions_are_shown_with_what_is_found(place: Place) -> None:
    answer = place.client.explore(place.dataset, [text("a dog"), text("asleep", op="fts")])
    (cluster,) = answer["clusters"]
    assert cluster["captions"] == ["Two dogs asleep; beaches behind them"]
    assert cluster["previews"][0]["caption"] == cluster["captions"][0]


def test_vector_search_answers_with_a_list(place: Place, by_hand: ByHand) -> None:
    body = {"text": "a dog on a beach", "entity_type": "IMAGES", "limit": 5}
    answer = done(place.client.post(f"/vector_search/{place.dataset}", json=body)).json()
    images = [(each["media_id"], each["relevance_score"]) for each in answer["results"]]
    assert_equal(images, by_hand.nearest("a dog on a beach")[:5])
    assert answer["metadata"] == {"generation": place.client.explore(place.dataset)["metadata"]["generation"]}
    without_limit = done(place.client.post(f"/vector_search/{place.dataset}", json={"text": "a dog"})).json()
    assert len(without_limit["results"]) == NEAREST


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "text"),
        ({"text": 7}, "text"),
        ({"text": "  "}, "text"),
        ({"text": "dog", "limit": 0}, "limit"),
        ({"text": "dog", "limit": 1001}, "limit"),
        ({"text": "dog", "limit": True}, "limit"),
        ({"text": "dog", "limit": 1.5}, "limit"),
        ({"text": "dog", "entity_type": "OBJECTS"}, "OBJECTS"),
        ({"text": "dog", "top": 3}, "top"),
        (["dog"], "object"),
    ],
)
def test_vector_search_says_what_it_takes(place: Place, body: Any, named: str) -> None:
    assert named in refusal(place.client.post(f"/vector_search/{place.dataset}", json=body), 422)


def test_the_model_of_a_dataset_is_named(place: Place) -> None:
    (model,) = place.client.json(f"/vector_search/{place.dataset}/embedding_models")
    assert model["name"] == f"local-dir:{place.weights}" and model["dim"] == 32
    assert model["text_capable"] is True and model["type"] == "MULTIMODEL_IMAGE_ENCODING"
    (other,) = place.client.json(f"/vector_search/{place.images_only}/embedding_models")
    assert (other["name"], other["text_capable"], other["type"]) == ("own-vectors", False, "IMAGE_ENCODING")


def test_a_model_of_images_only_says_so_and_what_to_do(place: Place) -> None:
    asked = [
        place.client.ask(place.images_only, caption="a dog"),
        place.client.ask(place.images_only, [text("a dog")]),
        place.client.post(f"/vector_search/{place.images_only}", json={"text": "a dog"}),
        place.client.get(f"/dataset/{place.images_only}/export_context_async", caption="a dog"),
    ]
    for response in asked:
        said = refusal(response, 409)
        assert "own-vectors" in said and "search by an image" in said and "CLIP" in said


def test_words_need_captions(place: Place) -> None:
    said = refusal(place.client.ask(place.images_only, [text("dog", op="fts")]), 409)
    assert "no" in said and "image_annotations.csv" in said
