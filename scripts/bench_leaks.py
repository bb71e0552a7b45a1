"""Measure the join of two sets beside FAISS, and write its part of docs/benchmarks.md.

50,000 training and 10,000 test vectors of 512 dimensions, one test vector in ten a near copy of a training
vector. Each contender runs in a process of its own, so that its memory is its own; they take turns.

usage: python -m scripts.bench_leaks [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.cuts import SEED
from scripts.processes import forget_peak, peak_mib, processor, resident_mib
from twinlens import __version__

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
HEADING = "## Two sets"
THRESHOLD = 0.9
DIM = 512
QUERIES_AT_ONCE = 4096

Rows = NDArray[np.float16]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a fifth of the vectors, one round; write no file"
    )
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender is not None:
        measure(options.contender, options.folder)
        return
    text = "\n".join([*leaks_section(quick=options.quick), ""])
    print(text)
    if not options.quick:
        write_section(text)


def write_section(text: str) -> None:
    """Replace this part of the page; before image matching, where the page has none yet."""
    page = PAGE.read_text()
    before, found, after = page.partition(f"\n{HEADING}\n")
    if not found:
        before, _, after = page.partition("\n## Image matching\n")
        after = "\n## Image matching\n" + after
    rest = after.find("\n## ")
    PAGE.write_text(before + text + (after[rest:] if rest >= 0 else ""))


def leaks_section(*, quick: bool) -> Iterator[str]:
    """Measure, and write this part of the page."""
    train, test = (10_000, 2_000) if quick else (50_000, 10_000)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        save_sets(Path(scratch), train, test)
        rounds = [
            {name: in_its_own_process(name, Path(scratch)) for name in CONTENDERS}
            for _ in range(1 if quick else 3)
        ]
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `scripts/bench` or `python -m scripts.bench_leaks` of TwinLens {__version__}: "
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}. All pairs at or above "
        f"{THRESHOLD} of {train:,} training and {test:,} test vectors of {DIM} dimensions, one test vector "
        "in ten a near copy. Memory is the peak of the process beyond what it took with its libraries "
        f"loaded; the vectors alone are {(train + test) * DIM * 2 / 2**20:.0f} MiB on disk.\n"
    )
    yield "| | seconds | pairs | peak memory, MiB |\n|---|---|---|---|"
    for name in CONTENDERS:
        seconds, memory = (
            statistics.median(each[name][what] for each in rounds) for what in ("seconds", "memory")
        )
        yield f"| {name} | {seconds:.2f} | {rounds[0][name]['pairs']:,.0f} | {memory:.0f} |"


def save_sets(folder: Path, train: int, test: int) -> None:
    """Two `.npy` files, float16, every row of unit length."""
    rng = np.random.default_rng(SEED)
    first, second = (rng.standard_normal((count, DIM), np.float32) for count in (train, test))
    near = np.arange(0, test, 10)
    second[near] = first[rng.choice(train, len(near), replace=False)]
    second[near] += 0.3 * rng.standard_normal((len(near), DIM), np.float32)
    for name, rows in (("train", first), ("test", second)):
        np.save(
            folder / f"{name}.npy", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        )


def in_its_own_process(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "scripts.bench_leaks", "--contender", name, "--folder", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(run.stdout))


def measure(name: str, folder: Path) -> None:
    join = CONTENDERS[name]()
    train, test = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("train", "test"))
    loaded = resident_mib()
    forget_peak()
    start = time.perf_counter()
    pairs = join(train, test)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "pairs": pairs, "memory": peak_mib() - loaded}))


# -- contenders: each loads what it needs and gives back what is measured -------------------------------

Join = Callable[[Rows, Rows], int]


def twinlens() -> Join:
    from twinlens.engine.join import cross_join

    return lambda train, test: sum(len(block) for block in cross_join(train, test, THRESHOLD))


def faiss_range_search() -> Join:
    import faiss

    def join(train: Rows, test: Rows) -> int:
        index = faiss.IndexFlatIP(DIM)
        index.add(train.astype(np.float32))
        pairs = 0
        for start in range(0, len(test), QUERIES_AT_ONCE):
            queries = test[start : start + QUERIES_AT_ONCE].astype(np.float32)
            pairs += int(index.range_search(queries, THRESHOLD)[0][-1])
        return pairs

    return join


CONTENDERS: dict[str, Callable[[], Join]] = {
    "TwinLens cross_join": twinlens,
    "faiss IndexFlatIP.range_search": faiss_range_search,
}

if __name__ == "__main__":
    main()
