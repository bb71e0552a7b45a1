"""Try calibrated thresholds on edits and images that they were not measured on.

    python scripts/measure_calibration.py NAME=FOLDER[,FOLDER...]... [--originals NAME] [--out FILE]

A collection is a seeded choice of the images of its folders; with --originals, one picture of each family
of them and of scikit-image's photographs, as `scripts/measure_points.py` takes them. Each of its images is
edited afresh three times: twice by the edits that calibrating draws, and once by other edits, those of
`scripts/measure_points.py`. Then, for every seed,

- same images: thresholds are measured with the first edits of all images and tried on the other edits;
- other images: they are measured on one half of the images and tried on the other half and its other edits.

Precision is counted over all pairs of a collection of the size that is tried in which every image has one
edited copy. Pairs that are twins already, by the rules of `engine/kinship.py`, are left out of it.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.measure_points import EDITS, SUFFIXES, originals
from scripts.pages import with_section
from twinlens import __version__
from twinlens.engine.calibrate import EDITS_OF_EACH_GRADE, evaluate
from twinlens.engine.calibration import LEVELS, Calibration
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
from twinlens.models.registry import EMBEDDED
from twinlens.service.wiring import create_dataset, has_dataset, open_dataset

TITLE, HEADING = "# Calibrated thresholds, tried\n", "## Measured"
SEED = 20240811
OTHER_EDITS = 9
PROTOCOLS = ("same images", "other images")
COLUMNS = 9
Specimens = dict[str, Specimen]


@dataclass(frozen=True)
class Given:
    """A collection: its name, its folders, and whether one picture of each family is taken."""

    name: str
    folders: list[Path]
    originals: bool


@dataclass(frozen=True)
class Tried:
    """One threshold on what it was not measured on.

    Attributes:
        threshold: None where none was found.
        precision: on edits of the same kinds, and of other kinds; None where none is found at it.
        recall: likewise.
    """

    threshold: float | None
    precision: tuple[float | None, float | None] = (None, None)
    recall: tuple[float, float] = (0.0, 0.0)


def chosen_files(folders: Sequence[Path], count: int) -> list[Path]:
    files = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
    )
    return sorted(random.Random(SEED).sample(files, min(count, len(files))))


def saved_originals(folders: Sequence[Path], target: Path) -> list[Path]:
    target.mkdir()
    package = find_spec("skimage")
    shipped = [Path(package.origin).parent / "data"] if package and package.origin else []
    for number, image in enumerate(originals([*shipped, *folders])):
        image.save(target / f"{number:04}.jpg", quality=92)
    return sorted(target.iterdir())


def made_dataset(given: Given, count: int, work: Path, model: str) -> Dataset:
    """The dataset of a collection, made where it is not there yet."""
    place = work / given.name
    if has_dataset(place):
        return open_dataset(place)
    place.mkdir(parents=True)
    listing = place / "files.txt"
    if given.originals:
        paths = saved_originals(given.folders, place / "originals")[:count]
    else:
        paths = chosen_files(given.folders, count)
    listing.write_text("".join(f"{path.absolute()}\n" for path in paths))
    data = create_dataset(place, model, namespace=given.name)
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
        results.append(Tried(threshold, (precision[0], precision[1]), (recall[0], recall[1])))
    return results


class Counts:
    """Recall, and the share of the pairs of different images, at or above a threshold."""

    def __init__(self, whole: Collection, specimens: Specimens, strict: float) -> None:
        trial = Trial(whole, [specimens[image.id] for image in whole.images if image.id in specimens])
        tails = [each.tail(share) for each, share in zip(trial.compare(ignore), SHARES, strict=True)]
        kin = list(trial.kinship(most_similar(tails), strict, ignore))
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


def trials(
    snapshot: Snapshot, first: Specimens, second: Specimens, other: Specimens, seeds: int
) -> Iterator[tuple[str, list[Tried]]]:
    """For every seed, the thresholds for 99, 95 and 90 % on the same images and on other ones."""
    strict = snapshot.description.points.strict
    everything = Collection.of(snapshot, SEED)
    for seed in range(seeds):
        ids = sorted(first)
        random.Random(seed).shuffle(ids)
        halves = [frozenset(ids[: len(ids) // 2]), frozenset(ids[len(ids) // 2 :])]
        use, check = (first, second) if seed % 2 == 0 else (second, first)
        for protocol, (learnt, held_out) in {
            PROTOCOLS[0]: (everything, everything),
            PROTOCOLS[1]: (part(snapshot, halves[0], seed), part(snapshot, halves[1], seed)),
        }.items():
            found = measured(learnt, use, seed, strict)
            thresholds = [level.threshold for level in found.levels]
            yield protocol, tried(thresholds, held_out, check, other, strict)


def table(name: str, images: int, results: Sequence[tuple[str, list[Tried]]]) -> Iterator[str]:
    for protocol in PROTOCOLS:
        runs = [levels for each, levels in results if each == protocol]
        for place, level in enumerate(LEVELS.values()):
            found = [run[place] for run in runs if run[place].threshold is not None]
            thresholds = [each.threshold for each in found if each.threshold is not None]
            cells = [f"{name}, {images}", protocol, f"{level:.0%}", f"{len(found)} of {len(runs)}"]
            if found:
                cells += [
                    f"{min(thresholds):.3f} to {max(thresholds):.3f}",
                    *(spread([each.precision[kind] for each in found]) for kind in (0, 1)),
                    *(f"{np.mean([each.recall[kind] for each in found]):.0%}" for kind in (0, 1)),
                ]
            yield f"| {' | '.join([*cells, *[''] * (COLUMNS - len(cells))])} |"


def spread(values: Sequence[float | None]) -> str:
    """The least and the mean, in %, rounded down."""
    known = [value for value in values if value is not None]
    if not known:
        return "nothing found"
    return " / ".join(f"{math.floor(1000 * value) / 10:.1f}" for value in (min(known), float(np.mean(known))))


def section(command: str, model: str, rows: Sequence[str], seeds: int) -> str:
    return "\n".join(
        [
            HEADING,
            "",
            f"Written by TwinLens {__version__}, model `{model}`:",
            "",
            f"    {command}",
            "",
            *(__doc__ or "").split("\n\n", 2)[2].rstrip().splitlines(),
            "",
            f"There are {seeds} seeds. Precision is their least / their mean, in percent, on edits of the",
            "kinds that calibrating draws and on those of other kinds; found is the mean share of the edits.",
            f"Thresholds are measured as if there were {SMALLEST_COLLECTION:,} images, as in every smaller",
            "collection. Runs that do not reach a level have no threshold; the column says how many did.",
            "",
            "| collection, images | tried on | level | reached | threshold "
            "| precision | of other kinds | found | of other kinds |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("collections", nargs="+", metavar="NAME=FOLDER[,FOLDER...]")
    parser.add_argument("--originals", action="append", default=[], metavar="NAME")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default=EMBEDDED, help="a name of `twinlens models`")
    parser.add_argument("--work", type=Path, help="keep the datasets here")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for each in arguments.collections:
            name, _, folders = each.partition("=")
            paths = [Path(folder) for folder in folders.split(",")]
            given = Given(name, paths, name in arguments.originals)
            with made_dataset(
                given, arguments.images, arguments.work or Path(scratch), arguments.model
            ) as data:
                first, second = (specimens_of(data, seed) for seed in (1, 2))
                other = otherwise_edited(data, second)
                results = list(trials(data.snapshot(), first, second, other, arguments.seeds))
                rows += table(name, len(first), results)
            print("\n".join(rows), flush=True)
    if arguments.out is not None:
        command = " ".join(["python scripts/measure_calibration.py", *sys.argv[1:]])
        page = arguments.out.read_text() if arguments.out.is_file() else TITLE
        text = section(command, arguments.model, rows, arguments.seeds)
        arguments.out.write_text(with_section(page, HEADING, text))


if __name__ == "__main__":
    main()
