"""Who is no stranger to whom among the pictures that the descriptor is trained on, and who is nearest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from scripts.descriptor_pictures import Pictures

TWINS = 0.85
"""Cosine, of the evened-out rows of a network in training, at which two pictures may show one thing."""
NEIGHBOURS = 12
_BLOCK = 512


class Kin:
    """Who is no stranger to whom, and what plain features say of all pictures.

    Attributes:
        teacher: plain features, centred, unit rows, float32 [n, plain dim].
    """

    def __init__(self, pictures: Pictures) -> None:
        self._groups = torch.from_numpy(pictures.groups)
        self._whole = torch.from_numpy(pictures.whole)
        self._twins = torch.zeros(0, dtype=torch.long)
        features = torch.from_numpy(pictures.features.astype(np.float32))
        self.teacher = normalize(features - features.mean(dim=0), dim=1)

    def meet(self, twins: torch.Tensor) -> None:
        """From now on, the pairs int64 [k, 2] are no strangers either."""
        a, b = twins.T
        self._twins = torch.cat([self._twins, self._code(a, b), self._code(b, a)])

    def related(self, ids: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Bool [n, m]: the same picture, a picture and its cut, two that one group shows, or twins."""
        same_group = self._groups[ids][:, None] == self._groups[others]
        both_cuts = ~self._whole[ids][:, None] & ~self._whole[others]
        same = ids[:, None] == others
        known = torch.isin(self._code(ids[:, None], others), self._twins)
        related: torch.Tensor = same | (same_group & ~both_cuts) | known
        return related

    def _code(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * len(self._groups) + b


def nearest_strangers(kin: Kin, chosen: NDArray[np.int64], rows: torch.Tensor) -> torch.Tensor:
    """The nearest strangers of each row, int64 [n, NEIGHBOURS], by place, nearest first.

    Args:
        kin: knows the strangers.
        chosen: int64 [n], which pictures.
        rows: their unit rows, float32 [n, dim].
    """
    found = []
    for start, related, cosines in _blocks(kin, chosen, rows):
        del start
        near = cosines.masked_fill(related, -2).topk(min(NEIGHBOURS, len(rows) - 1), dim=1)
        found.append(near.indices)
    return torch.cat(found)


def twins(kin: Kin, chosen: NDArray[np.int64], rows: torch.Tensor) -> torch.Tensor:
    """Pictures that look like copies and count as strangers, int64 [k, 2], each pair once.

    Arguments are those of `nearest_strangers`.
    """
    ids, found = torch.from_numpy(chosen), []
    for start, related, cosines in _blocks(kin, chosen, rows):
        a, b = torch.nonzero((cosines >= TWINS) & ~related, as_tuple=True)
        a = a + start
        found.append(torch.stack([ids[a[a < b]], ids[b[a < b]]], dim=1))
    return torch.cat(found)


def _blocks(
    kin: Kin, chosen: NDArray[np.int64], rows: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """First place, kinship bool [k, n] and cosines [k, n] of some rows with all."""
    ids = torch.from_numpy(chosen)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield start, kin.related(ids[block], ids), rows[block] @ rows.T
