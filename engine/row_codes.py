"""Int8 products of unit rows, block by block: they propose pairs several times faster than float32 does.

The code. A unit row x of length d is turned by one fixed orthonormal matrix Q, which spreads whatever
dominates it (a constant coordinate, say) over all coordinates: they then look like draws from N(0, 1/d).
Each is rounded to the nearest of 255 steps of s = 4 / (127 sqrt(d)), clipped at the ends: q, int8 [d].
Products of codes are whole numbers, summed in int32 without error.

The bound. Let Qx = s q + r and e = |r|. As turning changes no product of two rows,
x.y = (s q_x + r_x).(s q_y + r_y), and by Cauchy-Schwarz, since |s q_x| <= 1 + e_x,

    |x.y - s^2 q_x.q_y| <= |s q_x| e_y + e_x |Qy| <= (1 + e_x) e_y + e_x = (1 + e_x)(1 + e_y) - 1.

e is measured for every row, so nothing is assumed of the data: a row that is coded badly, by bad luck or
by design, has a large e and proposes more pairs, never fewer. About 0.0095 is usual, so a cut is lowered
by 0.019. What is measured is s (fl(Rx) - q) in float32, R being Q / s rounded to float32. With u = 2^-24
and gamma_d = d u / (1 - d u) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and
all lengths in units of s:

- R differs from Q / s by at most u in each element, relatively: the two differ by u sqrt(d) in the
  Frobenius norm, twice that with Q's own distance from an orthonormal matrix in float64.
- x is within 3 u of its float32 form (`screen`), and each coordinate of the product is off by at most
  gamma_d |R_k| |x| with |R_k| <= 1 + u: all of them by gamma_d sqrt(d) (1 + u)(1 + 3 u) at most.
- The difference to q is rounded by u of itself, and the sum of its squares and the root of that by about
  gamma_d: a thousandth and d u of what is measured pay for both.

`_turning_error` is the sum of the first two. Errors of float64 are paid for by one step in every limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.screen import full_precision
from twinlens.engine.similarity import Numbers, Rows, spans

Array: TypeAlias = Any
"""A torch tensor, on whatever device."""

_U = 2.0**-24
_STEPS = 127
_CLIPPED_AT = 4.0
_SEED = 20240607
GROUP = 64
_MULTIPLE = 16
_PAIRS_AT_ONCE = 1 << 18
_LOOKED_AT_ONCE = 1 << 20
_LOOKED_AT_ONCE_ELSEWHERE = 1 << 24
"""Products of rows that can reach what is asked: to an accelerator, few take as long as many."""
_NOWHERE = -(2**31)


class Codes(NamedTuple):
    """A block of rows as codes.

    Attributes:
        values: int8 [n filled up to a multiple of 64, dim filled up to one of 16], zeros where filled.
        error: float64 [n], the bound e of each row.
    """

    values: Array
    error: NDArray[np.float64]


class Proposals(NamedTuple):
    """Pairs of rows of two blocks.

    Attributes:
        row: int64 [k], places in the left block.
        column: int64 [k], places in the right one.
        most: float64 [k], what their dot product cannot exceed.
    """

    row: Numbers
    column: Numbers
    most: NDArray[np.float64]


class CodedScreen:
    """Codes blocks of rows and multiplies them; each product is good until the next is made.

    Args:
        block: most rows on either side.
        dim: length of a row.
        device: a torch device, such as "cpu" or "cuda".
    """

    value_bytes = 1

    def __init__(self, block: int, dim: int, device: str) -> None:
        import torch

        self._device = device
        self._step = _CLIPPED_AT / (_STEPS * dim**0.5)
        self._turn = (_rotation(dim) / self._step).astype(np.float32)
        self._turn_there = None if device == "cpu" else torch.from_numpy(self._turn).to(device)
        self._buffer = torch.empty(filled_up(block, GROUP) ** 2, dtype=torch.int32, device=device)
        # What is freed beside blocks that stay is not found again: 49 blocks left 100 MB of holes.
        self._scratch = [torch.empty((block, dim), dtype=torch.float32, device=device) for _ in range(2)]

    def load(self, rows: Rows, norms: NDArray[np.float64]) -> Codes:
        """Code a block of rows.

        Args:
            rows: float16 [n, dim].
            norms: float64 [n], the Euclidean norm of each.
        """
        import torch

        n, dim = rows.shape
        values = torch.zeros(
            (filled_up(n, GROUP), filled_up(dim, _MULTIPLE)), dtype=torch.int8, device=self._device
        )
        turned, steps = self._turned(rows, norms)
        values[:n, :dim] = steps
        residual = torch.linalg.vector_norm(turned.sub_(steps), dim=1).cpu().numpy() * self._step
        return Codes(values, residual.astype(np.float64) * (1.001 + dim * _U) + _turning_error(dim))

    def _turned(self, rows: Rows, norms: NDArray[np.float64]) -> tuple[Array, Array]:
        """Coordinates in steps, and the nearest whole ones there are; good until the next are asked for."""
        import torch

        units, turned = (buffer[: len(rows)] for buffer in self._scratch)
        # Torch's conversion from float16 was measured ten times as fast as NumPy's.
        units.copy_(torch.from_numpy(rows))
        units /= torch.from_numpy(norms.astype(np.float32)).to(self._device)[:, None]
        if self._turn_there is None:
            # In NumPy on a CPU, whose BLAS knows no reduced precision.
            np.matmul(units.numpy(), self._turn, out=turned.numpy())
        else:
            with full_precision():
                torch.matmul(units, self._turn_there, out=turned)
        return turned, torch.round(turned, out=units).clamp_(-_STEPS, _STEPS)

    def product(self, a: Codes, b: Codes, n: int, m: int) -> CodedProduct:
        """Products of two coded blocks of n and m rows; a block with itself leaves out the diagonal."""
        import torch

        height, width = len(a.values), len(b.values)
        products = self._buffer[: height * width].view(height, width)
        torch._int_mm(a.values, b.values.T, out=products)
        leave_out(products, n, m, same=a is b)
        return CodedProduct(products, a.error, b.error, scale=self._step**2)


class CodedProduct:
    """Products of two coded blocks, and the questions asked of them.

    Args:
        products: int32, bfloat16 or float32 [n and m filled up to multiples of 64], -2^31 where there is no
            pair.
        row_error: float64 [n], of the codes of the left block.
        column_error: float64 [m], of the right one.
        scale: what a product of 1 is worth.
        rounding: how far a product may be from the exact one of the codes.
    """

    def __init__(
        self,
        products: Array,
        row_error: NDArray[np.float64],
        column_error: NDArray[np.float64],
        *,
        scale: float,
        rounding: float = 0.0,
    ) -> None:
        self._products = products
        self._errors = row_error, column_error
        self._scale = scale
        self._rounding = rounding
        # A whole row is compared with one number: it pays for the worst of the other side.
        self._row_slack = _slack(row_error, column_error.max(initial=0.0)) + rounding
        self._column_slack = _slack(column_error, row_error.max(initial=0.0)) + rounding
        on_cpu = products.device.type == "cpu"
        self._looked_at_once = _LOOKED_AT_ONCE if on_cpu else _LOOKED_AT_ONCE_ELSEWHERE
        self._best_of_rows = products.amax(1)
        height, width = products.shape
        self._groups = products.view(height // GROUP, GROUP, width)
        self._best_of_groups: Array | None = None

    def reaching(self, similarity: float) -> Iterator[tuple[Numbers, Numbers]]:
        """Row and column of each pair whose dot product can reach a similarity, in parts, rows ascending."""
        floor = np.full(len(self._row_slack), similarity)
        for part in self.rivals_of_rows(floor):
            yield part.row, part.column

    def least_of_rows(self) -> NDArray[np.float64]:
        """What the largest dot product of each row is at least: float64 [n], below -1 where there is none."""
        slack = self._row_slack
        return _host(self._best_of_rows[: len(slack)]) * self._scale - slack

    def least_of_columns(self) -> NDArray[np.float64]:
        """The same of each column: float64 [m]."""
        slack = self._column_slack
        return _host(self._grouped().amax(0)[: len(slack)]) * self._scale - slack

    def rivals_of_rows(self, floor: NDArray[np.float64]) -> Iterator[Proposals]:
        """Pairs whose dot product can reach the floor of their row, float64 [n]; rows ascending."""
        limit = self._limits(floor, self._row_slack, len(self._products))
        rows = (self._best_of_rows >= limit).nonzero()[:, 0]
        width = self._products.shape[1]
        for part in spans(0, len(rows), max(1, self._looked_at_once // width)):
            chosen = rows[part]
            place, column = (self._products[chosen] >= limit[chosen][:, None]).nonzero(as_tuple=True)
            for some in spans(0, len(place), _PAIRS_AT_ONCE):
                yield self._proposals(chosen[place[some]], column[some])

    def rivals_of_columns(self, floor: NDArray[np.float64]) -> Iterator[Proposals]:
        """Pairs whose dot product can reach the floor of their column, float64 [m]."""
        limit = self._limits(floor, self._column_slack, self._products.shape[1])
        groups, columns = (self._grouped() >= limit).nonzero(as_tuple=True)
        for part in spans(0, len(groups), self._looked_at_once // GROUP):
            group, column = groups[part], columns[part]
            place, inside = (self._groups[group, :, column] >= limit[column][:, None]).nonzero(as_tuple=True)
            for some in spans(0, len(place), _PAIRS_AT_ONCE):
                rows_of = group[place[some]] * GROUP + inside[some]
                yield self._proposals(rows_of, column[place[some]])

    def _grouped(self) -> Array:
        """The largest product of each column in each group of rows: one pass instead of a strided one."""
        if self._best_of_groups is None:
            self._best_of_groups = self._groups.amax(1)
        return self._best_of_groups

    def _limits(self, floor: NDArray[np.float64], slack: NDArray[np.float64], filled: int) -> Array:
        """The smallest product that can mean a dot product at or above the floor, less a step for float64."""
        import torch

        if self._products.is_floating_point():
            exact = np.full(filled, np.inf, dtype=np.float32)
            exact[: len(floor)] = floor - slack
            near = torch.from_numpy(exact).to(self._products.dtype)
            return torch.nextafter(near, torch.full_like(near, -np.inf)).to(self._products.device)
        limits = np.full(filled, 2**31 - 1, dtype=np.int32)
        steps = np.clip(np.floor((floor - slack) / self._scale) - 1.0, _NOWHERE + 1, 2**31 - 1)
        limits[: len(floor)] = steps.astype(np.int32)
        return torch.from_numpy(limits).to(self._products.device)

    def _proposals(self, row: Array, column: Array) -> Proposals:
        products = _host(self._products[row, column])
        i, j = _host(row), _host(column)
        most = products * self._scale + _slack(self._errors[0][i], self._errors[1][j]) + self._rounding
        return Proposals(i, j, most)


def leave_out(products: Array, n: int, m: int, *, same: bool) -> None:
    """Mark what lies beyond n rows and m columns, and the diagonal of a block with itself, as no pair."""
    products[n:] = _NOWHERE
    products[:, m:] = _NOWHERE
    if same:
        products.fill_diagonal_(_NOWHERE)


def codes_are_exact(device: str) -> bool:
    """Whether this device multiplies int8 fast and without error: tried on the largest and on all signs.

    Processors without the VNNI instructions add neighbouring products in int16, which may saturate.
    """
    import torch

    if device == "cpu" and not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        return False
    rng = np.random.default_rng(_SEED)
    a, b = (rng.choice(np.array([-127, -126, 126, 127], np.int8), (128, 512)) for _ in range(2))
    a[:64], b[:64] = 127, 127
    try:
        codes = (torch.from_numpy(each).to(device) for each in (a, b))
        left, right = codes
        made = torch._int_mm(left, right.T)
    except (AttributeError, RuntimeError):
        return False
    return bool((made.cpu().numpy() == a.astype(np.int32) @ b.astype(np.int32).T).all())


@cache
def _rotation(dim: int) -> NDArray[np.float64]:
    """A fixed orthonormal matrix, [dim, dim]."""
    drawn = np.random.default_rng(_SEED).standard_normal((dim, dim))
    return np.asarray(np.linalg.qr(drawn)[0])


def _turning_error(dim: int) -> float:
    gamma = dim * _U / (1.0 - dim * _U)
    return float((gamma + 2.0 * _U) * dim**0.5 * 1.001 + 4.0 * _U)


def _slack(error: NDArray[np.float64], others: Any) -> NDArray[np.float64]:
    slack: NDArray[np.float64] = (1.0 + error) * (1.0 + others) - 1.0
    return slack


def filled_up(count: int, multiple: int) -> int:
    """The next multiple at or above a count."""
    return -(-count // multiple) * multiple


def _host(array: Array) -> NDArray[Any]:
    return np.asarray((array.float() if array.is_floating_point() else array).cpu().numpy())
