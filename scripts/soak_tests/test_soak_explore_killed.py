"""Uploads that outlive ten kills of the server, and ten of the index process, at random moments.

SOAK_IMAGES and SOAK_KILLS say how many, 3,000 and 10 unless given; SOAK_SEED says which moments.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from pathlib import Path

from tests.explore import Client
from tests.explore_kills import Doomed, Sender, uploads
from twinlens.service.keys import KeyStore

IMAGES = int(os.environ.get("SOAK_IMAGES", "3000"))
KILLS = int(os.environ.get("SOAK_KILLS", "10"))
SEED = int(os.environ.get("SOAK_SEED", "4"))
LONGEST, POINTS = 8.0, 15.0
"""Half of the servers and index processes die within so many seconds, half within so many percent."""


def test_what_was_acknowledged_outlives_kills_at_random_moments(tmp_path: Path) -> None:
    chance, sent = random.Random(SEED), uploads(IMAGES)
    held_back = dict(list(sent.items())[-10 * KILLS :])
    at_first = {name: data for name, data in sent.items() if name not in held_back}
    started = time.monotonic()
    with closing(KeyStore(tmp_path)) as store:
        doomed = Doomed(tmp_path, store.create("ann"), chance)
    try:
        with doomed.life() as (_, client):
            doomed.dataset = client.new_dataset()
        acknowledged = kill_servers(doomed, at_first)
        acknowledged += kill_workers(doomed, held_back)
        doomed.check(sent, acknowledged)
    finally:
        print(
            "", f"seed {SEED}, {IMAGES} images, {time.monotonic() - started:.0f} s", *doomed.report, sep="\n"
        )


def kill_servers(doomed: Doomed, files: dict[str, bytes]) -> list[str]:
    """Upload files while servers die; the names of those that were acknowledged."""
    requests = len(files) / 10
    # The uploads last as long as the servers that are killed.
    sender = Sender(doomed.dataset, files, pause=KILLS * LONGEST / requests, chance=doomed.chance)
    sender.start()
    for _ in range(KILLS):
        doomed.kill_server(sender, LONGEST, POINTS)
    with doomed.life(sender):
        sender.join(300)
        assert not sender.is_alive()
    doomed.report.append(f"{len(sender.acknowledged)} files acknowledged, {sender.lost} answers lost")
    return sender.acknowledged


def kill_workers(doomed: Doomed, files: dict[str, bytes]) -> list[str]:
    """Kill index processes; between them, a restart and a request for more work by turns."""
    waiting = list(files.items())
    killed = 0
    while killed < KILLS:
        with doomed.life() as (server, client):
            for _ in range(2):
                if client.status(doomed.dataset)["status_new"] == "READY":
                    assert waiting, "all was indexed too soon: SOAK_IMAGES is too low"
                    more, waiting = dict(waiting[:10]), waiting[10:]
                    send(client, doomed.dataset, more)
                elif client.status(doomed.dataset)["status_new"] == "ERROR":
                    assert client.post(f"/dataset/{doomed.dataset}/reindex").status_code == 202
                killed += doomed.kill_worker(
                    server,
                    client,
                    lambda client=client: doomed.moment(client, LONGEST, POINTS),  # type: ignore[misc]
                )
    with doomed.life() as (_, client):
        client.wait_ready(doomed.dataset, seconds=600)
        send(client, doomed.dataset, dict(waiting))
    return list(files)


def send(client: Client, dataset: str, files: dict[str, bytes]) -> None:
    """Upload files and have them indexed."""
    if files:
        transaction = client.begin(dataset)
        client.upload(dataset, transaction, files)
        client.process(dataset, transaction)
