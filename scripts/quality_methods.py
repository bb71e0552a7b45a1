"""What is compared: embedders through the library, and the hashes and tools of others where installed.

Each method turns files into rows whose dot product is its similarity. The rows of a hash are 1 and -1, one
for each bit: their dot product is the number of bits less twice the Hamming distance, and exact.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinlens.engine.dataset import Dataset
from twinlens.engine.types import Embedder
from twinlens.models import load_model

FASTDUP_THRESHOLD = 0.9
"""The default of its `run`."""

Rows = NDArray[np.float32]
"""float32 [n, d]; a row of zeros is like nothing."""


@dataclass(frozen=True)
class Described:
    """What a method makes of files.

    Attributes:
        rows: in the order of the files.
        threshold: the dot product from which the tool calls two pictures twins by default; None where it
            has no default.
        clusters: places of the members of each cluster that the tool itself forms at that threshold; None
            where it forms none, or connected components.
        points: its operating points by name, where it has some.
    """

    rows: Rows
    threshold: float | None = None
    clusters: list[list[int]] | None = None
    points: Mapping[str, float] = field(default_factory=dict)


class Method(Protocol):
    """Something that finds copies."""

    @property
    def name(self) -> str:
        """As tables name it."""
        ...

    def describe(self, folder: Path, files: Sequence[str]) -> Described:
        """Rows of all files of a folder that holds no others."""
        ...


class OurEmbedder:
    """An embedder as users run it: a dataset is made of the files, and its rows and clusters are read."""

    def __init__(self, name: str, load: Callable[[], Embedder]) -> None:
        self.name = name
        self._load = load

    def describe(self, folder: Path, files: Sequence[str]) -> Described:
        """Low-information images have a row of zeros: the library calls them nobody's twins."""
        place = {os.path.abspath(folder / file): number for number, file in enumerate(files)}
        with tempfile.TemporaryDirectory() as scratch:
            listing = Path(scratch) / "files.txt"
            listing.write_text("".join(f"{path}\n" for path in place))
            with Dataset.create(Path(scratch) / "dataset", self._load(), namespace="quality") as data:
                data.add(listing)
                snapshot = data.snapshot()
                rows = np.zeros((len(files), data.description.dim), np.float32)
                for image in snapshot.images:
                    if not image.low_information:
                        row = np.array(snapshot.rows[image.row], np.float32)
                        rows[place[os.path.normpath(image.path)]] = row / np.linalg.norm(row)
                clusters = [
                    [place[os.path.normpath(member.path)] for member in cluster.members]
                    for cluster in data.duplicates()
                ]
                points = data.description.points
                return Described(rows, points.default, clusters, points.thresholds)


class Hash:
    """A binary hash: one function from a picture's pixels to bits.

    Args:
        name: as tables name it.
        bits: uint8 [height, width, 3] RGB to bool [bits].
        reach: the Hamming distance up to which its makers call two pictures twins; None where they do not.
    """

    def __init__(
        self, name: str, bits: Callable[[NDArray[np.uint8]], NDArray[np.bool_]], reach: int | None = None
    ) -> None:
        self.name = name
        self._bits = bits
        self._reach = reach

    def describe(self, folder: Path, files: Sequence[str]) -> Described:
        """Every file is decoded in full."""
        rows = np.stack([self._signs(_pixels(folder / file)) for file in files])
        return Described(rows, None if self._reach is None else rows.shape[1] - 2.0 * self._reach)

    def _signs(self, rgb: NDArray[np.uint8]) -> Rows:
        return np.where(self._bits(rgb), np.float32(1), np.float32(-1))


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


def opencv_hashes() -> Iterator[Hash]:
    """Those of OpenCV's img_hash that are compared by Hamming distance, in the order of its manual."""
    makers: dict[str, Callable[[], Any]] = {
        "average": cv2.img_hash.AverageHash.create,
        "pHash": cv2.img_hash.PHash.create,
        "block mean, mode 0": lambda: cv2.img_hash.BlockMeanHash.create(0),
        "block mean, mode 1": lambda: cv2.img_hash.BlockMeanHash.create(1),
        "Marr-Hildreth": cv2.img_hash.MarrHildrethHash.create,
    }
    for name, make in makers.items():
        yield Hash(f"OpenCV {name}", _opencv_bits(make()))


def _opencv_bits(hasher: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_]]:
    def bits(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.unpackbits(hasher.compute(np.ascontiguousarray(rgb[..., ::-1])).reshape(-1)).astype(bool)

    return bits


def imagehash_hashes() -> Iterator[Hash]:
    """PHash and dHash of imagehash; their reach is the default of imagededup."""
    if find_spec("imagehash") is None:
        return
    imagehash: Any = importlib.import_module("imagehash")
    for name in ("phash", "dhash"):
        compute = getattr(imagehash, name)
        yield Hash(
            f"imagehash {name}",
            lambda rgb, compute=compute: compute(Image.fromarray(rgb)).hash.reshape(-1),  # type: ignore[misc]
            reach=10,
        )


def pdq_hashes() -> Iterator[Hash]:
    """PDQ; its reach is the one that its makers recommend."""
    if find_spec("pdqhash") is None:
        return
    pdqhash: Any = importlib.import_module("pdqhash")
    yield Hash("PDQ", lambda rgb: pdqhash.compute(np.ascontiguousarray(rgb))[0].astype(bool), reach=31)


FASTDUP_PROGRAM = """
import sys
import fastdup
import numpy as np

listing, work, target = sys.argv[1:]
status = fastdup.run(listing, work_dir=work, run_mode=1, verbose=False)
if status:
    sys.exit(f"fastdup ended with status {status}")
names, features = fastdup.load_binary_feature(f"{work}/atrain_features.dat")
np.savez(target, names=np.array(names, str), features=np.asarray(features, np.float32))
"""


class Fastdup:
    """fastdup's own features of all files; its threshold is the one it joins at by default.

    It needs other versions of numpy and Pillow than TwinLens has: it runs in an interpreter of its own.

    Args:
        python: the interpreter of an environment in which fastdup is installed.
    """

    name = "fastdup"

    def __init__(self, python: Path) -> None:
        self._python = python

    def describe(self, folder: Path, files: Sequence[str]) -> Described:
        """Features as fastdup writes them, brought to unit length; zeros where it wrote none."""
        place = {os.path.abspath(folder / file): number for number, file in enumerate(files)}
        with tempfile.TemporaryDirectory() as scratch:
            listing, target = Path(scratch) / "files.txt", Path(scratch) / "features.npz"
            listing.write_text("".join(f"{path}\n" for path in place))
            command = [str(self._python), "-c", FASTDUP_PROGRAM, str(listing), f"{scratch}/work", str(target)]
            subprocess.run(command, check=True, cwd=scratch)
            with np.load(target) as saved:
                names, features = saved["names"], saved["features"]
        rows = np.zeros((len(files), features.shape[1]), np.float32)
        for name, row in zip(names, features, strict=True):
            rows[place[os.path.normpath(str(name))]] = row / max(float(np.linalg.norm(row)), 1e-12)
        return Described(rows, FASTDUP_THRESHOLD)


def peers() -> list[Method]:
    """All hashes of others that are installed."""
    return [*pdq_hashes(), *imagehash_hashes(), *opencv_hashes()]


def named_model(name: str) -> Method:
    """A model of `twinlens models`."""
    return OurEmbedder(name, lambda: load_model(name))


def own_embedder(address: str) -> Method:
    """An embedder that a function returns.

    Args:
        address: `module:function`.
    """
    module, _, function = address.partition(":")
    load: Callable[[], Embedder] = getattr(importlib.import_module(module), function)
    embedder = load()
    return OurEmbedder(embedder.description.name, lambda: embedder)
