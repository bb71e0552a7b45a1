"""What one step of the training sees: pictures, two edited copies of each, and who is a stranger to whom.

A batch depends on the seed and the number of its step alone, so that a resumed run goes on as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from scripts.descriptor_edits import COLOURS, OVERLAYS, QUALITIES, SHAPES, Change, through_jpeg
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_scenes import SCENES
from twinlens.models.copy_descriptor import squashed

NEIGHBOURS = 12
GROUP = 4
HARD_SHARE = 0.5
SHARED_SCENE = 0.35
COPIES = 2
LARGEST_EDITED = 300
INNER = 0.7
"""Of width and height."""
KINDS = ("shape", "colour", "overlay", "quality", "scene")
KIND_CHANCES = (0.62, 0.42, 0.38, 0.42, 0.48)
MOST_EDITS = 4
_AHEAD = 3
"""Batches of each process."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Batch:
    """Tensors of one step.

    Attributes:
        ids: int64 [n], which pictures.
        plain: uint8 [n, 3, side, side].
        edited: uint8 [COPIES * n, 3, side, side], the first copies of all, then the second ones.
        inner: their inner parts, alike, where somebody looks twice; else empty.
    """

    ids: torch.Tensor
    plain: torch.Tensor
    edited: torch.Tensor
    inner: torch.Tensor


class Steps(Dataset[Batch]):
    """The batches of all steps."""

    def __init__(
        self,
        pictures: Pictures,
        chosen: NDArray[np.int64],
        size: int,
        sides: Sequence[int],
        seed: int,
        *,
        looked_at_twice: bool = False,
    ) -> None:
        self._pictures, self._chosen = pictures, chosen
        self._size, self._sides, self._seed = size, sides, seed
        self._looked_at_twice = looked_at_twice
        self._near = nearest(pictures.features[chosen])

    def __getitem__(self, step: int) -> Batch:
        chance = Random(f"{self._seed} step {step}")
        side = chance.choice(self._sides)
        members = self._members(chance)
        ids = [int(self._chosen[member]) for member in members]
        scenes = [chance.getrandbits(48) if number % GROUP == 0 else 0 for number in range(len(ids))]
        plain: list[Image.Image] = []
        edited: list[list[Image.Image]] = [[] for _ in range(COPIES)]
        for number, index in enumerate(ids):
            own = Random(f"{self._seed} step {step} {number}")
            image = self._pictures.image(index)
            plain.append(anchored(image, own))
            for copies in edited:
                shared = scenes[number - number % GROUP] if own.random() < SHARED_SCENE else None
                copies.append(edit(image, own, self.stranger, shared))
        all_edited = [image for copies in edited for image in copies]
        inner = [inner_part(image) for image in all_edited] if self._looked_at_twice else []
        return Batch(
            ids=torch.tensor(ids),
            plain=squares_of(plain, side),
            edited=squares_of(all_edited, side),
            inner=squares_of(inner, side),
        )

    def loaded(self, steps: range, workers: int) -> DataLoader[Batch]:
        """The batches of some steps, one after the other, edited ahead by so many processes."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
        )

    def stranger(self, chance: Random) -> Image.Image:
        """Any picture."""
        return self._pictures.image(int(self._chosen[chance.randrange(len(self._chosen))]))

    def _members(self, chance: Random) -> list[int]:
        """Some groups of neighbours, the others at random; none twice."""
        members: dict[int, None] = {}
        while len(members) < self._size * HARD_SHARE:
            first = chance.randrange(len(self._chosen))
            near = [int(other) for other in self._near[first]]
            group = [first, *chance.sample(near, min(GROUP - 1, len(near)))]
            if not members.keys() & set(group):
                members.update(dict.fromkeys(group))
        while len(members) < self._size:
            members[chance.randrange(len(self._chosen))] = None
        return list(members)


def anchored(image: Image.Image, chance: Random) -> Image.Image:
    """The picture as it is, or saved once more."""
    return through_jpeg(image, chance.randint(50, 95)) if chance.random() < 0.3 else image


def edit(image: Image.Image, chance: Random, stranger: Any, scene_seed: int | None = None) -> Image.Image:
    """One to four edits, in the order in which people make them, or now and then another one.

    Args:
        image: the picture.
        chance: decides.
        stranger: gives another picture.
        scene_seed: a scene is drawn from this, so that several pictures can get the same one.
    """
    kinds = [kind for kind, share in zip(KINDS, KIND_CHANCES, strict=True) if chance.random() < share]
    kinds = kinds or [chance.choice(KINDS)]
    if chance.random() < 0.25:
        kinds.append(chance.choice(KINDS))
        chance.shuffle(kinds)
    if chance.random() < 0.25:
        chance.shuffle(kinds)
    for kind in kinds[:MOST_EDITS]:
        image = image.convert("RGB")
        if kind == "scene":
            own = chance if scene_seed is None else Random(scene_seed)
            image = drawn(SCENES, own)(image, own, stranger)
        else:
            image = drawn(CHANGES[kind], chance)(image, chance)
        image.thumbnail((LARGEST_EDITED, LARGEST_EDITED), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return through_jpeg(image.convert("RGB"), chance.randint(40, 95)) if chance.random() < 0.5 else image


CHANGES: dict[str, Sequence[tuple[Change, float]]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "overlay": OVERLAYS,
    "quality": QUALITIES,
}
"""Edits by kind, without scenes."""


def nearest(features: NDArray[np.float16]) -> NDArray[np.int64]:
    """The nearest neighbours of each row, int64 [n, NEIGHBOURS], itself left out."""
    rows = torch.from_numpy(features.astype(np.float32))
    found = []
    for start in range(0, len(rows), 1024):
        cosines = rows[start : start + 1024] @ rows.T
        own = torch.arange(len(cosines))
        cosines[own, own + start] = -1
        found.append(cosines.topk(min(NEIGHBOURS, len(rows) - 1), dim=1).indices)
    return torch.cat(found).numpy()


def drawn(weighted: Sequence[tuple[_T, float]], chance: Random) -> _T:
    """One of some things, each with how often it is drawn."""
    things, weights = zip(*weighted, strict=True)
    one: _T = chance.choices(things, weights)[0]
    return one


def inner_part(image: Image.Image) -> Image.Image:
    """The inner part of a picture, as a closer look sees it."""
    width, height = image.size
    left, top = round(width * (1 - INNER) / 2), round(height * (1 - INNER) / 2)
    return image.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


def squares_of(images: Sequence[Image.Image], side: int) -> torch.Tensor:
    """Whole pictures as a network takes them, uint8 [n, 3, side, side]."""
    squares = np.empty((len(images), side, side, 3), np.uint8)
    for square, image in zip(squares, images, strict=True):
        square[:] = squashed(np.asarray(image), side)
    return torch.from_numpy(squares).permute(0, 3, 1, 2)
