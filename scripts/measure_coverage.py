"""Measure how well `--keep N` covers a collection, beside random choice and uniqueness order.

    python -m scripts.measure_coverage FOLDER... [--model NAME] [--out docs/coverage.md]

Collections are scikit-image's photographs with six edits of each, cuts of the same photographs, and what the
folders hold. Coverage is measured here anew, from all similarities of the collection in float64, and must be
what the choice reports. The page counts where `--keep N` covers best, and names where it does not.

The folders of docs/coverage.md are Debian packages, unpacked (`dpkg-deb -x`) into folders of their names.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.cuts import save_cuts
from scripts.make_demo import SEED, VARIANTS, photographs
from twinlens import __version__, create_dataset
from twinlens.engine.subset import choose_subset
from twinlens.engine.units import Units
from twinlens.models.registry import EMBEDDED

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
SEEDS = 20
CUTS = 2000
CUT_SIZE = (320, 240)

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Reached:
    """Distances of dropped images to their nearest kept one: the largest and the mean."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Compared:
    """One number of images to keep.

    Attributes:
        count: how many.
        plan: what `--keep` reaches.
        random: one for each seed.
        unique: the most unique images.
    """

    count: int
    plan: Reached
    random: list[Reached]
    unique: Reached

    @property
    def best(self) -> bool:
        """True if the plan covers better than the mean of the random choices and than the most unique."""
        return self.plan.largest < min(_mean(each.largest for each in self.random), self.unique.largest)


@dataclass(frozen=True)
class Collection:
    """One collection, and how well each choice covers it."""

    title: str
    images: int
    flat: int
    compared: list[Compared]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--model", default=EMBEDDED, help="a name of `twinlens models`")
    parser.add_argument("--out", type=Path, help="file to write beside standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinlens-coverage-") as scratch:
        sources = list(collections(Path(scratch), options.folders))
        found = [compare(title, folder, Path(scratch), options.model) for title, folder in sources]
    text = "\n".join(page(found, options.folders, options.model))
    print(text)
    if options.out is not None:
        options.out.write_text(text)


def collections(scratch: Path, folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Title and folder of each collection."""
    save_edited(scratch / "edited")
    yield "Photographs with their edits", scratch / "edited"
    save_cuts(scratch / "cuts", CUTS, CUT_SIZE)
    yield "Cuts of photographs", scratch / "cuts"
    for folder in folders:
        yield f"Package {folder.resolve().name}", folder


def save_edited(folder: Path) -> None:
    """scikit-image's photographs, each with one edit of every kind."""
    folder.mkdir()
    chance = random.Random(SEED)
    for path in photographs():
        (folder / path.name).write_bytes(path.read_bytes())
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for name, edit in VARIANTS.items():
            edit(image, chance).save(folder / f"{path.stem}-{name}.jpg", quality=chance.randint(60, 85))


def compare(title: str, folder: Path, scratch: Path, model: str, seeds: int = SEEDS) -> Collection:
    """Index a folder and choose from it in every way."""
    with create_dataset(scratch / f"data of {title}", model, namespace=title) as dataset:
        dataset.add(folder)
        images = dataset.images()
        informative = np.flatnonzero([not image.low_information for image in images])
        similarity = all_similarities(dataset.vectors(), dataset.snapshot().units)
        place = {image.id: number for number, image in enumerate(images)}
        unique = np.array([place[score.id] for score in dataset.uniqueness()])
        compared = []
        for count in sorted({max(1, round(share * len(informative))) for share in SHARES}):
            found = choose_subset(dataset.snapshot(), keep=count)
            chosen = np.array([place[image.id] for image in found.keep])
            reached = coverage(similarity, informative, chosen)
            if abs(reached.largest - found.coverage) > 1e-9:
                sys.exit(f"{title}, {count}: {found.coverage} is reported, {reached.largest} was measured")
            draws = [np.random.default_rng(n).choice(informative, count, replace=False) for n in range(seeds)]
            row = Compared(
                count,
                reached,
                [coverage(similarity, informative, draw) for draw in draws],
                coverage(similarity, informative, unique[:count]),
            )
            compared.append(row)
    return Collection(title, len(images), len(images) - len(informative), compared)


def all_similarities(vectors: NDArray[np.float16], units: Units) -> NDArray[np.float64]:
    """Of every two images, float64 [n, n], in [0, 1]; identical ones are 1."""
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similarity: NDArray[np.float64] = np.clip(np.round(rows @ rows.T, 6), 0, 1)
    identity = units.image_identity
    similarity[(identity[:, None] == identity[None, :]) & (identity >= 0)] = 1.0
    return similarity


def coverage(similarity: NDArray[np.float64], informative: Places, chosen: Places) -> Reached:
    """Distances of the images with information that were not chosen to their nearest chosen one."""
    dropped = np.setdiff1d(informative, chosen)
    distance = 1 - similarity[np.ix_(dropped, np.intersect1d(informative, chosen))].max(axis=1)
    return Reached(float(distance.max(initial=0.0)), float(distance.mean()) if len(distance) else 0.0)


# -- page --------------------------------------------------------------------------------------------


def page(found: Sequence[Collection], folders: Sequence[Path], model: str) -> Iterator[str]:
    names = " ".join(folder.resolve().name for folder in folders)
    yield f"""\
# How well `--keep N` covers a collection

Written by TwinLens {__version__}, model `{model}`:

    python -m scripts.measure_coverage {names} --model {model} --out docs/coverage.md

Coverage is the largest distance, 1 - similarity, of a dropped image to the kept image most like it: how
different from everything that is kept the worst covered image is. Less is better. `--keep N` is greedy
k-centre, its centres then moved to the middle of what they cover; random is the mean of {SEEDS} seeded
choices, with the smallest and the largest of them; most unique are the first N of `twinlens unique`. Flat
images are part of neither choice nor coverage.

The mean distance of all dropped images stands beside it. It is not what `--keep` promises: whoever wants the
typical image covered, not the odd one, may be served as well by a random choice.

{verdict(found)}
"""
    for each in found:
        flat = f", {each.flat} of them flat" if each.flat else ""
        yield f"## {each.title}\n"
        yield f"{each.images:,} images{flat}.\n"
        yield "| N | `--keep N` | random | most unique | mean: `--keep N` | random | most unique |"
        yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for row in each.compared:
            draws = [draw.largest for draw in row.random]
            cells = [
                f"{row.count}",
                f"**{row.plan.largest:.3f}**" if row.best else f"{row.plan.largest:.3f}",
                f"{_mean(draws):.3f} ({min(draws):.3f} to {max(draws):.3f})",
                f"{row.unique.largest:.3f}",
                f"{row.plan.mean:.3f}",
                f"{_mean(draw.mean for draw in row.random):.3f}",
                f"{row.unique.mean:.3f}",
            ]
            yield f"| {' | '.join(cells)} |"
        yield ""


def verdict(found: Sequence[Collection]) -> str:
    """In how many rows the choice covers best, and where it does not."""
    worse = [f"{each.title}, N = {row.count}" for each in found for row in each.compared if not row.best]
    rows = sum(len(each.compared) for each in found)
    exceptions = f"; not in: {'; '.join(worse)}" if worse else ""
    return f"`--keep N` covers better than both (bold) in {rows - len(worse)} of {rows} rows{exceptions}."


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    main()
