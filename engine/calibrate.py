"""Calibrating: graded edits of a sample of a dataset's images, against all its other images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.calibration import (
    LARGEST_SAMPLE,
    LEAST_SAMPLE,
    LEVELS,
    Calibration,
    Curve,
    EditFound,
    Histograms,
    Unreadable,
)
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.edits import Grade
from twinlens.engine.errors import InvalidValue
from twinlens.engine.ingest import OnProgress, Progress
from twinlens.engine.kinship import most_similar, without
from twinlens.engine.precision import INTERVAL, Curves, Level, Values, find_level, measure_curves, reached
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.specimens import LeftOut, Specimen, collect_specimens
from twinlens.engine.strangers import BINS, Nearest
from twinlens.engine.trial import SHARES, Collection, Trial
from twinlens.engine.types import Embedder

EDITS_OF_EACH_GRADE = 3

_TRIES = 4
"""Times the sample: so many files are tried where some cannot be used."""

_ALIKE_SHOWN = 10
_UNREADABLE_SHOWN = 100
_CURVE_STEP = 5


def calibrate(
    snapshot: Snapshot,
    load: Callable[[], Embedder],
    *,
    sample: int,
    seed: int,
    shape: int,
    strict: float,
    made: str,
    on_progress: OnProgress,
) -> Calibration:
    """Measure the thresholds of a dataset on its own images.

    Args:
        snapshot: the dataset.
        load: loads its model.
        sample: how many images are edited, 50 to 5,000; all if there are fewer.
        seed: the same one gives the same result.
        shape: images embedded in one call.
        strict: what the model calls near-identical; neighbours of a burst are at least so similar.
        made: the time, ISO 8601.
        on_progress: is told how far it is.

    Raises:
        InvalidValue: a sample outside that range, or fewer than 50 images that can be used.
    """
    if not LEAST_SAMPLE <= sample <= LARGEST_SAMPLE:
        raise InvalidValue(
            f"the sample is {sample:,} images, and must be {LEAST_SAMPLE} to {LARGEST_SAMPLE:,}"
        )
    collection = Collection.of(snapshot, seed)
    specimens, left_out = _collect(collection, load(), sample, seed, shape, on_progress)
    return evaluate(
        collection, specimens, left_out, seed=seed, strict=strict, made=made, on_progress=on_progress
    )


def evaluate(
    collection: Collection,
    specimens: Sequence[Specimen],
    left_out: Sequence[LeftOut],
    *,
    seed: int,
    strict: float,
    made: str,
    on_progress: OnProgress,
) -> Calibration:
    """What the edits of some images of a collection say; arguments as for `calibrate`."""
    snapshot = collection.snapshot
    trial = Trial(collection, specimens)
    nearest = trial.compare(on_progress)
    tails = [each.tail(share) for each, share in zip(nearest, SHARES, strict=True)]
    relatives = most_similar(tails)
    kin = trial.kinship(relatives, strict, on_progress)
    tails = [without(tail, list(kin)) for tail in tails]
    curves = measure_curves(trial.similarity, trial.owner, tails, len(collection), seed)
    levels = tuple(find_level(curves, precision) for precision in LEVELS.values())
    different = (pair for pair in relatives if (pair.a, pair.b) not in kin)
    return Calibration(
        model=snapshot.description.name,
        fingerprint=snapshot.description.fingerprint,
        made=made,
        seed=seed,
        held=len(snapshot.images),
        images=len(collection),
        generation=snapshot.generation,
        sample=len(specimens),
        edits=len(trial.similarity),
        compared=sum(tail.total for tail in tails),
        left_out=dict(Counter(each.kind for each in left_out)),
        unreadable=tuple(
            Unreadable(each.path, each.reason) for each in left_out if each.kind == "unreadable"
        )[:_UNREADABLE_SHOWN],
        twins=dict(Counter(kin.values())),
        levels=levels,
        curve=_curve(curves, trial),
        histograms=_histograms(nearest, trial),
        edits_found=tuple(_edits_found(trial, levels)),
        alike=tuple(collection.alike(pair) for pair in islice(different, _ALIKE_SHOWN)),
    )


def _collect(
    collection: Collection, embedder: Embedder, sample: int, seed: int, shape: int, on_progress: OnProgress
) -> tuple[list[Specimen], list[LeftOut]]:
    specimens: list[Specimen] = []
    left_out: list[LeftOut] = []
    wanted = min(sample, len(collection.images))
    on_progress(Progress("edit", 0, wanted))
    found = collect_specimens(
        collection.images[: _TRIES * sample],
        embedder,
        each=EDITS_OF_EACH_GRADE,
        seed=seed,
        shape=shape,
        limits=DecodeLimits(),
    )
    with closing(found):
        for each in found:
            if isinstance(each, LeftOut):
                left_out.append(each)
            else:
                specimens.append(each)
            on_progress(Progress("edit", len(specimens), wanted))
            if len(specimens) == wanted:
                break
    if len(specimens) < LEAST_SAMPLE:
        raise _too_few(collection, specimens, left_out)
    return specimens, left_out


def _too_few(
    collection: Collection, specimens: Sequence[Specimen], left_out: Sequence[LeftOut]
) -> InvalidValue:
    counts = Counter(each.kind for each in left_out)
    missing = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    unreadable = next((f": {each.path}: {each.reason}" for each in left_out if each.kind == "unreadable"), "")
    return InvalidValue(
        f"calibrating takes {LEAST_SAMPLE} images with something to see, and {collection.folder} has "
        f"{len(specimens):,} that can be used ({collection.flat:,} flat or copies of others, "
        f"{missing or 'none missing'}{unreadable}): "
        + (
            "index again where files were moved or changed"
            if left_out
            else "add more images, or set --threshold"
        )
    )


def _curve(curves: Curves, trial: Trial) -> Curve:
    shown = slice(None, None, _CURVE_STEP)
    low = np.quantile(curves.drawn_precision[:, shown], INTERVAL[0], axis=0)
    recall_of = {}
    for grade in Grade:
        similarity = trial.of(grade)
        found = reached(similarity, curves.thresholds[shown], np.ones(len(similarity))) / len(similarity)
        recall_of[str(grade)] = _rounded(found)
    return Curve(
        _rounded(curves.thresholds[shown], 6),
        _rounded(curves.precision[shown]),
        _rounded(np.minimum(low, curves.precision[shown])),
        _rounded(curves.recall[shown]),
        recall_of,
    )


def _histograms(nearest: Sequence[Nearest], trial: Trial) -> Histograms:
    different = sum(
        share * each.histogram / max(each.total, 1) for each, share in zip(nearest, SHARES, strict=True)
    )
    edits = {}
    for grade in Grade:
        bins = np.clip((trial.of(grade) * BINS).astype(np.int64), 0, BINS - 1)
        edits[str(grade)] = tuple(np.bincount(bins, minlength=BINS).tolist())
    return Histograms(tuple(np.asarray(different).tolist()), edits)


def _edits_found(trial: Trial, levels: Sequence[Level]) -> list[EditFound]:
    places: dict[tuple[Grade, str], list[int]] = defaultdict(list)
    for place, key in enumerate(zip(trial.grades, trial.names, strict=True)):
        places[key].append(place)
    order = {grade: number for number, grade in enumerate(Grade)}
    return [
        EditFound(
            str(grade),
            name,
            len(places[grade, name]),
            tuple(_share_at(trial.similarity[places[grade, name]], level) for level in levels),
        )
        for grade, name in sorted(places, key=lambda key: (order[key[0]], key[1]))
    ]


def _share_at(similarity: NDArray[np.float64], level: Level) -> float | None:
    return None if level.threshold is None else round(float(np.mean(similarity >= level.threshold)), 4)


def _rounded(values: Values, decimals: int = 5) -> tuple[float, ...]:
    return tuple(np.round(values, decimals).tolist())
