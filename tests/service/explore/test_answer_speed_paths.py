"""Why answers are fast: pairs are read, not joined again; pages are kept until something changes."""

from __future__ import annotations

import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.explore import Client, JsonObject, Lab, all_names, done, laboratory
from tests.photographs import photographs
from twinlens.engine.dataset import Dataset

IDS = [str(uuid.UUID(int=number)) for number in range(1, 7)]
A, B, C, D, E, F = IDS
COPIES = 16
FLOOR = 0.8
"""Of datasets of vectors: all pairs at or above it are stored."""


def rows() -> np.ndarray[Any, np.dtype[np.float64]]:
    """a and b are 0.95 similar, c and d 0.97, all others not at all."""
    found = np.eye(6)
    for one, other, similarity in ((0, 1, 0.95), (2, 3, 0.97)):
        found[other] = similarity * found[one] + np.sqrt(1 - similarity**2) * found[other]
    return found


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Lab]]:
    """A server with copies of one dataset that was made on the command line."""
    folder = tmp_path_factory.mktemp("speed")
    Dataset.from_vectors(IDS, rows(), name="vectors", folder=folder / "0", device="cpu").close()
    copies = [folder / "0", *(shutil.copytree(folder / "0", folder / str(n)) for n in range(1, COPIES))]
    options = [part for copy in copies for part in ("--dataset", str(copy))]
    with laboratory(folder / "home", *options, "--owner", "ann") as (server, ann, bob):
        yield iter([Lab(server, ann, bob, each["id"]) for each in ann.json("/datasets")])


@pytest.fixture
def lab(untouched: Iterator[Lab]) -> Lab:
    """One of them that nobody has asked for yet."""
    return next(untouched)


def vectors(lab: Lab) -> Path:
    """Where a dataset is."""
    return lab.server.home.parent / str(lab.ann.status(lab.dataset)["display_name"])


def forget_pair(folder: Path, similarity: float) -> None:
    """Remove the stored pair of that similarity from a dataset."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db, db:
        near = round(similarity * 1e6)
        gone = db.execute("DELETE FROM pairs WHERE abs(millionths - ?) < 2000", (near,))
        assert gone.rowcount == 1


def groups(client: Client, dataset: str, threshold: float, **params: Any) -> list[set[str]]:
    answer = client.explore(dataset, duplicate_threshold=threshold, **params)
    return [{preview["media_id"] for preview in cluster["previews"]} for cluster in answer["clusters"]]


def conditional(client: Client, dataset: str, etag: str, **params: Any) -> httpx.Response:
    return client.request("GET", f"/explore/{dataset}", params=params, headers={"if-none-match": etag})


# -- pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("linkage", ["complete", "star", "single"])
def test_thresholds_above_the_floor_are_answered_from_the_stored_pairs(lab: Lab, linkage: str) -> None:
    """A pair that is not stored any more is found again only where the vectors are compared anew."""
    forget_pair(vectors(lab), 0.95)
    for threshold in (0.96, 0.9, 0.85, FLOOR):
        assert groups(lab.ann, lab.dataset, threshold, linkage=linkage) == [{C, D}]
    assert groups(lab.ann, lab.dataset, FLOOR - 0.001, linkage=linkage) == [{C, D}, {A, B}]
    assert groups(lab.ann, lab.dataset, 0.85, linkage=linkage) == [{C, D}]


def test_selections_are_answered_from_the_stored_pairs(lab: Lab) -> None:
    forget_pair(vectors(lab), 0.95)
    made = done(lab.ann.post(f"/dataset/{lab.dataset}/tags", json={"name": "some"})).json()["id"]
    some = {"media_ids": [A, B, C, D]}
    done(lab.ann.post(f"/dataset/{lab.dataset}/tags/{made}/media", json=some))
    assert groups(lab.ann, lab.dataset, 0.9, tags=made) == [{C, D}]
    assert groups(lab.ann, lab.dataset, 0.7, tags=made) == [{C, D}, {A, B}]


# -- pages -----------------------------------------------------------------------------------------


def test_an_answer_that_is_known_is_not_sent_again(lab: Lab) -> None:
    answer = done(lab.ann.ask(lab.dataset, duplicate_threshold=0.9))
    etag = answer.headers["etag"]
    assert etag.startswith('"') and etag.endswith('"')
    assert (
        answer.headers["cache-control"] == "private, no-cache" and answer.headers["vary"] == "authorization"
    )
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = conditional(lab.ann, lab.dataset, known, duplicate_threshold=0.9)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for other in ('"other"', "", etag[1:-1]):
        again = conditional(lab.ann, lab.dataset, other, duplicate_threshold=0.9)
        assert (again.status_code, again.json()) == (200, answer.json())


def test_other_answers_have_other_etags(lab: Lab) -> None:
    asked: list[JsonObject] = [
        {},
        {"duplicate_threshold": 0.9},
        {"duplicate_threshold": 0.96},
        {"page_number": 1},
    ]
    etags = [done(lab.ann.ask(lab.dataset, **params)).headers["etag"] for params in asked]
    assert len(set(etags)) == len(asked)
    # The same question in other words is the same answer.
    other = done(lab.ann.ask(lab.dataset, [{"duplicates": {"op": "duplicates", "value": 0.9}}], threshold=0))
    assert other.headers["etag"] == etags[1]


def test_an_etag_is_no_way_around_a_key(lab: Lab) -> None:
    etag = done(lab.ann.ask(lab.dataset)).headers["etag"]
    assert conditional(lab.bob, lab.dataset, etag).status_code == 404
    with Client(lab.server.url) as nobody:
        assert conditional(nobody, lab.dataset, "*").status_code == 401


def test_tags_change_the_answer_and_back(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/tags"
    first = done(lab.ann.ask(lab.dataset)).headers["etag"]
    made = done(lab.ann.post(path, json={"name": "odd"})).json()["id"]
    assert conditional(lab.ann, lab.dataset, first).status_code == 304
    done(lab.ann.post(f"{path}/{made}/media", json={"media_ids": [E]}))
    tagged = conditional(lab.ann, lab.dataset, first)
    assert tagged.status_code == 200 and tagged.headers["etag"] != first
    assert [each["user_tags"] for each in tagged.json()["clusters"] if each["user_tags"]] == [{"odd": 1}]
    done(lab.ann.delete(f"{path}/{made}"))
    assert conditional(lab.ann, lab.dataset, first).status_code == 304


def test_what_is_noted_is_read_once_until_it_changes(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/tags"
    made = done(lab.ann.post(path, json={"name": "old"})).json()["id"]
    done(lab.ann.post(f"{path}/{made}/media", json={"media_ids": [C]}))

    def tags_of_first(**params: Any) -> Any:
        return lab.ann.explore(lab.dataset, duplicate_threshold=0.9, **params)["clusters"][0]["user_tags"]

    assert tags_of_first() == {"old": 1}
    with closing(sqlite3.connect(lab.server.home / "datasets.sqlite")) as db, db:
        # Behind the server's back, which nobody does: it goes on answering from memory.
        db.execute("UPDATE tags SET name = 'new'")
    assert tags_of_first() == tags_of_first(linkage="star") == {"old": 1}
    done(lab.ann.post(f"{path}/{made}/media", json={"media_ids": [D]}))
    assert tags_of_first() == {"new": 2}


def test_a_decision_is_a_new_generation(lab: Lab) -> None:
    before = done(lab.ann.ask(lab.dataset, duplicate_threshold=0.9))
    done(lab.ann.post(f"/dataset/{lab.dataset}/rejections", json={"pairs": [[C, D]]}))
    after = conditional(lab.ann, lab.dataset, before.headers["etag"], duplicate_threshold=0.9)
    assert after.status_code == 200 and groups(lab.ann, lab.dataset, 0.9) == [{A, B}]
    assert after.json()["metadata"]["generation"] > before.json()["metadata"]["generation"]


def test_what_the_command_line_changes_is_answered_at_once(lab: Lab) -> None:
    assert groups(lab.ann, lab.dataset, 0.9) == [{C, D}, {A, B}]
    with Dataset.open(vectors(lab)) as data:
        data.reject(A, B)
    assert groups(lab.ann, lab.dataset, 0.9) == [{C, D}]
    with Dataset.open(vectors(lab)) as data:
        data.unreject(A, B)
        data.remove([C])
    assert groups(lab.ann, lab.dataset, 0.9) == [{A, B}]


# -- more images -----------------------------------------------------------------------------------


def test_added_images_are_compared_with_all_and_the_others_not_again(tmp_path: Path) -> None:
    files = photographs()
    old = ("coffee.jpg", "coffee-again.jpg", "brick.jpg", "brick-again.jpg", "rocket.jpg")
    with laboratory(tmp_path) as (server, ann, bob):
        lab = Lab(server, ann, bob, ann.make_dataset({name: files[name] for name in old}))
        twins: dict[str, Any] = {"duplicate_threshold": 0.9}
        first = done(ann.ask(lab.dataset, **twins))
        assert sorted(map(sorted, all_names(first.json()))) == [sorted(old[2:4]), sorted(old[:2])]
        with closing(sqlite3.connect(lab.folder / "catalog.sqlite")) as db, db:
            db.execute("DELETE FROM pairs")
        form: list[Any] = [("files", (name, files[name])) for name in ("coffee-smaller.jpg", "astronaut.jpg")]
        sent = ann.post(f"/dataset/{lab.dataset}/add_media", files=form, data={"auto_reindex": "true"})
        assert sent.status_code == 202
        # Meanwhile it answers as before.
        while ann.status(lab.dataset)["status_new"] == "READ ONLY":
            answer = conditional(ann, lab.dataset, first.headers["etag"], **twins)
            if ann.status(lab.dataset)["status_new"] == "READ ONLY":
                assert answer.status_code == 304
            time.sleep(0.1)
        ann.wait_ready(lab.dataset)
        after = conditional(ann, lab.dataset, first.headers["etag"], **twins)
        assert after.status_code == 200
        assert after.json()["metadata"]["generation"] > first.json()["metadata"]["generation"]
        (cluster,) = all_names(after.json())
        # Its stored pairs lead from the new image to the old ones, and none from brick to brick.
        assert "coffee-smaller.jpg" in cluster and cluster <= {"coffee-smaller.jpg", *old[:2]}
