"""Servers and index processes that are killed: what was acknowledged comes to be, and nothing else."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

from tests.explore_kills import Doomed, Sender, uploads
from tests.explore_life import folder_of, wait_for, workers
from twinlens.service.keys import KeyStore

IMAGES = 150


def test_what_was_acknowledged_outlives_kills_of_servers_and_index_processes(tmp_path: Path) -> None:
    chance, sent = random.Random(11), uploads(IMAGES)
    with closing(KeyStore(tmp_path)) as store:
        doomed = Doomed(tmp_path, store.create("ann"), chance)
    with doomed.life() as (_, client):
        doomed.dataset = client.new_dataset()
    sender = Sender(doomed.dataset, sent, pause=0.2, chance=chance)
    sender.start()

    with doomed.life(sender) as (server, _):
        wait_for(lambda: len(sender.acknowledged) >= 40, "some uploads")
        server.process.kill()
        server.process.wait(60)
    assert len(sender.acknowledged) < IMAGES
    with doomed.life(sender) as (server, client):
        sender.join(120)
        assert len(sender.acknowledged) == IMAGES and not sender.is_alive()
        wait_for(lambda: workers(server.process.pid), "an index process")
        # Not before it has something to lose.
        wait_for(lambda: client.status(doomed.dataset)["progress"] > 0, "some progress", 120)
        server.process.kill()
        server.process.wait(60)

    with doomed.life() as (server, client):
        assert client.status(doomed.dataset)["status_new"] in ("INDEXING", "READ ONLY")
        assert doomed.kill_worker(server, client, lambda: time.sleep(chance.uniform(0, 1)))
    with doomed.life() as (server, client):
        catalog = folder_of(server, doomed.dataset) / "index" / "catalog.sqlite"

        def moment() -> None:
            wait_for(lambda: catalog.with_name("catalog.sqlite-wal").exists(), "an open catalog", 120)

        doomed.kill_worker(server, client, moment)
    doomed.check(sent, sender.acknowledged)
