"""Identical rows, found in linear time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.similarity import Numbers, spans
from twinlens.engine.vectors import Rows

_ROWS_AT_ONCE = 8192
_SEED = 0x7717


def collapse_identical(rows: Rows) -> Numbers:
    """The lowest row with the same bytes as each row.

    Rows are hashed to 64 bits by a random linear map, so equal rows meet and unequal ones almost never
    do; whoever meets is compared byte by byte.

    Args:
        rows: float16 [n, dim], may be memory-mapped.

    Returns:
        int64 [n], at most its own number.
    """
    lowest = np.arange(len(rows))
    keys = _keys(rows)
    order = np.argsort(keys, kind="stable")
    borders = np.flatnonzero(np.diff(keys[order])) + 1
    for start, stop in pairwise([0, *borders.tolist(), len(order)]):
        if stop - start > 1:
            _collapse_group(rows, order[start:stop], lowest)
    return lowest


def _keys(rows: Rows) -> NDArray[np.uint64]:
    rng = np.random.default_rng(_SEED)
    factors = rng.integers(0, 2**64, rows.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(rows), np.uint64)
    for span in spans(0, len(rows), _ROWS_AT_ONCE):
        bits = np.ascontiguousarray(rows[span]).view(np.uint16)
        keys[span] = np.einsum("ij,j->i", bits, factors, dtype=np.uint64, casting="unsafe")
    return keys


def _collapse_group(rows: Rows, group: Numbers, lowest: Numbers) -> None:
    """Name the rows of a group (ascending) by the lowest with the same bytes."""
    while len(group):
        first = np.ascontiguousarray(rows[group[0]]).view(np.uint16)
        same = np.empty(len(group), np.bool_)
        for span in spans(0, len(group), _ROWS_AT_ONCE):
            same[span] = (np.ascontiguousarray(rows[group[span]]).view(np.uint16) == first).all(axis=1)
        lowest[group[same]] = group[0]
        group = group[~same]
