"""Measure what each `range` of image matching finds, and what it takes for a match by mistake.

    python scripts/measure_ranges.py FOLDER... [--out docs/ranges.md]

Originals are scikit-image's photographs and what the folders hold: one picture of each family, so that all
of them show different things. Each is edited in seeded ways; an edit and its original should match, two
originals should not. Every picture goes the way of a request: it is written to a file, decoded in full,
hashed, and compared by the unit that the server answers in.

The folders of docs/ranges.md are the Debian packages that it names, unpacked (`dpkg-deb -x`) into folders
of their names. Of the two manuals among them only photographs are used, listed here by name.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.cut_outs import on_white
from scripts.measure_points import (
    NO_PHOTOGRAPHS,
    SMALLEST_SIDE,
    SUFFIXES,
    captioned,
    cropped,
    family,
    scaled,
)
from twinlens import __version__
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hamming import hamming
from twinlens.engine.hashing import Hashes, image_hashes
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.quality import is_low_information, measure
from twinlens.engine.types import Rgb
from twinlens.service.matching.distances import HashType, distance, radius
from twinlens.service.settings import DistanceUnit

Bits = NDArray[np.int32]

LARGEST_SIDE = 1600
FLAT_SHARE = 0.1
FALSE_SHARE = 1e-4
CROWD = 10_000
RANGES = {HashType.BMH1: (0, 1, 2, 3, 5, 8, 10, 15), HashType.PHASH: (0, 2, 4, 5, 7, 10, 15, 20)}
PHOTOGRAPHS, CUT_OUTS = "Photographs", "Cut-outs and graphics"

MANUALS = {"gimp", "hugin"}
PHOTOGRAPHS_OF_MANUALS = """
    100px-PC_img01.jpg 250px-LagardePont-defish.jpg 250px-Rectlinear.JPG 300px-2125768589_b.jpg
    300px-Lamp_enfuse.jpg 600px-Tuebingen_Neckarfront_small15_2006-06-11.jpg
    800px-C_Marchi-GrandCentral-adj.jpg AliasingPScubic.jpg Big_ben_rectilinear.jpg
    border-selection-01.png CA_fringes00.jpg CA_strange01.jpg CA_tCA00.jpg cage-1.png
    compose-channels-ex1.jpg draw-mask-ex1.png duck_orig.png enhance-red-eye-before.jpg erode-milord.png
    FG-select-select.png fog-tree-example.png free-selection.png fuzzyborder-noshadow.png
    high-pass-origin.png keyfob_orig.png kvitveis-orig.png little_planet-origin.jpg
    lockbrush-zoom200-nolock.png mean_curvature-denoise.jpg Medinet_habu_horizontal_stereographic.jpg
    pan-project-origin.jpg pointer-reticle.png power-lines.jpg quickie-crop-example-source.jpg
    quickie-flip-example-source.jpg quickie-jpeg-example.jpg quickie-remove-background-source.jpg
    quickie-rotate-example-source.jpg quickie-scale-example.jpg round-rect-01.png SB_Blended.jpg
    spherize-ex-orig.jpg taj_orig.jpg tone-mapping-mantiuk.jpg tree-exposed-for-sky-ground-is-dark.jpg
    truck-tone-mapped-using-gegl-mantuik.jpg vignette-ex-orig.jpg with-bilateral-smoothing-of-mask.jpg
"""
"""Found by eye: one of each scene, without dialogs, marks and filters."""


@dataclass(frozen=True)
class Studied:
    """One original: where it lies, what it is, its hashes and those of its edits."""

    path: Path
    kind: str
    original: Hashes
    edited: dict[str, Hashes]


@dataclass(frozen=True)
class Distances:
    """Differing bits of one hash: of each edit to its original, and of all pairs of originals."""

    edits: dict[str, Bits]
    strangers: Bits


# --- originals


def picture(path: Path) -> Image.Image:
    """A picture of moderate size, cut-outs on white."""
    decoded = decode(path)
    rgb = Image.fromarray(decoded.rgb)
    if decoded.transparent:
        with Image.open(path) as file:
            rgb = on_white(file)
    rgb.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return rgb


def is_candidate(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.is_symlink() or NO_PHOTOGRAPHS.intersection(path.parts):
        return False
    return not MANUALS.intersection(path.parts) or path.name in PHOTOGRAPHS_OF_MANUALS.split()


def originals(folders: Iterable[Path]) -> Iterator[tuple[Path, Image.Image]]:
    """One picture of each family that can be read and has something to see."""
    seen: set[str] = set()
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        if not is_candidate(path) or family(path) in seen:
            continue
        try:
            image = picture(path)
        except DecodeError:
            continue
        if min(image.size) >= SMALLEST_SIDE and not is_low_information(measure(image)):
            seen.add(family(path))
            yield path, image


def kind_of(rgb: Rgb) -> str:
    """Where one colour covers a tenth of a picture, it is no photograph of a scene."""
    colours = rgb.reshape(-1, 3).astype(np.int64) @ np.array([65536, 256, 1])
    covered = np.unique(colours, return_counts=True)[1].max() / len(colours)
    return CUT_OUTS if covered > FLAT_SHARE else PHOTOGRAPHS


# --- edits


def written(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    return written(image, "PNG", compress_level=1)


def noisy(image: Image.Image, sigma: float, chance: random.Random) -> Image.Image:
    rng = np.random.default_rng(chance.randrange(2**32))
    noise = rng.normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


Edit = Callable[[Image.Image, random.Random], bytes]

COPIES: dict[str, Edit] = {
    "black and white": lambda image, _: png(image.convert("L")),
    "half the size": lambda image, _: png(scaled(image, 0.5, 0.5)),
    "a quarter of the size": lambda image, _: png(scaled(image, 0.25, 0.25)),
    "twice the size": lambda image, _: png(scaled(image, 2, 2)),
    "JPEG quality 75": lambda image, _: written(image, "JPEG", quality=75),
    "JPEG quality 50": lambda image, _: written(image, "JPEG", quality=50),
    "JPEG quality 30": lambda image, _: written(image, "JPEG", quality=30),
    "JPEG quality 10": lambda image, _: written(image, "JPEG", quality=10),
    "WebP quality 50": lambda image, _: written(image, "WEBP", quality=50),
    "noise, sigma 5": lambda image, chance: png(noisy(image, 5, chance)),
    "noise, sigma 15": lambda image, chance: png(noisy(image, 15, chance)),
    "noise, sigma 30": lambda image, chance: png(noisy(image, 30, chance)),
    "black and white, half the size, JPEG 50": lambda image, _: written(
        scaled(image, 0.5, 0.5).convert("L"), "JPEG", quality=50
    ),
}
BEYOND: dict[str, Edit] = {
    "20 % brighter": lambda image, _: png(ImageEnhance.Brightness(image).enhance(1.2)),
    "text on it": lambda image, chance: png(captioned(image, chance)),
    "3 % cropped": lambda image, chance: png(cropped(image, 0.03, chance)),
    "mirrored": lambda image, _: png(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}
"""What else becomes of pictures, which hashes of the whole picture were not made for."""
EDITS = COPIES | BEYOND


def hashes_of(file: bytes) -> Hashes:
    return image_hashes(decode(file).rgb)


def study(path: Path, image: Image.Image, seed: int) -> Studied:
    """Chance depends on the picture and the edit alone, so that no picture changes another's figures."""
    edited = {
        name: hashes_of(edit(image, random.Random(f"{seed} {path.name} {name}")))
        for name, edit in EDITS.items()
    }
    return Studied(path, kind_of(np.asarray(image)), hashes_of(png(image)), edited)


def study_all(folders: Iterable[Path], seed: int) -> list[Studied]:
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        found = ordered_map(pool, lambda item: study(*item, seed), originals(folders), ahead=2 * workers)
        return [studied for _, studied in found]


# --- figures


def distances(studied: Sequence[Studied], kind: HashType) -> Distances:
    codes = np.stack([kind.of(one.original) for one in studied])
    edits = {}
    for name in EDITS:
        differing = codes ^ np.stack([kind.of(one.edited[name]) for one in studied])
        edits[name] = np.bitwise_count(differing).sum(axis=1, dtype=np.int32)
    return Distances(edits, hamming(codes, codes)[np.triu_indices(len(codes), 1)])


def within(bits: Bits, range: float, kind: HashType) -> int:
    return int(np.count_nonzero(bits <= radius(range, kind, DistanceUnit.PERCENT)))


def best_range(strangers: Bits, kind: HashType) -> int:
    """The largest measured range at which at most one pair of strangers in 10,000 matches."""
    return max(
        r for r in RANGES[kind] if r == 0 or within(strangers, r, kind) <= FALSE_SHARE * len(strangers)
    )


def expected(count: int, pairs: int) -> str:
    """False matches of one query among 10,000 strangers.

    Where none was seen, three in all the pairs is the 95 % bound (Hanley and Lippman-Hand, If nothing goes
    wrong, is everything all right?, 1983).
    """
    found = CROWD * (count or 3) / pairs
    return f"{'' if count else '< '}{found:,.0f}" if found >= 10 else f"{'' if count else '< '}{found:.1f}"


# --- report


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def percent(share: float) -> str:
    return "100" if share == 1 else f"{100 * share:.1f}"


def table(measured: Distances, kind: HashType) -> list[str]:
    ranges = RANGES[kind]
    lines = [row(f"{kind.value}, `range`", *map(str, ranges)), row("---", *["---:"] * len(ranges))]
    for name, bits in measured.edits.items():
        shares = (within(bits, r, kind) / len(bits) for r in ranges)
        lines.append(row(name, *map(percent, shares)))
    pairs = len(measured.strangers)
    counts = [within(measured.strangers, r, kind) for r in ranges]
    lines.append(row(f"*pairs of strangers that match, of {pairs:,}*", *(f"{count:,}" for count in counts)))
    lines.append(row("*share of them*", *(f"{count / pairs:.1e}" if count else "0" for count in counts)))
    lines.append(row(f"*false matches among {CROWD:,}*", *(expected(count, pairs) for count in counts)))
    return lines


def advice(of: str, measured: Distances, kind: HashType, range: int) -> str:
    copies = np.concatenate([measured.edits[name] for name in COPIES])
    found, false = within(copies, range, kind) / len(copies), within(measured.strangers, range, kind)
    return (
        f"- {of}, {kind.value}: **{range}** finds {percent(found)} % of the copies "
        f"and matches {false} of {len(measured.strangers):,} pairs of strangers."
    )


def closest(studied: Sequence[Studied], kind: HashType, count: int) -> list[str]:
    """The pairs of strangers that are nearest to one another, for an eye to judge."""
    codes = np.stack([kind.of(one.original) for one in studied])
    a, b = np.triu_indices(len(codes), 1)
    bits = hamming(codes, codes)[a, b]
    nearest = np.argsort(bits, kind="stable")[:count]
    apart = [distance(int(bits[pair]), kind, DistanceUnit.PERCENT) for pair in nearest]
    return [
        f"{far:5.1f}  {studied[a[pair]].path}  {studied[b[pair]].path}"
        for far, pair in zip(apart, nearest, strict=True)
    ]


def report(studied: Sequence[Studied], folders: Sequence[str]) -> str:
    """docs/ranges.md; every kind has at least two originals."""
    lines = [HEAD.format(version=__version__, folders=" ".join(folders), side=f"{LARGEST_SIDE:,}")]
    best: dict[HashType, list[int]] = {kind: [] for kind in HashType}
    advised = []
    for name in (PHOTOGRAPHS, CUT_OUTS):
        ones = [one for one in studied if one.kind == name]
        lines += [f"## {name}", "", f"{len(ones)} originals, {len(ones) * len(EDITS):,} edits."]
        for kind in HashType:
            measured = distances(ones, kind)
            lines += ["", *table(measured, kind)]
            best[kind].append(best_range(measured.strangers, kind))
            advised.append(advice(name, measured, kind, best[kind][-1]))
        lines.append("")
    both = " and ".join(f"**{min(ranges)} for {kind.value}**" for kind, ranges in best.items())
    return "\n".join([*lines, TAIL, *advised, "", f"For a collection that may hold either: {both}.", ""])


HEAD = """# What each `range` finds

Written by TwinLens {version}:

    python scripts/measure_ranges.py {folders} --out docs/ranges.md

Originals come from scikit-image and from these folders, which in the repository's copy of this page are
unpacked Debian packages of those names: one picture of each scene, at most {side} px wide and high, cut-outs
on white. A picture of which one colour covers a tenth counts as cut-out or graphic; the photographs include
wallpapers and textures.

`range` is a percentage of differing bits with one decimal, of 968 for bmh1 and of 64 for phash, which moves
in steps of 1.6; two images match where their distance is at most the range. Rows of edits say which
percentage of the edited images match their original. The last four of them are beyond what these hashes are
made for. Noise is Gaussian, its sigma in levels of 255. Rows in italics say what matches by mistake: how many
pairs of different originals do, and how many of 10,000 strange images one query is to expect; "<" is the 95 %
bound where none was seen.
"""

TAIL = """## Which range to take

The largest measured range at which at most one pair of strangers in 10,000 matched; copies are all edits but
the last four:
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, help="a Markdown file; printed without it")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--closest", type=int, default=0, help="name so many nearest pairs of strangers")
    arguments = parser.parse_args()
    package = find_spec("skimage")
    shipped = [Path(package.origin).parent / "data"] if package and package.origin else []
    studied = study_all([*shipped, *arguments.folders], arguments.seed)
    names = [
        *(["scikit-image"] if shipped else []),
        *(folder.absolute().name for folder in arguments.folders),
    ]
    text = report(studied, names)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    for kind in HashType if arguments.closest else ():
        print(kind.value, *closest(studied, kind, arguments.closest), sep="\n")


if __name__ == "__main__":
    main()
