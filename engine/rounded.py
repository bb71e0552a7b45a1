"""Products of unit rows rounded to bfloat16 or float32: finer than int8 (`row_codes`).

In bfloat16 they are twice as fast as in float32 on a CPU that has instructions for it. Float32 is for
accelerators, which make the products faster than a processor could decide the rivals that a coarser one
leaves.

The bound is that of `row_codes` without turning rows: x = q + r, q being x rounded, and e = |r| is measured.
Two errors more, with u = 2^-24, v the unit roundoff of the type (2^-8 of bfloat16, none for float32, in which
sums are made), and (1 + e_x)(1 + e_y), below 1.02, the largest that |q_x||q_y| can be: products are summed in
float32, within gamma_d 1.02 (`screen`), and the sum is rounded, within v 1.02 (1 + gamma_d). A float32 and
its bfloat16 differ by a number that float32 holds, so r itself is exact; its norm and the float32 form of x
cost what they cost in `row_codes`.

That sums of bfloat16 are made in float32 is what oneDNN and cuBLAS say; it is tried before it is relied on.
TF32 would break the bound of float32 and is switched off.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.row_codes import GROUP, Array, CodedProduct, Codes, filled_up, leave_out
from twinlens.engine.screen import full_precision
from twinlens.engine.similarity import Rows

RoundedTo: TypeAlias = Literal["bfloat16", "float32"]

_U = 2.0**-24
_ROUNDOFF: dict[RoundedTo, float] = {"bfloat16": 2.0**-8, "float32": 0.0}
_BYTES: dict[RoundedTo, int] = {"bfloat16": 2, "float32": 4}
_LARGEST = 1.02
_SEED = 20240607


class RoundedScreen:
    """Rounds blocks of rows and multiplies them; each product is good until the next is made.

    Args:
        block: most rows on either side.
        device: a torch device, such as "cpu" or "cuda".
        to: the type.
    """

    def __init__(self, block: int, device: str, to: RoundedTo) -> None:
        import torch

        self.value_bytes = _BYTES[to]
        self._device, self._to = device, to
        self._dtype = getattr(torch, to)
        self._buffer = torch.empty(filled_up(block, GROUP) ** 2, dtype=self._dtype, device=device)

    def load(self, rows: Rows, norms: NDArray[np.float64]) -> Codes:
        """Round a block of rows.

        Args:
            rows: float16 [n, dim].
            norms: float64 [n], the Euclidean norm of each.
        """
        import torch

        n, dim = rows.shape
        units = _unit_tensor(rows, norms, self._device)
        values = torch.zeros((filled_up(n, GROUP), dim), dtype=self._dtype, device=self._device)
        values[:n] = units
        residual = torch.linalg.vector_norm(units.sub_(values[:n].float()), dim=1).cpu().numpy()
        return Codes(values, residual.astype(np.float64) * (1.001 + dim * _U) + 4.0 * _U)

    def product(self, a: Codes, b: Codes, n: int, m: int) -> CodedProduct:
        """Products of two loaded blocks of n and m rows; a block with itself leaves out the diagonal."""
        import torch

        height, width = len(a.values), len(b.values)
        products = self._buffer[: height * width].view(height, width)
        with full_precision():
            torch.mm(a.values, b.values.T, out=products)
        leave_out(products, n, m, same=a is b)
        rounding = _rounding(a.values.shape[1], _ROUNDOFF[self._to])
        return CodedProduct(products, a.error, b.error, scale=1.0, rounding=rounding)


def halves_are_summed_in_float32(device: str) -> bool:
    """Whether this device multiplies bfloat16 fast and sums in float32: tried on sums that bfloat16 loses."""
    import torch

    if device == "cpu" and not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return False
    dim = 2048
    rng = np.random.default_rng(_SEED)
    signs = rng.choice(np.array([1.0, 1.0, 1.0, -1.0], np.float32), (2, 256, dim)) / np.float32(dim**0.5)
    left, right = (torch.from_numpy(each).to(device).bfloat16() for each in signs)
    made = torch.mm(left, right.T).double().cpu().numpy()
    exact = left.double().cpu().numpy() @ right.double().cpu().numpy().T
    return bool((np.abs(made - exact) <= _ROUNDOFF["bfloat16"] * np.abs(exact) + 2.0 * dim * _U).all())


def _rounding(dim: int, roundoff: float) -> float:
    gamma = dim * _U / (1.0 - dim * _U)
    return (gamma + roundoff * (1.0 + gamma)) * _LARGEST


def _unit_tensor(rows: Rows, norms: NDArray[np.float64], device: str) -> Array:
    """Rows float16 [n, dim] divided by their norms, as a float32 tensor of their own on a device."""
    import torch

    units = torch.from_numpy(rows).to(device).to(torch.float32)
    units /= torch.from_numpy(norms.astype(np.float32)).to(device)[:, None]
    return units
