"""In which precision the products of a join are made: the fastest that does not propose too much."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from twinlens.engine.rounded import RoundedScreen, halves_are_summed_in_float32
from twinlens.engine.row_codes import CodedScreen, codes_are_exact
from twinlens.engine.screen import Screen
from twinlens.engine.similarity import Numbers, RowSource, row_norms

Precision: TypeAlias = Literal["int8", "bfloat16", "float32"]

# Below this many multiplications a float32 join takes about as long as loading torch: 1 s on two cores.
_WORTH_TORCH = 1 << 36

# int8 spares about 5 ns a pair of 512 dimensions and costs about 2 us a pair that it proposes in vain.
_SHARE_IN_VAIN = 1 / 512
_RIVALS = 8
_WINDOW = 0.02
_HALF_WINDOW = 0.0075
_SAMPLE = 2048
_SEED = 0


class Task(NamedTuple):
    """What a join is asked for.

    Attributes:
        threshold: similarity.
        pairs: how many pairs of rows meet.
        wants_nearest: whether each row's nearest other is wanted as well.
    """

    threshold: float
    pairs: int
    wants_nearest: bool


def chosen_precision(rows: RowSource, kept: Numbers, task: Task, device: str) -> Precision:
    """What is expected to be faster.

    int8, unless the join is short, the device cannot do it, or a sample says that the error of int8
    would propose too many pairs in vain. bfloat16 where only the rivals for the nearest others are too
    many for int8; float32 otherwise. An accelerator makes float32 products faster than a processor decides
    rivals.

    Args:
        rows: float16 [n, dim].
        kept: int64 [k], the rows that take part.
        task: what is asked.
        device: a torch device, such as "cpu" or "cuda".
    """
    if task.wants_nearest and device != "cpu":
        return "float32"
    if task.pairs * rows.shape[1] < _WORTH_TORCH or not codes_are_exact(device):
        return "float32"
    chosen = kept
    if len(kept) > _SAMPLE:
        chosen = np.sort(np.random.default_rng(_SEED).choice(kept, _SAMPLE, replace=False))
    units = rows[chosen] / row_norms(rows[chosen], chosen).astype(np.float32)[:, None]
    products = units @ units.T
    np.fill_diagonal(products, -2.0)
    in_vain = (products >= task.threshold - _WINDOW) & (products < task.threshold)
    if in_vain.mean() > _SHARE_IN_VAIN:
        return "float32"
    if task.wants_nearest:
        best = np.minimum(products.max(axis=1, keepdims=True), task.threshold)
        if (products >= best - 2 * _WINDOW).sum() > _RIVALS * len(products):
            few = (products >= best - 2 * _HALF_WINDOW).sum() <= _RIVALS * len(products)
            return "bfloat16" if few and halves_are_summed_in_float32(device) else "float32"
    return "int8"


def make_screen(
    precision: Precision, block: int, dim: int, device: str
) -> Screen | CodedScreen | RoundedScreen:
    """The screen of a precision, for blocks of at most `block` rows of length `dim`."""
    if precision == "int8":
        return CodedScreen(block, dim, device)
    if precision == "float32" and device == "cpu":
        return Screen(block)
    return RoundedScreen(block, device, precision)
