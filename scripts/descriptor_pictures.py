"""The pictures that the descriptor is trained on: found in packages, cut, made small, kept in one file.

A large picture gives itself and cuts of it that do not overlap; a cut and its whole are neither twins
nor strangers, and neither are pictures of one group. Of twins, as plain features see them, one stays.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.cut_outs import on_white
from scripts.qt_resources import read_resources
from twinlens.engine.quality import is_low_information, measure
from twinlens.engine.types import Embedder

PACKAGES = (
    "gcompris-qt-data",
    "gimp-help-en",
    "hugin-data",
    "naev-data",
    "openclipart-png",
    "plasma-workspace-wallpapers",
    "pysiogame",
    "stellarium-data",
    "sway-backgrounds",
    "xfdesktop4-data",
)
"""Debian packages, one folder each; what is measured elsewhere must not be among them."""

_T = TypeVar("_T")

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SMALLEST_SIDE, WIDEST_SHAPE = 90, 3.2
LONGER_SIDE = 256
CUT_SIDE, LARGEST_PART = 420, 5
TWINS = 0.965
HELD_OUT = 0.08
MOST_PER_PACKAGE = 1500
BATCH = 32

PARTS = re.compile(r"(paintings|details|babyshapes)/.*_[a-z]?\d+\.webp$|screenshot|preview|/icons?/|favicon")
"""Pieces and small versions of other pictures."""
GROUPS = (
    re.compile(r".*/help/en/images/filters/"),
    re.compile(r".*/help/en/images/(?=[a-z-]+/[^/]*$)"),
    re.compile(r".*/photo_hunter/resource/photo/[^/]*/"),
)
"""Folders in which pictures show one another's edits."""


@dataclass(frozen=True)
class Pictures:
    """Small pictures in one file.

    Attributes:
        names: where each came from.
        groups: int32 [n]; two of one group with `whole` set on either, or of a shared folder, are not
            strangers.
        whole: bool [n], False for cuts.
        sizes: int32 [n, 2], width and height.
        offsets: int64 [n], where its pixels start.
        features: float16 [n, dim], plain features, unit length.
        pixels: uint8, all pictures one after the other.
    """

    names: list[str]
    groups: NDArray[np.int32]
    whole: NDArray[np.bool_]
    sizes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    features: NDArray[np.float16]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image.Image:
        """One picture."""
        (width, height), start = self.sizes[index].tolist(), int(self.offsets[index])
        flat = self.pixels[start : start + width * height * 3]
        return Image.fromarray(np.array(flat).reshape(height, width, 3))

    def held_out(self) -> NDArray[np.bool_]:
        """Bool [n]: which are for validation, whole groups of them."""
        share = {group: _unit_hash(f"group {group}") for group in set(self.groups.tolist())}
        return np.array([share[group] < HELD_OUT for group in self.groups.tolist()])


@dataclass(frozen=True)
class _Cut:
    name: str
    group: str
    whole: bool
    size: tuple[int, int]
    image: Image.Image


@dataclass(frozen=True)
class _Source:
    """A file, or one inside a file, whose content is then given."""

    name: str
    path: Path
    content: bytes | None = None


_WRITTEN = Image.new("RGB", (1, 1))
"""Stands for pixels that are on disk."""


# --- the file


def open_pictures(folder: Path) -> Pictures:
    """What `save_pictures` wrote; pixels stay on disk until they are looked at."""
    index = np.load(folder / "index.npz")
    names = json.loads((folder / "names.json").read_text())
    pixels = np.memmap(folder / "pixels.u8", np.uint8, "r")
    return Pictures(
        names=names,
        groups=index["groups"],
        whole=index["whole"],
        sizes=index["sizes"],
        offsets=index["offsets"],
        features=index["features"],
        pixels=pixels,
    )


def save_pictures(packages: Path, folder: Path, plain: Embedder, most: int = MOST_PER_PACKAGE) -> None:
    """Find, cut, shrink and compare the pictures of all packages; write them into `folder`.

    Args:
        packages: has an unpacked package in each of the folders that `PACKAGES` names.
        folder: made here.
        plain: gives the plain features.
        most: of pictures of one package; which ones depends on their names alone.

    Raises:
        FileNotFoundError: a package is missing.
    """
    missing = [name for name in PACKAGES if not (packages / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"{packages} lacks the unpacked packages {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[_Cut] = []
    rows: list[NDArray[np.float32]] = []
    with ThreadPoolExecutor() as pool, (folder / "pixels.u8").open("wb") as file:
        cuts = chain.from_iterable(_cuts(packages / package, most, pool) for package in PACKAGES)
        for cut, row in _without_twins(cuts, plain, most * len(PACKAGES)):
            file.write(cut.image.tobytes())
            kept.append(replace(cut, image=_WRITTEN))
            rows.append(row)
            if len(kept) % 1000 == 0:
                print(f"{len(kept):,} pictures, at {cut.name}", flush=True)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(cut.group for cut in kept))}
    sizes = np.array([cut.size for cut in kept], np.int32)
    lengths = sizes.prod(axis=1, dtype=np.int64) * 3
    np.savez(
        folder / "index.npz",
        groups=np.array([numbers[cut.group] for cut in kept], np.int32),
        whole=np.array([cut.whole for cut in kept]),
        sizes=sizes,
        offsets=np.cumsum(lengths) - lengths,
        features=np.stack(rows).astype(np.float16),
    )
    (folder / "names.json").write_text(json.dumps([cut.name for cut in kept]))


def _without_twins(
    cuts: Iterable[_Cut], plain: Embedder, most: int
) -> Iterator[tuple[_Cut, NDArray[np.float32]]]:
    """Those that no earlier one is as near to as twins are, with their plain features."""
    rows, count = np.zeros((most, plain.description.dim), np.float32), 0
    for batch in _batches(cuts, BATCH):
        vectors = plain.embed_images([np.asarray(cut.image) for cut in batch])
        cosines = np.concatenate([vectors @ rows[:count].T, vectors @ vectors.T], axis=1)
        known = np.arange(cosines.shape[1]) < count
        for number, (cut, vector) in enumerate(zip(batch, vectors, strict=True)):
            if not (cosines[number, known] >= TWINS).any():
                known[len(known) - len(batch) + number] = True
                rows[count] = vector
                count += 1
                yield cut, vector


# --- finding


def _cuts(package: Path, most: int, pool: ThreadPoolExecutor) -> Iterator[_Cut]:
    """Cuts of all pictures of a package in an order that their names decide, at most `most`."""
    sources = sorted(_sources(package), key=lambda source: (_unit_hash(source.name), source.name))
    seen: set[bytes] = set()
    count = 0
    # Decoding is what takes long, and it runs outside the interpreter's lock.
    for batch in _batches(sources, BATCH):
        for digest, cuts in pool.map(_decoded_parts, batch):
            for cut in () if digest in seen else cuts:
                if count == most:
                    return
                count += 1
                yield cut
            seen.add(digest)


def _decoded_parts(source: _Source) -> tuple[bytes, list[_Cut]]:
    """Digest of a file, and what there is to see in it."""
    data = source.content if source.content is not None else source.path.read_bytes()
    image = _decoded(data)
    return hashlib.sha256(data).digest(), [] if image is None else list(_parts(source.name, image))


def _sources(package: Path) -> Iterator[_Source]:
    largest: dict[Path, Path] = {}
    for path in sorted(package.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(package.parent).as_posix()
        if path.suffix == ".rcc":
            for inner, data in read_resources(path):
                if Path(inner).suffix in SUFFIXES and not PARTS.search(inner):
                    yield _Source(f"{package.name}/{path.name}/{inner}", path, data)
        elif path.suffix.lower() in SUFFIXES and not PARTS.search(name):
            if path.parent.name == "images" and path.parent.parent.name == "contents":
                # One wallpaper in several sizes.
                other = largest.get(path.parent, path)
                largest[path.parent] = max(path, other, key=lambda file: (file.stat().st_size, file))
            else:
                yield _Source(name, path)
    for path in largest.values():
        yield _Source(path.relative_to(package.parent).as_posix(), path)


def _decoded(data: bytes) -> Image.Image | None:
    """RGB, transparency on white; None for what is broken, small, narrow."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            width, height = file.size
            shape = max(width, height) / max(1, min(width, height))
            if min(width, height) < SMALLEST_SIDE or shape > WIDEST_SHAPE or width * height > 120_000_000:
                return None
            file.draft("RGB", (1600, 1600))
            return on_white(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _parts(name: str, image: Image.Image) -> Iterator[_Cut]:
    """The picture and, of a large one, its cuts; without what has nothing to see."""
    group = next((match.group() for match in (pattern.match(name) for pattern in GROUPS) if match), name)
    columns, rows = (max(1, min(LARGEST_PART, side // CUT_SIDE)) for side in image.size)
    boxes = [(0, 0, *image.size)]
    if columns * rows > 1 and "openclipart" not in name:
        width, height = image.width // columns, image.height // rows
        places = [(column * width, row * height) for row in range(rows) for column in range(columns)]
        boxes += [(left, top, left + width, top + height) for left, top in places]
    for number, box in enumerate(boxes):
        cut = image.crop(box)
        cut.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
        if not is_low_information(measure(cut)):
            yield _Cut(f"{name}#{number}", group, number == 0, cut.size, cut)


def _batches(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(things)
    return iter(lambda: list(islice(iterator, size)), [])


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def composition(pictures: Pictures) -> str:
    """How many pictures each package gave."""
    counts = Counter(name.split("/", 1)[0] for name in pictures.names)
    return ", ".join(f"{package} {count:,}" for package, count in sorted(counts.items()))
