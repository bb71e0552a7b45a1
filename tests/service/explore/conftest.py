"""One server with real photographs for all tests that only ask: making it takes longer than they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brute_force import Stored, read_stored
from tests.explore import Lab, laboratory
from tests.photographs import photographs, with_labels


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
