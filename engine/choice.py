"""Which images of a unit stay, and by which rule others go."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.credit import Credit
from twinlens.engine.keeper import verdict
from twinlens.engine.similarity import Numbers
from twinlens.engine.snapshot import Snapshot

PROTECTED = "protected"


class Choice:
    """Which images of each unit stay if the unit does: the protected ones, else the best."""

    def __init__(self, snapshot: Snapshot, rank: Numbers, protected: AbstractSet[str]) -> None:
        self._snapshot = snapshot
        self.rank = rank
        self.protected = {place for place, image in enumerate(snapshot.images) if image.id in protected}
        units = snapshot.units
        self.unit_rank = np.full(len(units), len(rank), np.int64)
        np.minimum.at(self.unit_rank, units.of_image, rank)
        self.is_protected = np.zeros(len(units), np.bool_)
        self.is_protected[units.of_image[list(self.protected)]] = True

    def members(self, unit: int) -> list[int]:
        """Places of the images of a unit, best first."""
        places = self._snapshot.members(np.array([unit]))
        ranked: list[int] = places[np.argsort(self.rank[places])].tolist()
        return ranked

    def kept(self, unit: int) -> list[int]:
        """Places of those that stay, best first."""
        places = self.members(unit)
        return [place for place in places if place in self.protected] or places[:1]

    def others(self, unit: int) -> list[int]:
        """Places of those that go."""
        kept = set(self.kept(unit))
        return [place for place in self.members(unit) if place not in kept]

    def twin(self, unit: int, image: ImageRecord) -> int:
        """The one that stays to stand for an image: one with the same bytes if there is one."""
        kept = self.kept(unit)
        images = self._snapshot.images
        same = (place for place in kept if image.digest is not None and images[place].digest == image.digest)
        return next(same, kept[0])


class Verdicts:
    """What decided between two images."""

    def __init__(self, rules: Sequence[str], chosen: Choice, credited: Credit) -> None:
        self._rules = rules
        self._chosen = chosen
        self._credited = credited

    def winner(self, place: int, twin: int, excluder: int) -> int:
        """The kept image that an image goes for: its twin if that comes before it, else what excluded it."""
        return twin if self._chosen.rank[twin] < self._chosen.rank[place] else excluder

    def rule(self, place: int, winner: int) -> str:
        """What the kept one has over the image that goes."""
        if winner in self._chosen.protected:
            return PROTECTED
        facts, derived = self._credited.facts, self._credited.derived
        rule, by_origin = verdict(facts[winner], facts[place], self._rules, derived.keys())
        return derived[facts[place].id] if by_origin else rule
