"""More datasets than are held open at a time, asked by many clients at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.explore import Client, issue
from tests.servers import running_server
from twinlens.engine.dataset import Dataset
from twinlens.service.database import Database
from twinlens.service.explore.answers import AnswerLimits
from twinlens.service.explore.datasets import DatasetStore
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.explore.library import Library
from twinlens.service.explore.notes import NoteBook

IMAGES = 40
DATASETS = 12
CLIENTS = 8
ROUNDS = 3


def rows(seed: int) -> NDArray[np.float64]:
    """Pairs of neighbours: each even row and the next one are 0.97 similar."""
    found = np.linalg.qr(np.random.default_rng(seed).normal(size=(IMAGES, IMAGES)))[0]
    found[1::2] = 0.97 * found[::2] + np.sqrt(1 - 0.97**2) * found[1::2]
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Datasets made on the command line."""
    folder = tmp_path_factory.mktemp("many")
    ids = [str(uuid.UUID(int=number)) for number in range(IMAGES)]
    made = [folder / str(seed) for seed in range(DATASETS)]
    for seed, each in enumerate(made):
        Dataset.from_vectors(ids, rows(seed), name="vectors", folder=each, device="cpu").close()
    return made


@pytest.fixture
def client(folders: list[Path], tmp_path: Path) -> Iterator[Client]:
    options = [part for folder in folders for part in ("--dataset", str(folder))]
    with running_server(tmp_path, *options) as server, Client(server.url) as made:
        yield made


def test_all_are_answered_rightly(client: Client) -> None:
    datasets = [each["id"] for each in client.json("/datasets")]
    assert len(datasets) == DATASETS

    def ask(number: int) -> None:
        order = np.random.default_rng(number).permutation(DATASETS * ROUNDS)
        with Client(client.url) as own:
            for place in order.tolist():
                dataset = datasets[place % DATASETS]
                # No two clients ask the same, so that little is answered from memory.
                threshold = round(0.5 + 0.3 * place / (DATASETS * ROUNDS) + 0.0001 * number, 6)
                answer = own.explore(dataset, duplicate_threshold=threshold)
                assert answer["metadata"]["total_clusters"] == IMAGES // 2
                found = own.explore(dataset, [issue("duplicates", confidence_min=0.0001 * place)])
                assert found["metadata"]["total_media"] == IMAGES
                some = own.json(f"/dataset/{dataset}/rejections")
                assert some == {"pairs": []}

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))


def test_an_answer_goes_on_although_its_dataset_is_closed_for_others(
    folders: list[Path], tmp_path: Path
) -> None:
    with closing(Database(tmp_path / "datasets.sqlite", LAYOUT)) as database:
        store = DatasetStore(database)
        datasets = [store.mount("", folder, IMAGES) for folder in folders]

        async def ask() -> None:
            limits = AnswerLimits(nearest=10, max_pairs=1000)
            library = Library(NoteBook(database), limits, device="cpu", workers=2)
            first = await library.view(datasets[0])
            for row in datasets[1:]:
                await library.view(row)
            # The pool works in order: what was to be closed is closed when this is done.
            await asyncio.gather(library.run(lambda: None), library.run(lambda: None))
            found = await library.run(lambda: first.generation.confidences("duplicates"))
            assert (found > 0).all()
            assert await library.ask(datasets[0], len) == IMAGES
            await library.aclose()

        asyncio.run(ask())
