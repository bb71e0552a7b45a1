"""Bfloat16 products of unit rows: coarser than float32 and twice as fast, finer than int8 (`codes`).

The bound is that of `codes` without turning rows: x = q + r, q being x rounded to bfloat16, and e = |r| is
measured. Two errors more, with u = 2^-24, v = 2^-8 the unit roundoff of bfloat16, and (1 + e_x)(1 + e_y),
below 1.02, the largest that |q_x||q_y| can be: products are summed in float32, within gamma_d 1.02
(`screen`), and the sum is rounded to bfloat16, within v 1.02 (1 + gamma_d). A float32 and its bfloat16
differ by a number that float32 holds, so r itself is exact; its norm and the float32 form of x cost what
they cost in `codes`.

That sums are made in float32 is what oneDNN and cuBLAS say; it is tried before it is relied on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.row_codes import GROUP, CodedProduct, Codes, filled_up, leave_out, unit_tensor
from twinlens.engine.similarity import Rows

_U = 2.0**-24
_V = 2.0**-8
_LARGEST = 1.02
_SEED = 20240607


class HalfScreen:
    """Rounds blocks of rows and multiplies them; each product is good until the next is made.

    Args:
        block: most rows on either side.
        device: a torch device, such as "cpu" or "cuda".
    """

    value_bytes = 2

    def __init__(self, block: int, device: str) -> None:
        import torch

        self._device = device
        self._buffer = torch.empty(filled_up(block, GROUP) ** 2, dtype=torch.bfloat16, device=device)

    def load(self, rows: Rows, norms: NDArray[np.float64]) -> Codes:
        """Round a block of rows.

        Args:
            rows: float16 [n, dim].
            norms: float64 [n], the Euclidean norm of each.
        """
        import torch

        n, dim = rows.shape
        units = unit_tensor(rows, norms, self._device)
        values = torch.zeros((filled_up(n, GROUP), dim), dtype=torch.bfloat16, device=self._device)
        values[:n] = units
        residual = torch.linalg.vector_norm(units.sub_(values[:n].float()), dim=1).cpu().numpy()
        return Codes(values, residual.astype(np.float64) * (1.001 + dim * _U) + 4.0 * _U)

    def product(self, a: Codes, b: Codes, n: int, m: int) -> CodedProduct:
        """Products of two loaded blocks of n and m rows; a block with itself leaves out the diagonal."""
        import torch

        height, width = len(a.values), len(b.values)
        products = self._buffer[: height * width].view(height, width)
        torch.mm(a.values, b.values.T, out=products)
        leave_out(products, n, m, same=a is b)
        return CodedProduct(products, a.error, b.error, scale=1.0, rounding=_rounding(a.values.shape[1]))


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
    return bool((np.abs(made - exact) <= _V * np.abs(exact) + 2.0 * dim * _U).all())


def _rounding(dim: int) -> float:
    gamma = dim * _U / (1.0 - dim * _U)
    return (gamma + _V * (1.0 + gamma)) * _LARGEST
