"""Which images to keep and which to remove: a plan, made of a snapshot, that touches no file.

Removal is by star, not by cluster. Images are taken in keeper order; each that no kept one is similar to is
kept. So every removed image is at or above the threshold to a kept one, and no two kept images are. What is
protected is never removed: it is taken first and kept in any case, also beside a protected twin, of which the
plan says so.

The twin of a removed image is the kept one most similar to it. It need not be the one that excluded it, which
came before both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.choice import Choice, Verdicts
from twinlens.engine.clusters import is_clique, most_similar, twin_components
from twinlens.engine.covering import greedy_cover
from twinlens.engine.credit import Credit, Group, Looks, credit, size_ladders
from twinlens.engine.keeper import CONTENT_RULES, DEFAULT_RULES, keeper_order, parse_rules
from twinlens.engine.neighbourhood import Neighbourhood
from twinlens.engine.similarity import Mask, Numbers, check_threshold, shown, spans
from twinlens.engine.snapshot import Snapshot

_NO_LOOKS = Looks()
_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Removal:
    """One image to remove.

    Attributes:
        image: the image.
        twin: the kept image that is most similar to it.
        similarity: of the two, in [threshold, 1], 6 decimals.
        rule: why it is removed, not the winner: the rule that tells them apart; "protected"; "upscaled" or
            "framed" where nothing else does; "id" where nothing does at all.
        winner: the kept image, a twin as well, that came before it; most often the twin.
    """

    image: ImageRecord
    twin: ImageRecord
    similarity: float
    rule: str
    winner: ImageRecord


@dataclass(frozen=True, slots=True)
class Conflict:
    """One image that is kept for being protected only: a protected twin comes before it."""

    image: ImageRecord
    twin: ImageRecord
    similarity: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to keep and what to remove, each by path.

    Attributes:
        threshold: in (0, 1].
        rules: that chose.
        keep: images to keep. An image whose file is that of a kept one is neither kept nor removed.
        remove: images to remove.
        conflicts: protected images with a protected twin; each pair of kept twins has one of them.
    """

    threshold: float
    rules: tuple[str, ...]
    keep: tuple[ImageRecord, ...]
    remove: tuple[Removal, ...]
    conflicts: tuple[Conflict, ...]

    @property
    def freed_bytes(self) -> int:
        """Size of the files to remove."""
        return sum(removal.image.size for removal in self.remove)


class _Star(NamedTuple):
    """One component, taken apart.

    Attributes:
        centres: int64 [c], units that are kept, best first.
        covered: int64 [k], all others, best first.
        twins: int64 [k], the centre most similar to each.
        first: int64 [k], the first centre that is similar to each.
    """

    centres: Numbers
    covered: Numbers
    twins: Numbers
    first: Numbers


class Curation:
    """A snapshot at a threshold, ready to be planned.

    Where rules ask for what is in the pictures, files must be looked at first: `to_look_at` and
    `to_compare` say which, and `plan` takes what was seen.

    Args:
        snapshot: what is curated; hashes are no evidence here.
        threshold: in (0, 1].
        rules: which copy is kept, the most important first.
        protected: ids of images that must stay; those that somebody chose to keep are protected anyway.

    Raises:
        InvalidValue: a threshold or rule that is not served.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        threshold: float,
        rules: Sequence[str] = DEFAULT_RULES,
        protected: AbstractSet[str] = frozenset(),
    ) -> None:
        check_threshold(threshold)
        parse_rules(rules)
        self._snapshot = replace(snapshot, linked=frozenset())
        self._threshold = threshold
        self._rules = tuple(rules)
        self._protected = snapshot.kept | protected

    # -- what to look at -----------------------------------------------------------------------

    def to_look_at(self) -> list[ImageRecord]:
        """One image of each different content that must be seen before copies can be ranked."""
        images = self._snapshot.images
        found: dict[bytes | None, ImageRecord] = {}
        for group in self._undecided:
            for place in group:
                found.setdefault(images[place].digest, images[place])
        return list(found.values())

    def to_compare(self) -> list[tuple[ImageRecord, list[ImageRecord]]]:
        """Images that may be enlarged, each with those that it may be made of, to be tried in this order."""
        return size_ladders(self._snapshot.images, self._undecided, self._twins)

    @cached_property
    def _undecided(self) -> list[Group]:
        """Places of the images of each component that a rule about content has to tell apart."""
        if not CONTENT_RULES & set(self._rules):
            return []
        images = self._snapshot.images
        before = []
        for rule, key in parse_rules(self._rules):
            if rule in CONTENT_RULES:
                break
            before.append(key)
        groups = []
        for units in self._components:
            group = self._snapshot.members(units).tolist()
            files = [images[place] for place in group if not images[place].low_information]
            if len(files) < len(group) or any(image.digest is None for image in files):
                continue
            told = {tuple(key(image) for key in before) for image in files}
            if len({image.digest for image in files}) > 1 and len(told) < len(files):
                groups.append(group)
        return groups

    def _twins(self, place: int, others: Sequence[int]) -> NDArray[np.float64]:
        units = self._snapshot.units.of_image
        if not len(others):
            return np.zeros(0)
        similarities = self._snapshot.oracle.block(units[[place]], units[list(others)])[0]
        return np.where(similarities >= self._threshold, similarities, 0.0)

    # -- the plan ------------------------------------------------------------------------------

    def plan(self, looks: Looks = _NO_LOOKS) -> Plan:
        """What to keep and what to remove.

        Args:
            looks: what was seen in the files; without it, stored measures rank the copies.
        """
        images = self._snapshot.images
        credited = credit(images, self._undecided, looks, self._twins)
        rank = keeper_order(credited.facts, self._rules, self._protected, credited.derived.keys())
        chosen = Choice(self._snapshot, rank, self._protected)
        stars = [self._star(units, chosen) for units in self._components]
        removals = sorted(self._removals(stars, chosen, credited), key=lambda each: _by_path(each.image))
        gone = {removal.image.id for removal in removals}
        # The same file may have been indexed as part of two sources: it stays if one of them does.
        keep = {image.path: image for image in sorted(images, key=_by_path) if image.id not in gone}
        remove = {each.image.path: each for each in removals if each.image.path not in keep}
        conflicts = [each for each in self._conflicts(chosen) if each.image.path != each.twin.path]
        return Plan(
            threshold=self._threshold,
            rules=self._rules,
            keep=tuple(keep.values()),
            remove=tuple(remove.values()),
            conflicts=tuple(sorted(conflicts, key=lambda each: _by_path(each.image))),
        )

    @cached_property
    def _hood(self) -> Neighbourhood:
        return self._snapshot.neighbourhood(self._threshold)

    @cached_property
    def _components(self) -> list[Numbers]:
        return twin_components(self._hood, self._snapshot.units.weights)

    def _star(self, units: Numbers, chosen: Choice) -> _Star:
        """One component, taken apart in keeper order; protected units come first and are always centres."""
        oracle, threshold = self._snapshot.oracle, self._threshold
        ranked = units[np.argsort(chosen.unit_rank[units])]
        protected = chosen.is_protected[ranked]
        if protected.sum() <= 1 and is_clique(self._hood, self._snapshot.units.weights, units):
            only = np.full(len(ranked) - 1, ranked[0])
            return _Star(ranked[:1], ranked[1:], only, only)

        def covers(items: Numbers, centres: Numbers) -> Mask:
            return oracle.edges(items, centres, threshold) & ~chosen.is_protected[items][:, None]

        cover = greedy_cover(ranked, covers)
        first = cover.centres[cover.first]
        covered = ranked[first != ranked]
        twins = cover.centres[most_similar(oracle, covered, cover.centres, threshold)]
        return _Star(cover.centres, covered, twins, first[first != ranked])

    def _removals(self, stars: Sequence[_Star], chosen: Choice, credited: Credit) -> Iterator[Removal]:
        images = self._snapshot.images
        verdicts = Verdicts(self._rules, chosen, credited)

        def removal(place: int, twin: int, similarity: float, excluder: int) -> Removal:
            winner = verdicts.winner(place, twin, excluder)
            rule = verdicts.rule(place, winner)
            return Removal(images[place], images[twin], similarity, rule, images[winner])

        for star in stars:
            for unit in star.centres.tolist():
                kept = chosen.kept(unit)
                for place in chosen.others(unit):
                    yield removal(place, chosen.twin(unit, images[place]), 1.0, kept[0])
        covered, twins, first = (
            np.concatenate([np.empty(0, np.int64), *parts])
            for parts in ([s.covered for s in stars], [s.twins for s in stars], [s.first for s in stars])
        )
        for unit, twin_unit, excluder, similarity in zip(
            covered.tolist(), twins.tolist(), first.tolist(), self._similarities(covered, twins), strict=True
        ):
            for place in chosen.members(unit):
                twin = chosen.twin(twin_unit, images[place])
                yield removal(place, twin, similarity, chosen.kept(excluder)[0])

    def _conflicts(self, chosen: Choice) -> Iterator[Conflict]:
        """Protected images that would be removed if none were protected, with the twin that stays."""
        images, oracle = self._snapshot.images, self._snapshot.oracle
        for units in self._components:
            protected = units[chosen.is_protected[units]]
            if not len(protected):
                continue
            ranked = protected[np.argsort(chosen.unit_rank[protected])]
            centres = greedy_cover(ranked, lambda a, b: oracle.edges(a, b, self._threshold)).centres
            for unit in centres.tolist():
                best, *others = chosen.kept(unit)
                yield from (Conflict(images[place], images[best], 1.0) for place in others)
            covered = np.setdiff1d(ranked, centres)
            twins = centres[most_similar(oracle, covered, centres, self._threshold)]
            similarities = self._similarities(covered, twins)
            for unit, twin, similarity in zip(covered.tolist(), twins.tolist(), similarities, strict=True):
                for place in chosen.kept(unit):
                    yield Conflict(images[place], images[chosen.kept(twin)[0]], similarity)

    def _similarities(self, a: Numbers, b: Numbers) -> list[float]:
        """Similarities of pairs of units, as users see them."""
        parts = [
            shown(self._snapshot.oracle.pairs(a[span], b[span])) for span in spans(0, len(a), _PAIRS_AT_ONCE)
        ]
        found: list[float] = np.concatenate([np.empty(0), *parts]).tolist()
        return found


def _by_path(image: ImageRecord) -> tuple[str, str]:
    return image.path, image.id
