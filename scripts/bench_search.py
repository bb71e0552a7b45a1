"""Measure searches from 2,000 to 1,000,000 vectors beside FAISS's exact index, for docs/benchmarks.md.

Vectors of 512 dimensions: 2,000 topics, in each block of 20,000 rows 5,000 scenes, about 4 rows each;
topic, scene and row are normal, of 1, 0.7 and 0.35 times a spectrum whose variances fall as 1, 1/2, 1/3, ...
Searches run in one thread. Queries are rows; for recall the exact index of FAISS says what is most similar.

usage: python -m scripts.bench_search [--quick] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.cuts import SEED
from scripts.processes import processor
from twinlens import __version__

ROOT = Path(__file__).parent.parent
HEADING = "## Search"
SIZES = (2_000, 10_000, 100_000, 1_000_000)
DIM = 512
TOPICS, SCENES, BLOCK = 2_000, 5_000, 20_000
ADDED = 1_000
QUERIES = 1_000
PEER_QUERIES = 100
NEAREST = 10

Rows = NDArray[np.float16]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="up to 10,000 vectors")
    parser.add_argument("--folder", type=Path, help="keeps the vectors, and uses those that are there")
    parser.add_argument("--step", choices=("make", "search"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        print(json.dumps(STEPS[options.step](options.folder, options.size)))
        return
    print("\n".join(section(all_measured(quick=options.quick, folder=options.folder))))


def all_measured(*, quick: bool, folder: Path | None = None) -> list[dict[str, Any]]:
    """Figures of all sizes; the vectors are kept in a folder where there is one."""
    sizes = [size for size in SIZES if size <= 10_000] if quick else SIZES
    if folder is not None:
        return measured(folder, sizes)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        return measured(Path(scratch), sizes)


def measured(folder: Path, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Figures of each size; all cores make an index, one thread does the rest."""
    save_vectors(folder / "vectors.npy", max(sizes))
    return [
        {**apart("make", folder, size), **apart("search", folder, size, one_thread=True)} for size in sizes
    ]


def apart(step: str, folder: Path, size: int, *, one_thread: bool = False) -> dict[str, Any]:
    """One step in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench_search", "--step", step]
    command += ["--folder", str(folder), "--size", str(size)]
    limits = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} if one_thread else {}
    run = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=os.environ | limits
    )
    return dict(json.loads(run.stdout))


def section(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The part of the page for these figures."""
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `python -m scripts.bench_search` of TwinLens {__version__}: {processor()}, one thread "
        f"but for making an index, Python {platform.python_version()}. {DIM} dimensions; topics, scenes and "
        f"rows of a falling spectrum (the script says which). {QUERIES:,} queries for the {NEAREST} nearest, "
        f"{PEER_QUERIES} of them in turns by FAISS's exact index (`IndexFlatIP`, float32), which says what "
        "is most similar; milliseconds for one. Opening reads and checks the index file, adding appends "
        f"{ADDED:,} rows and writes the file.\n"
    )
    columns = (
        "vectors | index | recall@10 | p50 | p99 | FAISS exact, p50 | make, s | open, s | add, s | file, MB"
    )
    yield f"| {columns} |"
    yield "|" + "---|" * 10
    for each in found:
        yield (
            f"| {each['vectors']:,} | {each['kind']} | {each['recall']:.4f} | {each['p50']:.2f} "
            f"| {each['p99']:.2f} | {each['peer']:.2f} | {each['make']:.1f} | {each['open']:.2f} "
            f"| {each['add']:.2f} | {each['file']:.0f} |"
        )


def save_vectors(path: Path, count: int) -> None:
    """A `.npy` file, float16 [count, DIM], every row of unit length; kept if it is there."""
    if path.exists():
        return
    rng = np.random.default_rng(SEED)
    spectrum = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    topics = rng.standard_normal((TOPICS, DIM), np.float32)
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (count, DIM))
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        scenes = topics[rng.integers(0, TOPICS, SCENES)] + 0.7 * rng.standard_normal(
            (SCENES, DIM), np.float32
        )
        made = scenes[rng.integers(0, SCENES, size)] + 0.35 * rng.standard_normal((size, DIM), np.float32)
        made *= spectrum
        rows[start : start + size] = made / np.linalg.norm(made, axis=1, keepdims=True)


def make(folder: Path, size: int) -> dict[str, Any]:
    """Make an index of all rows but those that are added later, and save it."""
    from twinlens.engine.search import index_kind

    rows = np.load(folder / "vectors.npy", mmap_mode="r")[:size]
    index = index_kind(rows)(DIM, "bench")
    seconds = timed(lambda: index.extend(rows[: size - ADDED]))
    index.save(folder / f"{size}.faiss")
    return {"vectors": size, "kind": index.kind, "make": seconds}


def search(folder: Path, size: int) -> dict[str, Any]:
    """Open an index, extend and save it, and search it and FAISS's in turns."""
    import faiss

    from twinlens.engine.search import index_kind
    from twinlens.engine.similarity import pairwise, unit_rows

    rows = np.load(folder / "vectors.npy", mmap_mode="r")[:size]
    path = folder / f"{size}.faiss"
    kind = index_kind(rows)
    opened = timed(lambda: kind.load(path, DIM, "bench"))
    index = kind.load(path, DIM, "bench")
    added = timed(lambda: index.extend(rows)) + timed(lambda: index.save(path))
    exact = faiss.IndexFlatIP(DIM)
    for start in range(0, size, BLOCK):
        exact.add(rows[start : start + BLOCK].astype(np.float32))
    everyone = np.ones(size, np.bool_)
    ours, peer, found = [], [], 0
    for number, query in enumerate(np.random.default_rng(SEED + 1).integers(0, size, QUERIES).tolist()):
        unit = unit_rows(rows[[query]])[0]
        start_time = time.perf_counter()
        _, similarity = index.search(rows, unit, NEAREST, everyone)
        ours.append(time.perf_counter() - start_time)
        if number % (QUERIES // PEER_QUERIES) == 0:
            start_time = time.perf_counter()
            _, wanted = exact.search(unit[None].astype(np.float32), NEAREST)
            peer.append(time.perf_counter() - start_time)
            # Of rows that are equally similar, any will do.
            units = unit_rows(rows[wanted[0]])
            found += int((similarity >= pairwise(units, np.broadcast_to(unit, units.shape)).min()).sum())
    p50, p99 = (1000 * float(np.percentile(ours, share)) for share in (50, 99))
    return {
        "recall": found / (PEER_QUERIES * NEAREST),
        "p50": p50,
        "p99": p99,
        "peer": 1000 * float(np.percentile(peer, 50)),
        "open": opened,
        "add": added,
        "file": path.stat().st_size / 1e6,
    }


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


STEPS = {"make": make, "search": search}

if __name__ == "__main__":
    main()
