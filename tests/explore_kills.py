"""A server that dies again and again while a client uploads, and whose index processes die."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

from tests.explore import Client
from tests.explore_life import files_below, is_running, kill, pictures, wait_for, workers
from tests.servers import RunningServer, running_server
from twinlens.engine.dataset import Dataset
from twinlens.service.keys import NewKey

T = TypeVar("T")
FILES_A_REQUEST, REQUESTS_A_TRANSACTION = 10, 3
_SECONDS = 180


class Sender(threading.Thread):
    """Uploads files in several transactions; what got no answer is sent again when there is a server.

    Attributes:
        acknowledged: names of the files whose upload was answered.
        lost: calls that got no answer.

    Args:
        dataset: where to.
        files: what.
        pause: seconds between requests, at most.
    """

    def __init__(self, dataset: str, files: dict[str, bytes], pause: float, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.lost = 0
        self._dataset, self._files = dataset, list(files.items())
        self._pause, self._chance = pause, random.Random(chance.random())
        self._client: Client | None = None
        self._changed = threading.Condition()

    def attach(self, client: Client | None) -> None:
        """Speak to this server from now on; None while there is none."""
        with self._changed:
            self._client = client
            self._changed.notify_all()

    def run(self) -> None:
        """Upload everything."""
        step = FILES_A_REQUEST * REQUESTS_A_TRANSACTION
        for start in range(0, len(self._files), step):
            self._transaction(self._files[start : start + step])

    def _transaction(self, files: Sequence[tuple[str, bytes]]) -> None:
        number = self._ask(lambda client: client.begin(self._dataset))
        for start in range(0, len(files), FILES_A_REQUEST):
            sent = dict(files[start : start + FILES_A_REQUEST])
            self._ask(lambda client, sent=sent: client.upload(self._dataset, number, sent))  # type: ignore[misc]
            self.acknowledged += sent
            time.sleep(self._chance.uniform(0, self._pause))
        self._ask(lambda client: client.process(self._dataset, number))

    def _ask(self, call: Callable[[Client], T]) -> T:
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: self._client is not None, _SECONDS)
                client = self._client
            assert client is not None
            try:
                return call(client)
            except httpx.TransportError:
                self.lost += 1
                with self._changed:
                    self._changed.wait_for(lambda client=client: self._client is not client, _SECONDS)  # type: ignore[misc]


@dataclass
class Doomed:
    """A data folder whose servers and index processes are killed.

    Attributes:
        home: TWINLENS_HOME of all its servers.
        key: makes the dataset.
        chance: when they die.
        report: what happened, line by line.
    """

    home: Path
    key: NewKey
    chance: random.Random
    dataset: str = ""
    report: list[str] = field(default_factory=list)

    @contextmanager
    def life(self, sender: Sender | None = None) -> Iterator[tuple[RunningServer, Client]]:
        """One server, from its start to its end; its index processes end with it."""
        running = running_server(self.home, model="efficientnet_lite0", device="cpu")
        with running as server, Client(server.url, self.key) as client, Client(server.url, self.key) as other:
            at_work: list[int] = []
            try:
                if sender is not None:
                    sender.attach(other)
                yield server, client
            finally:
                at_work = workers(server.process.pid)
                if sender is not None:
                    sender.attach(None)
        wait_for(lambda: not any(map(is_running, at_work)), "the end of the index processes")

    def moment(self, client: Client, longest: float, points: float = 0) -> None:
        """Return at some moment within so many seconds, or once the progress has risen by some points."""
        if not points or self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, longest))
            return
        target = client.status(self.dataset)["progress"] + self.chance.uniform(0, points)
        deadline = time.monotonic() + _SECONDS
        while (state := client.status(self.dataset))["progress"] <= target:
            if state["status_new"] in ("READY", "ERROR") or time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def kill_server(self, sender: Sender | None, longest: float, points: float = 0) -> None:
        """Start a server and kill it at some moment."""
        with self.life(sender) as (server, client):
            started = time.monotonic()
            self.moment(client, longest, points)
            state = client.status(self.dataset)
            kill(server.process.pid)
            server.process.wait(60)
        seconds = time.monotonic() - started
        how_far = f"{state['status_new']} {state['progress']} %"
        self.report.append(f"server killed after {seconds:.1f} s: {how_far}")

    def kill_worker(self, server: RunningServer, client: Client, moment: Callable[[], None]) -> bool:
        """Kill the index process when a moment has come; its dataset says so and the server goes on.

        Returns:
            False if it ended before.
        """
        wait_for(lambda: workers(server.process.pid), "an index process", _SECONDS)
        (process,) = workers(server.process.pid)
        moment()
        before = client.status(self.dataset)
        kill(process)
        wait_for(lambda: client.status(self.dataset)["status_new"] in ("ERROR", "READY"), "an end", _SECONDS)
        state = client.status(self.dataset)
        self.report.append(f"index process killed at {before['progress']} %: {state['status_new']}")
        if state["status_new"] == "READY":
            return False
        assert "SIGKILL" in state["fatal_error_msg"], state
        assert state["status"] == "FATAL_ERROR"
        assert client.get("/healthcheck").status_code == 200
        assert client.ask(self.dataset).status_code == 409
        return True

    def check(self, sent: dict[str, bytes], acknowledged: list[str]) -> None:
        """See that the dataset gets READY with what was acknowledged, and that nothing else is left."""
        with self.life() as (server, client):
            state = client.wait_ready(self.dataset, seconds=600)
            held = client.ids(self.dataset)
            names, told = Counter(self._names(client)), Counter(acknowledged)
            assert names == told, f"too many: {names - told}, too few: {told - names}"
            assert state["n_images"] == len(acknowledged) == len(sent)
            assert client.json(f"/dataset/{self.dataset}/failures") == []
            answer = client.explore(self.dataset)
            assert answer["metadata"]["total_media"] == len(sent)
            clusters = [each["cluster_id"] for each in answer["clusters"]]
            wait_for(lambda: not workers(server.process.pid), "the end of the index process")
        with self.life() as (server, client):
            assert client.wait_ready(self.dataset)["n_images"] == len(sent)
            assert client.ids(self.dataset) == held, "ids outlive a restart"
            again = client.explore(self.dataset)
            assert [each["cluster_id"] for each in again["clusters"]] == clusters
        self._check_files(sent, set(held.values()))

    def _names(self, client: Client) -> list[str]:
        lines = client.get(f"/dataset/{self.dataset}/export_media_id").text.splitlines()
        return [line.rsplit(",", 1)[0] for line in lines[1:]]

    def _check_files(self, sent: dict[str, bytes], ids: set[str]) -> None:
        folder = self.home / "datasets"
        kept = files_below(folder)
        assert {name.split("/")[0] for name in kept} == {self.dataset}
        parts = Counter(name.split("/")[1] for name in kept)
        assert set(parts) == {"images", "index"}, parts
        images = [folder / name for name in kept if name.split("/")[1] == "images"]
        assert {path.name: path.read_bytes() for path in images} == sent and len(images) == len(sent)
        with Dataset.open(folder / self.dataset / "index") as data:
            assert {image.id for image in data.images()} == ids and all(map(data.preview, ids))
        index = {name.split("/")[2] for name in kept if name.split("/")[1] == "index"}
        self.report.append(f"files of the index: {', '.join(sorted(index))}")
        for base in (folder / self.dataset / "staging", folder / self.dataset / "uploads"):
            assert not files_below(base)


def uploads(count: int) -> dict[str, bytes]:
    """So many different pictures by name."""
    return pictures(count, 10_000)
