"""What people decide about images: tags, "not a duplicate", "keep this one"; who may, and for how long."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.explore import Client, JsonObject, done, names, refusal, tags, two_keys
from tests.photographs import CATS, photographs
from tests.servers import running_server
from twinlens.service.keys import NewKey

CHOSEN = ("astronaut.jpg", "astronaut-copy.jpg", "astronaut-again.jpg", "coffee.jpg", "rocket.jpg", *CATS[:3])
THRESHOLD = 0.9
NOBODY = str(uuid.UUID(int=7))


@dataclass
class Place:
    """A server that can be started again, and a dataset of ann's that bob may see."""

    home: Path
    keys: tuple[NewKey, NewKey]
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        server = self.stack.enter_context(running_server(self.home, model="efficientnet_lite0"))
        self.ann, self.bob = (self.stack.enter_context(Client(server.url, key)) for key in self.keys)

    def restart(self) -> None:
        self.stack.close()
        self.start()

    @property
    def path(self) -> str:
        return f"/dataset/{self.dataset}"

    def prepare(self) -> None:
        self.dataset = self.ann.make_dataset({name: photographs()[name] for name in CHOSEN})
        done(self.ann.put(f"/manage/{self.dataset}/invite", json={"grant_to_user_email": "bob"}))
        self.ids = self.ann.ids(self.dataset)

    def twins(self, **params: Any) -> list[JsonObject]:
        """Clusters of duplicates."""
        clusters: list[JsonObject] = self.ann.explore(
            self.dataset, **{"duplicate_threshold": THRESHOLD, **params}
        )["clusters"]
        return clusters


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("decisions")
    with two_keys(home) as keys:
        made = Place(home, keys)
        with made.stack:
            made.start()
            made.prepare()
            yield made


@pytest.fixture
def tag(place: Place) -> Iterator[str]:
    """Id of a tag that no image carries."""
    made = done(place.ann.post(f"{place.path}/tags", json={"name": "to check"})).json()
    yield made["id"]
    done(place.ann.delete(f"{place.path}/tags/{made['id']}"))


def body(place: Place, *chosen: str) -> JsonObject:
    return {"media_ids": [place.ids[name] for name in chosen]}


def pair(place: Place, a: str, b: str) -> JsonObject:
    return {"pairs": [[place.ids[a], place.ids[b]]]}


def shown(answer: JsonObject) -> set[str]:
    return {name for cluster in answer["clusters"] for name in names(cluster)}


# -- tags ------------------------------------------------------------------------------------------


def test_tags_are_listed_by_name_with_how_many_images_carry_them(place: Place, tag: str) -> None:
    other = done(place.ann.post(f"{place.path}/tags", json={"name": " blurred? "})).json()
    assert other == {"id": other["id"], "name": "blurred?", "count": 0}
    done(place.ann.post(f"{place.path}/tags/{tag}/media", json=body(place, "coffee.jpg", "rocket.jpg")))
    done(place.ann.post(f"{place.path}/tags/{tag}/media", json=body(place, "coffee.jpg")))
    expected = [other, {"id": tag, "name": "to check", "count": 2}]
    assert place.ann.json(f"{place.path}/tags") == expected == place.bob.json(f"{place.path}/tags")
    assert done(place.ann.delete(f"{place.path}/tags/{other['id']}")).json() is None
    assert place.ann.json(f"{place.path}/tags") == expected[1:]


def test_tags_choose_images(place: Place, tag: str) -> None:
    done(place.ann.post(f"{place.path}/tags/{tag}/media", json=body(place, "coffee.jpg", "rocket.jpg")))
    tagged = {"coffee.jpg", "rocket.jpg"}
    for asked in ({"vql": [tags(tag)]}, {"tags": tag}, {"tags": f'["{tag}"]'}, {"tags": f"[{tag},{NOBODY}]"}):
        assert shown(place.ann.explore(place.dataset, **asked)) == tagged
    assert shown(place.ann.explore(place.dataset, tags="untagged")) == set(CHOSEN) - tagged
    assert place.ann.explore(place.dataset, tags=NOBODY)["clusters"] == []
    done(
        place.ann.request(
            "DELETE", f"{place.path}/tags/{tag}/media", json=body(place, "rocket.jpg", "coffee.jpg")
        )
    )
    done(place.ann.request("DELETE", f"{place.path}/tags/{tag}/media", json=body(place, "rocket.jpg")))
    assert place.ann.explore(place.dataset, tags=tag)["clusters"] == []
    assert shown(place.ann.explore(place.dataset, tags="untagged")) == set(CHOSEN)


def test_clusters_count_the_tags_of_their_images(place: Place, tag: str) -> None:
    assert all(cluster["user_tags"] is None for cluster in place.twins())
    two = ("astronaut.jpg", "astronaut-again.jpg")
    done(place.ann.post(f"{place.path}/tags/{tag}/media", json=body(place, *two, "rocket.jpg")))
    counts = {frozenset(names(cluster)): cluster["user_tags"] for cluster in place.twins()}
    assert counts.pop(frozenset({*two, "astronaut-copy.jpg"})) == {"to check": 2}
    assert set(counts.values()) == {None}
    media = place.ann.json(f"{place.path}/media/{place.ids['rocket.jpg']}")
    assert media["user_tags"] == [{"id": tag, "name": "to check"}]


def test_a_tag_that_is_removed_is_on_no_image(place: Place) -> None:
    made = done(place.ann.post(f"{place.path}/tags", json={"name": "short-lived"})).json()["id"]
    done(place.ann.post(f"{place.path}/tags/{made}/media", json=body(place, "rocket.jpg")))
    done(place.ann.delete(f"{place.path}/tags/{made}"))
    assert place.ann.json(f"{place.path}/media/{place.ids['rocket.jpg']}")["user_tags"] == []
    refusal(place.ann.delete(f"{place.path}/tags/{made}"), 404)


def test_a_name_is_used_once_in_a_dataset(place: Place, tag: str) -> None:
    assert "to check" in refusal(place.ann.post(f"{place.path}/tags", json={"name": "to check"}), 409)
    other = place.ann.new_dataset("another")
    theirs = done(place.ann.post(f"/dataset/{other}/tags", json={"name": "to check"})).json()["id"]
    # And belongs to its dataset.
    refusal(place.ann.post(f"{place.path}/tags/{theirs}/media", json=body(place, "rocket.jpg")), 404)
    refusal(place.ann.delete(f"{place.path}/tags/{theirs}"), 404)


@pytest.mark.parametrize("name", [None, 7, "", "  ", "x" * 101, "line\nbreak", ["a"]])
def test_names_that_are_none(place: Place, name: Any) -> None:
    sent = {} if name is None else {"name": name}
    assert "name" in refusal(place.ann.post(f"{place.path}/tags", json=sent), 422)


@pytest.mark.parametrize("tag", [NOBODY, "x", "%00"])
@pytest.mark.parametrize("verb", ["POST", "DELETE"])
def test_a_tag_that_is_not_there(place: Place, tag: str, verb: str) -> None:
    sent = place.ann.request(verb, f"{place.path}/tags/{tag}/media", json=body(place, "rocket.jpg"))
    assert refusal(sent, 404) == "Tag not found"


# -- "not a duplicate" -----------------------------------------------------------------------------


def test_a_rejected_pair_is_in_no_cluster_until_that_is_taken_back(place: Place) -> None:
    a, b = "astronaut.jpg", "astronaut-copy.jpg"
    before = place.twins()
    assert any({a, b} <= set(names(cluster)) for cluster in before)
    assert done(place.ann.post(f"{place.path}/rejections", json=pair(place, b, a))).json() is None
    expected = {"pairs": [sorted([place.ids[a], place.ids[b]])]}
    assert (
        place.ann.json(f"{place.path}/rejections") == expected == place.bob.json(f"{place.path}/rejections")
    )
    for threshold in (0, 0.3, 0.5, 0.8, THRESHOLD, 0.99, 1):
        assert not any({a, b} <= set(names(each)) for each in place.twins(duplicate_threshold=threshold))
    for one, other in ((a, b), (b, a)):
        near = place.ann.json(f"{place.path}/media/{place.ids[one]}/duplicates", duplicate_threshold=0.1)
        assert place.ids[other] not in near and place.ids["astronaut-again.jpg"] in near
    done(place.ann.request("DELETE", f"{place.path}/rejections", json=pair(place, a, b)))
    done(place.ann.request("DELETE", f"{place.path}/rejections", json=pair(place, a, b)))
    assert place.ann.json(f"{place.path}/rejections") == {"pairs": []}
    assert [names(cluster) for cluster in place.twins()] == [names(cluster) for cluster in before]


# -- "keep this one" -------------------------------------------------------------------------------


@pytest.mark.parametrize("keeper", ["astronaut.jpg", "astronaut-copy.jpg", "astronaut-again.jpg"])
def test_what_is_kept_comes_first(place: Place, keeper: str) -> None:
    assert done(place.ann.post(f"{place.path}/keepers", json=body(place, keeper))).json() is None
    (cluster,) = (each for each in place.twins() if keeper in names(each))
    assert names(cluster)[0] == keeper
    members = place.ann.json(f"/explore/{place.dataset}/clusters/{cluster['cluster_id']}")["media"]
    assert members[0]["file_name"] == keeper and len(members) == 3
    assert place.bob.json(f"{place.path}/keepers") == body(place, keeper)
    assert place.ann.json(f"{place.path}/media/{place.ids[keeper]}")["kept"] is True
    done(place.ann.request("DELETE", f"{place.path}/keepers", json=body(place, keeper)))
    assert place.ann.json(f"{place.path}/keepers") == {"media_ids": []}


# -- what is refused -------------------------------------------------------------------------------

WRITES = [("POST", "tags"), *product(("POST", "DELETE"), ("rejections", "keepers"))]


def write(client: Client, place: Place, verb: str, what: str, sent: Any = None) -> httpx.Response:
    proper = {
        "tags": {"name": "bob was here"},
        "rejections": pair(place, "coffee.jpg", "rocket.jpg"),
        "keepers": body(place, "rocket.jpg"),
    }[what]
    return client.request(verb, f"{place.path}/{what}", json=proper if sent is None else sent)


@pytest.mark.parametrize(("verb", "what"), WRITES)
def test_who_may_only_see_changes_nothing(place: Place, verb: str, what: str) -> None:
    assert "shared" in refusal(write(place.bob, place, verb, what), 403)


def test_who_may_only_see_touches_no_tag(place: Place, tag: str) -> None:
    for verb, path in (("POST", f"{tag}/media"), ("DELETE", f"{tag}/media"), ("DELETE", tag)):
        sent = place.bob.request(verb, f"{place.path}/tags/{path}", json=body(place, "rocket.jpg"))
        assert "shared" in refusal(sent, 403)
    assert place.ann.json(f"{place.path}/tags") == [{"id": tag, "name": "to check", "count": 0}]


def test_an_unknown_image_is_named_and_nothing_is_done(place: Place, tag: str) -> None:
    unknown = {"media_ids": [place.ids["rocket.jpg"], NOBODY]}
    refused = [
        place.ann.post(f"{place.path}/tags/{tag}/media", json=unknown),
        place.ann.post(f"{place.path}/keepers", json=unknown),
        place.ann.post(f"{place.path}/rejections", json={"pairs": [unknown["media_ids"]]}),
    ]
    assert [refusal(each, 404) for each in refused] == [f"Media {NOBODY} not found"] * 3
    assert place.ann.json(f"{place.path}/tags")[0]["count"] == 0
    assert place.ann.json(f"{place.path}/keepers") == {"media_ids": []}
    assert place.ann.json(f"{place.path}/rejections") == {"pairs": []}


MEDIA = [
    {},
    {"media_ids": []},
    {"media_ids": NOBODY},
    {"media_ids": [7]},
    {"media_ids": ["x"]},
    [NOBODY],
    None,
]
PAIRS = [[], [NOBODY], [[NOBODY]], [[NOBODY, NOBODY]], [[NOBODY, "x"]], [[NOBODY] * 3], {"a": "b"}, "x", None]


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
@pytest.mark.parametrize("sent", MEDIA)
def test_bodies_that_name_no_images(place: Place, tag: str, verb: str, sent: Any) -> None:
    named = "media_ids" if isinstance(sent, dict) else "body"
    for path in ("keepers", f"tags/{tag}/media"):
        assert named in refusal(place.ann.request(verb, f"{place.path}/{path}", json=sent), 422)


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
@pytest.mark.parametrize("pairs", PAIRS)
def test_bodies_that_name_no_pairs(place: Place, verb: str, pairs: Any) -> None:
    assert "pairs" in refusal(write(place.ann, place, verb, "rejections", {"pairs": pairs}), 422)


# -- how long it lasts -----------------------------------------------------------------------------


def test_decisions_wait_for_an_index_to_be_made_and_outlive_it_and_a_restart(place: Place, tag: str) -> None:
    a, b, keeper = "astronaut.jpg", "astronaut-copy.jpg", CATS[2]
    done(place.ann.post(f"{place.path}/rejections", json=pair(place, a, b)))
    done(place.ann.post(f"{place.path}/keepers", json=body(place, keeper)))
    done(place.ann.post(f"{place.path}/tags/{tag}/media", json=body(place, a)))

    def check() -> None:
        clusters = [names(cluster) for cluster in place.twins()]
        assert not any({a, b} <= set(cluster) for cluster in clusters)
        assert [cluster[0] for cluster in clusters if CATS[0] in cluster] == [keeper]
        assert shown(place.ann.explore(place.dataset, tags=tag)) == {a}

    check()
    more = {name: photographs()[name] for name in ("astronaut-smaller.jpg", CATS[5])}
    form: list[Any] = [("files", file) for file in more.items()]
    sent = place.ann.post(f"/dataset/{place.dataset}/add_media", files=form, data={"auto_reindex": "true"})
    assert sent.status_code == 202 and place.ann.status(place.dataset)["status_new"] == "READ ONLY"
    for verb, what in WRITES[1:]:
        assert "READ ONLY" in refusal(write(place.ann, place, verb, what), 409)
    check()
    place.ann.wait_ready(place.dataset)
    assert shown({"clusters": place.twins()}) >= more.keys()
    check()
    place.restart()
    check()
    assert place.ann.json(f"{place.path}/keepers") == body(place, keeper)
