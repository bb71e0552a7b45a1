"""How well a network tells copies of held-out pictures from strangers, and whether kinds stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.descriptor_batches import edit, squares_of
from scripts.descriptor_pictures import Pictures

Embed = Callable[[Sequence[Image.Image]], NDArray[np.float32]]
Rows = NDArray[np.float32]

PRECISION = 0.99
NEIGHBOURS = 5
BATCH = 16
EDITS_EACH = 3
MOST_EDITED = 300


@dataclass(frozen=True)
class Scores:
    """What a validation found.

    Attributes:
        uap: micro-average precision of (copy, picture) pairs.
        recall: at 99 % precision.
        threshold: the cosine there.
        kinship: share of a picture's 5 nearest others that lie in its folder.
    """

    uap: float
    recall: float
    threshold: float
    kinship: float


def validate(embed: Embed, pictures: Pictures, chosen: NDArray[np.int64], seed: int) -> Scores:
    """Scores of held-out pictures; some of the whole ones are each edited three times in seeded ways."""
    plain = rows_of(embed, (pictures.image(int(index)) for index in chosen))
    asked = np.flatnonzero(pictures.whole[chosen])
    asked = asked[:: -(-len(asked) // MOST_EDITED)]
    copies = rows_of(embed, _edited(pictures, chosen, asked, seed))
    of = np.repeat(asked, EDITS_EACH)
    groups = pictures.groups[chosen]
    cosines = copies @ plain.T
    true = of[:, None] == np.arange(len(chosen))
    counted = true | (groups[of][:, None] != groups)
    uap, recall, threshold = precision_scores(cosines[counted], true[counted], len(copies))
    folders = [str(PurePosixPath(pictures.names[int(index)]).parent) for index in chosen]
    return Scores(uap, recall, threshold, kinship(plain, folders))


def precision_scores(
    similarities: NDArray[np.float32], true: NDArray[np.bool_], positives: int
) -> tuple[float, float, float]:
    """Micro-average precision, recall at 99 % precision, and the similarity there (1 if there is none).

    Pairs of one similarity are taken together, as a threshold would take them.
    """
    order = np.argsort(-similarities, kind="stable")
    values, hits = similarities[order], np.cumsum(true[order])
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    found = hits[last]
    precision = found / (last + 1)
    average = float(np.sum(np.diff(found, prepend=0) * precision)) / positives
    good = np.flatnonzero(precision >= PRECISION)
    if not len(good):
        return average, 0.0, 1.0
    return average, float(found[good[-1]]) / positives, float(values[last[good[-1]]])


def kinship(rows: Rows, folders: Sequence[str]) -> float:
    """Share of the 5 nearest others that are of a picture's folder, for folders of more than 5 pictures."""
    counts = Counter(folders)
    asked = [number for number, folder in enumerate(folders) if counts[folder] > NEIGHBOURS]
    if not asked:
        return 0.0
    cosines = rows[asked] @ rows.T
    cosines[np.arange(len(asked)), asked] = -2
    near = np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    names = np.array(folders)
    return float(np.mean(names[near] == names[asked][:, None]))


def network_embed(network: Callable[[torch.Tensor], torch.Tensor], side: int) -> Embed:
    """Rows of a network that takes uint8 [n, 3, side, side]."""

    def embed(images: Sequence[Image.Image]) -> Rows:
        with torch.inference_mode():
            rows: Rows = network(squares_of(images, side)).numpy()
        return rows

    return embed


def _edited(
    pictures: Pictures, chosen: NDArray[np.int64], asked: NDArray[np.int64], seed: int
) -> Iterator[Image.Image]:
    def stranger(chance: Random) -> Image.Image:
        return pictures.image(int(chosen[chance.randrange(len(chosen))]))

    for index in chosen[asked].tolist():
        for number in range(EDITS_EACH):
            yield edit(pictures.image(index), Random(f"{seed} validation {index} {number}"), stranger)


def rows_of(embed: Embed, images: Iterable[Image.Image]) -> Rows:
    iterator = iter(images)
    batches = iter(lambda: list(islice(iterator, BATCH)), [])
    return np.concatenate([embed(batch) for batch in batches])
