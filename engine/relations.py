"""What images are to each other, kept up to date: units, pairs above the floor, nearest others.

Runs after images were added or removed, under the writer's lock. Only new units are joined, against
each other and against the old ones. All pairs at or above the model's floor are kept; where they
are more than `KEPT_PAIRS`, the floor of this dataset rises until they fit, and `kept_from` says to
where. A lower threshold then costs a join instead of a query.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import Catalog, ImageRecord
from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest, pixel_digest
from twinlens.engine.join import Nearest, PairBlock, cross_join, self_join
from twinlens.engine.similarity import collapse_identical
from twinlens.engine.vectors import Rows

KEPT_PAIRS = 5_000_000
_LOOKS_IDENTICAL = 0.9
_SIGNATURE_TOLERANCE = 6


def update(catalog: Catalog, rows: Rows, floor: float, device: str) -> None:
    """Bring units, pairs and nearest others up to date with the images of the catalog."""
    with catalog.transaction():
        catalog.set_units(collapse_identical(rows))
        living = _living_units(catalog.images(), len(rows))
        old = np.zeros(len(rows), np.bool_)
        old[catalog.joined()] = True
        fresh = living & ~old
        if fresh.any():
            _join(catalog, rows, fresh, living & old, floor, device)
        _find_lost_nearest(catalog, rows, living, device)
        catalog.next_generation()


def _living_units(images: Iterable[ImageRecord], count: int) -> NDArray[np.bool_]:
    """Units that at least one image with information belongs to, bool [rows]."""
    living = np.zeros(count, np.bool_)
    living[[image.unit for image in images if image.unit is not None and not image.low_information]] = True
    return living
