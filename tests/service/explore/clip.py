"""A small collection for a CLIP model; what a search by text finds in it, by open_clip and numpy alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray

from tests.collections_of_pictures import picture
from tests.explore import JsonObject
from tests.pictures import encode
from twinlens.engine.dataset import Dataset
from twinlens.models.device import DTYPES, choose_precision

DIFFERENT = 12
MICRO = 2e-6
"""Distances have 6 decimals."""

Found: TypeAlias = list[tuple[str, float]]
"""Ids and distances, nearest first, ties by id."""


def files() -> dict[str, bytes]:
    """Different pictures, a twin of the first, a copy of the second, a flat image, labels and captions."""
    pictures = {f"{seed:02}.jpg": encode(picture(seed), "JPEG", quality=90) for seed in range(DIFFERENT)}
    twins = {"00_again.jpg": encode(picture(0), "JPEG", quality=60), "01_copy.jpg": pictures["01.jpg"]}
    flat = {"flat.png": encode(np.full((40, 50, 3), 90, np.uint8), "PNG")}
    notes = io.StringIO()
    rows = csv.writer(notes)
    rows.writerow(["filename", "label", "caption"])
    rows.writerows([name, "odd" if int(name[1]) % 2 else "even", ""] for name in pictures)
    rows.writerow(["02.jpg", "", "A dog runs along the beach"])
    rows.writerow(["03.jpg", "", "Two dogs asleep; beaches behind them"])
    return pictures | twins | flat | {"image_annotations.csv": notes.getvalue().encode()}


@dataclass(frozen=True)
class Stored:
    """What is searched, read from the folder of the dataset.

    Attributes:
        ids, names: of n images.
        units: float64 [n, dim], their rows, of length 1.
        flat: ids of images without information.
    """

    ids: Sequence[str]
    names: Sequence[str]
    units: NDArray[np.float64]
    flat: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> Stored:
        with Dataset.open(folder) as data:
            images, rows = data.images(), data.vectors().astype(np.float64)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        flat = frozenset(image.id for image in images if image.low_information)
        assert len(flat) == 1
        return cls([image.id for image in images], [Path(image.path).name for image in images], units, flat)

    def rows(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Units of some images."""
        return self.units[[self.ids.index(id_) for id_ in ids]]


class ByHand:
    """The nearest images to texts, as a search is to find them.

    Args:
        name: of the model.
        stored: is searched.
        most: images that a search shows.
    """

    def __init__(self, name: str, stored: Stored, most: int) -> None:
        model: Any = open_clip.create_model_from_pretrained(name, return_transform=False)
        self._model = model.eval().to(DTYPES[choose_precision("auto", "cpu")])
        self._tokenizer = open_clip.get_tokenizer(name)
        self._stored = stored
        self._most = most

    def nearest(
        self, *texts: str, among: Callable[[str], bool] = lambda name: True, most: int | None = None
    ) -> Found:
        """Of the images whose names are chosen, those nearest to all texts."""
        with torch.inference_mode():
            features = self._model.encode_text(self._tokenizer(list(texts))).double().numpy()
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        cosine = (self._stored.units @ features.T).min(axis=1)
        chosen = [
            place
            for place, (id_, name) in enumerate(zip(self._stored.ids, self._stored.names, strict=True))
            if id_ not in self._stored.flat and among(name)
        ]
        best = sorted(chosen, key=lambda place: (-cosine[place], self._stored.ids[place]))[
            : most or self._most
        ]
        distances = 1 - np.clip(cosine, 0, 1)
        return in_order((self._stored.ids[place], round(float(distances[place]), 6)) for place in best)


def found(answer: JsonObject) -> Found:
    """All images of an answer of explore that has no more than its previews show."""
    return in_order(
        (preview["media_id"], preview["relevance_score"])
        for cluster in answer["clusters"]
        for preview in cluster["previews"]
    )


def in_order(images: Iterable[tuple[str, float]]) -> Found:
    """Nearest first, ties by id."""
    return sorted(images, key=lambda one: (one[1], one[0]))


def assert_equal(some: Found, others: Found) -> None:
    """The same images at the same distances; those that are equally far may change places."""
    np.testing.assert_allclose([d for _, d in some], [d for _, d in others], atol=MICRO)
    one, other = dict(some), dict(others)
    furthest = max(one.values(), default=0.0)
    for id_ in one.keys() | other.keys():
        # One that is missing could be the last as well.
        assert one.get(id_, furthest) == pytest.approx(other.get(id_, furthest), abs=MICRO), id_
