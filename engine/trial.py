"""A collection, and a trial of it: edits of some of its images against all of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twinlens.engine.calibration import Alike
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.edits import Grade
from twinlens.engine.errors import InvalidValue
from twinlens.engine.ingest import OnProgress, Progress
from twinlens.engine.kinship import Relative, hashes_of, near_equal, of_one_burst
from twinlens.engine.precision import Values
from twinlens.engine.similarity import IndexedRows, Numbers, pairwise, spans, unit_rows
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.specimens import Specimen
from twinlens.engine.strangers import Nearest, compare

SHARES = (0.25, 0.5, 0.25)
"""Of the pairs of different images: two originals, an original and an edit, two edits."""

_BLOCK = 2048
_REFERENCES = 20_000
"""Images that a sample is compared with, at most, itself among them."""


@dataclass(frozen=True)
class Collection:
    """The images that a sample is taken from and compared with, in random order, numbered from 0.

    Attributes:
        snapshot: the dataset.
        images: one of each unit that has something to see and a file.
        units: int64 [n], theirs.
        total: how many there are; `images` stops at a limit.
        flat: images of the dataset that are none of these.
    """

    snapshot: Snapshot
    images: list[ImageRecord]
    units: Numbers
    total: int
    flat: int

    @classmethod
    def of(cls, snapshot: Snapshot, seed: int) -> Collection:
        """The collection that a snapshot holds, in an order drawn with a seed.

        Raises:
            InvalidValue: it holds no pictures.
        """
        units = snapshot.units
        first = np.unique(units.of_image, return_index=True)[1]
        usable = np.array(
            [
                unit
                for unit, place in enumerate(first.tolist())
                if not units.low_information[unit] and snapshot.images[place].digest is not None
            ],
            np.int64,
        )
        if not len(usable) and any(image.digest is None for image in snapshot.images):
            raise InvalidValue(
                f"{snapshot.catalog.folder} holds vectors of your own: there are no pictures to edit, "
                "so set thresholds with --threshold"
            )
        chosen = np.random.default_rng(seed).permutation(usable)[:_REFERENCES]
        images = [snapshot.images[place] for place in first[chosen].tolist()]
        return cls(snapshot, images, chosen, len(usable), len(snapshot.images) - len(usable))

    def __len__(self) -> int:
        return self.total

    @property
    def folder(self) -> str:
        """Of the dataset."""
        return str(self.snapshot.catalog.folder)

    @cached_property
    def number(self) -> dict[str, int]:
        """Of each image, by id."""
        return {image.id: number for number, image in enumerate(self.images)}

    def rows(self, numbers: Numbers) -> IndexedRows:
        """Rows of some images, as stored."""
        return IndexedRows(self.snapshot.rows, self.snapshot.units.rows[self.units[numbers]])

    def similarity(self, a: int, b: int) -> float:
        """Of two images, by number."""
        rows = unit_rows(self.rows(np.array([a, b]))[np.arange(2)])
        return float(pairwise(rows[:1], rows[1:])[0])

    def alike(self, pair: Relative) -> Alike:
        """A pair by the ids of its images."""
        return Alike(self.images[pair.a].id, self.images[pair.b].id, pair.similarity)


class Trial:
    """Edits of some images of a collection.

    Attributes:
        similarity: float64 [e], of each edit to its image; 0 for an edit with nothing to see.
        owner: int64 [e], the number of that image.
        names, grades: of the edits.
    """

    def __init__(self, collection: Collection, specimens: Sequence[Specimen]) -> None:
        self._collection = collection
        self._specimens = {collection.number[each.image.id]: each for each in specimens}
        self._sample = np.array(list(self._specimens), np.int64)
        edits = [len(each.names) for each in specimens]
        self.owner = np.repeat(self._sample, edits)
        self.names = [name for each in specimens for name in each.names]
        self.grades = [grade for each in specimens for grade in each.grades]
        rows = np.concatenate([each.rows for each in specimens])
        visible = rows.any(axis=1)
        self._rows, self._owner = rows[visible], self.owner[visible]
        self.similarity = np.zeros(len(rows))
        originals = collection.rows(self._owner)
        self.similarity[visible] = np.concatenate(
            [
                np.empty(0),
                *(self._to_its_image(originals, span) for span in spans(0, len(self._rows), _BLOCK)),
            ]
        )

    def _to_its_image(self, originals: IndexedRows, span: slice) -> Values:
        numbers = np.arange(span.start, span.stop)
        return pairwise(unit_rows(self._rows[span]), unit_rows(originals[numbers]))

    def of(self, grade: Grade) -> Values:
        """Similarities of the edits of one grade."""
        return self.similarity[[place for place, each in enumerate(self.grades) if each is grade]]

    def compare(self, on_progress: OnProgress) -> list[Nearest]:
        """Pairs of different images: two originals, an original and an edit, two edits."""
        everything = np.arange(len(self._collection.images))
        n, m, e = len(everything), len(self._sample), len(self._owner)
        originals, sampled = self._collection.rows(everything), self._collection.rows(self._sample)
        found: list[Nearest] = []
        on_progress(Progress("score", 0, len(SHARES)))
        for pairs, (rows_a, owner_a, rows_b, owner_b), twice in (
            (m * (n - 1), (sampled, self._sample, originals, everything), True),
            (e * (n - 1), (self._rows, self._owner, originals, everything), False),
            (e * (e - 1) // 2, (self._rows, self._owner, self._rows, self._owner), True),
        ):
            nearest = Nearest(pairs)
            compare(nearest, rows_a, owner_a, rows_b, owner_b, twice=twice)
            found.append(nearest)
            on_progress(Progress("score", len(found), len(SHARES)))
        return found

    def kinship(
        self, relatives: Sequence[Relative], strict: float, on_progress: OnProgress
    ) -> dict[tuple[int, int], str]:
        """Which pairs are twins already, and what says so: identical, hash or burst."""
        collection = self._collection
        snapshot, units, images = collection.snapshot, collection.units, collection.images
        wanted = {number: images[number] for pair in relatives for number in (pair.a, pair.b)}
        known = {number: each.hashes for number, each in self._specimens.items()}
        hashes = hashes_of(wanted, known, DecodeLimits(), on_progress)
        found: dict[tuple[int, int], str] = {}
        for pair in relatives:
            a, b = pair.a, pair.b
            first, second = sorted((int(units[a]), int(units[b])))
            if (first, second) in snapshot.units.rejected:
                continue
            identity = snapshot.units.identity[[first, second]]
            if identity[0] == identity[1] >= 0:
                found[a, b] = "identical"
            elif a in hashes and b in hashes:
                if near_equal(hashes[a], hashes[b]):
                    found[a, b] = "hash"
                elif (
                    of_one_burst(images[a], images[b], hashes[a], hashes[b])
                    and collection.similarity(a, b) >= strict
                ):
                    found[a, b] = "burst"
        return found
