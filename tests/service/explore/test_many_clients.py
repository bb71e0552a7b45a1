"""Two keys, sixteen clients, two hundred operations at once: adds, deletes, explores.

No key sees what belongs to the other, every answer is that of one committed generation, and nothing hangs.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.collections_of_pictures import picture
from tests.explore import Client
from tests.pictures import encode
from tests.servers import RunningServer, running_server
from twinlens.service.keys import KeyStore, NewKey

CLIENTS, OPERATIONS = 16, 200
FIRST, ADDED = 30, 7
SECONDS = 240
QUESTIONS: tuple[dict[str, Any], ...] = (
    {"duplicate_threshold": 0.86},
    {"duplicate_threshold": 0.95, "threshold": 0},
    {"vql": '[{"uniqueness":{"op":"uniqueness","value":0.0}}]'},
    {"threshold": 2},
    {},
)
REFUSED = (404, 409)
"""What an operation may be answered with because of what another client has just done."""


def pictures(owner: str, first: int, count: int) -> dict[str, bytes]:
    """Every fifth is a copy of the one before it."""
    offset = 10_000 * (owner == "bob")
    seeds = [seed - (seed % 5 == 4) for seed in range(first, first + count)]
    return {
        f"{owner}-{first + place:04d}.jpg": encode(picture(offset + seed), "JPEG")
        for place, seed in enumerate(seeds)
    }


@dataclass
class World:
    """What the clients of one key share."""

    key: NewKey
    owner: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    lasting: str = ""
    passing: list[str] = field(default_factory=list)
    next: int = FIRST
    adding: bool = False
    sizes: set[int] = field(default_factory=lambda: {FIRST})
    answers: dict[tuple[str, int, str], set[str]] = field(default_factory=lambda: defaultdict(set))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with closing(KeyStore(home)) as keys:
        keys.create("first of all")
    with running_server(home, model="efficientnet_lite0", index_processes=2) as running:
        yield running


@pytest.fixture(scope="module")
def worlds(server: RunningServer) -> list[World]:
    with closing(KeyStore(server.home)) as keys:
        made = [World(keys.create(owner), owner) for owner in ("alice", "bob")]
    for world in made:
        with Client(server.url, world.key) as client:
            for name in ("lasting", "passing"):
                dataset = client.new_dataset(name)
                transaction = client.begin(dataset)
                client.upload(dataset, transaction, pictures(world.owner, 0, FIRST))
                client.process(dataset, transaction)
                client.wait_ready(dataset)
                world.lasting, world.passing = (
                    (dataset, []) if name == "lasting" else (world.lasting, [dataset])
                )
    return made


def test_nothing_leaks_hangs_or_mixes_generations(server: RunningServer, worlds: list[World]) -> None:
    numbers = iter(range(OPERATIONS))
    lock = threading.Lock()

    def work(place: int) -> int:
        world, other = worlds[place % 2], worlds[1 - place % 2]
        draw, done = random.Random(place), 0
        with Client(server.url, world.key) as client:
            while True:
                with lock:
                    if next(numbers, None) is None:
                        return done
                operate(client, world, other, draw)
                done += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(work, place) for place in range(CLIENTS)]
        assert sum(each.result(timeout=SECONDS) for each in running) == OPERATIONS
    for world in worlds:
        assert len(world.answers) > 3, "explores were answered"
        for (_, generation, question), bodies in world.answers.items():
            assert len(bodies) == 1, f"generation {generation} has several answers to {question}"
        with Client(server.url, world.key) as client:
            client.wait_ready(world.lasting)
            final = client.json(f"/explore/{world.lasting}")
            assert final["metadata"]["total_media"] == world.next, "no upload was lost or doubled"


def operate(client: Client, world: World, other: World, draw: random.Random) -> None:
    kind = draw.choices(("explore", "foreign", "list", "add", "replace"), (70, 10, 8, 7, 5))[0]
    if kind == "explore":
        explore(client, world, draw)
    elif kind == "foreign":
        for verb, path in (("GET", "/explore/{}"), ("GET", "/dataset/{}"), ("DELETE", "/dataset/{}")):
            assert client.request(verb, path.format(other.lasting)).status_code == 404
    elif kind == "list":
        listed = client.json("/datasets")
        assert {each["owned_by"] for each in listed} == {world.owner}
        assert other.lasting not in {each["id"] for each in listed}
    elif kind == "add":
        add(client, world)
    else:
        replace(client, world)


def explore(client: Client, world: World, draw: random.Random) -> None:
    question = draw.choice(QUESTIONS)
    dataset = draw.choice([world.lasting, world.lasting, *world.passing[:1]])
    response = client.get(f"/explore/{dataset}", **question)
    if response.status_code in REFUSED:
        assert dataset != world.lasting, response.text
        return
    assert response.status_code == 200, response.text
    answer = response.json()
    shown = [preview["file_name"] for cluster in answer["clusters"] for preview in cluster["previews"]]
    assert all(name.startswith(world.owner) for name in shown)
    if dataset == world.lasting:
        metadata = answer["metadata"]
        if not question:
            with world.lock:
                assert metadata["total_media"] in world.sizes, "no generation has as many images"
        if metadata["total_clusters"] <= metadata["page_size"]:
            assert sum(cluster["n_images"] for cluster in answer["clusters"]) == metadata["total_media"]
        clusters = repr([(cluster["cluster_id"], cluster["n_images"]) for cluster in answer["clusters"]])
        with world.lock:
            world.answers[dataset, metadata["generation"], repr(question)].add(clusters)


def add(client: Client, world: World) -> None:
    """One client of a key adds at a time, so that it is known which sizes there can be."""
    with world.lock:
        if world.adding:
            return
        world.adding, first = True, world.next
        world.sizes.add(first + ADDED)
    files = [("files", file) for file in pictures(world.owner, first, ADDED).items()]
    sent = client.post(f"/dataset/{world.lasting}/add_media", files=files, data={"auto_reindex": "true"})
    assert sent.status_code in (202, 409), sent.text
    with world.lock:
        world.adding = False
        world.next += ADDED * (sent.status_code == 202)


def replace(client: Client, world: World) -> None:
    """Delete a dataset and begin another one."""
    with world.lock:
        gone = world.passing.pop() if world.passing else None
    if gone is not None:
        assert client.delete(f"/dataset/{gone}").status_code == 200
        assert client.get(f"/dataset/{gone}").status_code == 404
    dataset = client.new_dataset("passing")
    transaction = client.begin(dataset)
    client.upload(dataset, transaction, pictures(world.owner, 0, 5))
    client.process(dataset, transaction)
    with world.lock:
        world.passing.append(dataset)
