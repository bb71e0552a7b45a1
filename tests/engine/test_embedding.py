"""How many images are embedded in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.collections_of_pictures import fill, picture
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset
from twinlens.engine.embedding import embed_few, embed_padded, largest_call
from twinlens.engine.types import Embeddings, Prepared


class Small(ColourGridEmbedder):
    """Has room for so many images at once, and remembers its calls."""

    def __init__(self, room: int, device: str = "cpu") -> None:
        self.room, self.calls = room, []  # type: tuple[int, list[int]]
        self._device = device

    @property
    def device(self) -> str:
        return self._device

    def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
        self.calls.append(len(batch))
        if len(batch) > self.room:
            raise MemoryError(f"{len(batch)} images do not fit")
        return super().embed_prepared(batch)


def prepared(count: int) -> list[Prepared]:
    embedder = ColourGridEmbedder()
    return [embedder.prepare(np.asarray(picture(number, 32, 32))) for number in range(count)]


@pytest.mark.parametrize(("room", "fits"), [(1000, 256), (256, 256), (255, 128), (37, 32), (1, 1)])
def test_a_call_is_as_large_as_the_device_has_room_for(room: int, fits: int) -> None:
    assert largest_call(Small(room), 256) == fits


def test_a_device_without_room_for_one_image_says_so() -> None:
    with pytest.raises(MemoryError):
        largest_call(Small(0), 256)


def test_a_dataset_on_a_small_device_is_made_with_smaller_calls(tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "data", Small(100, "cuda")) as data:
        assert data.shape == 64


class ByFives(Small):
    """Is fastest with five images."""

    @property
    def cpu_call(self) -> int:
        return 5


def test_on_a_cpu_a_model_says_how_large_a_call_is(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 12)
    embedder = ByFives(1000)
    with Dataset.create(tmp_path / "data", embedder) as data:
        data.add(tmp_path / "photos")
        assert embedder.calls == [5, 5, 5] and len(data) == 12
    # Whatever a later version of the model finds faster: the last bits of a row may depend on it.
    with Dataset.open(tmp_path / "data", models=lambda _: Small(1000)) as data:
        assert data.shape == 5


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_stored_rows_come_from_calls_of_one_shape(count: int) -> None:
    images, embedder = prepared(count), Small(1000)
    rows = embed_padded(embedder, images, 4)
    assert set(embedder.calls) <= {4} and len(embedder.calls) == -(-count // 4)
    assert np.array_equal(rows, ColourGridEmbedder().embed_prepared(images))


def test_others_come_from_calls_of_what_there_is() -> None:
    embedder = Small(1000)
    rows = embed_few(embedder, prepared(6), 4)
    assert embedder.calls == [4, 2] and len(rows) == 6
