"""A server that is killed while it inserts: what it acknowledged is there when it comes back."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collections_of_pictures import picture
from tests.matching import JsonObject, by_opencv, record
from tests.pictures import encode
from tests.servers import RunningServer, running_server

ROUNDS = 4
CLIENTS = 12
PICTURES = 40
SHELF = {"collection-id": "shelf"}
EVERYTHING = ["*", "bmh1", "phash"]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [encode(picture(seed, 48, 36), "PNG") for seed in range(PICTURES)]


def post(server: RunningServer, method: str, **body: Any) -> JsonObject:
    response = server.post(method, body, headers=SHELF)
    assert response.status_code == 200, response.text
    answer: JsonObject = response.json()
    return answer


class Inserting:
    """Clients that insert until the server is gone.

    Attributes:
        sent: every batch, by the ids in it.
        acknowledged: ids whose insert was answered.
    """

    def __init__(self, server: RunningServer, files: list[bytes], round_: int) -> None:
        self.sent: list[dict[str, JsonObject]] = []
        self.acknowledged: set[str] = set()
        self._server, self._files = server, files
        self._threads = [
            threading.Thread(target=self._insert, args=(f"{round_}-{number}",)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Inserting:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    def _insert(self, name: str) -> None:
        with httpx.Client(timeout=60) as client:
            for number in itertools.count():
                batch = {f"{name}-{number}-{i}": self._fields(number + i) for i in range(1 + number % 4)}
                self.sent.append(batch)
                records = [
                    record(self._files[fields["picture"]], _id=id, **fields) for id, fields in batch.items()
                ]
                try:
                    response = client.post(
                        f"{self._server.matching}/insert", json={"records": records}, headers=SHELF
                    )
                except httpx.TransportError:
                    return
                assert response.json()["status"]["code"] == 210, response.text
                self.acknowledged |= batch.keys()

    @staticmethod
    def _fields(number: int) -> JsonObject:
        return {"picture": number % PICTURES, "text": "x" * (number % 700), "nested": {"number": [number]}}


def kill_while_inserting(
    home: Path, files: list[bytes], round_: int, inserted: int, seconds: float
) -> Inserting:
    """Kill the server at once when so many records are inserted, and so many seconds have passed since."""
    with running_server(home) as server:
        with Inserting(server, files, round_) as inserting:
            until = time.monotonic() + 30
            while len(inserting.acknowledged) < inserted and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(seconds)
            server.process.kill()
        assert server.process.wait(60) == -9
    return inserting


def everything(server: RunningServer) -> Iterator[JsonObject]:
    for page in itertools.count(1):
        answer = server.post(
            f"allRecords?size=500&page={page}", {"fields_to_return": EVERYTHING}, headers=SHELF
        ).json()
        yield from answer["answer_records"]
        if "next" not in answer:
            return


def test_what_was_acknowledged_outlives_kills_at_any_instant(tmp_path: Path, files: list[bytes]) -> None:
    chance = random.Random(7)
    known = [by_opencv(data) for data in files]
    batches: list[dict[str, JsonObject]] = []
    acknowledged: set[str] = set()
    for round_ in range(ROUNDS):
        inserting = kill_while_inserting(
            tmp_path, files, round_, chance.randint(1, 150), chance.uniform(0, 0.05)
        )
        batches += inserting.sent
        acknowledged |= inserting.acknowledged
        assert inserting.acknowledged
        assert len(inserting.acknowledged) < sum(map(len, inserting.sent)), "nothing was under way"

    with running_server(tmp_path, max_records=100_000) as server:
        stored = {each["_id"]: each for each in everything(server)}
        sent = {id: fields for batch in batches for id, fields in batch.items()}
        assert acknowledged <= stored.keys() <= sent.keys()
        for id, each in stored.items():
            assert each == {"_id": id} | sent[id] | known[sent[id]["picture"]]
        for batch in batches:
            assert batch.keys() <= stored.keys() or not batch.keys() & stored.keys(), "half a batch"

        # A record that was not acknowledged may be there or not, but all methods agree on it.
        got = post(server, "get", records=[{"_id": id} for id in sent], fields_to_return=EVERYTHING)
        assert {each["_id"]: each for each in got["answer_records"]} == stored
        for number, data in enumerate(files):
            found = post(server, "visualKNN", query_record=record(data), k=len(sent))
            pairs = zip(found["answer_records"], found["answer_distances"], strict=True)
            same = {each["_id"] for each, distance in pairs if distance == 0}
            assert same == {id for id in stored if sent[id]["picture"] == number}
        lost = sent.keys() - stored.keys()
        again = [record(files[0], _id=id) for id in [*sorted(lost)[:20], min(stored)]]
        code = post(server, "insert", records=again)
        assert len(code["answer_records"]) == len(again) - 1
        assert [each for each in server.lines() if each["level"] != "info"] == []
