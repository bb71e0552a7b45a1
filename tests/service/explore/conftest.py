"""One server with real photographs for all tests that only ask: making it takes longer than they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brute_force import Stored, read_stored
from tests.explore import Client, Lab, Running, laboratory
from tests.photographs import photographs, with_labels
from tests.servers import RunningServer


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Photographs with labels, owned by ann. Tests leave the dataset as it is."""
    with laboratory(tmp_path_factory.mktemp("lab")) as (server, ann, bob):
        dataset = ann.make_dataset(with_labels(photographs()))
        yield Lab(server, ann, bob, dataset)


@pytest.fixture(scope="session")
def stored(lab: Lab) -> Stored:
    """What is stored of those photographs."""
    return read_stored(lab.folder)


# -- of modules that have a server of their own, in a fixture `running` -------------------------------


@pytest.fixture(scope="module")
def server(running: Running) -> RunningServer:
    return running[0]


@pytest.fixture(scope="module")
def ann(running: Running) -> Client:
    return running[1]


@pytest.fixture(scope="module")
def bob(running: Running) -> Client:
    return running[2]
