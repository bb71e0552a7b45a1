"""More images for a dataset that answers: `add_media` and `reindex`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.explore import Client, Running, all_names, duplicates, labels, laboratory, refusal
from tests.explore_life import OpenRequest, a_tar_gz, a_zip, images_of, jpeg, pictures, received, states
from tests.servers import RunningServer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the keys ann and bob."""
    with laboratory(tmp_path_factory.mktemp("additions"), index_processes=1) as running:
        yield running


@pytest.fixture
def dataset(ann: Client, small: str) -> str:
    """READY, with the pictures 0 to 9 and maybe more."""
    ann.wait_ready(small)
    return small


@pytest.fixture(scope="module")
def small(ann: Client) -> str:
    return ann.make_dataset(pictures(10))


def add(client: Client, dataset: str, files: dict[str, bytes], **fields: str) -> httpx.Response:
    """Call `add_media` with single files."""
    form = [("files", file) for file in files.items()]
    return client.post(f"/dataset/{dataset}/add_media", files=form, data=fields)


def archived(client: Client, dataset: str, name: str, data: bytes, **fields: str) -> httpx.Response:
    """Call `add_media` with an archive."""
    form = [("archive", (name, data))]
    return client.post(f"/dataset/{dataset}/add_media", files=form, data=fields)


# -- add_media and reindex -------------------------------------------------------------------------


def test_added_images_take_part_after_a_reindex(ann: Client, dataset: str) -> None:
    before = ann.explore(dataset)["metadata"]
    copy = {"copy.jpg": jpeg(3), **pictures(5, 100)}
    sent = add(ann, dataset, copy)
    assert (sent.status_code, sent.content) == (202, b"")
    assert ann.status(dataset)["status"] == "UPDATING"

    answered = 0
    while (state := ann.status(dataset))["status_new"] == "READ ONLY":
        answered += 1
        assert answered < 600
        meanwhile = ann.explore(dataset)["metadata"]
        if ann.status(dataset)["status_new"] != "READ ONLY":
            continue
        assert meanwhile == before, "the earlier generation answers"
        refused = add(ann, dataset, pictures(1, 900))
        if ann.status(dataset)["status_new"] == "READ ONLY":
            assert "MEDIA_ADDITION task is running" in refusal(refused, 409)
            assert "reindex" in refusal(ann.post(f"/dataset/{dataset}/reindex"), 409)
        time.sleep(0.1)
    assert answered and state["status_new"] == "PARTIAL INDEX"
    assert state["n_images"] == before["total_media"] + 6
    assert ann.explore(dataset, [duplicates(1)])["clusters"] == [], "nothing new was compared yet"

    sent = ann.post(f"/dataset/{dataset}/reindex")
    assert (sent.status_code, sent.content) == (202, b"")
    assert states(ann, dataset) in (["READ ONLY", "READY"], ["READY"])
    assert all_names(ann.explore(dataset, [duplicates(1)])) == [{"00003.jpg", "copy.jpg"}]
    assert ann.explore(dataset)["metadata"]["total_media"] == before["total_media"] + 6
    assert "PARTIAL INDEX" in refusal(ann.post(f"/dataset/{dataset}/reindex"), 409)


def test_archives_are_added_and_compared_at_once_if_asked(ann: Client, dataset: str) -> None:
    labelled = {
        "image_annotations.csv": b"filename,label\n00200.jpg,new\n",
        "notes.txt": b"-",
        **pictures(2, 200),
    }
    sent = archived(ann, dataset, "more.zip", a_zip(labelled), auto_reindex="true")
    assert (sent.status_code, sent.content) == (202, b"")
    assert states(ann, dataset) == ["READ ONLY", "READY"]
    assert {"00200.jpg", "00201.jpg"} <= set(images_of(ann, dataset))
    assert all_names(ann.explore(dataset, [labels("new")])) == [{"00200.jpg"}]
    files = {"b/00300.jpg": jpeg(300), "c/00300.jpg": jpeg(301)}
    assert archived(ann, dataset, "x.tar.gz", a_tar_gz(files), auto_reindex="1").status_code == 202
    assert states(ann, dataset)[-1] == "READY"
    assert {"b/00300.jpg", "c/00300.jpg"} <= set(images_of(ann, dataset)), "folders of archives are kept"


def test_add_media_takes_one_source_and_says_so(ann: Client, bob: Client, dataset: str) -> None:
    before = ann.status(dataset)
    one = "Exactly one media source must be provided: files[], s3_uri, or archive"
    path = f"/dataset/{dataset}/add_media"
    assert refusal(ann.post(path, files=[("auto_reindex", (None, "true"))]), 400) == one
    both = [("files", ("a.jpg", jpeg(1))), ("archive", ("a.zip", a_zip(pictures(1))))]
    assert refusal(ann.post(path, files=both), 400) == one
    assert "S3" in refusal(ann.post(path, files=[("s3_uri", (None, "s3://bucket/photos"))]), 422)
    assert "auto_reindex" in refusal(add(ann, dataset, pictures(1), auto_reindex="maybe"), 422)
    assert "no image" in refusal(add(ann, dataset, {"image_annotations.csv": b"filename,label\na,b\n"}), 400)
    assert "no zip or tar" in refusal(archived(ann, dataset, "a.zip", b"PK no zip"), 400)
    assert "no image" in refusal(archived(ann, dataset, "a.zip", a_zip({"a.txt": b"x"})), 400)
    assert refusal(add(bob, dataset, pictures(1)), 404) == "Dataset not found"
    assert "DRAFT" in refusal(add(ann, ann.new_dataset(), pictures(1)), 409)
    assert ann.status(dataset) == before


def test_of_two_that_add_at_the_same_time_one_is_refused_and_leaves_nothing(
    ann: Client, server: RunningServer, dataset: str
) -> None:
    path = f"/dataset/{dataset}/add_media"
    rivals = [
        OpenRequest(ann, path, files=[("files", (f"rival-{number}.jpg", jpeg(400 + number)))])
        for number in range(4)
    ]
    time.sleep(0.3)
    for rival in rivals:
        rival.finish()
    codes = [rival.code() for rival in rivals]
    assert sorted(codes) == [202, 409, 409, 409]
    assert states(ann, dataset)[-1] == "PARTIAL INDEX"
    ann.post(f"/dataset/{dataset}/reindex")
    ann.wait_ready(dataset)
    taken = {f"rival-{number}.jpg" for number, code in enumerate(codes) if code == 202}
    assert {name for name in images_of(ann, dataset) if name.startswith("rival")} == taken
    assert {name for name in received(server, dataset) if name.startswith("rival")} == taken
