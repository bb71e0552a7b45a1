"""Pictures built so that their hashes differ by an exact number of bits.

bmh1 compares the mean of each of 31 x 31 blocks with the mean of the whole picture. A block is 2 x 2 cells
of a 32 x 32 grid and shares cells with its neighbours, but holds exactly one cell whose row and column are
both odd. So a grey picture whose odd cells alone are white or black has the blocks of a white cell far above
the mean and those of a black one far below it. Turning one odd cell over turns four bits over; on the lower
or right edge two; in the corner one. Any number of bits is a sum of those.

phash compares each of the 64 lowest frequencies with their mean. A picture made from those frequencies, all
of one strength and each with a sign, hashes to its signs; turning a sign over turns one bit over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.types import Rgb

MOST_BMH1, MOST_PHASH = 961, 20
"""How many bits can be turned over."""

_ODD = 16
_GREY, _BLACK, _WHITE = 128, 0, 255
_STRENGTH = 40.0
_SIDE = 32


def differing_by(bits: int, height: int = 256, width: int = 256) -> Rgb:
    """A picture whose bmh1 differs in exactly so many bits from that of `differing_by(0)`.

    At multiples of 4 up to 900, two such pictures differ by the difference of their numbers.

    Args:
        bits: 0 to 961.
        height: px, at least 128, so that every cell keeps pixels of its own.
        width: likewise.
    """
    white = np.indices((_ODD, _ODD)).sum(axis=0) % 2 == 0
    for row, column in _cells_for(bits):
        white[row, column] ^= True
    cells = np.full((_SIDE, _SIDE), _GREY, np.uint8)
    cells[1::2, 1::2] = np.where(white, _WHITE, _BLACK)
    rows, columns = np.arange(height) * _SIDE // height, np.arange(width) * _SIDE // width
    return _grey_picture(cells[rows][:, columns])


def differing_in_phash_by(bits: int) -> Rgb:
    """A picture of 32 x 32 whose phash differs in exactly so many bits from `differing_in_phash_by(0)`.

    Args:
        bits: 0 to 20; two such pictures differ by the difference of their numbers.
    """
    assert 0 <= bits <= MOST_PHASH
    spectrum = np.zeros((_SIDE, _SIDE))
    spectrum[:8, :8] = -_STRENGTH
    # Fewer plus than minus signs keep the mean below 0, so that the bit of the constant term stays; eight
    # that never turn over keep it far from the minus signs.
    plus = 8 + MOST_PHASH - bits
    spectrum[:8, :8].flat[1 : 1 + 2 * plus : 2] = _STRENGTH
    spectrum[0, 0] = _SIDE * _GREY
    basis = _dct_matrix()
    return _grey_picture(np.rint(basis.T @ spectrum @ basis).astype(np.uint8))


def _cells_for(bits: int) -> list[tuple[int, int]]:
    """Odd cells that stand for so many bits together."""
    assert 0 <= bits <= MOST_BMH1
    last = _ODD - 1
    of_four = [(row, column) for row in range(last) for column in range(last)]
    of_two = [(row, last) for row in range(last)] + [(last, column) for column in range(last)]
    fours = min(bits // 4, len(of_four))
    twos = (bits - 4 * fours) // 2
    return of_four[:fours] + of_two[:twos] + [(last, last)] * (bits % 2)


def _grey_picture(levels: NDArray[np.uint8]) -> Rgb:
    return np.repeat(levels[..., np.newaxis], 3, axis=2)


def _dct_matrix() -> NDArray[np.float64]:
    """The orthonormal DCT-II, float64 [32, 32]."""
    angle = np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_SIDE)[:, np.newaxis] / (2 * _SIDE)
    basis: NDArray[np.float64] = np.sqrt(2 / _SIDE) * np.cos(angle)
    basis[0] /= np.sqrt(2)
    return basis
