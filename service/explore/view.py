"""One generation of a dataset as questions see it: its images, what was noted of them, and what both imply.

Everything here is computed when it is first asked for, and kept as long as the generation is. Threads share
it: what two of them compute at once, they compute alike.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinlens.engine import issues, search
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.index import Index
from twinlens.engine.issues import Measures
from twinlens.engine.scores import Scores, score_places
from twinlens.engine.similarity import Mask, spans
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.types import OperatingPoints, Probe
from twinlens.service.explore.failures import Conflict
from twinlens.service.explore.notes import Notes
from twinlens.service.explore.vql import IssueFilter, IssueMode, LabelFilter, LabelOp, TagFilter

_UNITS_AT_ONCE = 16_384

Confidences = NDArray[np.float64]


def levels(points: OperatingPoints) -> tuple[float, float, float, float, float]:
    """Similarities of the five levels of granularity, 0 the strictest."""
    return (
        points.strict,
        round((points.strict + points.default) / 2, 6),
        points.default,
        round((points.default + points.loose) / 2, 6),
        points.loose,
    )


@dataclass(frozen=True)
class Generation:
    """One generation of a dataset.

    Attributes:
        snapshot: its images.
        folder: its dataset folder, where the search index is.
        measure: reads what is stored of the look of images.
    """

    snapshot: Snapshot
    folder: Path
    measure: Callable[[Sequence[ImageRecord]], Measures]

    @cached_property
    def scores(self) -> Scores:
        """How unique each image is."""
        return score_places(self.snapshot)

    @cached_property
    def index(self) -> Index:
        """For searches."""
        return search.open_index(self.snapshot.rows, self.snapshot.description.fingerprint, self.folder)

    def probe(self, id_: str) -> Probe:
        """An image, to be searched for."""
        return search.probe_id(self.snapshot, id_)

    def confidences(self, issue: str) -> Confidences:
        """How sure it is that each image has an issue, float64 [n], 0 where it has not."""
        return self._confidences[issue]

    @cached_property
    def _confidences(self) -> dict[str, Confidences]:
        measures = self.measure(self.snapshot.images)
        flat = measures.low_information
        nearest = np.where(self.scores.nearest < 0, np.nan, self.scores.similarity)
        default = self.snapshot.description.points.default
        return {
            **{name: issues.issue_confidences(name, measures) for name in issues.ISSUES},
            "duplicates": issues.duplicates(nearest, default),
            "outliers": issues.outliers(nearest, self.snapshot.isolation, low_information=flat),
        }


@dataclass(frozen=True)
class View:
    """A generation and what is noted of its images.

    Attributes:
        generation: the images.
        notes: labels, captions and tags.
        edition: counts changes of the notes.
    """

    generation: Generation
    notes: Notes
    edition: int

    @property
    def snapshot(self) -> Snapshot:
        """The images."""
        return self.generation.snapshot

    @cached_property
    def labels(self) -> Sequence[Sequence[str]]:
        """Labels of each image."""
        return [self.notes.labels_of(image.path) for image in self.snapshot.images]

    @cached_property
    def captions(self) -> Sequence[Sequence[str]]:
        """Captions of each image."""
        return [self.notes.captions_of(image.path) for image in self.snapshot.images]

    def label_counts(self) -> list[tuple[str, int]]:
        """All labels and how many images have each, by name."""
        return sorted(Counter(label for labels in self.labels for label in labels).items())

    def twins_of(self, id_: str, threshold: float) -> list[str]:
        """Ids of all images at least as similar to one as a threshold, the most similar first, ties by id."""
        snapshot = self.snapshot
        unit = snapshot.units.of_image[snapshot.position[id_]]
        blocks = (
            snapshot.oracle.block(np.array([unit]), np.arange(span.start, span.stop))[0]
            for span in spans(0, len(snapshot.units), _UNITS_AT_ONCE)
        )
        similarity = np.concatenate([np.empty(0), *blocks])
        near = np.flatnonzero((similarity >= threshold) & (similarity > 0))
        found = [
            (-float(similarity[snapshot.units.of_image[place]]), snapshot.images[place].id)
            for place in snapshot.members(near).tolist()
        ]
        return [other for _, other in sorted(found) if other != id_]

    def labelled(self, wanted: LabelFilter) -> Mask:
        """Images that a filter of labels selects, bool [n].

        `is` wants all of its labels on an image, `one_of` any; the others are their opposites.
        """
        values = set(wanted.values)
        if wanted.op in (LabelOp.IS, LabelOp.IS_NOT):
            found = np.array([values.issubset(labels) for labels in self.labels], np.bool_)
        else:
            found = np.array([not values.isdisjoint(labels) for labels in self.labels], np.bool_)
        return ~found if wanted.op in (LabelOp.IS_NOT, LabelOp.NOT_ONE_OF) else found

    def tagged(self, wanted: TagFilter) -> Mask:
        """Images that carry one of some tags, or none at all if that is wanted, bool [n]."""
        tags = self.notes.tags
        found = np.zeros(len(self.snapshot.images), np.bool_)
        for place, image in enumerate(self.snapshot.images):
            carried = tags.get(image.id, ())
            found[place] = not carried if wanted.untagged else any(id_ in wanted.ids for id_, *_ in carried)
        return found

    def with_issue(self, wanted: IssueFilter) -> Mask:
        """Images with, or without, an issue of some confidence, bool [n]."""
        confidence = self.generation.confidences(wanted.name)
        found = (
            (confidence > 0) & (confidence >= wanted.confidence_min) & (confidence <= wanted.confidence_max)
        )
        return ~found if wanted.mode is IssueMode.OUT else found

    def captioned(self, words: str) -> Mask:
        """Images whose captions hold all words, by their stems, bool [n].

        Raises:
            Conflict: the dataset has no captions.
        """
        if not self.notes.captions:
            raise Conflict(
                "text op 'fts' looks in captions and this dataset has none: upload image_annotations.csv "
                "with the columns filename and caption"
            )
        found = np.zeros(len(self.snapshot.images), np.bool_)
        terms = " ".join(f'"{word}"' for word in re.findall(r"\w+", words))
        if terms:
            with closing(sqlite3.connect(":memory:")) as db:
                db.execute("CREATE VIRTUAL TABLE captions USING fts5(text, tokenize = 'porter unicode61')")
                db.executemany(
                    "INSERT INTO captions (rowid, text) VALUES (?, ?)",
                    ((place, "\n".join(texts)) for place, texts in enumerate(self.captions) if texts),
                )
                rows = db.execute("SELECT rowid FROM captions WHERE captions MATCH ?", (terms,))
                found[[place for (place,) in rows]] = True
        return found
