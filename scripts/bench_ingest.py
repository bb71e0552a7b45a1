"""Measure an ingest beside its limits, and what memory it takes, for docs/benchmarks.md.

A folder of 800 x 600 JPEGs cut from photographs. The limit is what decoding alone and the bare model forward
allow, each measured with all cores in the same run: on shared cores 1 / (1 / decode + 1 / forward), on CUDA
the smaller of the two. A CLIP model of the size of ViT-B-32 gets random weights: they take as long.

Memory is measured with smaller JPEGs, which take less of the disk. Cuts of scikit-image's few photographs are
mostly twins of each other: `--pictures FOLDER ...` gives others to cut.

usage: python -m scripts.bench_ingest [--quick] [--models NAME ...] [--pictures FOLDER ...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scripts.bench_queries import CLIP, save_random_clip
from scripts.cuts import pictures_below, save_cuts
from scripts.processes import children, forget_peak, peak_mib, resident_mib
from twinlens import create_dataset, load_model
from twinlens.engine.decode import decode
from twinlens.engine.ingest import Progress
from twinlens.engine.types import DecodePolicy, Embedder

ROOT = Path(__file__).parent.parent
HEADING, MEMORY_HEADING = "## Ingest", "## Memory of an ingest"
SIZE = (800, 600)
MEMORY_SIZES = (20_000, 100_000)
MEMORY_IMAGE = (320, 240)
MEMORY_MODEL = "twinlens_copy512"
DECODED_TOGETHER = 16
VIEWED_EACH = 500
CLIP_IMAGES = 1200
"""Of a slow model, fewer images take as long."""


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
        measure_memory(options.memory_of, options.device)
        return
    text, _ = ingest_section(options)
    print(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="+", default=["twinlens_copy512", "twinlens_fast512", CLIP])
    parser.add_argument("--memory-sizes", type=int, nargs="+", default=MEMORY_SIZES, help="images")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders of pictures to cut")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="images of one ingest round")
    parser.add_argument("--quick", action="store_true", help="skip the large sizes")


def ingest_section(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Measure; this part of the page, and its figures."""
    sizes = (1_000,) if options.quick else options.memory_sizes
    pictures = pictures_below(options.pictures, MEMORY_IMAGE)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        photos = Path(scratch) / "photos"
        save_cuts(photos, options.images, SIZE, pictures)
        ingests = {name: measure_ingest(name, photos, options) for name in options.models}
        small = Path(scratch) / "small"
        save_cuts(small, max(sizes), MEMORY_IMAGE, pictures)
        memory = [(count, peak_memory(small, count, options)) for count in sizes]
    text = "\n".join([*ingest_table(ingests), *memory_table(memory), ""])
    models = {name: asdict(ingest) for name, ingest in ingests.items()}
    return text, {"models": models, "memory": dict(memory)}


# -- ingest ------------------------------------------------------------------------------------------


def measure_ingest(name: str, photos: Path, options: argparse.Namespace) -> Ingest:
    scratch = photos.parent
    model = name if name != CLIP else f"local-dir:{save_random_clip(scratch / 'clip')}"
    embedder = load_model(model, device=options.device)
    files = sorted(photos.iterdir())[: CLIP_IMAGES if name == CLIP else None]
    listing = scratch / "first.txt"
    listing.write_text("".join(f"{path}\n" for path in files))
    decodes, plains, forwards, ingests = [], [], [], []
    for number in range(options.rounds + 1):
        decodes.append(decode_rate(files, embedder.description.decode))
        folder = scratch / f"data-{name}-{number}"
        with create_dataset(folder, model, device=options.device) as dataset:
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


def decode_rate(files: list[Path], policy: DecodePolicy) -> float:
    """The bare decoder: read and decode as for this model, nothing kept, in a process on each core."""
    together = [files[start : start + DECODED_TOGETHER] for start in range(0, len(files), DECODED_TOGETHER)]
    decode_these = partial(decode_files, policy=policy)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        deque(pool.map(decode_these, together[: 4 * (os.cpu_count() or 1)]), maxlen=0)
        return len(files) / seconds(lambda: deque(pool.map(decode_these, together), maxlen=0))


def decode_files(files: list[Path], policy: DecodePolicy) -> None:
    for file in files:
        decode(file, policy=policy)


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
    command = [
        sys.executable,
        "-m",
        "scripts.bench_ingest",
        "--memory-of",
        str(listing),
    ]
    command += ["--device", options.device]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(run.stdout))


def measure_memory(listing: Path, device: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch,
        create_dataset(Path(scratch) / "data", MEMORY_MODEL, device=device) as dataset,
    ):
        loaded = resident_mib()
        forget_peak()
        viewers: list[float] = [0.0]

        def look(progress: Progress) -> None:
            if progress.stage == "index" and progress.done % VIEWED_EACH == 0:
                viewers.extend(peak_mib(child) for child in children())

        dataset.add(listing, on_progress=look)
        # First of all: whoever reads the vectors or the records of a dataset keeps them in memory.
        figures = {"loaded": loaded, "peak": peak_mib(), "viewer": max(viewers)}
        files = {"vectors": "vectors.f16", "catalog": "catalog.sqlite"}
        sizes = {name: (dataset.folder / file).stat().st_size / 2**20 for name, file in files.items()}
        print(json.dumps(figures | sizes))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ingest_table(ingests: dict[str, Ingest]) -> Iterator[str]:
    yield f"\n{HEADING}\n"
    yield "JPEGs of 800 x 600, folder to finished dataset: previews, quality measures and pairs included;"
    yield f"`{CLIP}` has random weights. Images per second.\n"
    columns: dict[str, Callable[[Ingest], str]] = {
        "bare decoder, all cores": lambda each: f"{each.decode:.0f}",
        "bare model forward, batches of 32, torch's threads": lambda each: f"{each.plain:.0f}",
        "bare model forward, the dataset's calls, one core each": lambda each: f"{each.forward:.0f}",
        "limit: decoder and the faster forward": lambda each: f"{each.limit:.0f}",
        "ingest": lambda each: f"{each.ingest:.0f}",
        "share of the limit": lambda each: f"{each.share:.0%}",
    }
    yield "| | " + " | ".join(f"{name}, {each.images:,} images" for name, each in ingests.items()) + " |"
    yield "|---" * (len(ingests) + 1) + "|"
    for name, shown in columns.items():
        yield f"| {name} | " + " | ".join(shown(each) for each in ingests.values()) + " |"


def memory_table(memory: list[tuple[int, dict[str, float]]]) -> Iterator[str]:
    yield f"\n{MEMORY_HEADING}\n"
    yield (
        f"Resident memory in MiB before an ingest of JPEGs of {MEMORY_IMAGE[0]} x {MEMORY_IMAGE[1]} with "
        f"`{MEMORY_MODEL}`, its peak during it, and the peak of a process that looks at files, one for "
        "each core, which ends before anything is compared; vectors and catalog are files.\n"
    )
    shown = ("loaded", "peak", "viewer", "vectors", "catalog")
    yield "| images | model loaded | peak | a viewer | vectors | catalog |\n|---|---|---|---|---|---|"
    for count, figures in memory:
        yield f"| {count:,} | " + " | ".join(f"{figures[name]:.0f}" for name in shown) + " |"


if __name__ == "__main__":
    main()
