"""Measure joins of hashes beside FAISS's binary range search, for docs/benchmarks.md.

Random codes, and codes of pictures: each a picture's hash with 0, 0.5, 2 or 5 % of its bits flipped. FAISS
compares all codes with all, so one query in ten is timed and the time taken tenfold.

usage: python -m scripts.bench_hamming [--quick] [--pictures DIR] [--hash HASH] [--codes KIND] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.cuts import SEED, photographs_of
from scripts.processes import processor
from twinlens import __version__
from twinlens.engine.codes import Codes
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hamming import self_join
from twinlens.engine.hashing import image_hashes

HEADING = "## Hamming joins"
RADII = {"phash": (0, 4, 10, 16), "bmh1": (0, 5, 19, 50, 100)}
BYTES = {"phash": 8, "bmh1": 121}
KINDS = ("random", "pictures")
COUNT, QUICK_COUNT = 100_000, 10_000
PICTURES = 4_000
CUT = (256, 192)
FLIPPED = (0.0, 0.005, 0.02, 0.05)
ROUNDS = 3
ONE_IN = 10
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the codes, one round")
    parser.add_argument("--pictures", type=Path, help="a folder; cuts of scikit-image's photographs if none")
    parser.add_argument("--hash", choices=RADII, action="append", help="one of them only")
    parser.add_argument("--codes", choices=KINDS, action="append", help="one kind only")
    parser.add_argument("--json", action="store_true", help="figures instead of text")
    options = parser.parse_args()
    hashed = hashes_of(pictures(options.pictures)) if "pictures" in (options.codes or KINDS) else {}
    found = [
        figures
        for kind in options.codes or KINDS
        for name in options.hash or RADII
        for figures in measured(kind, name, hashed, quick=options.quick)
    ]
    print(json.dumps(found) if options.json else "\n".join(section(found)))


def all_measured(*, quick: bool, folder: Path | None = None) -> list[dict[str, Any]]:
    """Figures of both hashes and both kinds of codes."""
    hashed = hashes_of(pictures(folder))
    return [each for kind in KINDS for name in RADII for each in measured(kind, name, hashed, quick=quick)]


def section(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The part of the page for these figures."""
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `python -m scripts.bench_hamming` of TwinLens {__version__}: {processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}. All pairs "
        f"of {found[0]['count']:,} codes within a range, in seconds: `self_join` and FAISS's "
        f"`IndexBinaryFlat.range_search`, in all cores, FAISS timed on one query in {ONE_IN}. Codes of "
        "pictures are hashes with up to 5 % of their bits flipped. Torch is loaded, so that dense joins "
        "multiply (`engine/code_products.py`); a process without it counts bits instead.\n"
    )
    yield "| codes | hash | range | pairs | TwinLens | FAISS | times faster |"
    yield "|---|---|---|---|---|---|---|"
    for each in found:
        yield (
            f"| {each['codes']} | {each['hash']} | {each['radius']} | {each['pairs']:,} "
            f"| {each['seconds']:.2f} | {each['faiss']:.2f} "
            f"| {each['faiss'] / each['seconds']:.1f} |"
        )


def pictures(folder: Path | None) -> list[bytes]:
    """Image files: some of a folder, chosen by chance, or cuts of photographs."""
    if folder is None:
        return photographs_of(PICTURES, CUT)
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    chosen = np.random.default_rng(SEED).permutation(len(files))[: 2 * PICTURES]
    return [files[number].read_bytes() for number in chosen.tolist()]


def hashes_of(images: Sequence[bytes]) -> dict[str, Codes]:
    """Both hashes of what can be read, each once."""

    def hashed(image: bytes) -> tuple[bytes, bytes] | None:
        try:
            hashes = image_hashes(decode(image).rgb)
        except DecodeError:
            return None
        return hashes.phash.tobytes(), hashes.bmh1.tobytes()

    with ThreadPoolExecutor() as pool:
        both = [each for each in pool.map(hashed, images) if each is not None]
    return {
        name: np.unique(np.array([np.frombuffer(each[place], np.uint8) for each in both]), axis=0)
        for place, name in enumerate(("phash", "bmh1"))
    }


def codes_of(kind: str, name: str, hashed: dict[str, Codes], count: int) -> Codes:
    """Codes to join, uint8 [count, bytes]."""
    rng = np.random.default_rng(SEED)
    if kind == "random":
        return rng.integers(0, 256, (count, BYTES[name]), dtype=np.uint8)
    codes = hashed[name][rng.integers(0, len(hashed[name]), count)]
    flips = rng.random((count, 8 * BYTES[name]), np.float32) < rng.choice(FLIPPED, (count, 1))
    return codes ^ np.packbits(flips, axis=1)


def measured(kind: str, name: str, hashed: dict[str, Codes], *, quick: bool) -> list[dict[str, Any]]:
    """Figures of all ranges of one hash, the median of some rounds."""
    codes = codes_of(kind, name, hashed, QUICK_COUNT if quick else COUNT)
    found = []
    for radius in RADII[name]:
        rounds = [one_round(codes, radius) for _ in range(1 if quick else ROUNDS)]
        medians = {what: statistics.median(each[what] for each in rounds) for what in rounds[0]}
        pairs = int(medians.pop("pairs"))
        found.append(
            {"codes": kind, "hash": name, "count": len(codes), "radius": radius, "pairs": pairs, **medians}
        )
    return found


def one_round(codes: Codes, radius: int) -> dict[str, float]:
    """Each contender once, in turn."""
    start = time.perf_counter()
    pairs = sum(len(block) for block in self_join(codes, radius))
    all_cores = time.perf_counter() - start
    return {
        "seconds": all_cores,
        "faiss": faiss_seconds(codes, radius),
        "pairs": pairs,
    }


def faiss_seconds(codes: Codes, radius: int) -> float:
    """FAISS for all codes, by one in some of them."""
    import faiss

    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    queries = np.ascontiguousarray(codes[::ONE_IN])
    start = time.perf_counter()
    index.range_search(queries, radius + 1)
    return (time.perf_counter() - start) * len(codes) / len(queries)


if __name__ == "__main__":
    main()
