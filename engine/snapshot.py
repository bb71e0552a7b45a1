"""One generation of a dataset, read at once: what every answer is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import Catalog, ImageRecord
from twinlens.engine.errors import InvalidValue
from twinlens.engine.join import PairBlock, self_join
from twinlens.engine.keeper import keeper_order
from twinlens.engine.kept_pairs import KeptPairs, PairSource
from twinlens.engine.neighbourhood import Neighbourhood, neighbourhood
from twinlens.engine.results import Evidence
from twinlens.engine.similarity import Mask, Similarities
from twinlens.engine.types import ModelDescription
from twinlens.engine.uniqueness import PRIOR_ISOLATION
from twinlens.engine.units import Units, embedding_blocks, identity_block, make_units
from twinlens.engine.vectors import Rows, VectorFile

_LINKS_AT_ONCE = 4096


@dataclass(frozen=True)
class Snapshot:
    """One generation of a dataset.

    Attributes:
        generation: counts changes.
        images: ordered by id.
        rows: all committed rows, float16 [rows, dim], mapped.
        units: the images collapsed.
        kept_from: the catalog holds all pairs of units at or above this similarity.
        description: of the model.
        catalog: where it was read from.
        relations: where its pairs and nearest others are.
        device: where joins run.
        isolation: b of the uniqueness formula.
        rejections: pairs of ids that are not duplicates.
        kept: ids of images that somebody wants to keep.
        linked: pairs of units (a < b) that are twins at any threshold, by other evidence.
    """

    generation: int
    images: list[ImageRecord]
    rows: Rows
    units: Units
    kept_from: float
    description: ModelDescription
    catalog: Catalog
    relations: PairSource
    device: str
    isolation: float
    rejections: tuple[tuple[str, str], ...] = ()
    kept: frozenset[str] = frozenset()
    linked: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def read(
        cls, catalog: Catalog, vectors: VectorFile, description: ModelDescription, device: str
    ) -> Snapshot:
        """Read the generation that the catalog holds now."""
        with catalog.reading():
            images = catalog.images()
            rejections = tuple(catalog.rejections())
            return cls(
                generation=int(catalog.meta("generation")),
                images=images,
                rows=vectors.rows(int(catalog.meta("rows"))),
                units=make_units(images, rejections),
                kept_from=float(catalog.meta("kept_from")),
                description=description,
                catalog=catalog,
                relations=catalog,
                device=device,
                isolation=isolation_of(catalog, description),
                rejections=rejections,
                kept=frozenset(catalog.kept()),
            )

    @classmethod
    def copy(
        cls, catalog: Catalog, vectors: VectorFile, description: ModelDescription, device: str
    ) -> Snapshot:
        """Read the generation that the catalog holds now, to be asked from any thread at any later time.

        Images that were added and not compared yet are left out: of them, nothing is known.
        """
        with catalog.reading():
            read = cls.read(catalog, vectors, description, device)
            copied = replace(read, relations=KeptPairs.copy(catalog, read.kept_from))
        return copied.select(np.array([image.unit is not None for image in read.images], np.bool_))

    def select(self, chosen: Mask) -> Snapshot:
        """The same generation as if it held some images only.

        Args:
            chosen: bool [n], in the order of `images`.
        """
        if chosen.all():
            return self
        images = [self.images[place] for place in np.flatnonzero(chosen)]
        return replace(self, images=images, units=make_units(images, self.rejections))

    @cached_property
    def position(self) -> dict[str, int]:
        """Place of each id in `images`."""
        return {image.id: place for place, image in enumerate(self.images)}

    @cached_property
    def by_digest(self) -> dict[bytes, str]:
        """The first id of each content, by the digest of its bytes."""
        return {image.digest: image.id for image in reversed(self.images) if image.digest is not None}

    def keeper_order(self, rules: tuple[str, ...]) -> NDArray[np.int64]:
        """Rank of each image by how much it is worth keeping, int64 [n]; computed once.

        Raises:
            InvalidValue: a rule that does not exist.
        """
        if rules not in self._keeper_orders:
            self._keeper_orders[rules] = keeper_order(self.images, rules, self.kept)
        return self._keeper_orders[rules]

    @cached_property
    def _keeper_orders(self) -> dict[tuple[str, ...], NDArray[np.int64]]:
        return {}

    @cached_property
    def oracle(self) -> Similarities:
        """Similarities of units, with identity, missing information and rejections applied."""
        units = self.units
        return Similarities(
            self.rows,
            index=units.rows,
            identity=units.identity,
            low_information=units.low_information,
            rejected=units.rejected,
            linked=self.linked,
        )

    def unit_pairs(self, threshold: float) -> Iterator[PairBlock]:
        """Every pair of units at or above a threshold, once, a < b, in blocks."""
        yield identity_block(self.units)
        yield from embedding_blocks(self.units, self._kept_pairs(threshold))
        yield from self._linked_block(threshold)

    def _linked_block(self, threshold: float) -> Iterator[PairBlock]:
        """Linked pairs that are no pairs at the threshold without their link."""
        ends = np.array(sorted(self.linked), np.int64).reshape(-1, 2)
        for start in range(0, len(ends), _LINKS_AT_ONCE):
            a, b = ends[start : start + _LINKS_AT_ONCE].T
            similarity = self.oracle.pairs(a, b)
            below = similarity < threshold
            yield PairBlock(a[below], b[below], similarity[below])

    def neighbourhood(self, threshold: float) -> Neighbourhood:
        """Components and degrees of the units at a threshold."""
        return neighbourhood(len(self.units), self.unit_pairs(threshold), self.units.weights)

    def _kept_pairs(self, threshold: float) -> Iterator[PairBlock]:
        """Pairs in the catalog's numbers: from the catalog where it holds them all, else joined anew."""
        if threshold >= self.kept_from:
            return self.relations.pairs(threshold)
        skip = np.ones(len(self.rows), np.bool_)
        skip[self.units.kept_as[self.units.kept_as >= 0]] = False
        return self_join(self.rows, threshold, device=self.device, skip=skip)

    def find(self, id_: str) -> ImageRecord:
        """The image of an id.

        Raises:
            InvalidValue: no such image.
        """
        if id_ not in self.position:
            raise InvalidValue(f"no image has the id {id_!r}: `twinlens info` says how to list them")
        return self.images[self.position[id_]]

    def evidence(self, a: ImageRecord, b: ImageRecord) -> Evidence:
        """The strongest evidence that two images are the same picture."""
        if a.digest is not None and a.digest == b.digest:
            return Evidence.BYTES
        if a.pixel_digest is not None and a.pixel_digest == b.pixel_digest:
            return Evidence.PIXELS
        if self.linked:
            units = self.units.of_image[[self.position[a.id], self.position[b.id]]]
            if (int(units.min()), int(units.max())) in self.linked:
                return Evidence.HASH
        return Evidence.EMBEDDING

    def members(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in `images` of all images of some units, int64, rising."""
        return np.sort(
            np.concatenate([self._by_unit[unit] for unit in units.tolist()] or [np.empty(0, np.int64)])
        )

    @cached_property
    def _by_unit(self) -> list[NDArray[np.int64]]:
        order = np.argsort(self.units.of_image, kind="stable")
        return np.split(order, np.cumsum(self.units.weights)[:-1]) if len(self.units) else []


def isolation_of(catalog: Catalog, description: ModelDescription) -> float:
    """The b of the uniqueness formula: the model's, else as measured on this dataset, else the prior."""
    if description.isolation is not None:
        return description.isolation
    return float(catalog.meta("isolation", repr(PRIOR_ISOLATION)))
