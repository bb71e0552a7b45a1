"""What similar means: the one definition by which joins, clusters, scores and searches decide.

The similarity of two images is the dot product of their stored rows, each renormalised, in float64,
rounded to 6 decimals. `Similarities` adds what overrules the rows: identity, low information,
rejections and linked pairs. Whatever is faster and less exact only proposes; this module decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.pairset import PairSet

Rows: TypeAlias = NDArray[np.floating[Any]]
"""Vectors as stored: float16 (or float32, float64) [n, dim], not necessarily of unit length."""

Units: TypeAlias = NDArray[np.float64]
"""Rows of unit length: float64 [n, dim]."""

Numbers: TypeAlias = NDArray[np.int64]
"""Row numbers, or values that belong to them: int64 [n]."""

Mask: TypeAlias = NDArray[np.bool_]
"""One truth value per row: bool [n]."""


class RowSource(Protocol):
    """Where rows are fetched from by number: an array, a memory-mapped array, or `IndexedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, dim)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: Numbers, /) -> Rows: ...


DECIMALS = 6
MICRO = 10**DECIMALS
"""Similarities are multiples of one millionth."""

# A dot product that should lie halfway between two millionths (127/128 is one) comes out of float64 a
# hair above or below, depending on the order of summation. Rounding here first, far above the error of
# a dot product (about 1e-13) and far below a millionth, makes every order agree.
_SETTLED_DECIMALS = 12


def check_threshold(threshold: float) -> None:
    """Refuse a threshold outside (0, 1]: rejected pairs have similarity 0 and must stay below it.

    Raises:
        InvalidValue: naming the threshold.
    """
    if not 0.0 < threshold <= 1.0:
        raise InvalidValue(f"threshold {threshold:g} is not in (0, 1]: ask for a similarity such as 0.95")


def spans(start: int, stop: int, size: int) -> Iterator[slice]:
    """Cut range(start, stop) into slices of at most `size`."""
    return (slice(low, min(low + size, stop)) for low in range(start, stop, size))


def row_norms(rows: Rows, numbers: Numbers | None = None) -> NDArray[np.float64]:
    """Euclidean norm of each row, in float64.

    Args:
        rows: float16, float32 or float64 [n, dim].
        numbers: the numbers by which an error names the rows; 0..n-1 by default.

    Returns:
        float64 [n], all above 0.

    Raises:
        InvalidValue: a row is zero or not finite.
    """
    wide = np.asarray(rows, dtype=np.float64)
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0.0)))
    if bad.size:
        number = bad[0] if numbers is None else numbers[bad[0]]
        raise InvalidValue(f"row {number} is zero or not finite, so it has no direction to compare")
    return norms


def unit_rows(rows: Rows, numbers: Numbers | None = None) -> Units:
    """Renormalise rows in float64: [n, dim], each divided by its norm; arguments as `row_norms`."""
    units = np.array(rows, dtype=np.float64)
    units /= row_norms(units, numbers)[:, None]
    return units


def round_similarity(dots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dot products of unit rows as similarities: rounded to 6 decimals (half to even), at most 1."""
    rounded = np.round(dots, _SETTLED_DECIMALS)
    np.round(rounded, DECIMALS, out=rounded)
    return np.minimum(rounded, 1.0, out=rounded)


def shown(similarity: ArrayLike) -> NDArray[np.float64]:
    """Similarities as users see them: clipped to [0, 1], and no negative zero."""
    return np.clip(np.asarray(similarity, dtype=np.float64), 0.0, 1.0) + 0.0


def micro(similarity: NDArray[np.float64]) -> Numbers:
    """Rounded similarities as whole millionths, in which equal means equal."""
    millionths: Numbers = np.rint(similarity * MICRO).astype(np.int64)
    return millionths


def similarities(a: Units, b: Units) -> NDArray[np.float64]:
    """Similarity of every row of `a` [n, dim] to every row of `b` [m, dim]: float64 [n, m]."""
    return round_similarity(a @ b.T)


def pairwise(a: Units, b: Units) -> NDArray[np.float64]:
    """Similarity of each row of `a` [n, dim] to the same row of `b` [n, dim]: float64 [n]."""
    return round_similarity(np.einsum("ij,ij->i", a, b))


class IndexedRows:
    """Rows under other numbers: number k is row index[k]. Nothing is copied until it is fetched."""

    def __init__(self, rows: RowSource, index: Numbers) -> None:
        self._rows = rows
        self._index = index
        self.shape = (len(index), rows.shape[1])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, numbers: Numbers, /) -> Rows:
        return self._rows[self._index[numbers]]


class Similarities:
    """The similarity of any two images of a collection, with everything that overrules their rows.

    From the strongest: an image is 1 similar to itself; a rejected pair is 0 similar; images of one
    identity are 1 similar; an image of low information is 0 similar to every other; else their rows
    decide. Rows are renormalised as they are asked for, never all at once.

    Args:
        rows: float16 [rows, dim], may be memory-mapped.
        index: int64 [n], the row of each image; by default image i has row i.
        identity: int64 [n]; images with the same label >= 0 have identical bytes or pixels.
        low_information: bool [n]; flat or blank images, which have no evidence but identity.
        rejected: pairs that a person called no duplicates, in either order.
        linked: pairs that count as edges at every threshold (evidence other than the rows, such as a
            hash within range), in either order. Rejected pairs and images of low information have no
            links.

    Raises:
        InvalidValue: a pair names an image twice or one that is not there.
    """

    def __init__(
        self,
        rows: RowSource,
        *,
        index: Numbers | None = None,
        identity: Numbers | None = None,
        low_information: Mask | None = None,
        rejected: Iterable[tuple[int, int]] = (),
        linked: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.rows = rows if index is None else IndexedRows(rows, index)
        n = len(self.rows)
        self.identity = np.full(n, -1, dtype=np.int64) if identity is None else identity
        self.low_information = np.zeros(n, dtype=bool) if low_information is None else low_information
        self.rejected = PairSet(rejected, n)
        a, b = PairSet(linked, n).pairs()
        idle = self.rejected.contains(a, b) | self.low_information[a] | self.low_information[b]
        self.linked = PairSet(zip(a[~idle], b[~idle], strict=True), n)

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, images: Numbers) -> Units:
        """The rows of some images, renormalised: float64 [k, dim]."""
        return unit_rows(self.rows[images], images)

    def cosines(self, a: Numbers, b: Numbers) -> NDArray[np.float64]:
        """What the rows alone say, nothing overruled: float64 [k, m] for images `a` [k] and `b` [m]."""
        units = self.units(a)
        return similarities(units, units if b is a else self.units(b))

    def block(self, a: Numbers, b: Numbers) -> NDArray[np.float64]:
        """Similarity of every image of `a` [k] to every image of `b` [m]: float64 [k, m]."""
        rejected = self.rejected.positions(a, b)
        return self._overruled(self.cosines(a, b), a[:, None], b[None, :], rejected)

    def pairs(self, a: Numbers, b: Numbers) -> NDArray[np.float64]:
        """Similarity of each image of `a` [k] to the image at the same place of `b` [k]: float64 [k]."""
        return self._overruled(pairwise(self.units(a), self.units(b)), a, b, self.rejected.contains(a, b))

    def strengths(self, a: Numbers, b: Numbers, threshold: float) -> NDArray[np.float64]:
        """`block`, with linked pairs raised to the threshold: what clusters are made by."""
        strength = self.block(a, b)
        linked = self.linked.positions(a, b)
        strength[linked] = np.maximum(strength[linked], threshold)
        return strength

    def pair_strengths(self, a: Numbers, b: Numbers, threshold: float) -> NDArray[np.float64]:
        """`pairs`, with linked pairs raised to the threshold."""
        strength = self.pairs(a, b)
        linked = self.linked.contains(a, b)
        strength[linked] = np.maximum(strength[linked], threshold)
        return strength

    def edges(self, a: Numbers, b: Numbers, threshold: float) -> Mask:
        """Which pairs are at or above the threshold, or linked: bool [k, m]."""
        return self.strengths(a, b, threshold) >= threshold

    def _overruled(
        self, similarity: NDArray[np.float64], a: Numbers, b: Numbers, rejected: Any
    ) -> NDArray[np.float64]:
        similarity[self.low_information[a] | self.low_information[b]] = 0.0
        similarity[(self.identity[a] == self.identity[b]) & (self.identity[a] >= 0)] = 1.0
        similarity[rejected] = 0.0
        similarity[a == b] = 1.0
        return similarity
