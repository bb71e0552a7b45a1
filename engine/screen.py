"""Float32 products of unit rows, block by block: they propose pairs, float64 decides.

The bound (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Let u = 2^-24 be the
unit roundoff of float32, and x, y unit rows of length d. A stored element is rounded to float32 (u),
divided by a norm that was rounded (u), and the quotient is rounded (u): it is off by a relative
(1 + u)^3 - 1 at most, a product of two by (1 + u)^6 - 1. Summing d products in float32, in any order,
with or without fused multiply-add, adds at most gamma_d = d u / (1 - d u) times the sum of their
absolute values. By Cauchy-Schwarz sum|x_i y_i| <= 1, so the whole error is at most
(1 + gamma_d) (1 + u)^6 - 1, about (d + 6) 2^-24. One more u pays for what is left: the error of float64
itself, products too small for float32, the 12 decimals in which similarities settle. Reduced precision
(TF32, bfloat16) would break this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.similarity import Numbers, Rows, spans

Products: TypeAlias = NDArray[np.float32]

HALF_A_MICRO = 5e-7
"""How far rounding to 6 decimals moves a similarity."""

NOWHERE = -2.0
"""Stands where there is no product; below any that there can be."""

_U = 2.0**-24
_GROUP = 64
_PAIRS_AT_ONCE = 1 << 20


def screening_error(dim: int) -> float:
    """How far a float32 product of two unit rows of length `dim` can be from their true product."""
    gamma = dim * _U / (1.0 - dim * _U)
    return (1.0 + gamma) * (1.0 + _U) ** 6 - 1.0 + _U


class TopTwo(NamedTuple):
    """The largest product of each row, and how large the next one is.

    Attributes:
        place: int64 [n], where the largest is (the position in the other block).
        best: float32 [n], -2 where there is none.
        second: float32 [n], -2 where there is no other.
    """

    place: Numbers
    best: NDArray[np.float32]
    second: NDArray[np.float32]


class Product:
    """Float32 products of two blocks of rows, n x m, and the questions asked of them.

    Args:
        products: float32 [n filled up to a multiple of 64, m]; is changed.
        n: how many rows count.
        same: whether both blocks are the same rows; leaves out the diagonal.
        error: how far a product can be from the true one.
    """

    def __init__(self, products: Products, n: int, *, same: bool, error: float) -> None:
        products[n:] = NOWHERE
        if same:
            diagonal = np.arange(n)
            products[diagonal, diagonal] = NOWHERE
        self._error = error
        self._filled = products
        self._products = products[:n]

    def reaching(self, similarity: float) -> Iterator[tuple[Numbers, Numbers]]:
        """Row and column of each pair whose true product can reach a similarity, as `at_least`."""
        return self.at_least(similarity - self._error)

    def at_least(self, cut: float) -> Iterator[tuple[Numbers, Numbers]]:
        """Row and column of each product at or above `cut`, ascending, in parts of at most 2^20."""
        # One step down: comparing in float32 must not round the cut up.
        floor = float(np.nextafter(np.float32(cut), np.float32(-np.inf)))
        rows = np.flatnonzero(self._products.max(axis=1) >= floor)
        width = self._products.shape[1]
        for part in spans(0, len(rows), max(1, _PAIRS_AT_ONCE // width)):
            found = np.flatnonzero(self._products[rows[part]] >= floor)
            yield rows[part][found // width], found % width

    def top_two_of_rows(self) -> TopTwo:
        """The best column of each row."""
        return TopTwo(*self._best_and_second(self._products))

    def top_two_of_columns(self) -> TopTwo:
        """The best row of each column."""
        # By groups of rows first: an argmax down the columns was measured 50 times slower.
        height, width = self._filled.shape
        groups = self._filled.reshape(height // _GROUP, _GROUP, width)
        group, best, elsewhere = self._best_and_second(groups.max(axis=1).T)
        members = groups[group, :, np.arange(width)]
        place, _, inside = self._best_and_second(members)
        return TopTwo(group * _GROUP + place, best, np.maximum(elsewhere, inside))

    def _best_and_second(self, values: Products) -> tuple[Numbers, Products, Products]:
        """Place and value of the largest of each row of [n, k], and the next largest value."""
        lines, place = np.arange(len(values)), values.argmax(axis=1)
        best = values[lines, place]
        values[lines, place] = NOWHERE
        second = values.max(axis=1)
        values[lines, place] = best
        return place, best, second


def resolved_device(device: str) -> str:
    """The device that "auto" means on this machine, CUDA where there is one; any other as it is."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Screen:
    """Makes one `Product` after another in one buffer; each is good until the next is made.

    For CPUs, and all NumPy: its BLAS knows no reduced precision and was measured a third faster than
    torch's, and torch's many small parallel steps wait for each other on a busy machine.

    Args:
        block: most rows on either side.
    """

    value_bytes = 4

    def __init__(self, block: int) -> None:
        self._buffer = np.zeros(_filled(block) ** 2, np.float32)

    def load(self, rows: Rows, norms: NDArray[np.float64]) -> Products:
        """A block of rows as the screen wants it: float32 of unit length, filled up.

        Args:
            rows: float16 [n, dim].
            norms: float64 [n], the Euclidean norm of each.
        """
        loaded = np.zeros((_filled(len(rows)), rows.shape[1]), np.float32)
        loaded[: len(rows)] = rows
        loaded[: len(rows)] /= norms.astype(np.float32)[:, None]
        return loaded

    def product(self, a: Products, b: Products, n: int, m: int) -> Product:
        """Products of two loaded blocks of n and m rows; a block with itself leaves out the diagonal."""
        products = self._buffer[: len(a) * m].reshape(len(a), m)
        np.matmul(a, b[:m].T, out=products)
        return Product(products, n, same=a is b, error=screening_error(a.shape[1]))


def _filled(count: int) -> int:
    return -(-count // _GROUP) * _GROUP


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch TF32 off for the products inside, whatever the process has chosen."""
    import torch

    matmul = torch.backends.cuda.matmul
    name, off = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    chosen = getattr(matmul, name)
    setattr(matmul, name, off)
    try:
        yield
    finally:
        setattr(matmul, name, chosen)
