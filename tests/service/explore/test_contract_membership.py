"""Clusters that were given out, and what people decide about pairs: rejected ones, and images to keep."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from tests.explore import JsonObject, Lab, done, duplicates, mounted, names, refusal, tags
from tests.rows import near_copies

GROUPS = {"rose": 5, "tulip": 4, "daisy": 3, "poppy": 2, "lily": 1}
NAMES = [
    str(uuid.uuid5(uuid.NAMESPACE_URL, f"{group}/{n}")) for group, size in GROUPS.items() for n in range(size)
]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Four clusters of flowers, and one alone."""
    rows = [near_copies(seed, size, 64, mutual=0.99) for seed, size in enumerate(GROUPS.values())]
    with mounted(tmp_path_factory.mktemp("garden"), NAMES, np.concatenate(rows)) as lab:
        yield lab


@pytest.fixture
def garden(flowers: Lab) -> Iterator[Lab]:
    """The same, and what a test decides is taken back in the end."""
    yield flowers
    home = f"/dataset/{flowers.dataset}"
    for what, name in (("rejections", "pairs"), ("keepers", "media_ids")):
        decided = flowers.ann.json(f"{home}/{what}")
        if decided[name]:
            change(flowers, "DELETE", what, decided)


def ids_of(group: str) -> list[str]:
    first = sum(size for name, size in GROUPS.items() if list(GROUPS).index(name) < list(GROUPS).index(group))
    return NAMES[first : first + GROUPS[group]]


def clusters(lab: Lab, threshold: float = 0.9) -> dict[frozenset[str], JsonObject]:
    found = lab.ann.explore(lab.dataset, [duplicates(threshold)])["clusters"]
    return {frozenset(names(cluster)): cluster for cluster in found}


def cluster_id(lab: Lab, group: str) -> str:
    return str(clusters(lab)[frozenset(ids_of(group))]["cluster_id"])


def change(lab: Lab, verb: str, what: str, body: JsonObject) -> None:
    assert done(lab.ann.request(verb, f"/dataset/{lab.dataset}/{what}", json=body)).json() is None


# -- cluster ids -----------------------------------------------------------------------------------


def test_an_id_is_gone_when_its_members_have_changed_and_back_with_them(garden: Lab) -> None:
    rose, tulip = cluster_id(garden, "rose"), cluster_id(garden, "tulip")
    path = f"/explore/{garden.dataset}/clusters"
    pair = {"pairs": [[ids_of("rose")[0], ids_of("rose")[1]]]}

    change(garden, "POST", "rejections", pair)
    assert "its members have changed" in refusal(garden.ann.get(f"{path}/{rose}"), 404)
    assert garden.ann.json(f"{path}/{tulip}")["n_images"] == 4

    change(garden, "DELETE", "rejections", pair)
    assert garden.ann.json(f"{path}/{rose}")["n_images"] == 5


@pytest.mark.parametrize("id_", ["b9eeab12-2b10-4956-a8bf-f8b8fabf32bf", "not-a-uuid", "0", "%20"])
def test_an_id_that_was_never_given_out_is_not_found(garden: Lab, id_: str) -> None:
    refusal(garden.ann.get(f"/explore/{garden.dataset}/clusters/{id_}"), 404)


def test_an_id_belongs_to_its_dataset_and_to_who_may_see_it(garden: Lab) -> None:
    id_ = cluster_id(garden, "rose")
    refusal(garden.bob.get(f"/explore/{garden.dataset}/clusters/{id_}"), 404)
    other = garden.bob.new_dataset("empty")
    refusal(garden.bob.get(f"/explore/{other}/clusters/{id_}"), 404)


def test_an_id_that_two_questions_gave_out_lives_as_long_as_one_of_them_gives_it(garden: Lab) -> None:
    id_ = cluster_id(garden, "daisy")
    tag = done(garden.ann.post(f"/dataset/{garden.dataset}/tags", json={"name": "white"})).json()["id"]
    media = {"media_ids": ids_of("daisy")}
    change(garden, "POST", f"tags/{tag}/media", media)
    (tagged,) = garden.ann.explore(garden.dataset, [duplicates(0.9), tags(tag)])["clusters"]
    assert tagged["cluster_id"] == id_

    change(garden, "DELETE", f"tags/{tag}/media", {"media_ids": ids_of("daisy")[:1]})
    members = garden.ann.json(f"/explore/{garden.dataset}/clusters/{id_}")
    assert {each["media_id"] for each in members["media"]} == set(ids_of("daisy"))
    (rest,) = garden.ann.explore(garden.dataset, [duplicates(0.9), tags(tag)])["clusters"]
    assert rest["n_images"] == 2 and rest["cluster_id"] != id_


# -- generations -----------------------------------------------------------------------------------


def test_a_generation_ends_with_a_change_and_not_with_a_question(garden: Lab) -> None:
    def generation() -> int:
        number: int = garden.ann.explore(garden.dataset, [duplicates(0.9)])["metadata"]["generation"]
        return number

    first = generation()
    for threshold in (0, 1):
        garden.ann.explore(garden.dataset, threshold=threshold)
    assert generation() == first
    known = {"If-None-Match": garden.ann.ask(garden.dataset).headers["etag"]}
    path = f"/explore/{garden.dataset}"
    assert garden.ann.request("GET", path, headers=known).status_code == 304

    change(garden, "POST", "rejections", {"pairs": [ids_of("poppy")]})
    assert generation() > first
    assert garden.ann.request("GET", path, headers=known).status_code == 200


# -- rejections ------------------------------------------------------------------------------------


def test_a_rejected_pair_is_in_no_cluster_of_duplicates_at_any_threshold(garden: Lab) -> None:
    pair = ids_of("poppy")
    change(garden, "POST", "rejections", {"pairs": [pair]})
    assert garden.ann.json(f"/dataset/{garden.dataset}/rejections") == {"pairs": [sorted(pair)]}
    for threshold in (0, 0.01, 0.5, 0.9):
        assert not any(set(pair) <= held for held in clusters(garden, threshold)), threshold
    assert garden.ann.json(f"/dataset/{garden.dataset}/media/{pair[0]}/duplicates") == []

    change(garden, "DELETE", "rejections", {"pairs": [pair[::-1]]})
    assert frozenset(pair) in clusters(garden)


def test_rejecting_one_pair_leaves_the_others_together(garden: Lab) -> None:
    a, b, *others = ids_of("rose")
    change(garden, "POST", "rejections", {"pairs": [[a, b]]})
    held = [each for each in clusters(garden) if each & set(ids_of("rose"))]
    assert set(others) <= set().union(*held)
    assert not any({a, b} <= each for each in held)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"pairs": [[NAMES[0], NAMES[0]]]}, 422),
        ({"pairs": [[NAMES[0]]]}, 422),
        ({"pairs": [[NAMES[0], "a"]]}, 422),
        ({"pairs": [NAMES[0]]}, 422),
        ({"pairs": []}, 422),
        ({"pairs": None}, 422),
        ({}, 422),
        ({"pairs": [[NAMES[0], NAMES[1]], [NAMES[2], "b9eeab12-2b10-4956-a8bf-f8b8fabf32bf"]]}, 404),
    ],
)
def test_pairs_that_are_none_are_refused_and_nothing_is_rejected(
    garden: Lab, body: JsonObject, code: int
) -> None:
    refusal(garden.ann.post(f"/dataset/{garden.dataset}/rejections", json=body), code)
    assert garden.ann.json(f"/dataset/{garden.dataset}/rejections") == {"pairs": []}


# -- keepers ---------------------------------------------------------------------------------------


def test_an_image_to_keep_comes_first(garden: Lab) -> None:
    first, *others = names(clusters(garden)[frozenset(ids_of("rose"))])
    change(garden, "POST", "keepers", {"media_ids": others[-1:]})
    assert garden.ann.json(f"/dataset/{garden.dataset}/keepers") == {"media_ids": others[-1:]}
    assert names(clusters(garden)[frozenset(ids_of("rose"))])[0] == others[-1]
    assert garden.ann.json(f"/dataset/{garden.dataset}/media/{others[-1]}")["kept"] is True

    change(garden, "DELETE", "keepers", {"media_ids": others[-1:]})
    assert names(clusters(garden)[frozenset(ids_of("rose"))])[0] == first


def test_images_to_keep_must_be_there(garden: Lab) -> None:
    path = f"/dataset/{garden.dataset}/keepers"
    refusal(
        garden.ann.post(path, json={"media_ids": [NAMES[0], "b9eeab12-2b10-4956-a8bf-f8b8fabf32bf"]}), 404
    )
    refusal(garden.ann.post(path, json={"media_ids": "all"}), 422)
    refusal(garden.ann.post(path, json={"media_ids": []}), 422)
    refusal(garden.ann.post(path, content=b"[1]"), 422)
    refusal(garden.ann.post(path, content=b"{"), 422)
    assert garden.ann.json(path) == {"media_ids": []}
