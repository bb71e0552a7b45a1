"""Show with a profiler what keeps ingest, queries and dense Hamming joins from their limits.

Ingest: what one look at a file, the model's resizing and the forward take on one core, by function, beside
all that an ingest on all cores takes. Queries: CPU of a server's event loop and of its other threads under
many clients, and the packages that the event loop's time goes to. Hamming joins: what products of all with
all and the pairs that they find take. The profiler is Python's own (cProfile), which sees one thread and
makes short calls slower: what it measures are shares.

usage: python -m scripts.bench_limits [--quick] [--page docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import httpx

from scripts.bench_hamming import COUNT, QUICK_COUNT, codes_of, hashes_of, pictures
from scripts.bench_queries import CLIENTS, PHOTO, PHOTOS, load_of
from scripts.cuts import photographs_of
from scripts.pages import with_section
from scripts.processes import cpu_seconds, processor
from tests.servers import RunningServer, profiled_server, running_server
from twinlens import __version__, create_dataset, load_model
from twinlens.engine import code_products, codes, decode, hashing, previews, quality
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.embedding import embed_padded
from twinlens.engine.sight import Seen, see, wanted_for

HEADING = "## What limits them"
MODELS = ("twinlens_copy512", "twinlens_fast512")
IMAGES, QUICK_IMAGES = 2_000, 400
CALL = 16
SECONDS, QUICK_SECONDS = 10.0, 2.0
DENSE = (("random", "phash", 16), ("pictures", "phash", 10), ("pictures", "bmh1", 100))
DECODER = "'decode' of 'ImagingDecoder'"
WAITING = r"'(poll|acquire|control)' of|\b(poll|select|acquire)\b"
BUILT_IN, PYTHON = "~", "Python's own library"
PACKAGES = 8

Costs = dict[str, float]
_T = TypeVar("_T")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few images, short rounds")
    parser.add_argument("--page", type=Path, help="put the section into this page")
    options = parser.parse_args()
    text = "\n".join(limits_section(quick=options.quick)).strip() + "\n"
    print(text)
    if options.page is not None:
        page = options.page.read_text() if options.page.is_file() else ""
        options.page.write_text(with_section(page, HEADING, text))


def limits_section(*, quick: bool) -> Iterator[str]:
    """Measure; this part of the page."""
    yield f"\n{HEADING}\n"
    yield (
        f"Written by `python -m scripts.bench_limits` of TwinLens {__version__}: {processor()}, "
        f"{os.cpu_count()} cores. What Python's profiler says of that which falls short of its limit above; "
        "it makes short calls slower, so that its milliseconds are a little long."
    )
    yield from ingest_table({model: ingest_costs(model, quick=quick) for model in MODELS})
    yield from server_table({model: server_costs(model, quick=quick) for model in MODELS})
    yield from dense_table(quick=quick)


# -- ingest --------------------------------------------------------------------------------------------


def ingest_costs(model: str, *, quick: bool) -> Costs:
    """Core-milliseconds of an image: of each step alone, and of a whole ingest on all cores."""
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        for number, photo in enumerate(photographs_of(QUICK_IMAGES if quick else IMAGES, PHOTO)):
            (folder / f"{number:05d}.jpg").write_bytes(photo)
        return {
            **_apart(_costs_of_steps, folder, model),
            **_apart(_costs_of_ingest, folder, model, Path(scratch) / "data"),
        }


def _apart(work: Callable[..., _T], *arguments: object) -> _T:
    """What a function gives in a process of its own, whose BLAS keeps to one core, as in a viewer."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _costs_of_steps(folder: Path, model: str) -> Costs:
    embedder = load_model(model, device="cpu")
    embedder.use_one_core()
    wanted = wanted_for(embedder, DecodeLimits(), hashes=False)
    files = sorted(map(str, folder.iterdir()))
    profile = cProfile.Profile()
    resizing = forward = 0.0
    for start in range(0, len(files), CALL):
        seen = profile.runcall(lambda some: [see(file, wanted) for file in some], files[start : start + CALL])
        shown = [each.pixels for each in seen if isinstance(each, Seen)]
        started = time.perf_counter()
        prepared = [embedder.prepare(pixels) for pixels in shown]
        resized = time.perf_counter()
        embed_padded(embedder, prepared, CALL)
        if start:  # What the first call sets up is not part of an image.
            resizing += resized - started
            forward += time.perf_counter() - resized
    spent = _Spent(profile)
    own = spent.by_name(DECODER)
    parts = {
        "the decoder itself": own,
        "the forward": forward * len(files) / max(1, len(files) - CALL),
        "decoding beside it: headers, checks, copies": spent.inside(decode.decode) - own,
        "reading and digest": spent.inside(decode.read_bytes) + spent.inside(hashing.byte_digest),
        "quality measures": spent.inside(quality.measure),
        "preview": spent.inside(previews.encode_preview),
        "the model's resizing": resizing * len(files) / max(1, len(files) - CALL),
    }
    return {name: 1000 * seconds / len(files) for name, seconds in parts.items()}


def _costs_of_ingest(folder: Path, model: str, data: Path) -> Costs:
    with create_dataset(data, model, device="cpu") as dataset:
        dataset.embedder()
        before, started, own = _cpu(), time.perf_counter(), time.thread_time()
        report = dataset.add(folder)
        taken, main_thread, spent = time.perf_counter() - started, time.thread_time() - own, _cpu() - before
    per_image = 1000 / report.added
    return {
        "rows, records and pairs, in the main thread": main_thread * per_image,
        "all cores, the whole ingest": taken * per_image * (os.cpu_count() or 1),
        "of it computed": spent * per_image,
    }


def _cpu() -> float:
    """Seconds that this process and those it has waited for have computed."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def ingest_table(costs: Mapping[str, Costs]) -> Iterator[str]:
    yield "\n### Ingest\n"
    yield (
        f"Core-milliseconds of an image, JPEGs of {PHOTO[0]} x {PHOTO[1]}. The first two are the limit; the "
        "rest of the steps is what else is done with a picture. Each was measured alone on one core; what an "
        "ingest takes beyond their sum is handing over between processes, and caches that all cores share.\n"
    )
    yield from _table("", costs)


# -- queries -------------------------------------------------------------------------------------------


def server_costs(model: str, *, quick: bool) -> Costs:
    """CPU milliseconds of a request: of the event loop and all else, and shares of the event loop's time."""
    seconds = QUICK_SECONDS if quick else SECONDS
    photos = photographs_of(PHOTOS + 1, PHOTO)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        folder = Path(scratch)
        (folder / "photos").mkdir()
        (folder / "photos" / "one.jpg").write_bytes(photos.pop())
        with create_dataset(folder / "data", model, device="cpu") as data:
            data.add(folder / "photos")
        home, options = folder / "home", ("--dataset", str(folder / "data"))
        with running_server(home, *options, device="cpu") as server:
            costs = _under_load(server, photos, seconds)
        profiles = folder / "loaded", folder / "idle"
        for profile, lasting in zip(profiles, (seconds, 0.0), strict=True):
            with profiled_server(profile, home, *options, device="cpu") as server:
                _under_load(server, photos, lasting)
        # What a server does before and after its clients is in both profiles.
        loaded, idle = (_Spent(profile).packages() for profile in profiles)
    own = {name: spent - idle.get(name, 0.0) for name, spent in loaded.items()}
    named = sorted(own.items(), key=lambda each: -each[1])[:PACKAGES]
    shares = {f"of the event loop: {name}, %": 100 * spent / sum(own.values()) for name, spent in named}
    return {**costs, **shares}


def _under_load(server: RunningServer, photos: Sequence[bytes], seconds: float) -> Costs:
    """CPU milliseconds of a request; nothing where there are no seconds, but for a first request."""
    dataset = httpx.get(f"{server.url}/api/v1/datasets", verify=False).json()[0]["id"]
    load_of(server, dataset, photos, 1, 1.0)
    if not seconds:
        return {}
    loop = f"{server.process.pid}/task/{server.process.pid}"
    before = cpu_seconds(loop)
    load = load_of(server, dataset, photos, CLIENTS[-1], seconds)
    in_loop = 1000 * (cpu_seconds(loop) - before) / (load["rate"] * seconds)
    return {
        "requests a second": load["rate"],
        "event loop": in_loop,
        "decoding, resizing, forward": load["server_cpu"] - in_loop,
    }


def server_table(costs: Mapping[str, Costs]) -> Iterator[str]:
    yield f"\n### Queries under {CLIENTS[-1]} clients\n"
    yield (
        "CPU milliseconds of a request, and the packages that the event loop, one thread, spends its time "
        "in, with the built-in functions that they call.\n"
    )
    yield from _table("", costs)


# -- Hamming joins -------------------------------------------------------------------------------------


def dense_table(*, quick: bool) -> Iterator[str]:
    hashed = hashes_of(pictures(None))
    count = QUICK_COUNT if quick else COUNT
    costs = {
        f"{kind}, {name}, {radius}": dense_costs(codes_of(kind, name, hashed, count), radius)
        for kind, name, radius in DENSE
    }
    yield "\n### Dense Hamming joins\n"
    yield (
        f"Seconds of one core for all pairs of {count:,} codes by products of all with all, strip by strip, "
        "as `engine/code_products.py` does it on every core.\n"
    )
    yield from _table("", costs, digits=2)


def dense_costs(joined: codes.Codes, radius: int) -> Costs:
    words = codes.packed_words(joined)
    rows = range(0, len(joined), code_products.HEIGHT)
    found = code_products.products_cost(words, words, radius, later=True)
    products = found[0] if found is not None else code_products.Products(len(words))
    strips = products.strips(words, words, radius, rows, len(joined) ** 2, later=True)
    profile = cProfile.Profile()
    started = time.perf_counter()
    for strip in strips:
        profile.runcall(strip)
    taken = time.perf_counter() - started
    spent = _Spent(profile)
    parts = {
        "int8 products": spent.by_name("torch._int_mm"),
        "reading them: which are large enough": spent.inside(code_products._reaching),
        "codes as signs": spent.inside(code_products._signs),
        "pairs that were found: checking": spent.inside(codes.verified),
        "and sorting": spent.inside(codes.in_order),
    }
    return {**parts, "all else": taken - sum(parts.values()), "all of it": taken}


# -- profiles ------------------------------------------------------------------------------------------


class _Spent:
    """What a profile says, in seconds."""

    def __init__(self, profile: cProfile.Profile | Path) -> None:
        source: Any = str(profile) if isinstance(profile, Path) else profile
        # Its stubs do not know this table: function to (calls, calls, own seconds, seconds, callers).
        self._entries: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(
            source
        ).stats  # type: ignore[attr-defined]

    def inside(self, function: Callable[..., Any]) -> float:
        """A function of ours, with all that it calls."""
        assert isinstance(function, FunctionType)
        code = function.__code__
        entry = self._entries.get((code.co_filename, code.co_firstlineno, code.co_name))
        return entry[3] if entry else 0.0

    def by_name(self, part: str) -> float:
        """Built-in functions whose name holds this."""
        return sum(own for (_, _, name), (_, _, own, *_) in self._entries.items() if part in name)

    def packages(self) -> dict[str, float]:
        """What each package computed, with the built-in functions that it called; waiting is left out."""
        spent: dict[str, float] = defaultdict(float)
        for (file, _, name), (_, _, own, _, callers) in self._entries.items():
            if re.search(WAITING, name):
                continue
            if file != BUILT_IN or not callers:
                spent[_package(file)] += own
                continue
            for (caller, *_), (_, _, part, _) in callers.items():
                spent[_package(caller)] += part
        return spent


def _package(file: str) -> str:
    if found := re.search(r"site-packages/([^/]+?)(\.py)?/", f"{file}/"):
        return found[1]
    return "twinlens" if "twinlens" in file else PYTHON


def _table(corner: str, columns: Mapping[str, Costs], digits: int = 2) -> Iterator[str]:
    """Rows that any of the columns has, in the order of the first that has it."""
    rows = list(dict.fromkeys(name for costs in columns.values() for name in costs))
    yield f"| {corner} | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in rows:
        shown = (f"{costs[row]:.{digits}f}" if row in costs else "" for costs in columns.values())
        yield f"| {row} | " + " | ".join(shown) + " |"


if __name__ == "__main__":
    main()
