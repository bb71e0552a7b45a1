"""Measure image matching beside decoding and hashing alone, and write its part of docs/benchmarks.md.

A real server runs beside its clients on the same cores. Bare is the engine's decoder and both hashes, in as
many threads as the server has, with freed memory kept as the server keeps it; OpenCV is its own decoder and
hashes, likewise. What is compared takes turns; figures are medians.

usage: python -m scripts.bench_matching [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scripts.bench_clients import many_clients
from scripts.cuts import photographs_of, small_files
from scripts.hash_rates import WORKERS, Rates, engine_hashes, hash_all, opencv_hashes, records
from scripts.load import Connection
from scripts.processes import cpu_seconds, forget_peak, peak_mib, processor, resident_mib
from tests.greedy import greedily
from tests.matching import ids
from tests.servers import RunningServer, running_server
from twinlens import __version__
from twinlens.engine.codes import Codes
from twinlens.engine.hamming import self_join
from twinlens.engine.leaders import leaders
from twinlens.engine.memory import keep_freed_memory

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEADING = "## Image matching"
ROUNDS = 3
SIDES, LARGE = (96, 256), (800, 600)
IN_CLIENTS = 3200
RANGES = {0: 0, 10: 97}
"""Ranges in percent, and the bits of bmh1 that they are."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    small: int
    large: int
    clients_seconds: float
    mixed_seconds: float


FULL = Sizes(small=10_000, large=1_000, clients_seconds=6, mixed_seconds=60)
QUICK = Sizes(small=1_000, large=100, clients_seconds=3, mixed_seconds=6)


@dataclass(frozen=True)
class Memory:
    """What one large request took, MiB.

    Attributes:
        body: its size.
        before: resident memory of the server before it.
        peak: during it.
    """

    body: float
    before: float
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; write no file")
    options = parser.parse_args()
    text = "\n".join([*matching_section(quick=options.quick), ""])
    print(text)
    if not options.quick:
        before, _, after = PAGE.read_text().partition(f"\n{HEADING}\n")
        rest = after.find("\n## ")
        PAGE.write_text(before + text + (after[rest:] if rest >= 0 else ""))


def matching_section(*, quick: bool) -> Iterator[str]:
    """Measure, and write this part of the page."""
    sizes = QUICK if quick else FULL
    keep_freed_memory()
    small = small_files(sizes.small, *SIDES)
    large = photographs_of(sizes.large, LARGE)
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `scripts/bench` or `python -m scripts.bench_matching` of TwinLens {__version__}: "
        f"{processor()}, {WORKERS} cores, Python {platform.python_version()}, OpenCV {cv2.__version__}. "
        f"Images are cuts of photographs with sides of {SIDES[0]} to {SIDES[1]} px, one in ten a PNG. Bare "
        f"is the engine's decoder and both hashes in {WORKERS} threads, as many as the server has; OpenCV is "
        "its own decoder and hashes, likewise. Server and clients share these cores. CPU is that of all "
        "threads of a process."
    )
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        codes = hash_all(engine_hashes, small)
        yield from large_requests(Path(scratch) / "one", small, large, codes)
        yield from matching_part(codes)
        home = Path(scratch) / "many"
        yield from many_clients(home, small[:IN_CLIENTS], sizes.clients_seconds, sizes.mixed_seconds)


# -- large requests ------------------------------------------------------------------------------------


@contextmanager
def roomy_server(home: Path) -> Iterator[RunningServer]:
    """A fresh server that takes large requests."""
    with running_server(
        home,
        max_records=FULL.small,
        max_body_bytes=2**30,
        max_inflight_bytes=2**30,
        request_seconds=600,
    ) as server:
        yield server


def large_requests(home: Path, small: Sequence[bytes], large: Sequence[bytes], codes: Codes) -> Iterator[str]:
    memory: dict[str, list[Memory]] = {}
    yield "\n### One large request\n"
    yield "| | images | images/s | CPU ms/image | time / bare |\n|---|---|---|---|---|"
    for name, images in (("rank_images", small), (f"rank_images, {LARGE[0]} x {LARGE[1]} px", large)):
        with roomy_server(home) as server:
            yield from rank_rows(server, name, images, memory.setdefault(name, []))
    for range_, radius in RANGES.items():
        body = json.dumps({"records": records(small), "range": range_}).encode()
        with roomy_server(home) as server:
            answer, used = ask(server, "remove_duplicates", body)
        memory[f"remove_duplicates at range {range_}"] = [used]
        found = {each["_id"]: ids(each.get("removed_records", [])) for each in answer["records"]}
        assert found == greedily(codes, radius), "not the answer of brute force"
    yield from memory_rows(memory)


def rank_rows(
    server: RunningServer, name: str, images: Sequence[bytes], memory: list[Memory]
) -> Iterator[str]:
    opencv, bare, served = Rates(), Rates(), Rates()
    everything = records(images)
    body = json.dumps({"query_record": everything[0], "records": everything}).encode()
    for _ in range(ROUNDS):
        hash_all(opencv_hashes, images, opencv)
        hash_all(engine_hashes, images, bare)
        spent, started = cpu_seconds(server.process.pid), time.perf_counter()
        answer, used = ask(server, "rank_images", body)
        served.add(len(images), time.perf_counter() - started, cpu_seconds(server.process.pid) - spent)
        memory.append(used)
        assert len(answer["answer_records"]) == len(images)
    for row, rates in (("OpenCV", opencv), ("bare", bare), (name, served)):
        multiple = bare.rate / rates.rate
        yield f"| {row} | {len(images):,} | {rates.rate:.0f} | {rates.cpu_ms:.2f} | {multiple:.2f} |"


def ask(server: RunningServer, method: str, body: bytes) -> tuple[dict[str, Any], Memory]:
    """The answer to a request, and the memory that it took."""
    before = resident_mib(server.process.pid)
    forget_peak(server.process.pid)
    connection = Connection(server.matching, {})
    data = connection.post(method, body)
    connection.close()
    answer: dict[str, Any] = json.loads(data)
    return answer, Memory(len(body) / 2**20, before, peak_mib(server.process.pid))


def memory_rows(memory: dict[str, list[Memory]]) -> Iterator[str]:
    yield (
        "\nMemory of a fresh server in MiB. While a body is read it is there twice, as text and as values; "
        "in the requests that follow up to three times, since it grows in what the first one left.\n"
    )
    yield "| | body | before | peak | beyond two bodies | peak of the third |\n|---|---|---|---|---|---|"
    for name, (first, *others) in memory.items():
        beyond = first.peak - first.before - 2 * first.body
        figures = [first.body, first.before, first.peak, beyond, *(each.peak for each in others[-1:])]
        cells = [f"{figure:.0f}" for figure in figures]
        yield f"| {name} | {' | '.join(cells + [''] * (5 - len(cells)))} |"


# -- the matching part --------------------------------------------------------------------------------


def matching_part(codes: Codes) -> Iterator[str]:
    yield "\n### The matching part of remove_duplicates\n"
    yield f"The bmh1 of these {len(codes):,} images alone; the join finds all their pairs.\n"
    yield "| range | | seconds | found |\n|---|---|---|---|"
    for range_, radius in RANGES.items():
        matching, joining = [], []
        kept = pairs = 0
        for _ in range(ROUNDS):
            started = time.perf_counter()
            kept = int(np.count_nonzero(leaders(codes, radius) == np.arange(len(codes))))
            between = time.perf_counter()
            pairs = sum(len(block.a) for block in self_join(codes, radius))
            matching.append(between - started)
            joining.append(time.perf_counter() - between)
        yield f"| {range_} | matching | {statistics.median(matching):.3f} | {kept:,} records stay |"
        yield f"| {range_} | exact hash join | {statistics.median(joining):.3f} | {pairs:,} pairs |"


if __name__ == "__main__":
    main()
