"""The most representative images of a dataset: which to keep, which to remove, and what stands for it.

They are chosen by greedy k-centre, then moved to the middle of what they cover where that covers better; of
copies of one picture the best in keeper order is taken.

A number of images promises no threshold. It reports the coverage it reaches: the largest 1 - similarity of a
removed image to the kept image most similar to it. What a person rejected as duplicates changes nothing:
coverage asks how far apart images are, not whether they are twins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import DEFAULT_RULES, keeper_order
from twinlens.engine.quotas import quotas
from twinlens.engine.recentring import best_copies, recentre
from twinlens.engine.representatives import (
    Representatives,
    coverage_after,
    nearest_chosen,
    representatives,
)
from twinlens.engine.similarity import IndexedRows, Mask, Numbers, shown
from twinlens.engine.snapshot import Snapshot

COVERED, FLAT = "covered", "flat"
"""Rules of removals: a kept image covers it; it is flat, and nothing but an identical image is like it."""


@dataclass(frozen=True, slots=True)
class Removed:
    """One image that does not stay.

    Attributes:
        image: the image.
        twin: the kept image that is most similar to it; of equals, the best in keeper order.
        similarity: of the two, in [0, 1], 6 decimals; of a flat image 0 with all but identical ones.
        rule: `COVERED` or `FLAT`.
    """

    image: ImageRecord
    twin: ImageRecord
    similarity: float
    rule: str


@dataclass(frozen=True, slots=True)
class ClassShare:
    """What one class keeps.

    Attributes:
        label: of the class; None for images without a label.
        images: how many it has.
        kept: how many of them stay.
        coverage: in [0, 1], inside the class; 1 if none of it stays.
    """

    label: str | None
    images: int
    kept: int
    coverage: float


@dataclass(frozen=True, slots=True)
class Subset:
    """The images that stay, and what that means for the others.

    Attributes:
        keep: in the order of choice, class by class where there are classes.
        remove: all others, by path.
        coverage: in [0, 1], the largest 1 - similarity of a removed image with information to its twin.
        after: the coverage after each choice; empty where there are classes.
        classes: by label, those without one last; empty where there are no classes.
    """

    keep: tuple[ImageRecord, ...]
    remove: tuple[Removed, ...]
    coverage: float
    after: tuple[float, ...]
    classes: tuple[ClassShare, ...]


def images_to_keep(images: int, *, keep: int | None = None, fraction: float | None = None) -> int:
    """How many images a number or a fraction asks for: at least one, halves are rounded up.

    Raises:
        InvalidValue: not exactly one of the two, a number outside 1 to `images`, a fraction outside (0, 1].
    """
    if not images:
        raise InvalidValue("there are no images, so none can be kept: index some first")
    if (keep is None) == (fraction is None):
        raise InvalidValue("ask for a number of images to keep, or for a fraction of them")
    if keep is None:
        assert fraction is not None
        if not 0.0 < fraction <= 1.0:
            raise InvalidValue(
                f"fraction {fraction:g} is not in (0, 1]: ask for a part of the images such as 0.1"
            )
        return max(1, int(fraction * images + 0.5))
    if not 1 <= keep <= images:
        raise InvalidValue(f"{keep} images cannot be kept of {images}: ask for a number from 1 to {images}")
    return keep


def choose_subset(
    snapshot: Snapshot,
    *,
    keep: int | None = None,
    fraction: float | None = None,
    rules: Sequence[str] = DEFAULT_RULES,
    protected: AbstractSet[str] = frozenset(),
    labels: Mapping[str, str] | None = None,
    among: AbstractSet[str] | None = None,
) -> Subset:
    """Choose the most representative images by greedy k-centre, in all or in each class.

    Args:
        snapshot: what is chosen from. Of images that are one file, the best counts.
        keep: how many images stay.
        fraction: or which part of them, in (0, 1].
        rules: the keeper order, which starts the choice and breaks ties.
        protected: ids of images that must stay; they are chosen first, with those that somebody chose to
            keep.
        labels: label by id. Where given, each class keeps its proportional share (`quotas`), chosen among its
            own images; images without a label are a class.
        among: ids of images that may be chosen; None for all. The others are covered as well as may be.

    Raises:
        InvalidValue: a number, fraction or rule that is not served, or fewer images than must stay.
    """
    collection = _Collection(snapshot, rules, snapshot.kept | protected, among)
    count = images_to_keep(len(collection), keep=keep, fraction=fraction)
    if count > (choice := int(collection.eligible.sum())):
        raise InvalidValue(
            f"{count} images cannot be kept of {choice} without twins: ask for as many or less"
        )
    if (must := int(collection.first.sum())) > count:
        raise InvalidValue(f"{must} images must be kept, and {count} are asked for: ask for as many or more")
    if labels is None:
        found = collection.choose(np.arange(len(collection)), count)
        return collection.subset(found.chosen, after=found.coverage.tolist())
    names = [labels.get(image.id) for image in collection.images]
    return _by_class(collection, names, count)


def _by_class(collection: _Collection, names: Sequence[str | None], count: int) -> Subset:
    # A label is not empty, so that "" can stand for images without one.
    sizes = Counter(name or "" for name, able in zip(names, collection.eligible, strict=True) if able)
    must = Counter(name or "" for name, first in zip(names, collection.first, strict=True) if first)
    shares = quotas(sizes, count, must)
    chosen, classes = [], []
    for name in sorted(sizes, key=lambda name: (not name, name)):
        places = np.flatnonzero([(each or "") == name for each in names])
        coverage = 1.0
        if shares[name]:
            found = collection.choose(places, shares[name])
            chosen.append(found.chosen)
            coverage = float(found.coverage[-1])
        classes.append(ClassShare(name or None, len(places), shares[name], coverage))
    return collection.subset(np.concatenate(chosen), classes=classes)


class _Facts(TypedDict):
    identity: Numbers
    low_information: Mask


class _Collection:
    """The images of a snapshot, each file once, as the choice sees them.

    Attributes:
        images: n images, by id.
        first: bool [n], those that must stay.
        eligible: bool [n], those that may stay.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        rules: Sequence[str],
        protected: AbstractSet[str],
        among: AbstractSet[str] | None,
    ) -> None:
        rank = keeper_order(snapshot.images, rules, protected)
        best: dict[str, int] = {}
        for place in np.argsort(rank).tolist():
            best.setdefault(snapshot.images[place].path, place)
        places = np.sort(np.fromiter(best.values(), np.int64, len(best)))
        self.images = [snapshot.images[place] for place in places.tolist()]
        self.first = np.array([image.id in protected for image in self.images], np.bool_)
        self.eligible = self.first | np.array(
            [among is None or image.id in among for image in self.images], np.bool_
        )
        self._twins_from = snapshot.description.points.default
        self._rank = rank[places]
        self._identity = snapshot.units.image_identity[places]
        self._flat = np.array([image.low_information for image in self.images], np.bool_)
        numbers = np.array([image.row for image in self.images], np.int64)
        self._rows = IndexedRows(snapshot.rows, numbers)

    def __len__(self) -> int:
        return len(self.images)

    def choose(self, places: Numbers, count: int) -> Representatives:
        """Choose among some images; the coverage is that of all of them."""
        able = places[self.eligible[places]]
        rows, rank, first = IndexedRows(self._rows, able), self._rank[able], self.first[able]
        found = representatives(rows, rank, count, first=first, **self._facts(able))
        centres = recentre(rows, found.chosen, rank, fixed=first, **self._facts(able))
        moved = able[best_copies(rows, centres, rank, self._twins_from, fixed=first, **self._facts(able))]
        position = np.searchsorted(places, moved)
        after = coverage_after(IndexedRows(self._rows, places), position, **self._facts(places))
        return Representatives(moved, after)

    def _facts(self, places: Numbers) -> _Facts:
        return _Facts(identity=self._identity[places], low_information=self._flat[places])

    def subset(
        self,
        chosen: Numbers,
        *,
        after: Sequence[float] = (),
        classes: Sequence[ClassShare] = (),
    ) -> Subset:
        """The answer that keeps some images, in their order."""
        left = np.ones(len(self), np.bool_)
        left[chosen] = False
        gone = np.flatnonzero(left)
        twins, similarity = self._twins(chosen, gone)
        informative = ~self._flat[gone]
        lowest = float(shown(similarity[informative].min(initial=1.0)))
        removals = [
            Removed(self.images[place], self.images[twin], said, COVERED if covered else FLAT)
            for place, twin, said, covered in zip(
                gone.tolist(), twins.tolist(), shown(similarity).tolist(), informative.tolist(), strict=True
            )
        ]
        return Subset(
            keep=tuple(self.images[place] for place in chosen.tolist()),
            remove=tuple(sorted(removals, key=lambda removed: (removed.image.path, removed.image.id))),
            coverage=1.0 - lowest,
            after=tuple(after),
            classes=tuple(classes),
        )

    def _twins(self, chosen: Numbers, gone: Numbers) -> tuple[Numbers, NDArray[np.float64]]:
        """The kept image most similar to each removed one, of equals the best; flat ones know only copies."""
        best_first = chosen[np.argsort(self._rank[chosen])]
        twins, similarity = np.full(len(gone), best_first[0]), np.zeros(len(gone))
        with_information = best_first[~self._flat[best_first]]
        informative = ~self._flat[gone]
        if len(with_information):
            found = nearest_chosen(self._rows, with_information, gone[informative], self._identity)
            twins[informative], similarity[informative] = found
        kept = {int(self._identity[place]): place for place in best_first[::-1].tolist()}
        for number in np.flatnonzero(~informative).tolist():
            label = int(self._identity[gone[number]])
            if label >= 0 and label in kept:
                twins[number], similarity[number] = kept[label], 1.0
        return twins, similarity
