"""The pairs and nearest others of one generation, held in memory.

A server asks for many thresholds, from many threads, while another process adds images. What it answers
from is a copy: 12 bytes a pair, and as many pairs as a catalog keeps (`relations.KEPT_PAIRS`) take 60 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.join import PairBlock
from twinlens.engine.linkage import lowest_micro
from twinlens.engine.similarity import MICRO, Numbers, spans

_PAIRS_AT_ONCE = 1 << 20


class PairSource(Protocol):
    """Where a snapshot finds what was joined before: a catalog, or a copy of what one held."""

    def pairs(self, threshold: float) -> Iterator[PairBlock]:
        """The pairs of units at or above a threshold, by (a, b), in blocks."""
        ...

    def nearest(self) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """Joined units: int64 [n], their nearest others: int64 [n], -1 unknown, similarities: float64 [n]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class KeptPairs:
    """A copy of what a catalog keeps.

    Attributes:
        a, b: int32 [p], pairs of units, by (a, b).
        millionths: int32 [p], their similarities.
        joined: units, their nearest others and similarities, as `PairSource.nearest` gives them.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    millionths: NDArray[np.int32]
    joined: tuple[Numbers, Numbers, NDArray[np.float64]]

    @classmethod
    def copy(cls, source: PairSource, floor: float) -> KeptPairs:
        """Read all that a source holds at or above `floor`."""
        a, b, millionths = [], [], []
        for block in source.pairs(floor):
            a.append(block.a.astype(np.int32))
            b.append(block.b.astype(np.int32))
            millionths.append(np.rint(block.similarity * MICRO).astype(np.int32))
        none = np.empty(0, np.int32)
        return cls(
            a=np.concatenate([none, *a]),
            b=np.concatenate([none, *b]),
            millionths=np.concatenate([none, *millionths]),
            joined=source.nearest(),
        )

    def pairs(self, threshold: float) -> Iterator[PairBlock]:
        """The pairs of units at or above a threshold, by (a, b), in blocks."""
        chosen = np.flatnonzero(self.millionths >= lowest_micro(threshold))
        for span in spans(0, len(chosen), _PAIRS_AT_ONCE):
            some = chosen[span]
            yield PairBlock(
                self.a[some].astype(np.int64), self.b[some].astype(np.int64), self.millionths[some] / MICRO
            )

    def nearest(self) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """Joined units: int64 [n], their nearest others: int64 [n], -1 unknown, similarities: float64 [n]."""
        return self.joined
