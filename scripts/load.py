"""Many clients of a server at once, each on a connection of its own and without pauses."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

WARM_UP_SECONDS = 2.0


class Connection:
    """One connection that stays open; times every request after a warm-up."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._base = urlsplit(url)
        self._headers = headers
        self._http = http.client.HTTPConnection(self._base.netloc, timeout=120)
        self._warm = time.perf_counter() + WARM_UP_SECONDS
        self.requests = 0
        self.latencies: dict[str, list[float]] = defaultdict(list)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def post(self, path: str, body: bytes, request_id: str | None = None) -> bytes:
        """The answer to a request, timed from the first byte sent to the last one read."""
        headers = self._headers | ({"X-Request-Id": request_id} if request_id else {})
        started = time.perf_counter()
        self._http.request("POST", f"{self._base.path}/{path}", body, headers)
        response = self._http.getresponse()
        answer = response.read()
        self.requests += 1
        if started > self._warm:
            self.latencies[path.partition("?")[0]].append(time.perf_counter() - started)
        assert response.status == 200, (path, response.status, answer)
        return answer


class Caller(Protocol):
    """A client.

    Attributes:
        connection: its own.
        images: how many it has sent.
    """

    connection: Connection
    images: int

    def call(self) -> None:
        """Send one request and check its answer."""


@dataclass
class Load:
    """What many clients saw.

    Attributes:
        seconds: how long they ran.
        requests: how many they sent.
        images: how many were in them.
        latencies: seconds of each request after the warm-up, by method.
        failure: the first thing that went wrong.
    """

    seconds: float = 0.0
    requests: int = 0
    images: int = 0
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failure: BaseException | None = None

    def milliseconds(self, method: str) -> tuple[float, float]:
        """p50 and p99 of a method."""
        percentiles = statistics.quantiles(self.latencies[method], n=100)
        return 1000 * percentiles[49], 1000 * percentiles[98]


def run_together(callers: Sequence[Caller], seconds: float) -> Load:
    """Let all of them call until the time is over, or until one of them fails."""
    load, over = Load(), threading.Event()

    def run(caller: Caller) -> None:
        try:
            while not over.is_set():
                caller.call()
        except BaseException as error:
            load.failure = load.failure or error
            over.set()

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - started
    for caller in callers:
        caller.connection.close()
        load.requests += caller.connection.requests
        load.images += caller.images
        for method, latencies in caller.connection.latencies.items():
            load.latencies[method] += latencies
    return load
