"""Answers to questions about a dataset: which images are shown, in which groups, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinlens.engine import search
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.clusters import cluster_id
from twinlens.engine.duplicates import Grouping, Outline, group, refuse_explosion
from twinlens.engine.results import Linkage
from twinlens.engine.similarity import Mask
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.types import Probe
from twinlens.service.explore.query import ExploreQuery
from twinlens.service.explore.view import View, levels
from twinlens.service.explore.vql import TextOp

_LOWEST_THRESHOLD = 1e-6
"""The engine's thresholds are above 0: a rejected pair has similarity 0 and is no pair at any."""


@dataclass(frozen=True, slots=True)
class Group:
    """One cluster of an answer.

    Attributes:
        id: UUID over its members.
        members: all images, in the order they are shown.
        distances: cosine distance of each to what is searched for; None without a search.
        uniqueness: score of its one image; None where that was not asked.
    """

    id: str
    members: Sequence[ImageRecord]
    distances: Sequence[float] | None = None
    uniqueness: float | None = None


class Answer(Protocol):
    """Groups of images in order."""

    @property
    def total_clusters(self) -> int:
        """How many groups there are."""
        ...

    @property
    def total_media(self) -> int:
        """How many images they hold."""
        ...

    def groups(self, start: int, count: int) -> list[Group]:
        """Some of them."""
        ...

    def find(self, id_: str, place: int) -> Group | None:
        """The group of that id, which was the one at `place` when it was given out."""
        ...


@dataclass(frozen=True)
class Grouped:
    """Clusters, the largest first; described when they are looked at."""

    grouping: Grouping

    @property
    def total_clusters(self) -> int:
        """How many groups there are."""
        return len(self.grouping.outlines)

    @cached_property
    def total_media(self) -> int:
        """How many images they hold."""
        return self.grouping.outlines.images

    def groups(self, start: int, count: int) -> list[Group]:
        """Some of them."""
        return [self._group(outline) for outline in self.grouping.outlines[start : start + count]]

    def find(self, id_: str, place: int) -> Group | None:
        """The group of that id, which was the one at `place` when it was given out."""
        outlines = self.grouping.outlines
        near = outlines[place : place + 1]
        found = (each for part in (near, outlines) for each in part if self.grouping.id_of(each) == id_)
        return next((self._group(outline) for outline in found), None)

    def _group(self, outline: Outline) -> Group:
        images = self.grouping.snapshot.images
        return Group(self.grouping.id_of(outline), [images[place] for place in self.grouping.places(outline)])


@dataclass(frozen=True)
class Ranked:
    """Images, each a group of its own, by falling uniqueness.

    Attributes:
        snapshot: holds them.
        places: int64 [k], in order.
        scores: float64 [n], of all images of the snapshot.
    """

    snapshot: Snapshot
    places: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def total_clusters(self) -> int:
        """How many groups there are."""
        return len(self.places)

    @property
    def total_media(self) -> int:
        """How many images they hold."""
        return len(self.places)

    def groups(self, start: int, count: int) -> list[Group]:
        """Some of them."""
        return [self._group(place) for place in self.places[start : start + count].tolist()]

    def find(self, id_: str, place: int) -> Group | None:
        """The group of that id, which was the one at `place` when it was given out."""
        images = self.snapshot.images
        parts = (self.places[place : place + 1].tolist(), self.places.tolist())
        found = (each for part in parts for each in part if cluster_id([images[each].id]) == id_)
        return next((self._group(each) for each in found), None)

    def _group(self, place: int) -> Group:
        image = self.snapshot.images[place]
        return Group(cluster_id([image.id]), [image], uniqueness=float(self.scores[place]))


@dataclass(frozen=True)
class Nearest:
    """What a search found, in groups by rising distance."""

    found: Sequence[Group]

    @property
    def total_clusters(self) -> int:
        """How many groups there are."""
        return len(self.found)

    @property
    def total_media(self) -> int:
        """How many images they hold."""
        return sum(len(each.members) for each in self.found)

    def groups(self, start: int, count: int) -> list[Group]:
        """Some of them."""
        return list(self.found[start : start + count])

    def find(self, id_: str, place: int) -> Group | None:
        """The group of that id, wherever it is."""
        return next((each for each in self.found if each.id == id_), None)


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What an answer may take.

    Attributes:
        nearest: how many images a search shows.
        max_pairs: pairs that one threshold may have.
    """

    nearest: int
    max_pairs: int


def answer(view: View, query: ExploreQuery, probes: Sequence[Probe], limits: AnswerLimits) -> Answer:
    """Answer a question.

    Args:
        view: the dataset.
        query: the question.
        probes: what its texts and its anchor search for.
        limits: what the answer may take.

    Raises:
        TooManyPairs: the threshold is so low that its pairs explode.
        Conflict: words are looked for in captions, and there are none.
    """
    chosen = _chosen(view, query)
    if probes:
        return _searched(view, query, probes, chosen, limits)
    if query.duplicates is not None:
        return Grouped(_duplicates(view.snapshot.select(chosen), query, limits))
    if query.uniqueness is not None:
        return _unique(view, chosen)
    threshold = levels(view.snapshot.description.points)[query.level]
    selected = view.snapshot.select(chosen)
    return Grouped(group(selected, threshold, query.linkage, max_pairs=limits.max_pairs, alone=True))


def find_selected(view: View, query: ExploreQuery) -> Mask:
    """Images that the filters of a question select, before they are searched or clustered, bool [n]."""
    return _chosen(view, query)


def _chosen(view: View, query: ExploreQuery) -> Mask:
    chosen = np.ones(len(view.snapshot.images), np.bool_)
    for label in query.labels:
        chosen &= view.labelled(label)
    for tag in query.tags:
        chosen &= view.tagged(tag)
    for issue in query.issues:
        chosen &= view.with_issue(issue)
    for text in query.texts:
        if text.op is TextOp.FTS:
            chosen &= view.captioned(text.value)
    if query.uniqueness is not None:
        # Images without a score compare as false.
        chosen &= view.generation.scores.values > query.uniqueness
    return chosen


def _duplicates(snapshot: Snapshot, query: ExploreQuery, limits: AnswerLimits) -> Grouping:
    threshold = max(query.duplicates or 0.0, _LOWEST_THRESHOLD)
    refuse_explosion(snapshot, threshold, limits.max_pairs)
    return group(snapshot, threshold, query.linkage, max_pairs=limits.max_pairs)


def _unique(view: View, chosen: Mask) -> Ranked:
    scores = view.generation.scores.values
    places = np.flatnonzero(chosen)
    # Images are ordered by id, and the sort is stable: ties stay in that order.
    order = np.argsort(-scores[places], kind="stable")
    return Ranked(view.snapshot, places[order], scores)


def _searched(
    view: View, query: ExploreQuery, probes: Sequence[Probe], chosen: Mask, limits: AnswerLimits
) -> Nearest:
    snapshot = view.snapshot.select(chosen)
    furthest = _furthest(query)
    if len(probes) == 1:
        found = search.by_probe(snapshot, view.generation.index, probes[0], limits.nearest)
    else:
        found = search.by_all(snapshot, probes, limits.nearest, furthest)
    bound = max(furthest)
    distances = {each.id: distance for each in found if (distance := _distance(each.similarity)) <= bound}
    shown = snapshot.select(np.array([image.id in distances for image in snapshot.images], np.bool_))
    if query.duplicates is not None:
        grouping = _duplicates(shown, query, limits)
    else:
        threshold = levels(snapshot.description.points)[query.level]
        grouping = group(shown, threshold, Linkage.COMPLETE, max_pairs=limits.max_pairs, alone=True)
    groups = [_by_distance(each, distances) for each in Grouped(grouping).groups(0, len(grouping.outlines))]
    return Nearest(sorted(groups, key=lambda each: (min(each.distances or (0.0,)), each.id)))


def _furthest(query: ExploreQuery) -> list[float]:
    """Largest distance to each of the probes of a question."""
    bounds = [text.max_distance for text in query.texts if text.op is TextOp.SEMANTIC]
    bounds += [query.anchor.max_distance] if query.anchor else []
    return [float("inf") if bound is None else bound for bound in bounds]


def _distance(similarity: float) -> float:
    """Cosine distance; similarities have 6 decimals, and so have distances."""
    return round(1.0 - similarity, 6)


def _by_distance(found: Group, distances: Mapping[str, float]) -> Group:
    members = sorted(found.members, key=lambda image: (distances[image.id], image.id))
    return Group(found.id, members, [distances[image.id] for image in members])
