"""Measure ingest, joins and image matching beside their limits and peers, and write docs/benchmarks.md.

Ingest: a folder of 800 x 600 JPEGs cut from scikit-image's photographs. The limit is what decoding
alone and the bare model forward allow, each measured with all cores in the same run: on shared cores
1 / (1 / decode + 1 / forward), on CUDA the smaller of the two. Joins: vectors with planted twins.
Two sets, image matching and explore: see bench_leaks.py, bench_matching.py and bench_explore.py.
What bench_folder.py and bench_quality.py wrote on the page stays there, and so does what is said of wrong
pairs.
Every figure is the median of several rounds, and the things compared take turns within a round.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.bench_explore import explore_section
from scripts.bench_folder import HEADING as FOLDER
from scripts.bench_leaks import leaks_section
from scripts.bench_matching import matching_section
from scripts.cuts import SEED, save_cuts
from scripts.pages import section_of
from scripts.processes import forget_peak, peak_mib, processor, resident_mib
from scripts.quality_report import HEADING as COPIES
from scripts.quality_report import WRONG_PAIRS as WRONG
from twinlens import __version__, create_dataset, load_model
from twinlens.engine.decode import decode
from twinlens.engine.join import self_join
from twinlens.engine.similarity import unit_rows
from twinlens.engine.types import Embedder

ROOT = Path(__file__).parent.parent
SIZE = (800, 600)
JOIN_THRESHOLD = 0.9
DIM = 512
JOIN_SIZES = (10_000, 50_000)
MEMORY_SIZES = (1_000, 10_000)


@dataclass(frozen=True)
class Ingest:
    """Images per second, medians over the rounds."""

    images: int
    decode: float
    plain: float
    forward: float
    ingest: float
    limit: float

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.ingest / self.limit


def main() -> None:
    options = parse()
    if options.memory_of is not None:
        measure_memory(options.memory_of, options.model, options.device)
        return
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        largest = max(MEMORY_SIZES) if not options.quick else min(MEMORY_SIZES)
        photos = Path(scratch) / "photos"
        save_cuts(photos, largest, SIZE)
        ingest = measure_ingest(photos, options)
        memory = [(count, peak_memory(photos, count, options)) for count in MEMORY_SIZES if count <= largest]
    joins = [(count, measure_joins(count, options)) for count in JOIN_SIZES]
    sections = [
        *leaks_section(quick=options.quick),
        *matching_section(quick=options.quick),
        *explore_section(quick=options.quick),
        "",
    ]
    text = report(options, ingest, memory, joins) + "\n".join(sections)
    print(text)
    if not options.quick:
        page = ROOT / "docs" / "benchmarks.md"
        kept = (section_of(page.read_text(), heading) for heading in (FOLDER, COPIES, WRONG))
        page.write_text("\n\n".join(part.strip() for part in (text, *kept) if part) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="twinlens_copy512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="images of one ingest round")
    parser.add_argument("--quick", action="store_true", help="skip the large sizes and write no file")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# -- ingest ------------------------------------------------------------------------------------------


def measure_ingest(photos: Path, options: argparse.Namespace) -> Ingest:
    embedder = load_model(options.model, device=options.device)
    files = sorted(photos.iterdir())[: options.images]
    listing = photos.parent / "first.txt"
    listing.write_text("".join(f"{path}\n" for path in files))
    decodes, plains, forwards, ingests = [], [], [], []
    for number in range(options.rounds + 1):
        decodes.append(len(files) / seconds(lambda: decode_all(files, embedder)))
        with create_dataset(
            photos.parent / f"data-{number}", options.model, device=options.device
        ) as dataset:
            dataset.embedder().embed_prepared([embedder.prepare(decode(files[0]).rgb)] * dataset.shape)
            plains.append(plain_forward_rate(files, embedder))
            forwards.append(forward_rate(files, embedder, dataset.shape))
            ingests.append(len(files) / seconds(lambda data=dataset: data.add(listing)))  # type: ignore[misc]
    rates = (decodes, plains, forwards, ingests)
    decoded, plain, forwarded, ingested = (statistics.median(rate[1:]) for rate in rates)
    best = max(plain, forwarded)
    shared = 1 / (1 / decoded + 1 / best)
    limit = min(decoded, best) if embedder.device.startswith("cuda") else shared
    return Ingest(len(files), decoded, plain, forwarded, ingested, limit)


def decode_all(files: list[Path], embedder: Embedder) -> None:
    """The bare decoder: read and decode as for this model, nothing kept."""
    policy = embedder.description.decode
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda path: decode(path, policy=policy) and None, files):
            pass


def plain_forward_rate(files: list[Path], embedder: Embedder) -> float:
    """The bare forward as a program would call it: batches of 32, threads as torch chooses them."""
    policy = embedder.description.decode
    prepared = [embedder.prepare(decode(path, policy=policy).rgb) for path in files[:32]]
    calls = max(1, len(files) // 32)
    return calls * 32 / seconds(lambda: [embedder.embed_prepared(prepared) for _ in range(calls)])


def forward_rate(files: list[Path], embedder: Embedder, shape: int) -> float:
    """The bare forward: prepared images in full calls, one core to each, as many as there are files."""
    policy = embedder.description.decode
    prepared = [embedder.prepare(decode(path, policy=policy).rgb) for path in files[:shape]]
    calls = max(1, len(files) // shape)
    workers = 1 if embedder.device.startswith("cuda") else os.cpu_count()
    with ThreadPoolExecutor(workers, initializer=embedder.use_one_core) as pool:
        taken = seconds(lambda: list(pool.map(lambda _: embedder.embed_prepared(prepared), range(calls))))
    return calls * shape / taken


def peak_memory(photos: Path, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Peak resident memory in MiB of a process that ingests `count` images, before and after."""
    listing = photos.parent / f"first-{count}.txt"
    listing.write_text("".join(f"{path}\n" for path in sorted(photos.iterdir())[:count]))
    command = [sys.executable, "-m", "scripts.bench", "--memory-of", str(listing), "--model", options.model]
    command += ["--device", options.device]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(run.stdout))


def measure_memory(listing: Path, model: str, device: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch,
        create_dataset(Path(scratch) / "data", model, device=device) as dataset,
    ):
        loaded = resident_mib()
        forget_peak()
        dataset.add(listing)
        vectors = dataset.vectors().nbytes / 2**20
        catalog = (dataset.folder / "catalog.sqlite").stat().st_size / 2**20
        print(json.dumps({"loaded": loaded, "peak": peak_mib(), "vectors": vectors, "catalog": catalog}))


# -- joins -------------------------------------------------------------------------------------------


def vectors_with_twins(count: int) -> NDArray[np.float16]:
    """Random directions, one in ten a near copy of the row before it."""
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(count, DIM))
    twins = np.arange(1, count, 10)
    rows[twins] = rows[twins - 1] + 0.3 * rng.normal(size=(len(twins), DIM))
    return unit_rows(rows).astype(np.float16)


def measure_joins(count: int, options: argparse.Namespace) -> dict[str, tuple[float, int]]:
    rows = vectors_with_twins(count)
    device = "cuda" if options.device == "cuda" else "cpu"
    contenders: dict[str, Callable[[], int]] = {
        "TwinLens self_join": lambda: sum(len(b) for b in self_join(rows, JOIN_THRESHOLD, device=device)),
        "faiss IndexFlatIP.range_search": lambda: faiss_pairs(rows),
        "scikit-learn radius_neighbors": lambda: sklearn_pairs(rows),
    }
    rounds = 1 if options.quick else 3
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    found = {}
    for _ in range(rounds):
        for name, join in contenders.items():
            start = time.perf_counter()
            found[name] = join()
            taken[name].append(time.perf_counter() - start)
    return {name: (statistics.median(taken[name]), found[name]) for name in contenders}


def faiss_pairs(rows: NDArray[np.float16]) -> int:
    import faiss

    units = unit_rows(rows).astype(np.float32)
    index = faiss.IndexFlatIP(DIM)
    index.add(units)
    pairs = 0
    for start in range(0, len(units), 4096):
        limits, _, _ = index.range_search(units[start : start + 4096], JOIN_THRESHOLD)
        pairs += int(limits[-1])
    return (pairs - len(units)) // 2


def sklearn_pairs(rows: NDArray[np.float16]) -> int:
    from sklearn.neighbors import NearestNeighbors

    units = unit_rows(rows).astype(np.float32)
    radius = float(np.sqrt(2 - 2 * JOIN_THRESHOLD))
    neighbours = NearestNeighbors(radius=radius, algorithm="brute", n_jobs=-1).fit(units)
    pairs = 0
    for start in range(0, len(units), 4096):
        found = neighbours.radius_neighbors(units[start : start + 4096], return_distance=False)
        pairs += sum(len(one) for one in found)
    return (pairs - len(units)) // 2


# -- report ------------------------------------------------------------------------------------------


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(
    options: argparse.Namespace,
    ingest: Ingest,
    memory: list[tuple[int, dict[str, float]]],
    joins: list[tuple[int, dict[str, tuple[float, int]]]],
) -> str:
    return "\n".join(
        [*heading(options), *ingest_table(options, ingest), *memory_table(memory), *join_table(joins), ""]
    )


def heading(options: argparse.Namespace) -> Iterator[str]:
    import torch

    yield "# Benchmarks\n"
    yield (
        f"Written by `scripts/bench` of TwinLens {__version__}: {processor()}, {os.cpu_count()} cores, "
        f"device {options.device}, torch {torch.__version__}, Python {platform.python_version()}. "
        "Figures are medians; what is compared took turns in one run."
    )


def ingest_table(options: argparse.Namespace, ingest: Ingest) -> Iterator[str]:
    yield "\n## Ingest\n"
    yield f"{ingest.images:,} JPEGs of 800 x 600, model `{options.model}`, folder to finished dataset:"
    yield "previews, quality measures and pairs included.\n"
    yield "| | images/s |\n|---|---|"
    yield f"| bare decoder, all cores | {ingest.decode:.0f} |"
    yield f"| bare model forward, batches of 32, torch's threads | {ingest.plain:.0f} |"
    yield f"| bare model forward, the dataset's calls, one core each | {ingest.forward:.0f} |"
    yield f"| limit: decoder and the faster forward | {ingest.limit:.0f} |"
    yield f"| ingest | {ingest.ingest:.0f} |"
    yield f"| share of the limit | {ingest.share:.0%} |"
    plain = 1 / (1 / ingest.decode + 1 / ingest.plain)
    yield f"| share of the limit that the forward in batches of 32 sets | {ingest.ingest / plain:.0%} |"


def memory_table(memory: list[tuple[int, dict[str, float]]]) -> Iterator[str]:
    yield "\n## Memory of an ingest\n"
    yield "Resident memory in MiB before an ingest and its peak during it; vectors and catalog are files.\n"
    yield "| images | model loaded | peak | vectors | catalog |\n|---|---|---|---|---|"
    for count, m in memory:
        yield f"| {count:,} | {m['loaded']:.0f} | {m['peak']:.0f} | {m['vectors']:.0f} | {m['catalog']:.0f} |"


def join_table(joins: list[tuple[int, dict[str, tuple[float, int]]]]) -> Iterator[str]:
    yield "\n## Self-join\n"
    yield f"All pairs at or above {JOIN_THRESHOLD} of vectors of {DIM} dimensions, one in ten with a twin.\n"
    yield "| vectors | | seconds | pairs |\n|---|---|---|---|"
    for count, contenders in joins:
        for name, (taken, pairs) in contenders.items():
            yield f"| {count:,} | {name} | {taken:.2f} | {pairs:,} |"


if __name__ == "__main__":
    main()
