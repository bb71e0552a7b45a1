"""Measure thresholds, isolation (b) and floor of an embedder on graded edits of real photographs.

    python -m scripts.measure_points FOLDER... [--model efficientnet_lite0] [--edited 120]

Originals are scikit-image's photographs and what the folders hold: one picture of each family, so
that all of them show different things. A seeded sample of them is edited in 18 ways; an edit and its
original are a true pair, two originals a false one. The figures in `models/efficientnet.py` come from
the Debian packages tuxpaint-stamps-default, gnome-backgrounds, plasma-workspace-wallpapers,
lxqt-themes and opencv-doc: cut-out animals, plants and tools on white, which resemble one another
more than holiday pictures do, and wallpapers.

False pairs grow with the square of a collection, true ones do not. Thresholds are therefore set by
the share of false pairs that pass: of the 5 * 10^7 pairs among 10,000 such pictures about one half
at `strict`, 50 at `default`, 500 at `loose`. Beyond the pairs that were seen, that share is taken to
fall as a power of the distance 1 - s, fitted to the nearest 1 % of them (Hill, A simple general
approach to inference about the tail of a distribution, 1975; the power is the intrinsic dimension of
Levina and Bickel, 2004).
"""

from __future__ import annotations

import argparse
import io
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from scripts.cut_outs import on_white
from twinlens.engine.hashing import phash
from twinlens.engine.quality import is_low_information, measure
from twinlens.engine.types import Embedder, Embeddings, Prepared
from twinlens.models import load_model

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
NO_PHOTOGRAPHS = {"cartoon", "symbols", "roadsigns", "html", "shape_sample", "tests"}
SMALLEST_SIDE, LARGEST_SIDE = 100, 640
SAME_HASH_BITS = 8
BATCH = 32
TAIL = 0.01
FALSE_SHARES = {"strict": 1e-8, "default": 1e-6, "loose": 1e-5}
FLOOR_BELOW_LOOSE = 0.05

FAMILIES = (
    ("dreydl*",),
    ("*chessboard*",),
    ("left*.jpg", "right*.jpg"),
    ("motorcycle_*",),
    ("aloe*",),
    ("t_*",),
    ("fireman*",),
    ("gnu*",),
    ("leuven*",),
    ("ela_*",),
    ("scenetext_segmented*",),
    ("mask*.png", "tmpl*.png"),
    ("imageText*",),
    ("triangles*",),
    ("plasma-logo*", "plasma_*"),
    ("simple_blue*", "waves*"),
    ("opencv-logo*",),
    ("*origami*",),
    ("moon*",),
)
"""Twins and series among the originals of those packages, found by eye; one of each is used."""


@dataclass(frozen=True)
class Measured:
    """Similarities, float64: of true pairs by edit, of false pairs, and of nearest neighbours."""

    true: dict[str, NDArray[np.float64]]
    false: NDArray[np.float64]
    nearest: NDArray[np.float64]


# --- originals


def family(path: Path) -> str:
    """The name that pictures of one thing share."""
    for patterns in FAMILIES:
        if any(fnmatch(path.name, pattern) for pattern in patterns):
            return patterns[0]
    if "contents" in path.parts:  # a wallpaper in several sizes
        return path.parts[path.parts.index("contents") - 1]
    stem = re.sub(r"[_-]?(mirror|flip|dark|light|[dl])$", "", path.stem)
    return re.sub(r"[\d_-]+$", "", stem) or path.stem


def read(path: Path) -> Image.Image:
    """A picture of moderate size, cut-outs on white."""
    with Image.open(path) as file:
        rgb = on_white(file)
    rgb.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return rgb


def originals(folders: Iterable[Path]) -> Iterator[Image.Image]:
    """One picture of each family that has something to see, none of the same hash as another."""
    seen: set[str] = set()
    hashes: list[NDArray[np.uint8]] = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.is_symlink() or family(path) in seen:
            continue
        if NO_PHOTOGRAPHS.intersection(path.parts):
            continue
        image = read(path)
        rgb = np.asarray(image)
        bits = np.unpackbits(phash(rgb))
        known = any(np.count_nonzero(bits != other) <= SAME_HASH_BITS for other in hashes)
        if known or min(image.size) < SMALLEST_SIDE or is_low_information(measure(Image.fromarray(rgb))):
            continue
        seen.add(family(path))
        hashes.append(bits)
        yield image


# --- edits


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def scaled(image: Image.Image, width: float, height: float) -> Image.Image:
    return image.resize((round(image.width * width), round(image.height * height)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float, chance: random.Random) -> Image.Image:
    width, height = image.size
    left, top = chance.uniform(0, share) * width, chance.uniform(0, share) * height
    box = (left, top, left + (1 - share) * width, top + (1 - share) * height)
    return image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def noisy(image: Image.Image, chance: random.Random) -> Image.Image:
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 12, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def captioned(image: Image.Image, chance: random.Random) -> Image.Image:
    copy = image.copy()
    place = (round(copy.width * 0.05), round(copy.height * chance.uniform(0.1, 0.8)))
    pen = ImageDraw.Draw(copy)
    size = max(10, copy.height // 10)
    pen.text(place, "SUMMER SALE", "white", stroke_width=2, stroke_fill="black", font_size=size)
    return copy


def framed(image: Image.Image) -> Image.Image:
    width = round(image.width * 0.06)
    frame = Image.new("RGB", (image.width + 2 * width, image.height + 2 * width), "black")
    frame.paste(image, (width, width))
    return frame


def rotated(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")


EDITS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "JPEG quality 70": lambda image, _: recompressed(image, 70),
    "JPEG quality 30": lambda image, _: recompressed(image, 30),
    "half size": lambda image, _: scaled(image, 0.5, 0.5),
    "quarter size": lambda image, _: scaled(image, 0.25, 0.25),
    "80 % as wide": lambda image, _: scaled(image, 0.8, 1),
    "crop 5 %": lambda image, chance: cropped(image, 0.05, chance),
    "crop 10 %": lambda image, chance: cropped(image, 0.1, chance),
    "crop 20 %": lambda image, chance: cropped(image, 0.2, chance),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "rotation 2 degrees": lambda image, chance: rotated(image, chance.choice((-2, 2))),
    "rotation 5 degrees": lambda image, chance: rotated(image, chance.choice((-5, 5))),
    "brightness": lambda image, chance: ImageEnhance.Brightness(image).enhance(chance.choice((0.7, 1.3))),
    "contrast": lambda image, chance: ImageEnhance.Contrast(image).enhance(chance.choice((0.7, 1.3))),
    "blur": lambda image, _: image.filter(ImageFilter.GaussianBlur(max(image.size) / 250)),
    "noise": noisy,
    "text": captioned,
    "frame": lambda image, _: framed(image),
    "mirrored": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


# --- figures


def embed(embedder: Embedder, images: Iterable[Image.Image]) -> Embeddings:
    prepared: Iterator[Prepared] = (embedder.prepare(np.asarray(image)) for image in images)
    batches = iter(lambda: list(islice(prepared, BATCH)), [])
    return np.concatenate([embedder.embed_prepared(batch) for batch in batches])


def similarities(embedder: Embedder, images: list[Image.Image], edited: int, seed: int) -> Measured:
    chance = random.Random(seed)
    sample = chance.sample(range(len(images)), min(edited, len(images)))
    rows = embed(embedder, images).astype(np.float64)
    true = {}
    for name, edit in EDITS.items():
        vectors = embed(embedder, (edit(images[index], chance) for index in sample))
        true[name] = np.sum(vectors.astype(np.float64) * rows[sample], axis=1)
    every = rows @ rows.T
    false = np.sort(every[np.triu_indices(len(rows), 1)])
    np.fill_diagonal(every, -1)
    return Measured(true, false, every.max(axis=1))


def false_share(false: NDArray[np.float64], threshold: float) -> float:
    """Share of false pairs at or above a threshold: counted, in the tail fitted."""
    start = float(np.quantile(false, 1 - TAIL))
    if threshold <= start:
        return float(np.mean(false >= threshold))
    power = 1 / np.mean(np.log((1 - start) / (1 - false[false > start])))
    return TAIL * float(((1 - threshold) / (1 - start)) ** power)


def threshold_at(false: NDArray[np.float64], share: float) -> float:
    """Where the fitted share of false pairs falls to `share`, in steps of 0.01."""
    steps = np.arange(0.5, 1, 0.01).round(2)
    return next((float(step) for step in steps if false_share(false, float(step)) <= share), 0.99)


def report(measured: Measured) -> str:
    true, false = np.concatenate(list(measured.true.values())), measured.false
    points = {name: threshold_at(false, share) for name, share in FALSE_SHARES.items()}
    floor = round(points["loose"] - FLOOR_BELOW_LOOSE, 2)
    lines = [
        f"{len(measured.nearest)} originals, {false.size:,} false pairs, {true.size:,} true pairs",
        "",
        "threshold  recall  false pairs  fitted share  false pairs per image of 10,000  of 100,000",
    ]
    for step in np.arange(0.6, 1, 0.02).round(2):
        share = false_share(false, step)
        lines.append(
            f"{step:9.2f}  {np.mean(true >= step):6.3f}  {np.count_nonzero(false >= step):11,}  {share:12.1e}"
            f"  {share * 5e3:30.3f}  {share * 5e4:10.3f}"
        )
    heads = "".join(f"{f'{name} {point:.2f}':>15}" for name, point in points.items())
    lines += ["", f"{'recall by edit':<18}{heads}     median"]
    for name, values in measured.true.items():
        shares = "".join(f"{np.mean(values >= point):15.3f}" for point in points.values())
        lines.append(f"{name:<18}{shares}{np.median(values):11.3f}")
    shares = "".join(f"{np.mean(true >= point):15.3f}" for point in points.values())
    expected = "".join(f"{false_share(false, point) * 5e7:15,.1f}" for point in points.values())
    lines += [f"{'all edits':<18}{shares}", f"{'false of 10,000':<18}{expected}"]
    isolation = min(0.9, float(np.quantile(measured.nearest, 0.05)))
    lines += ["", f"floor {floor:.2f}, isolation b {isolation:.3f}, most similar false pair {false[-1]:.3f}"]
    return "\n".join(lines)


def closeness(model: str, images: list[Image.Image], precision: str) -> str:
    """How near vectors in a narrow precision stay to float32."""
    embedders = [load_model(model, precision=choice) for choice in ("float32", precision)]
    exact, narrow = (embed(embedder, images[:256]).astype(np.float64) for embedder in embedders)
    cosines = np.sum(exact * narrow, axis=1)
    moved = np.abs(exact @ exact.T - narrow @ narrow.T)
    return (
        f"{precision} against float32: least cosine {cosines.min():.5f}, median {np.median(cosines):.5f}; "
        f"similarities move by {moved.mean():.5f} in the mean, {moved.max():.4f} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--edited", type=int, default=120, help="how many originals are edited")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    package = find_spec("skimage")
    shipped = [Path(package.origin).parent / "data"] if package and package.origin else []
    images = list(originals([*shipped, *arguments.folders]))
    embedder = load_model(arguments.model, precision=arguments.precision)
    print(f"{embedder.description.name} in {embedder.precision} on {embedder.device}")
    print(report(similarities(embedder, images, arguments.edited, arguments.seed)))
    if embedder.precision != "float32":
        print(closeness(arguments.model, images, embedder.precision))


if __name__ == "__main__":
    main()
