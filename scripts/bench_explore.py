"""Measure explore at 100,000 images over HTTP, and write its part of docs/benchmarks.md.

Synthetic vectors go through the real storage (`Dataset.from_vectors`), a real server serves the dataset with
`--dataset`, and clients ask for pages of duplicates. The peer does what a program without stored pairs does
for each new threshold: a FAISS range search and scipy's connected components, in this process.

usage: python -m scripts.bench_explore [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import httpx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scripts.cuts import save_cuts
from scripts.processes import peak_mib, processor, resident_mib
from tests.servers import RunningServer, running_server
from twinlens import Dataset, __version__

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEADING = "## Explore"
DIM = 512
SEED = 20241125
THRESHOLDS = tuple(round(0.80 + 0.01 * step, 2) for step in range(20))
CLIENTS = 8
PHOTO = (800, 600)
PAUSE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10,000 images; write no file")
    options = parser.parse_args()
    text = "\n".join([*explore_section(quick=options.quick), ""])
    print(text)
    if not options.quick:
        before, _, after = PAGE.read_text().partition(f"\n{HEADING}\n")
        rest = after.find("\n## ")
        PAGE.write_text(before + text + (after[rest:] if rest >= 0 else ""))


def explore_section(*, quick: bool) -> Iterator[str]:
    """Measure, and write this part of the page."""
    count = 10_000 if quick else 100_000
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `scripts/bench` or `python -m scripts.bench_explore` of TwinLens {__version__}: "
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"FAISS {faiss.__version__}. {count:,} "
        f"vectors of {DIM} dimensions, 40 % of them in groups of 2 to 8, stored by `Dataset.from_vectors` "
        "and served by `twinlens serve --dataset`. Times are those of a client on the same machine, in ms; "
        "a page is 100 clusters."
    )
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        folder = Path(scratch) / "data"
        vectors = planted(count)
        with Dataset.from_vectors(names(count), vectors, name="synthetic", folder=folder):
            pass
        yield "\n| | ms | resident memory, MiB |\n|---|---|---|"
        photos = Path(scratch) / "photos"
        save_cuts(photos, 200 if quick else 1000, PHOTO)
        options = ("--dataset", str(folder), "--allow-root", str(photos), "--model", "efficientnet_lite0")
        with running_server(Path(scratch) / "home", *options) as server:
            yield from ask(server)
            yield from ask_while_indexing(server, photos)
            yield f"| server in the end | | {memory(server)}, peak {peak_mib(server.process.pid):,.0f} |"
        yield from peer(vectors)


def ask(server: RunningServer) -> Iterator[str]:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=600, verify=False) as client:
        (dataset,) = client.get("/datasets").json()
        path = f"/explore/{dataset['id']}"
        yield f"| server started, nothing asked | | {memory(server)} |"
        first = timed(client, path, THRESHOLDS[10], 0)
        yield f"| cold: the first answer | {first:.0f} | {memory(server)} |"
        new = [timed(client, path, threshold, 0) for threshold in THRESHOLDS if threshold != THRESHOLDS[10]]
        yield f"| a new threshold above the floor, median of {len(new)} | {statistics.median(new):.0f} | |"
        yield f"| the slowest of them | {max(new):.0f} | {memory(server)} |"
        fresh = [timed(client, path, threshold, page) for threshold, page in pages(1)]
        yield from quantiles("warm: a page that was not asked before, of a known threshold", fresh)
        again = [timed(client, path, threshold, page) for threshold, page in pages(0)]
        yield from quantiles("warm: a page that was asked before", again)
    with ThreadPoolExecutor(CLIENTS) as pool:
        many = [each for part in pool.map(lambda _: client_of(server, path), range(CLIENTS)) for each in part]
    yield from quantiles(f"the same, {CLIENTS} clients at once", many)


def ask_while_indexing(server: RunningServer, photos: Path) -> Iterator[str]:
    """Questions to one dataset while another one is made of photographs, on the same cores."""
    states: list[float] = []
    pages_: list[float] = []
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=600, verify=False) as client:
        (asked,) = client.get("/datasets").json()
        indexed = client.get("/process", params={"path": str(photos), "name": "photos"}).json()["dataset_id"]
        begun = time.perf_counter()
        while True:
            started = time.perf_counter()
            state = client.get(f"/dataset/{indexed}").json()
            states.append(1000 * (time.perf_counter() - started))
            if state["status_new"] != "INDEXING":
                break
            pages_.append(timed(client, f"/explore/{asked['id']}", THRESHOLDS[5], len(pages_) % 10))
            time.sleep(PAUSE)
        assert state["status_new"] == "READY", state
        rate = state["n_images"] / (time.perf_counter() - begun)
    number = state["n_images"]
    yield from quantiles(f"status while {number:,} photographs are indexed ({rate:.0f} a second)", states)
    yield from quantiles("a page of the other dataset meanwhile", pages_)


def client_of(server: RunningServer, path: str) -> list[float]:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=600, verify=False) as client:
        return [timed(client, path, threshold, page) for threshold, page in pages(0)]


def pages(first: int) -> list[tuple[float, int]]:
    """Ten pages of each of ten thresholds."""
    return [(threshold, page) for threshold in THRESHOLDS[:10] for page in range(first, first + 10)]


def timed(client: httpx.Client, path: str, threshold: float, page: int) -> float:
    """Milliseconds of one page of duplicates, its JSON read."""
    vql = json.dumps([{"duplicates": {"op": "duplicates", "value": threshold}}])
    started = time.perf_counter()
    answer = client.get(path, params={"vql": vql, "page_number": page})
    answer.raise_for_status()
    answer.json()
    return 1000 * (time.perf_counter() - started)


def quantiles(name: str, milliseconds: Sequence[float]) -> Iterator[str]:
    ordered = sorted(milliseconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    yield f"| {name}: median / p99 of {len(ordered)} | {statistics.median(ordered):.1f} / {p99:.1f} | |"


def peer(vectors: NDArray[np.float32]) -> Iterator[str]:
    """What each new threshold costs without stored pairs."""
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    started = time.perf_counter()
    limits, _, ends = index.range_search(vectors, float(THRESHOLDS[10]))
    starts = np.repeat(np.arange(len(vectors)), np.diff(limits).astype(np.int64))
    graph = coo_matrix((np.ones(len(ends), np.int8), (starts, ends)), shape=(len(vectors), len(vectors)))
    connected_components(graph, directed=False)
    taken = 1000 * (time.perf_counter() - started)
    yield f"| peer: FAISS range search and components for one threshold, once | {taken:,.0f} | |"


def planted(count: int) -> NDArray[np.float32]:
    """Unit vectors, float32 [count, DIM], of which the first 40 % come in groups of 2 to 8."""
    rng = np.random.default_rng(SEED)
    vectors = rng.standard_normal((count, DIM), dtype=np.float32)
    start = 0
    while start < 0.4 * count:
        size = int(rng.integers(2, 9))
        spread = rng.uniform(0.05, 0.6)
        noise = rng.standard_normal((size, DIM), dtype=np.float32) * spread
        vectors[start : start + size] = vectors[start] + noise[: len(vectors) - start]
        start += size
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def names(count: int) -> list[str]:
    return [str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench/{number}")) for number in range(count)]


def memory(server: RunningServer) -> str:
    return f"{resident_mib(server.process.pid):,.0f}"


if __name__ == "__main__":
    main()
