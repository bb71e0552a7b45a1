"""Servers that tests share: starting one takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import RunningServer, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as it comes, without keys. Tests keep to ids and collections of their own."""
    with running_server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes few records and holds fewer, counts bits, and downloads from this machine."""
    settings = {
        "max_records": 3,
        "max_hash_records": 2,
        "max_collection_records": 2,
        "distance_unit": "bits",
        "allow_private_urls": True,
    }
    with running_server(tmp_path_factory.mktemp("tight"), **settings) as running:
        yield running
