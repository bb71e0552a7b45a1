"""Try calibrated thresholds on edits and images that they were not measured on.

    python scripts/measure_calibration.py NAME=FOLDER... [--out docs/calibration.md]

A collection is a seeded choice of the images of a folder (or of several, joined by commas). Each of its
images is edited afresh three times: twice by the edits that calibrating draws, and once by other edits, those
of `scripts/measure_points.py`. Then, for every seed,

- "same images": thresholds are measured with the first edits of all images and tried on the other ones;
- "other images": thresholds are measured on one half of the images and tried on the other half.

A pair of different images is one that nothing but its similarity calls a twin, by the rules of
`engine/kinship.py`. Precision is that of a collection of the size that is tried in which every image has one
edited copy, counted over all its pairs, without any fit.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.measure_points import EDITS, SUFFIXES
from twinlens import __version__
from twinlens.engine.calibrate import EDITS_OF_EACH_GRADE, evaluate
from twinlens.engine.calibration import Calibration
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.edits import LARGEST_SIDE, Grade
from twinlens.engine.embedding import embed_padded
from twinlens.engine.ingest import Progress
from twinlens.engine.kinship import most_similar, without
from twinlens.engine.precision import SMALLEST_COLLECTION, reached
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.specimens import LeftOut, Specimen, collect_specimens, read_picture
from twinlens.engine.trial import SHARES, Collection, Trial
from twinlens.service.wiring import create_dataset, has_dataset, open_dataset

SEED = 20240811
OTHER_EDITS = 9
Specimens = dict[str, Specimen]


@dataclass(frozen=True)
class Tried:
    """One threshold on what it was not measured on.

    Attributes:
        threshold: None where none was found.
        precision: on edits of the same kinds, and of other kinds; None where none is found at it.
        recall: likewise.
        crowded: the precision on edits of the same kinds as in a collection of 1,000 images.
    """

    threshold: float | None
    precision: tuple[float | None, float | None] = (None, None)
    recall: tuple[float, float] = (0.0, 0.0)
    crowded: float | None = None


def chosen_files(folders: Sequence[Path], count: int) -> list[Path]:
    files = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
    )
    return sorted(random.Random(SEED).sample(files, min(count, len(files))))


def collection(name: str, folders: Sequence[Path], count: int, work: Path, model: str) -> Dataset:
    """The dataset of a collection, made where it is not there yet."""
    place = work / name
    if has_dataset(place):
        return open_dataset(place)
    place.mkdir(parents=True)
    listing = place / "files.txt"
    listing.write_text("".join(f"{path.absolute()}\n" for path in chosen_files(folders, count)))
    data = create_dataset(place, model, namespace=name)
    data.add(listing)
    return data


def specimens_of(data: Dataset, seed: int) -> Specimens:
    """Every image of a dataset with something to see, and edits of it as calibrating draws them."""
    images = Collection.of(data.snapshot(), SEED).images
    found = collect_specimens(
        images,
        data.embedder(),
        each=EDITS_OF_EACH_GRADE,
        seed=seed,
        shape=data.shape,
        limits=DecodeLimits(),
    )
    return {each.image.id: each for each in found if isinstance(each, Specimen)}


def otherwise_edited(data: Dataset, specimens: Specimens) -> Specimens:
    """The same images with some of the edits of `scripts/measure_points.py`."""
    embedder, edited = data.embedder(), {}
    for id_, specimen in specimens.items():
        picture = read_picture(specimen.image, DecodeLimits())
        if isinstance(picture, LeftOut):
            continue
        image, chance = Image.fromarray(picture), random.Random(f"other {id_}")
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        names = chance.sample(sorted(EDITS), OTHER_EDITS)
        prepared = [embedder.prepare(np.asarray(EDITS[name](image, chance))) for name in names]
        rows = embed_padded(embedder, prepared, data.shape).astype(np.float16)
        grades = (Grade.MEDIUM,) * len(names)
        edited[id_] = replace(specimen, names=tuple(names), grades=grades, rows=rows)
    return edited


def part(snapshot: Snapshot, ids: frozenset[str], seed: int) -> Collection:
    return Collection.of(snapshot.select(np.array([image.id in ids for image in snapshot.images])), seed)


def measured(whole: Collection, specimens: Specimens, seed: int, strict: float) -> Calibration:
    sample = [specimens[image.id] for image in whole.images if image.id in specimens]
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return evaluate(whole, sample, [], seed=seed, strict=strict, made=made, on_progress=ignore)


def tried(
    thresholds: Sequence[float | None], whole: Collection, same: Specimens, other: Specimens, strict: float
) -> list[Tried]:
    """What thresholds do on a collection and edits of it, by counting."""
    counted = [Counts(whole, specimens, strict) for specimens in (same, other)]
    results = []
    for threshold in thresholds:
        if threshold is None:
            results.append(Tried(None))
            continue
        recall, false = zip(*(each.at(threshold) for each in counted), strict=True)
        crowd = len(whole) - 1
        precision = tuple(precise(r, crowd * f) for r, f in zip(recall, false, strict=True))
        crowded = precise(recall[0], (max(len(whole), SMALLEST_COLLECTION) - 1) * false[0])
        results.append(Tried(threshold, (precision[0], precision[1]), (recall[0], recall[1]), crowded))
    return results


class Counts:
    """Recall, and the share of the pairs of different images, at or above a threshold."""

    def __init__(self, whole: Collection, specimens: Specimens, strict: float) -> None:
        trial = Trial(whole, [specimens[image.id] for image in whole.images if image.id in specimens])
        tails = [each.tail(share) for each, share in zip(trial.compare(ignore), SHARES, strict=True)]
        kin = list(trial.kinship(most_similar(tails), strict))
        self._tails = [without(tail, kin) for tail in tails]
        self._edits = trial.similarity

    def at(self, threshold: float) -> tuple[float, float]:
        """Both figures."""
        share = 0.0
        for tail in self._tails:
            count = reached(tail.similarity, np.array([threshold]), np.ones(len(tail.similarity)))
            share += tail.share * float(count[0]) / tail.total
        return float(np.mean(self._edits >= threshold)), share


def precise(recall: float, false: float) -> float | None:
    return recall / (recall + false) if recall + false else None


def ignore(progress: Progress) -> None:
    """Nobody watches."""


def trials(data: Dataset, seeds: int) -> Iterator[tuple[str, list[Tried]]]:
    """For every seed, the thresholds for 99, 95 and 90 % on the same images and on other ones."""
    first, second = (specimens_of(data, seed) for seed in (1, 2))
    other = otherwise_edited(data, second)
    strict = data.description.points.strict
    snapshot = data.snapshot()
    everything = Collection.of(snapshot, 0)
    for seed in range(seeds):
        ids = sorted(first)
        random.Random(seed).shuffle(ids)
        halves = [frozenset(ids[: len(ids) // 2]), frozenset(ids[len(ids) // 2 :])]
        for name, (learnt, held_out) in {
            "same images": (everything, everything),
            "other images": (part(snapshot, halves[0], seed), part(snapshot, halves[1], seed)),
        }.items():
            use, check = (first, second) if seed % 2 == 0 else (second, first)
            found = measured(learnt, use, seed, strict)
            thresholds = [level.threshold for level in found.levels]
            yield name, tried(thresholds, held_out, check, other, strict)


def table(name: str, images: int, results: Sequence[tuple[str, list[Tried]]]) -> Iterator[str]:
    for protocol in ("same images", "other images"):
        runs = [levels for each, levels in results if each == protocol]
        for place, level in enumerate(("99 %", "95 %", "90 %")):
            found = [run[place] for run in runs if run[place].threshold is not None]
            if not found:
                yield f"| {name}, {images} | {protocol} | {level} | none | | | | | |"
                continue
            thresholds = [each.threshold for each in found if each.threshold is not None]
            cells = [
                f"{len(found)} of {len(runs)}",
                f"{min(thresholds):.3f} to {max(thresholds):.3f}",
                *(spread([each.precision[kind] for each in found]) for kind in (0, 1)),
                spread([each.crowded for each in found]),
                f"{np.mean([each.recall[0] for each in found]):.0%}",
            ]
            yield f"| {name}, {images} | {protocol} | {level} | {' | '.join(cells)} |"


def spread(values: Sequence[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    return f"{100 * known[0]:.2f} / {100 * float(np.mean(known)):.2f}" if known else "nothing found"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("collections", nargs="+", metavar="NAME=FOLDER[,FOLDER...]")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--work", type=Path, help="keep the datasets here")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [
        "| collection | tried on | level | reached | threshold | precision, same kinds | other kinds "
        "| of 1,000 | found |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for given in arguments.collections:
            name, _, folders = given.partition("=")
            paths = [Path(folder) for folder in folders.split(",")]
            with collection(
                name, paths, arguments.images, arguments.work or Path(scratch), arguments.model
            ) as data:
                results = list(trials(data, arguments.seeds))
                lines += table(name, len(Collection.of(data.snapshot(), 0)), results)
            print("\n".join(lines), flush=True)
    if arguments.out is not None:
        arguments.out.write_text("\n".join([f"TwinLens {__version__}", "", *lines, ""]))


if __name__ == "__main__":
    main()
