"""What `remove_duplicates` promises, by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def greedily(codes: NDArray[np.uint8], radius: int) -> dict[str, list[str]]:
    """Each code joins the first kept one within the radius, or is kept: row numbers by the kept one's."""
    kept: list[int] = []
    joined: dict[str, list[str]] = {}
    for row, code in enumerate(codes):
        near = np.flatnonzero(np.bitwise_count(codes[kept] ^ code).sum(axis=1) <= radius)
        if len(near):
            joined[str(kept[near[0]])].append(str(row))
        else:
            kept.append(row)
            joined[str(row)] = []
    return joined
