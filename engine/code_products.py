"""Near codes by int8 products: all codes are compared with all, several times faster than by counting bits.

Write the bits of two codes as -1 and +1: of K bits, those that are equal add 1 to the dot product and those
that differ take 1 away, so the distance is (K - product) / 2, exactly. Processors with VNNI multiply int8
several times faster than NumPy counts bits. Of long codes some words are multiplied: the distance in these
is at most that of the whole codes, so what is too far there need not be looked at again.

This is a way only where torch is loaded already: loading it takes longer than most joins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.codes import (
    HammingBlock,
    Packing,
    Rows,
    Sorted,
    Words,
    distances,
    in_order,
    verified,
)
from twinlens.engine.row_codes import codes_are_exact

HEIGHT, _WIDTH = 512, 2048
"""Codes of a tile: its products, 4 MB, stay in the processor's cache."""

_GROUP = 8
_WORD_BITS = 64
_WORTH_PAIRS = 1 << 24
_SAMPLE = 512
_WORD_COST, _PASS_COST, _SURVIVOR_COST = 0.2, 0.1, 50.0
"""Of multiplying 64 bits of a pair, of looking at its product, of a pair that the screen lets pass: in words
that are compared by counting bits, measured."""


class Products:
    """Finds near pairs by products of all with all, strip by strip.

    Args:
        screen: words that are multiplied of all pairs.
    """

    def __init__(self, screen: int) -> None:
        self.screen = screen

    def strips(
        self, left: Words, right: Words, radius: int, rows: range, room: int, *, later: bool
    ) -> Iterator[Callable[[], Sorted | None]]:
        """What finds the near pairs of strips of left rows, sorted, in any number of threads.

        Args:
            left: uint64 [words, n].
            right: uint64 [words, m].
            radius: in bits.
            rows: first rows of the strips; its step is their height, at most `HEIGHT`.
            room: pairs that a strip may have; None is found where it has more.
            later: both are the same codes; only pairs a < b.
        """
        import torch

        threads = torch.get_num_threads()

        def found(row: int) -> Sorted | None:
            with _one_core(threads):
                strip = slice(row, min(row + rows.step, left.shape[1]))
                return _pairs_of_strip(left, right, self.screen, radius, strip, room, later=later)

        return (partial(found, row) for row in rows)


def products_cost(left: Words, right: Words, radius: int, *, later: bool) -> tuple[Products, float] | None:
    """The products that are expected to cost least and what they do, in words; None where they are no way.

    Args:
        left: uint64 [words, n].
        right: uint64 [words, m].
        radius: in bits.
        later: both are the same codes.
    """
    pairs = left.shape[1] * right.shape[1] * (0.5 if later else 1.0)
    if "torch" not in sys.modules or pairs < _WORTH_PAIRS or not _exact():
        return None
    ours, theirs = (words[:, :: max(1, words.shape[1] // _SAMPLE)] for words in (left, right))
    costs = [_PASS_COST + _WORD_COST * len(left)]
    for screen in range(1, len(left)):
        passed = float(np.mean(distances(ours[:screen], theirs[:screen]) <= radius))
        costs.append(_PASS_COST + _WORD_COST * screen + _SURVIVOR_COST * passed)
    screen = int(np.argmin(costs)) or len(left)  # The first cost is that of all words.
    return Products(screen), pairs * min(costs)


@cache
def _exact() -> bool:
    return codes_are_exact("cpu")


@contextmanager
def _one_core(afterwards: int) -> Iterator[None]:
    """Torch's kernels run on the calling thread alone: threads of its own would wait for each other often.

    The count is one of each thread, but a thread that begins later takes over what was set last.
    """
    import torch

    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(afterwards)


def _pairs_of_strip(
    left: Words, right: Words, screen: int, radius: int, strip: slice, room: int, *, later: bool
) -> Sorted | None:
    """Near pairs of a strip of left codes, tile by tile, sorted; None where there is no room."""
    import torch

    row, height = strip.start, strip.stop - strip.start
    ours = _signs(left[:screen, strip], -(-height // _GROUP) * _GROUP)
    products = torch.empty((len(ours), _WIDTH), dtype=torch.int32)
    bits = _WORD_BITS * screen
    packing = Packing.of(row, right.shape[1], radius)
    held: list[Rows] = []
    for start in range(row if later else 0, right.shape[1], _WIDTH):
        theirs = right[:screen, start : start + _WIDTH]
        torch._int_mm(ours, _signs(theirs, _WIDTH).T, out=products)
        a, b = _reaching(products, bits - 2 * radius)
        inside = (a < height) & (b < theirs.shape[1])
        if later:
            inside &= a + row < b + start
        a, b = a[inside], b[inside]
        distance = (bits - products.numpy()[a, b]) >> 1
        near = verified(left, right, HammingBlock(a + row, b + start, distance), screen, radius)
        held.append(packing.pack(near))
        room -= len(near)
        if room < 0:
            return None
    return Sorted(packing, in_order(held))


def _reaching(products: Any, least: int) -> tuple[Rows, Rows]:
    """Row and column of products that are at least so large.

    The largest of each group of rows are found in one pass; only groups that have one are looked at.
    """
    height, width = products.shape
    groups = products.view(height // _GROUP, _GROUP, width)
    place = np.flatnonzero(groups.amax(1).numpy() >= least)
    # NumPy divides by one number several times faster than divmod and a two-dimensional nonzero do.
    group = place // width
    column = place - group * width
    reaching = np.flatnonzero(groups.numpy()[group, :, column] >= least)
    found = reaching // _GROUP
    return group[found] * _GROUP + reaching - found * _GROUP, column[found]


def _signs(words: Words, count: int) -> Any:
    """Bits as -1 and +1, int8 [count, bits]; zeros where there are fewer codes."""
    import torch

    packed: NDArray[np.uint8] = np.ascontiguousarray(words.T).view(np.uint8)
    signs = np.zeros((count, 8 * packed.shape[1]), np.int8)
    np.subtract(np.unpackbits(packed, axis=1).view(np.int8) * np.int8(2), 1, out=signs[: len(packed)])
    return torch.from_numpy(signs)
