"""Transactions that meet others, jobs that run, and clients that did not wait for their answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.explore import Client, Running, laboratory
from tests.explore_life import OpenRequest, images_of, jpeg, pictures, received, states, wait_for, workers
from tests.servers import RunningServer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the keys ann and bob."""
    with laboratory(tmp_path_factory.mktemp("transactions"), index_processes=1) as running:
        yield running


@pytest.fixture
def dataset(ann: Client, small: str) -> str:
    """READY, with the pictures 0 to 9 and maybe more."""
    ann.wait_ready(small)
    return small


@pytest.fixture(scope="module")
def small(ann: Client) -> str:
    return ann.make_dataset(pictures(10))


# -- transactions that meet ------------------------------------------------------------------------


def test_what_is_handed_over_while_a_job_runs_is_not_lost(ann: Client, server: RunningServer) -> None:
    dataset = ann.new_dataset()
    first, second, third = (ann.begin(dataset) for _ in range(3))
    ann.upload(dataset, first, pictures(40))
    ann.upload(dataset, second, pictures(20, 40))
    ann.upload(dataset, third, pictures(20, 60))
    ann.process(dataset, first)
    ann.process(dataset, second)
    wait_for(lambda: workers(server.process.pid), "an index process")
    ann.process(dataset, third)
    passed = states(ann, dataset)
    assert passed in (["INDEXING", "READ ONLY", "READY"], ["INDEXING", "READY"]), passed
    assert images_of(ann, dataset) == sorted(pictures(80))


def test_images_of_a_transaction_are_compared_whatever_waited_before(
    ann: Client, bob: Client, server: RunningServer, dataset: str
) -> None:
    # The only index process is busy, so that the addition waits.
    other = bob.new_dataset()
    transaction = bob.begin(other)
    bob.upload(other, transaction, pictures(60))
    bob.process(other, transaction)
    wait_for(lambda: workers(server.process.pid), "an index process")
    form = [("files", ("00500.jpg", jpeg(500)))]
    assert ann.post(f"/dataset/{dataset}/add_media", files=form).status_code == 202
    transaction = ann.begin(dataset)
    ann.upload(dataset, transaction, pictures(1, 501))
    ann.process(dataset, transaction)
    bob.delete(f"/dataset/{other}")
    assert states(ann, dataset) == ["READ ONLY", "READY"]
    assert {"00500.jpg", "00501.jpg"} <= set(images_of(ann, dataset))


# -- answers that were lost ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["in a transaction", "by add_media"])
def test_files_whose_answer_was_not_waited_for_are_sent_again_and_not_doubled(
    ann: Client, server: RunningServer, dataset: str, way: str
) -> None:
    name = f"again-{way[3:6]}.jpg"
    transaction = ann.begin(dataset)
    paths = {
        "in a transaction": f"/ingestion/{dataset}/data_files/{transaction}",
        "by add_media": f"/dataset/{dataset}/add_media",
    }
    form = [("files", (name, jpeg(600))), ("files", ("image_annotations.csv", b"filename,label\nx,y\n"))]
    impatient = OpenRequest(ann, paths[way], files=form)
    impatient.finish()
    impatient.hang_up()
    wait_for(lambda: name in received(server, dataset), "the files")
    if way == "by add_media":
        wait_for(lambda: ann.status(dataset)["status_new"] == "PARTIAL INDEX", "the first addition")
    for _ in range(2 if way == "in a transaction" else 1):
        assert ann.post(paths[way], files=form).status_code == 202
    if way == "in a transaction":
        ann.process(dataset, transaction)
    else:
        wait_for(lambda: ann.status(dataset)["status_new"] == "PARTIAL INDEX", "the second addition")
        ann.post(f"/dataset/{dataset}/reindex")
    assert states(ann, dataset)[-1] == "READY"
    # The second answer was read: after it, the same files are other files.
    assert images_of(ann, dataset).count(name) == (2 if way == "in a transaction" else 1)
