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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.bench_queries import CLIP, save_random_clip
from scripts.cuts import pictures_below, save_cuts
from scripts.processes import forget_peak, peak_mib, resident_mib
from twinlens import create_dataset, load_model
from twinlens.engine.decode import decode
from twinlens.engine.types import Embedder

ROOT = Path(__file__).parent.parent
HEADING, MEMORY_HEADING = "## Ingest", "## Memory of an ingest"
SIZE = (800, 600)
MEMORY_SIZES = (20_000, 100_000)
MEMORY_IMAGE = (320, 240)
MEMORY_MODEL = "twinlens_copy512"
CLIP_IMAGES = 200
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
        decodes.append(len(files) / seconds(lambda: decode_all(files, embedder)))
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
        dataset.add(listing)
        vectors = dataset.vectors().nbytes / 2**20
        catalog = (dataset.folder / "catalog.sqlite").stat().st_size / 2**20
        print(json.dumps({"loaded": loaded, "peak": peak_mib(), "vectors": vectors, "catalog": catalog}))


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
        f"`{MEMORY_MODEL}` and its peak during it; vectors and catalog are files.\n"
    )
    yield "| images | model loaded | peak | vectors | catalog |\n|---|---|---|---|---|"
    for count, m in memory:
        yield f"| {count:,} | {m['loaded']:.0f} | {m['peak']:.0f} | {m['vectors']:.0f} | {m['catalog']:.0f} |"


if __name__ == "__main__":
    main()
