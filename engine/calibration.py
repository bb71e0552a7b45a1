"""The calibration of a dataset: thresholds measured on its own images, in a file beside the catalog."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinlens.engine.precision import SMALLEST_COLLECTION, Estimate, Level
from twinlens.engine.storage import storage_errors
from twinlens.engine.types import OperatingPoints

CALIBRATION_FILE = "calibration.json"
FORMAT = 1

LEVELS = {"strict": 0.99, "default": 0.95, "loose": 0.90}
"""The precision of each operating point."""

DEFAULT_SAMPLE = 500
"""Images that are edited: a minute or two on two cores."""

LEAST_SAMPLE, LARGEST_SAMPLE = 50, 5000
"""Fewer images say too little about how alike different ones can be."""

FEW_IMAGES = 100
"""Fewer images may lack what those that come later are like (docs/calibration.md)."""

_OUTGROWN = 2.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall at rising thresholds, for looking at.

    Attributes:
        thresholds, precision, precision_low, recall: as many values each.
        recall_of: recall of each grade of edits.
    """

    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    precision_low: tuple[float, ...]
    recall: tuple[float, ...]
    recall_of: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Histograms:
    """How similar pairs are, counted in equally wide bins from 0 to 1.

    Attributes:
        different: share of the pairs of different images, by bin.
        edits: number of the edits of each grade, by bin.
    """

    different: tuple[float, ...]
    edits: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class EditFound:
    """One kind of edit.

    Attributes:
        grade, name: what was done.
        count: how often.
        found: share at or above the threshold of each level, None where there is none.
    """

    grade: str
    name: str
    count: int
    found: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two images that count as different, by id, and how similar they or edits of them are at most."""

    a: str
    b: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that could not be used, by path, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Attributes:
        model, fingerprint: of the dataset.
        made: when, ISO 8601, UTC.
        seed: of sample, edits and draws.
        held: images that the dataset held, flat ones and copies included.
        images: of these with something to see, copies counted once.
        generation: of the dataset.
        sample: images that were edited.
        edits: edited copies of them.
        compared: pairs of different images.
        left_out: images that could not be used, by kind: gone, changed, unreadable.
        unreadable: those that cannot be read, the first of them.
        twins: pairs that count as twins of the collection, by kind: identical, hash, burst.
        levels: strictest first, in the order of `LEVELS`.
        curve: precision and recall.
        histograms: of all that was compared.
        edits_found: by kind of edit.
        alike: the most similar pairs that count as different.
    """

    model: str
    fingerprint: str
    made: str
    seed: int
    held: int
    images: int
    generation: int
    sample: int
    edits: int
    compared: int
    left_out: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    twins: dict[str, int]
    levels: tuple[Level, ...]
    curve: Curve
    histograms: Histograms
    edits_found: tuple[EditFound, ...]
    alike: tuple[Alike, ...]

    def points(self, model: OperatingPoints) -> OperatingPoints:
        """Operating points: those measured here, and for a level without one the model's, if stricter."""
        strictest = max(
            (level.threshold for level in self.levels if level.threshold is not None), default=None
        )
        if strictest is None:
            return model
        strict, default, loose = (
            level.threshold if level.threshold is not None else max(strictest, point)
            for level, point in zip(self.levels, (model.strict, model.default, model.loose), strict=True)
        )
        return OperatingPoints(strict, default, loose, measured=True)

    def is_outgrown(self, images: int) -> bool:
        """True if the dataset has more than twice as many images now as it was calibrated for."""
        return images > _OUTGROWN * max(self.held, SMALLEST_COLLECTION)

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for `json`."""
        return {"format": FORMAT, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Ignored:
    """A calibration that is there and cannot be used, and why."""

    reason: str


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Store it with the dataset: whoever reads sees the old one or the whole new one.

    Raises:
        StorageFull, DatasetReadOnly: it cannot be written.
    """
    path = folder / CALIBRATION_FILE
    fresh = path.with_name(f"{CALIBRATION_FILE}.new")
    with storage_errors(folder):
        try:
            with open(fresh, "w", encoding="ascii") as file:
                json.dump(calibration.to_json(), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def forget_calibration(folder: Path) -> bool:
    """Remove it; False if there was none.

    Raises:
        DatasetReadOnly: it cannot be removed.
    """
    path = folder / CALIBRATION_FILE
    with storage_errors(folder):
        there = path.exists()
        path.unlink(missing_ok=True)
    return there


def read_calibration(folder: Path, fingerprint: str) -> Calibration | Ignored | None:
    """The calibration of the dataset in a folder, None if it has none."""
    path = folder / CALIBRATION_FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return Ignored(f"{path} cannot be read ({error.strerror})")
    except ValueError:
        return Ignored(f"{path} is damaged")
    try:
        found = document.pop("format")
        if found != FORMAT:
            return Ignored(f"{path} has format {found}, and this version reads format {FORMAT}")
        calibration = _from_json(document)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Ignored(f"{path} is damaged")
    if calibration.fingerprint != fingerprint:
        return Ignored(f"{path} is of another model ({calibration.model}, {calibration.fingerprint[:12]})")
    return calibration


def _from_json(document: dict[str, Any]) -> Calibration:
    curve, histograms = document["curve"], document["histograms"]
    fields = {
        **document,
        "unreadable": tuple(Unreadable(**each) for each in document["unreadable"]),
        "levels": tuple(_level(each) for each in document["levels"]),
        "curve": Curve(
            **{name: tuple(values) for name, values in curve.items() if name != "recall_of"},
            recall_of={grade: tuple(values) for grade, values in curve["recall_of"].items()},
        ),
        "histograms": Histograms(
            tuple(histograms["different"]),
            {grade: tuple(counts) for grade, counts in histograms["edits"].items()},
        ),
        "edits_found": tuple(
            EditFound(**{**each, "found": tuple(each["found"])}) for each in document["edits_found"]
        ),
        "alike": tuple(Alike(**each) for each in document["alike"]),
    }
    calibration = Calibration(**fields)
    if [level.precision for level in calibration.levels] != list(LEVELS.values()):
        raise ValueError("not the levels of this version")
    return calibration


def _level(fields: dict[str, Any]) -> Level:
    level = Level(
        **{
            **fields,
            "interval": fields["interval"] and tuple(fields["interval"]),
            "expected": fields["expected"] and Estimate(**fields["expected"]),
            "recall": fields["recall"] and Estimate(**fields["recall"]),
        }
    )
    if level.threshold is not None and not 0.0 < level.threshold <= 1.0:
        raise ValueError("a threshold out of range")
    return level
