"""Measure a server that many clients call at once, beside decoding and hashing alone."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.hash_rates import Rates, engine_hashes, hash_all, opencv_hashes, records
from scripts.load import Connection, Load, run_together
from scripts.matching_clients import clients, headers
from scripts.processes import cpu_seconds
from tests.servers import RunningServer, running_server
from twinlens.service.keys import KeyStore

CLIENTS, KEYS = 64, 8
IN_ONE_CALL = 10
ROUNDS = 3


class HashingClient:
    """Sends the same few images to visual_hash over and over."""

    def __init__(self, connection: Connection, images: Sequence[bytes]) -> None:
        self.connection = connection
        self.images = 0
        self._brought = len(images)
        self._body = json.dumps({"records": records(images)}).encode()

    def call(self) -> None:
        """Send one request."""
        self.connection.post("visual_hash", self._body)
        self.images += self._brought


def many_clients(home: Path, images: Sequence[bytes], seconds: float, mixed_seconds: float) -> Iterator[str]:
    """What many clients see, as a part of a page.

    Args:
        home: of the server.
        images: at least ten for each client.
        seconds: for each round of one method.
        mixed_seconds: for all methods.
    """
    keys = KeyStore(home)
    tokens = [keys.create(f"owner {number}").token for number in range(KEYS)]
    keys.close()
    yield f"\n### {CLIENTS} clients at once\n"
    with running_server(home) as server:
        yield from one_method(server, tokens[0], images, seconds)
        yield from all_methods(server, tokens, mixed_seconds)


def one_method(server: RunningServer, token: str, images: Sequence[bytes], seconds: float) -> Iterator[str]:
    opencv, bare, served = Rates(), Rates(), Rates()
    clients_cpu = []
    for _ in range(ROUNDS):
        hash_all(opencv_hashes, images, opencv)
        hash_all(engine_hashes, images, bare)
        callers = [
            HashingClient(
                Connection(server.matching, headers(token, "none")),
                images[number * IN_ONE_CALL : (number + 1) * IN_ONE_CALL],
            )
            for number in range(CLIENTS)
        ]
        spent, own = cpu_seconds(server.process.pid), time.process_time()
        load = good(run_together(callers, seconds))
        served.add(load.images, load.seconds, cpu_seconds(server.process.pid) - spent)
        clients_cpu.append(1000 * (time.process_time() - own) / load.images)
    yield f"{CLIENTS} clients call visual_hash with {IN_ONE_CALL} images, without pauses:\n"
    yield "| | images/s | CPU ms/image |\n|---|---|---|"
    for name, rates in (("OpenCV", opencv), ("bare", bare), ("the server", served)):
        yield f"| {name} | {rates.rate:.0f} | {rates.cpu_ms:.2f} |"
    yield f"| its clients, on the same cores | | {statistics.median(clients_cpu):.2f} |"
    yield f"| the server beside bare | {served.rate / bare.rate:.0%} | {served.cpu_ms / bare.cpu_ms:.0%} |"


def all_methods(server: RunningServer, tokens: Sequence[str], seconds: float) -> Iterator[str]:
    callers = clients(server.matching, tokens, CLIENTS)
    spent = cpu_seconds(server.process.pid)
    load = good(run_together(callers, seconds))
    cpu = cpu_seconds(server.process.pid) - spent
    yield (
        f"\n{CLIENTS} clients of {KEYS} keys call all methods at random for {seconds:.0f} s, without pauses, "
        f"and check every answer: {load.requests / load.seconds:.0f} requests/s with "
        f"{load.images / load.seconds:.0f} images/s, for which the server computed "
        f"{cpu / load.seconds:.2f} s of each second. Milliseconds of a request, in which its images wait for "
        "those of the others:\n"
    )
    yield "| | images in a request | requests | p50 | p99 |\n|---|---|---|---|---|"
    for method in sorted(load.latencies, key=str.lower):
        p50, p99 = load.milliseconds(method)
        brought = IMAGES.get(method, "none")
        yield f"| {method} | {brought} | {len(load.latencies[method]):,} | {p50:.0f} | {p99:.0f} |"


IMAGES = {
    "visual_hash": "1 to 10",
    "remove_duplicates": "2 to 24",
    "rank_images": "2 to 25",
    "insert": "1 to 7",
    "visualKNN": "0 or 1",
    "nearDuplicates": "0 or 1",
    "visualRankRecords": "0 or 1",
}
"""As `matching_clients` sends them."""


def good(load: Load) -> Load:
    if load.failure is not None:
        raise load.failure
    return load
