"""What a search looks up in a generation of a dataset, made once and not with each search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.similarity import Mask, Numbers
from twinlens.engine.units import Units

_PREFIX = 8
NO_UNIT = -1


class Lookup:
    """Units by row, images by digest.

    Attributes:
        unit_of_row: int64 [rows], the unit that a row of vectors.f16 stands for, -1 for other rows and for
            units without information.
        searchable: bool [rows], the rows that stand for a unit.
        rejections: how many other units each unit was rejected from, where any.
    """

    def __init__(self, images: Sequence[ImageRecord], units: Units, rows: int) -> None:
        searched = np.flatnonzero(~units.low_information)
        self.unit_of_row: Numbers = np.full(rows, NO_UNIT, np.int64)
        self.unit_of_row[units.rows[searched]] = searched
        self.searchable: Mask = self.unit_of_row != NO_UNIT
        self.rejections = Counter(unit for pair in units.rejected for unit in pair)
        self._digests = _Digests([image.digest for image in images])
        self._pixels = _Digests([image.pixel_digest for image in images])

    def identical(self, digest: bytes | None, pixels: bytes | None) -> set[int]:
        """Places of the images with the same bytes or the same pixels; none for what is not known."""
        return self._digests.places(digest) | self._pixels.places(pixels)


class _Digests:
    """Places of digests: sorted by their first bytes, in 16 bytes for each."""

    def __init__(self, digests: Sequence[bytes | None]) -> None:
        self._digests = digests
        known = np.array([place for place, digest in enumerate(digests) if digest is not None], np.int64)
        prefixes = np.frombuffer(b"".join(_prefix(digest) for digest in digests if digest is not None), ">u8")
        order = np.argsort(prefixes, kind="stable")
        self._prefixes: NDArray[np.uint64] = prefixes[order].astype(np.uint64)
        self._places = known[order]

    def places(self, digest: bytes | None) -> set[int]:
        if digest is None:
            return set()
        prefix = np.frombuffer(_prefix(digest), ">u8").astype(np.uint64)[0]
        first, last = (
            np.searchsorted(self._prefixes, prefix),
            np.searchsorted(self._prefixes, prefix, "right"),
        )
        return {place for place in self._places[first:last].tolist() if self._digests[place] == digest}


def _prefix(digest: bytes) -> bytes:
    return digest[:_PREFIX].ljust(_PREFIX, b"\0")
