"""Queries of many clients to one model: answered together, refused beyond the queue, failing together."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import httpx
import numpy as np
import pytest

from tests.collections_of_pictures import picture
from tests.explore import Client, done, refusal
from tests.models.checkpoints import save_folder_of
from tests.pictures import encode
from tests.servers import RunningServer, running_server
from tests.service.explore.clip import ByHand, Found, Stored, assert_equal, files, found, in_order
from twinlens.engine.decode import decode
from twinlens.models import load_model
from twinlens.service.wiring import create_dataset

Q = TypeVar("Q")
T = TypeVar("T")
NEAREST = 8


@dataclass(frozen=True)
class Collection:
    """A dataset made on the command line, and where the weights of its model are."""

    folder: Path
    weights: Path
    by_hand: ByHand
    stored: Stored

    def nearest_to_image(self, file: bytes) -> Found:
        """Distances of all images from a file, by the model and numpy alone."""
        model = load_model(f"local-dir:{self.weights}", device="cpu")
        (row,) = model.embed_images([decode(file, policy=model.description.decode).rgb])
        distances = 1 - np.clip(self.stored.units @ row.astype(np.float64), 0, 1)
        named = zip(self.stored.ids, distances.tolist(), strict=True)
        return in_order((id_, distance) for id_, distance in named if id_ not in self.stored.flat)[:NEAREST]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("queue")
    weights = save_folder_of("twinlens-vit", folder / "weights")
    model = f"local-dir:{weights}"
    photos = folder / "photos"
    photos.mkdir()
    for name, content in files().items():
        (photos / name).write_bytes(content)
    with create_dataset(folder / "data", model, device="cpu") as data:
        data.add(photos)
    stored = Stored.read(folder / "data")
    return Collection(folder / "data", weights, ByHand(model, stored, NEAREST), stored)


@pytest.fixture
def serve(collection: Collection, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts a server without keys whose only dataset that is; it has not loaded the model yet."""
    with ExitStack() as servers:

        def start(**settings: object) -> RunningServer:
            settings |= {"max_nearest": NEAREST, "device": "cpu"}
            server = running_server(tmp_path / "home", "--dataset", str(collection.folder), **settings)
            return servers.enter_context(server)

        yield start


def ask(server: RunningServer, words: str) -> httpx.Response:
    with Client(server.url) as client:
        (dataset,) = client.json("/datasets")
        return client.ask(dataset["id"], caption=words)


def upload(server: RunningServer, file: bytes) -> httpx.Response:
    with Client(server.url) as client:
        (dataset,) = client.json("/datasets")
        path = f"/dataset/{dataset['id']}/search-image-similarity"
        return client.post(path, files={"file": ("query.jpg", file)})


def near(server: RunningServer, uploaded: httpx.Response) -> Found:
    """What explore finds for an image that was uploaded."""
    with Client(server.url) as client:
        (dataset,) = client.json("/datasets")
        return found(client.explore(dataset["id"], **done(uploaded).json()))


def strangers(count: int) -> list[bytes]:
    """Pictures that the dataset does not hold."""
    return [encode(picture(seed), "JPEG", quality=80) for seed in range(100, 100 + count)]


def assert_near(some: Found, others: Found) -> None:
    """The same images, as near as rounding to float16 and the number that is embedded together leave them."""
    np.testing.assert_allclose([d for _, d in some], [d for _, d in others], atol=2e-4)
    assert len({id_ for id_, _ in some} & {id_ for id_, _ in others}) >= len(others) - 1


def together(questions: Sequence[Q], ask: Callable[[Q], T]) -> list[T]:
    """Answers to questions that threads ask at one moment."""
    ready = Barrier(len(questions))

    def one(question: Q) -> T:
        ready.wait(30)
        return ask(question)

    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(one, questions))


def test_questions_at_one_moment_get_the_answers_of_each_alone(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    # The first ones wait for the model to be loaded.
    for season in ("in winter", "in summer"):
        texts = [f"{number} birds over the {'old ' * (number % 4)}town {season}" for number in range(16)]
        for words, answer in zip(texts, together(texts, partial(ask, server)), strict=True):
            assert_equal(found(done(answer).json()), collection.by_hand.nearest(words))


def test_uploads_at_one_moment_find_what_each_finds_alone_beside_texts(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    files, texts = strangers(16), [f"{number} boats" for number in range(8)]
    # In turn, so that images and texts are in the same batches.
    questions: list[bytes | str] = [
        *files[:8],
        *(each for pair in zip(texts, files[8:], strict=True) for each in pair),
    ]
    expected = {file: collection.nearest_to_image(file) for file in files}
    for order in (questions, questions[::-1]):
        answers = together(order, lambda q: upload(server, q) if isinstance(q, bytes) else ask(server, q))
        for question, answer in zip(order, answers, strict=True):
            if isinstance(question, bytes):
                assert_near(near(server, answer), expected[question])
            else:
                assert_equal(found(done(answer).json()), collection.by_hand.nearest(question))


def test_one_that_is_broken_fails_alone(serve: Callable[..., RunningServer], collection: Collection) -> None:
    server = serve()
    good = strangers(7)
    *answers, broken = together([*good, b"no image"], partial(upload, server))
    assert "cannot be read" in refusal(broken, 400)
    for file, answer in zip(good, answers, strict=True):
        assert_near(near(server, answer), collection.nearest_to_image(file))


def test_a_large_upload_is_searched_for_as_a_small_one(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    """One goes over a disk, the other does not."""
    server = serve()
    small, noise = encode(picture(100), "PNG"), random.Random(7).randbytes(2 << 20)
    # What follows the last chunk of a PNG is no part of the picture.
    assert near(server, upload(server, small + noise)) == near(server, upload(server, small))


def test_a_file_of_the_dataset_finds_exactly_what_its_image_finds(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    for name in ("03.jpg", "01_copy.jpg", "flat.png"):
        found_by_file = near(server, upload(server, files()[name]))
        with Client(server.url) as client:
            (dataset,) = client.json("/datasets")
            id_ = collection.stored.ids[collection.stored.names.index(name)]
            by_id = found(client.explore(dataset["id"], anchor_media_id=id_, anchor_type="MEDIA"))
        assert found_by_file == by_id and by_id[0][1] == 0.0


def test_a_full_queue_refuses_images_too(serve: Callable[..., RunningServer], collection: Collection) -> None:
    server = serve(queries_waiting=1)
    files = strangers(12)
    answers = together(files, partial(upload, server))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 12
    for answer in refused:
        assert "try again" in refusal(answer, 429) and int(answer.headers["retry-after"]) > 0
    assert_near(near(server, upload(server, files[0])), collection.nearest_to_image(files[0]))


def test_metrics_tell_how_queries_are_batched(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    for answer in together(strangers(12), partial(upload, server)):
        done(answer)
    told = httpx.get(f"{server.url}/metrics", verify=False).text
    values = {
        name: float(value) for name, value in re.findall(r"^(twinlens_quer\w+) (\S+)$", told, re.MULTILINE)
    }
    assert values["twinlens_queries_inflight"] == 0
    assert values["twinlens_query_batch_size_sum"] == 12 == values["twinlens_query_wait_seconds_count"]
    assert 1 <= values["twinlens_query_batch_size_count"] <= 12


def test_a_full_queue_refuses_and_says_when_to_come_again(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve(queries_waiting=1)
    texts = [f"a street with {number} cars" for number in range(12)]
    answers = together(texts, partial(ask, server))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 12
    for answer in refused:
        assert "try again" in refusal(answer, 429) and int(answer.headers["retry-after"]) > 0
    for words in texts:
        # Who comes again one after the other is served.
        assert_equal(found(done(ask(server, words)).json()), collection.by_hand.nearest(words))


def test_a_model_that_cannot_be_loaded_fails_all_who_wait_and_is_tried_again(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    away = collection.weights.rename(collection.weights.with_name("away"))
    try:
        answers = together([f"{number} ships" for number in range(6)], partial(ask, server))
    finally:
        away.rename(collection.weights)
    for answer in answers:
        assert str(collection.weights) in refusal(answer, 503)
    assert_equal(found(done(ask(server, "a ship")).json()), collection.by_hand.nearest("a ship"))


def test_a_model_that_cannot_be_loaded_fails_images_as_well(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    files = strangers(6)
    away = collection.weights.rename(collection.weights.with_name("away"))
    try:
        answers = together(files, partial(upload, server))
    finally:
        away.rename(collection.weights)
    for answer in answers:
        assert str(collection.weights) in refusal(answer, 503)
    assert_near(near(server, upload(server, files[0])), collection.nearest_to_image(files[0]))
