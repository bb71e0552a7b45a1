"""Leaks: pairs of images across two sets, such as train and test, that are twins.

Images of the two sets meet, those of one set never meet each other. Identical bytes or pixels are
similarity 1; otherwise the rows decide, joined exactly and block by block (`join.cross_join`). Flat
images leak by identity only. What a person said of pairs inside one set ("not a duplicate") says nothing
about pairs across two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.cores import usable_cores
from twinlens.engine.cross_identity import (
    PixelCandidates,
    Places,
    contents_of,
    identical_bytes,
    identical_pixels,
)
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.errors import InvalidValue, ModelMismatch, TooManyPairs
from twinlens.engine.join import PairBlock, cross_join
from twinlens.engine.pixels import ROWS_AGREE
from twinlens.engine.results import MAX_LEAKS, Evidence, Leak
from twinlens.engine.similarity import MICRO, IndexedRows, Mask, Numbers, check_threshold, micro
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.types import ModelDescription
from twinlens.engine.units import every_combination

_STEPS = 1000
_PAIRS_AT_ONCE = 1 << 20
_EVIDENCE = list(Evidence)


@dataclass(frozen=True, slots=True, eq=False)
class Leaks(Sequence[Leak]):
    """All leaks at a threshold, by falling similarity, then by path of the training, then of the test image.

    A leak takes 13 bytes until it is looked at.

    Attributes:
        train, test: what was compared.
        threshold: at which.
    """

    train: Snapshot
    test: Snapshot
    threshold: float
    _train_place: NDArray[np.int32]
    _test_place: NDArray[np.int32]
    _millionths: NDArray[np.int32]
    _evidence: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self._millionths)

    @overload
    def __getitem__(self, place: int, /) -> Leak: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[Leak]: ...
    def __getitem__(self, place: int | slice, /) -> Leak | list[Leak]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        train = self.train.images[self._train_place[place]]
        test = self.test.images[self._test_place[place]]
        return Leak(
            train=train.id,
            test=test.id,
            train_path=train.path,
            test_path=test.path,
            similarity=int(self._millionths[place]) / MICRO,
            evidence=_EVIDENCE[self._evidence[place]],
        )

    @property
    def leaked_train(self) -> int:
        """How many images of the training set have a twin in the test set."""
        return len(np.unique(self._train_place))

    @property
    def leaked_test(self) -> int:
        """How many images of the test set have a twin in the training set."""
        return len(np.unique(self._test_place))


def find_leaks(
    train: Snapshot, test: Snapshot, threshold: float, *, limit: int = MAX_LEAKS, workers: int | None = None
) -> Leaks:
    """Every pair of an image of `train` and one of `test` at or above a threshold.

    Swapping the sets gives the same pairs. Memory holds the blocks of the join and the leaks, whatever
    the size of the sets. Files are read only where their pixels may be identical.

    Args:
        train: a generation of a dataset whose catalog is open.
        test: one of another dataset of the same model.
        threshold: similarity in (0, 1].
        limit: refuse thresholds with more leaks than this.
        workers: threads that decode; as many as there are cores if None.

    Raises:
        InvalidValue: a threshold outside (0, 1], or identical images alone make more leaks than `limit`.
        ModelMismatch: their vectors come from different models.
        TooManyPairs: so low a threshold that its leaks explode.
    """
    refuse_two_models(train.description, test.description)
    check_threshold(threshold)
    found = _Found(train, test, threshold, limit)
    for copies in identical_bytes(train, test):
        found.add(_at_one(copies), Evidence.BYTES)
    with train.catalog.reading(), test.catalog.reading():
        candidates = PixelCandidates(train, test)
        for pairs in _unit_pairs(train, test, min(threshold, ROWS_AGREE)):
            candidates.see(_where(pairs, pairs.similarity >= ROWS_AGREE))
            found.add_units(_where(pairs, pairs.similarity >= threshold))
        found.refuse_too_many()
        digests = candidates.digests(DecodeLimits(), workers or usable_cores())
    found.add_identical_pixels(identical_pixels(train, test, digests))
    return found.sorted()


def refuse_two_models(train: ModelDescription, test: ModelDescription) -> None:
    """Refuse to compare vectors of two models.

    Raises:
        ModelMismatch: naming both.
    """
    if train.fingerprint != test.fingerprint:
        raise ModelMismatch(
            f"one set holds vectors of {_named(train)}, the other of {_named(test)}: they cannot be "
            "compared, index one of the sets again with the model of the other"
        )


class _Found:
    """Leaks as they are found: few bytes each, and beyond the limit only their number by similarity."""

    def __init__(self, train: Snapshot, test: Snapshot, threshold: float, limit: int) -> None:
        self._train, self._test = _Set(train), _Set(test)
        self._contents = contents_of(train, test)
        self._threshold, self._limit = threshold, limit
        self._parts: list[NDArray[np.int32]] = []
        self._count = 0
        self._by_step = np.zeros(_STEPS + 1, np.int64)

    def add(self, pairs: PairBlock, evidence: Evidence) -> None:
        """Add pairs of images."""
        self._tally(pairs.similarity, np.ones(len(pairs), np.int64))
        if self._count > self._limit:
            self._parts = []
            return
        kind = np.full(len(pairs), _EVIDENCE.index(evidence))
        columns = (pairs.a, pairs.b, micro(pairs.similarity), kind)
        self._parts.append(np.stack([column.astype(np.int32) for column in columns]))

    def add_units(self, pairs: PairBlock) -> None:
        """Add the images of pairs of units, without those of identical bytes."""
        images = self._train.weights[pairs.a] * self._test.weights[pairs.b]
        too_many = images > self._limit
        self._tally(pairs.similarity[too_many], images[too_many])
        pairs, images = _where(pairs, ~too_many), images[~too_many]
        parts = np.cumsum(images) // _PAIRS_AT_ONCE
        for part in np.unique(parts):
            chosen = _where(pairs, parts == part)
            which, nth_train, nth_test = every_combination(
                self._train.weights[chosen.a], self._test.weights[chosen.b]
            )
            a = self._train.member(chosen.a[which], nth_train)
            b = self._test.member(chosen.b[which], nth_test)
            members = PairBlock(a, b, chosen.similarity[which])
            differ = self._contents[0][a] != self._contents[1][b]
            self.add(_where(members, differ), Evidence.EMBEDDING)

    def add_identical_pixels(self, pairs: Iterable[Places]) -> None:
        """Add pairs of images, without those of identical bytes; some may be held with weaker evidence."""
        self._count = 0
        for places in pairs:
            differ = self._contents[0][places.a] != self._contents[1][places.b]
            self.add(_where(_at_one(places), differ), Evidence.PIXELS)
        self.refuse_too_many()

    def _tally(self, similarity: NDArray[np.float64], images: Numbers) -> None:
        self._count += int(images.sum())
        np.add.at(self._by_step, micro(similarity) // (MICRO // _STEPS), images)

    def refuse_too_many(self) -> None:
        """Refuse more than the limit.

        Raises:
            InvalidValue: identical images alone are more.
            TooManyPairs: naming the lowest threshold that is served.
        """
        if self._count <= self._limit:
            return
        at_or_above = self._by_step[::-1].cumsum()[::-1]
        served = np.flatnonzero(at_or_above <= self._limit)
        if not len(served):
            raise InvalidValue(
                f"identical images alone make {at_or_above[-1]:,} leaks, and at most {self._limit:,} are "
                "served: allow more with --max-pairs, or remove the copies inside each set first"
            )
        raise TooManyPairs(
            threshold=self._threshold,
            pairs=self._count,
            limit=self._limit,
            lowest_served=int(served[0]) / _STEPS,
        )

    def sorted(self) -> Leaks:
        """All of them, each once with its strongest evidence, in their order.

        Raises:
            InvalidValue, TooManyPairs: as `refuse_too_many`.
        """
        table = np.concatenate([np.empty((4, 0), np.int32), *self._parts], axis=1)
        self._parts = []
        table = table[:, np.lexsort((table[3], table[1], table[0]))]
        same = (np.diff(table[0], prepend=-1) == 0) & (np.diff(table[1], prepend=-1) == 0)
        table = table[:, ~same]
        self._count = table.shape[1]
        self._by_step = np.bincount(table[2] // (MICRO // _STEPS), minlength=_STEPS + 1)
        self.refuse_too_many()
        train, test = self._train, self._test
        table = table[:, np.lexsort((test.rank[table[1]], train.rank[table[0]], -table[2]))]
        a, b, millionths, evidence = table
        return Leaks(
            train.snapshot, test.snapshot, self._threshold, a, b, millionths, evidence.astype(np.int8)
        )


class _Set:
    """The images of a snapshot by unit, and their order by path.

    Attributes:
        weights: int64 [u], images of each unit.
        rank: int64 [n], of each image's path.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.weights = snapshot.units.weights
        self._by_unit = np.argsort(snapshot.units.of_image, kind="stable")
        self._start = np.cumsum(self.weights) - self.weights
        paths = [image.path for image in snapshot.images]
        self.rank = np.empty(len(paths), np.int64)
        self.rank[sorted(range(len(paths)), key=paths.__getitem__)] = np.arange(len(paths))

    def member(self, units: Numbers, nth: Numbers) -> Numbers:
        """The place of the nth image of each unit."""
        places: Numbers = self._by_unit[self._start[units] + nth]
        return places


def _unit_pairs(train: Snapshot, test: Snapshot, threshold: float) -> Iterator[PairBlock]:
    return cross_join(
        IndexedRows(train.rows, train.units.rows),
        IndexedRows(test.rows, test.units.rows),
        threshold,
        device=train.device,
        skip_a=train.units.low_information,
        skip_b=test.units.low_information,
    )


def _where(pairs: PairBlock, chosen: Mask) -> PairBlock:
    return pairs if chosen.all() else PairBlock(pairs.a[chosen], pairs.b[chosen], pairs.similarity[chosen])


def _at_one(places: Places) -> PairBlock:
    return PairBlock(places.a, places.b, np.ones(len(places.a)))


def _named(description: ModelDescription) -> str:
    return f"{description.name} ({description.fingerprint[:12]})"
