"""Datasets made in one call: of an archive, or of a folder that the operator allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests.collections_of_pictures import fill
from tests.explore import Client, all_names, done, labels, laboratory, refusal
from tests.explore_life import (
    a_tar_gz,
    a_zip,
    failures_of,
    files_below,
    folder_of,
    images_of,
    jpeg,
    pictures,
    states,
    wait_for,
)
from tests.servers import RunningServer

MANY_DOTS = "/".join([".."] * 30)


@dataclass(frozen=True)
class Place:
    """A server, its clients, and what lies beside it."""

    server: RunningServer
    ann: Client
    bob: Client
    folder: Path

    @property
    def photos(self) -> Path:
        """Below a root that is allowed: nine pictures, one broken file and labels."""
        return self.folder / "allowed" / "photos"

    @property
    def secret(self) -> Path:
        """A picture that nobody allowed."""
        return self.folder / "secret"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("folders")
    allowed = folder / "allowed"
    fill(allowed / "photos", 9)
    (allowed / "photos" / "broken.jpg").write_bytes(jpeg(1)[:400])
    (allowed / "photos" / "image_annotations.csv").write_text("filename,label\n00001.jpg,one\n")
    fill(allowed / "more", 2, first=50)
    fill(folder / "secret", 1, first=99)
    (allowed / "out").symlink_to(folder / "secret")
    (allowed / "in").symlink_to(allowed / "photos")
    (allowed / "file.jpg").write_bytes(jpeg(2))
    roots = f"{allowed}:{folder / 'nowhere'}:{folder / 'around'}"
    with laboratory(folder / "around" / "home", allowed_roots=roots, index_processes=2) as (server, ann, bob):
        yield Place(server, ann, bob, folder)


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """What would change if anything in a folder was written."""
    return {
        name: (status.st_mtime_ns, status.st_size)
        for name in files_below(folder)
        if (status := os.lstat(folder / name))
    }


# -- folders of the operator -----------------------------------------------------------------------


def test_a_folder_of_the_operator_is_read_and_never_changed(place: Place) -> None:
    before = fingerprint(place.folder / "allowed")
    answer = place.ann.get("/process", path=str(place.photos), name="on disk")
    assert answer.status_code == 200, answer.text
    dataset = answer.json()["dataset_id"]
    assert answer.json() == {
        "status": "success",
        "message": "Dataset processing started",
        "dataset_id": dataset,
        "name": "on disk",
    }
    assert place.ann.status(dataset)["source_type"] == "LOCAL"
    assert place.ann.wait_ready(dataset)["n_images"] == 9
    assert images_of(place.ann, dataset) == sorted(str(place.photos / f"{n:05}.jpg") for n in range(9))
    (reason,) = failures_of(place.ann, dataset).values()
    assert "damaged" in reason
    assert all_names(place.ann.explore(dataset, [labels("one")])) == [{"00001.jpg"}]
    image = place.ann.explore(dataset)["clusters"][0]["previews"][0]["media_uri"]
    assert done(httpx.get(image, verify=False)).headers["content-type"] == "image/jpeg"

    added = place.ann.get(
        "/process/add_media", dataset_id=dataset, path=str(place.folder / "allowed" / "more")
    )
    assert (added.status_code, added.content) == (202, b"")
    assert place.ann.status(dataset)["status_new"] == "READ ONLY"
    refusal(place.ann.get("/process/add_media", dataset_id=dataset, path=str(place.photos)), 409)
    assert states(place.ann, dataset)[-1] == "READY", "its progress does not fall from one folder to the next"
    assert place.ann.status(dataset)["n_images"] == 11

    refusal(place.bob.get("/process/add_media", dataset_id=dataset, path=str(place.photos)), 404)
    assert place.ann.delete(f"/dataset/{dataset}").status_code == 200
    assert fingerprint(place.folder / "allowed") == before
    assert not folder_of(place.server, dataset).exists()


def test_a_link_below_a_root_may_lead_to_another_place_below_it(place: Place) -> None:
    answer = place.ann.post("/process", params={"path": str(place.folder / "allowed" / "in")})
    assert answer.json()["status"] == "success" and answer.json()["name"] == "photos"
    place.ann.delete(f"/dataset/{answer.json()['dataset_id']}")


def wrong_paths(place: Place) -> dict[str, str | None]:
    """Paths that are refused, by what is wrong with them."""
    allowed = place.folder / "allowed"
    return {
        "none": None,
        "empty": "",
        "relative": "allowed/photos",
        "dot": ".",
        "not allowed": str(place.secret),
        "by a link": str(allowed / "out"),
        "by dots": f"{allowed}/photos/../../secret",
        "by many dots": f"{allowed}/{MANY_DOTS}/etc",
        "beside": f"{allowed}-not",
        "the root of the machine": "/",
        "a file": str(allowed / "file.jpg"),
        "a folder that is not there": str(allowed / "nothing"),
        "a root that is not there": str(place.folder / "nowhere"),
        "NUL": f"{allowed}\0/photos",
        "half a pair": f"{allowed}/\udc80",
        "very long": f"{allowed}/{'x' * 5000}",
        "URL": f"file://{allowed}",
        "S3": "s3://bucket/photos",
        "S3 in capitals": "S3://bucket/photos",
        "what the server keeps": str(place.server.home / "datasets"),
        "a part of what the server keeps": str(place.server.home / "datasets" / "incoming"),
        "around what the server keeps": str(place.folder / "around"),
    }


def query(**parameters: str | None) -> str:
    """As in a URL; bytes that are not UTF-8 as they are."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return urlencode({name: value.encode("utf-8", "surrogateescape") for name, value in given.items()})


def test_paths_that_are_not_allowed_are_refused_alike(place: Place) -> None:
    before = place.ann.json("/datasets")
    said = {}
    for what, path in wrong_paths(place).items():
        answer = place.ann.get(f"/process?{query(path=path)}")
        assert answer.status_code == 400, f"{what}: {answer.status_code} {answer.text}"
        body = answer.json()
        assert list(body) == ["status", "message", "detail"], what
        assert (body["status"], body["message"]) == ("error", "Invalid path specified"), what
        said[what] = body["detail"].replace(str(path), "PATH")
    assert said["not allowed"] == said["by a link"] == said["a folder that is not there"]
    assert "S3" in said["S3"] and "S3" in said["S3 in capitals"]
    assert place.ann.json("/datasets") == before


def test_add_media_refuses_the_same_paths(place: Place) -> None:
    dataset = place.ann.make_dataset(pictures(2))
    for what, path in wrong_paths(place).items():
        answer = place.ann.get(f"/process/add_media?{query(dataset_id=dataset, path=path)}")
        assert answer.status_code == 400, f"{what}: {answer.status_code} {answer.text}"
        assert answer.json()["message"] == "Invalid path specified", what
    assert place.ann.status(dataset)["status_new"] == "READY"
    refusal(place.ann.get("/process/add_media", path=str(place.photos)), 404)
    refusal(place.ann.get("/process/add_media", dataset_id="x", path=str(place.photos)), 404)
    draft = place.ann.new_dataset()
    refused = place.ann.get("/process/add_media", dataset_id=draft, path=str(place.photos))
    assert "DRAFT" in refusal(refused, 409)
    assert place.ann.status(draft)["status_new"] == "DRAFT"


def test_a_folder_that_holds_no_image_is_an_error_that_says_so(place: Place) -> None:
    empty = place.folder / "allowed" / "empty"
    empty.mkdir(exist_ok=True)
    dataset = place.ann.json("/process", path=str(empty))["dataset_id"]
    wait_for(lambda: place.ann.status(dataset)["status_new"] == "ERROR", "an error", 120)
    state = place.ann.status(dataset)
    assert state["status"] == "FATAL_ERROR" and "holds no image" in state["fatal_error_msg"]
    assert "holds no image" in refusal(place.ann.ask(dataset), 409)
    fill(empty, 1)
    assert place.ann.post(f"/dataset/{dataset}/reindex").status_code == 202
    assert place.ann.wait_ready(dataset)["n_images"] == 1


# -- POST /dataset ---------------------------------------------------------------------------------


def create(client: Client, *files: tuple[str, tuple[str, bytes]], **fields: str) -> httpx.Response:
    """Call `POST /dataset`; always as multipart."""
    form = [*((name, (None, value)) for name, value in fields.items()), *files]
    return client.post("/dataset", files=form)


@pytest.mark.parametrize(
    ("field", "name", "pack"), [("archive", "a.zip", a_zip), ("file", "a.tar.gz", a_tar_gz)]
)
def test_an_archive_makes_a_dataset(
    place: Place, field: str, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    files = {
        "cats/00001.jpg": jpeg(1),
        "00002.jpg": jpeg(2),
        "image_annotations.csv": b"filename,label\n00001.jpg,a",
    }
    packed = pack({**files, "__MACOSX/._x.jpg": b"x", "broken.jpg": b"no image", "readme.txt": b"text"})
    answer = done(create(place.bob, (field, (name, packed)), dataset_name="packed"))
    dataset = answer.json()["dataset_id"]
    assert answer.json() == {"dataset_id": dataset, "id": dataset}
    assert place.bob.wait_ready(dataset)["n_images"] == 2
    assert images_of(place.bob, dataset) == ["00002.jpg", "cats/00001.jpg"]
    assert list(failures_of(place.bob, dataset)) == ["broken.jpg"]
    assert all_names(place.bob.explore(dataset, [labels("a")])) == [{"00001.jpg"}]


def test_an_allowed_folder_makes_a_dataset(place: Place) -> None:
    answer = done(create(place.ann, dataset_name="d", bucket_path=str(place.folder / "allowed" / "more")))
    assert place.ann.wait_ready(answer.json()["id"])["n_images"] == 2


def test_post_dataset_takes_one_source_and_says_so(place: Place) -> None:
    before = place.ann.json("/datasets")
    archive = ("archive", ("a.zip", a_zip(pictures(1))))
    assert "exactly one" in refusal(create(place.ann, dataset_name="d"), 400)
    both = create(place.ann, archive, dataset_name="d", bucket_path=str(place.photos))
    assert "exactly one" in refusal(both, 400)
    assert "dataset_name" in refusal(create(place.ann, archive), 400)
    assert "S3" in refusal(create(place.ann, dataset_name="d", bucket_path="s3://photos/cats"), 422)
    assert "S3" in refusal(create(place.ann, dataset_name="d", bucket_name="s3://photos"), 422)
    for path in (str(place.secret), "photos", str(place.folder / "allowed" / "out")):
        said = refusal(create(place.ann, dataset_name="d", bucket_path=path), 422)
        assert "TWINLENS_ALLOWED_ROOTS" in said
    assert "'archive'" in refusal(create(place.ann, ("files", ("a.jpg", jpeg(1))), dataset_name="d"), 422)
    two = create(place.ann, archive, archive, dataset_name="d")
    assert "one archive" in refusal(two, 400)
    assert "no image" in refusal(
        create(place.ann, ("archive", ("a.zip", a_zip({"a": b"x"}))), dataset_name="d"), 400
    )
    assert place.ann.json("/datasets") == before
    assert not files_below(place.server.home / "datasets" / "incoming")
