"""Queries of many clients to one model: answered together, refused beyond the queue, failing together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import httpx
import pytest

from tests.explore import Client, done, refusal
from tests.models.checkpoints import save_folder_of
from tests.servers import RunningServer, running_server
from tests.service.explore.clip import ByHand, Stored, assert_equal, files, found
from twinlens.service.wiring import create_dataset

T = TypeVar("T")
NEAREST = 8


@dataclass(frozen=True)
class Collection:
    """A dataset made on the command line, and where the weights of its model are."""

    folder: Path
    weights: Path
    by_hand: ByHand


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
    return Collection(folder / "data", weights, ByHand(model, Stored.read(folder / "data"), NEAREST))


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


def together(texts: Sequence[str], ask: Callable[[str], T]) -> list[T]:
    """Answers to questions that threads ask at one moment."""
    ready = Barrier(len(texts))

    def one(words: str) -> T:
        ready.wait(30)
        return ask(words)

    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(one, texts))


def test_questions_at_one_moment_get_the_answers_of_each_alone(
    serve: Callable[..., RunningServer], collection: Collection
) -> None:
    server = serve()
    # The first ones wait for the model to be loaded.
    for season in ("in winter", "in summer"):
        texts = [f"{number} birds over the {'old ' * (number % 4)}town {season}" for number in range(16)]
        for words, answer in zip(texts, together(texts, partial(ask, server)), strict=True):
            assert_equal(found(done(answer).json()), collection.by_hand.nearest(words))


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
