"""Float32 products of unit rows, block by block: they propose pairs, float64 decides.

The bound (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Let u = 2^-24 be the
unit roundoff of float32, and x, y unit rows of length d. A stored element is rounded to float32 (u),
divided by a norm that was rounded (u), and the quotient is rounded (u): it is off by a relative
(1 + u)^3 - 1 at most, a product of two by (1 + u)^6 - 1. Summing d products in float32, in any order,
with or without fused multiply-add, adds at most gamma_d = d u / (1 - d u) times the sum of their
absolute values. By Cauchy-Schwarz sum|x_i y_i| <= 1, so the whole error is at most
(1 + gamma_d) (1 + u)^6 - 1, about (d + 6) 2^-24. One more u pays for what is left: the error of float64
itself, products too small for float32, the 12 decimals in which similarities settle. Reduced precision
(TF32, bfloat16) would break this and is switched off for the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.similarity import Numbers, Rows, spans

Array: TypeAlias = Any
"""A NumPy array on a CPU, a torch tensor elsewhere."""

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
        xp: the module of the array, numpy or torch; only what both name alike is used.
    """

    def __init__(self, products: Array, n: int, *, same: bool, error: float, xp: Any) -> None:
        products[n:] = NOWHERE
        if same:
            diagonal = xp.arange(n)
            products[diagonal, diagonal] = NOWHERE
        self._xp = xp
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
        rows = self._xp.where(self._xp.amax(self._products, axis=1) >= floor)[0]
        width = self._products.shape[1]
        for part in spans(0, len(rows), max(1, _PAIRS_AT_ONCE // width)):
            found = self._xp.where((self._products[rows[part]] >= floor).reshape(-1))[0]
            yield _on_host(rows[part][found // width]), _on_host(found % width)

    def top_two_of_rows(self) -> TopTwo:
        """The best column of each row."""
        return TopTwo(*map(_on_host, self._best_and_second(self._products)))

    def top_two_of_columns(self) -> TopTwo:
        """The best row of each column."""
        # By groups of rows first: an argmax down the columns was measured 50 times slower.
        height, width = self._filled.shape
        groups = self._filled.reshape(height // _GROUP, _GROUP, width)
        group, best, elsewhere = self._best_and_second(self._xp.amax(groups, axis=1).T)
        members = groups[group, :, self._xp.arange(width)]
        place, _, inside = self._best_and_second(members)
        second = self._xp.maximum(elsewhere, inside)
        return TopTwo(*map(_on_host, (group * _GROUP + place, best, second)))

    def _best_and_second(self, values: Array) -> tuple[Array, Array, Array]:
        """Place and value of the largest of each row of [n, k], and the next largest value."""
        lines, place = self._xp.arange(len(values)), self._xp.argmax(values, axis=1)
        best = values[lines, place]
        values[lines, place] = NOWHERE
        second = self._xp.amax(values, axis=1)
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

    On a CPU all is NumPy: its BLAS knows no reduced precision and was measured a third faster than
    torch's, and torch's many small parallel steps wait for each other on a busy machine.

    Args:
        block: most rows on either side.
        device: "cpu", a torch device such as "cuda", or "auto" for CUDA where there is one.
    """

    value_bytes = 4

    def __init__(self, block: int, device: str) -> None:
        self._device = resolved_device(device)
        self._buffer = self._zeros(_filled(block), _filled(block)).reshape(-1)

    def load(self, rows: Rows, norms: NDArray[np.float64]) -> Array:
        """A block of rows as the screen wants it: float32 of unit length on its device, filled up.

        Args:
            rows: float16 [n, dim].
            norms: float64 [n], the Euclidean norm of each.
        """
        loaded = self._zeros(_filled(len(rows)), rows.shape[1])
        loaded[: len(rows)] = self._moved(rows)
        loaded[: len(rows)] /= self._moved(norms.astype(np.float32)[:, None])
        return loaded

    def product(self, a: Array, b: Array, n: int, m: int) -> Product:
        """Products of two loaded blocks of n and m rows; a block with itself leaves out the diagonal."""
        products = self._buffer[: len(a) * m].reshape(len(a), m)
        error = screening_error(a.shape[1])
        if self._device == "cpu":
            np.matmul(a, b[:m].T, out=products)
            return Product(products, n, same=a is b, error=error, xp=np)
        import torch

        with full_precision():
            torch.mm(a, b[:m].T, out=products)
        return Product(products, n, same=a is b, error=error, xp=torch)

    def _zeros(self, height: int, width: int) -> Array:
        if self._device == "cpu":
            return np.zeros((height, width), dtype=np.float32)
        import torch

        return torch.zeros((height, width), dtype=torch.float32, device=self._device)

    def _moved(self, array: NDArray[Any]) -> Array:
        if self._device == "cpu":
            return array
        import torch

        return torch.from_numpy(array).to(self._device)


def _filled(count: int) -> int:
    return -(-count // _GROUP) * _GROUP


def _on_host(array: Array) -> NDArray[Any]:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


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
