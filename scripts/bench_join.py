"""Measure joins of vectors beside FAISS and bare int8 products, and print their part of docs/benchmarks.md.

The vectors are drawn, not embedded: their spectrum is that which was measured on `twinlens_copy512` of 2,469
different pictures (those of the quality benchmark), a constant coordinate of 0.707 included, and one row in
ten is a near copy of the row before it. Real collections have heavier tails: more pairs near a threshold.

usage: python -m scripts.bench_join [--sizes N ...] [--rounds N] [--slice N] [--cells N] [--whole N]
                                    [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.cuts import SEED
from scripts.processes import processor
from twinlens import __version__
from twinlens.engine.join import Nearest, self_join
from twinlens.engine.join_plan import joined, plan_join
from twinlens.engine.similarity import unit_rows

HEADING = "## Self-join"
THRESHOLD = 0.88
DIM = 512
SIZES = (1_000, 10_000, 50_000, 100_000)
COPY_NOISE = 0.4
DRAWN_AT_ONCE = 20_000
QUERIES_AT_ONCE = 4096
BLOCK = 2048
SLICE = 65_536

# Eigenvalues of the second moments, largest first: place and value. The first is the constant coordinate.
PLACES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 511)
VARIANCES = (0.0146, 0.0099, 0.0069, 0.0046, 0.0034, 0.0020, 0.0013, 0.00078, 0.00049, 0.00030, 0.00013, 8e-5)

Rows = NDArray[np.float16]
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slice", type=int, help="join the last 65,536 of so many vectors with all")
    parser.add_argument("--cells", type=int, help="join this many vectors by cells")
    parser.add_argument("--whole", type=int, help="join this many vectors exactly, without a contender")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = measure_joins(options.sizes, options.rounds, part_of=options.slice, by_cells=options.cells)
    if options.whole is not None:
        figures["whole"] = measure_whole(options.whole)
    print("\n".join([*join_section(figures), ""]))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))


def vectors_like_real_ones(count: int) -> Rows:
    """Unit rows with the spectrum of real embeddings; one in ten is a near copy of the row before it."""
    rng = np.random.default_rng(SEED)
    places = np.arange(1, DIM)
    variances = np.exp(np.interp(np.log(places), np.log(PLACES), np.log(VARIANCES)))
    turn = np.linalg.qr(rng.standard_normal((DIM - 1, DIM - 1)))[0]
    spread = (np.sqrt(variances)[:, None] * turn).astype(np.float32)
    rows = np.empty((count, DIM), np.float16)
    for start in range(0, count, DRAWN_AT_ONCE):
        drawn = rng.standard_normal((min(DRAWN_AT_ONCE, count - start), DIM - 1), np.float32) @ spread
        copies = np.arange(1, len(drawn), 10)
        length = np.linalg.norm(drawn[copies - 1], axis=1, keepdims=True)
        noise = rng.standard_normal((len(copies), DIM - 1), np.float32)
        drawn[copies] = drawn[copies - 1] + COPY_NOISE * length / (DIM - 1) ** 0.5 * noise
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        rows[start : start + len(drawn), :-1] = drawn * 0.5**0.5
        rows[start : start + len(drawn), -1] = 0.5**0.5
    return rows


def measure_joins(
    sizes: Sequence[int], rounds: int, *, part_of: int | None = None, by_cells: int | None = None
) -> Figures:
    """Seconds and pairs of each contender at each size; they take turns within a round."""
    figures: Figures = {"threshold": THRESHOLD, "rounds": rounds, "sizes": {}}
    for count in sizes:
        rows = vectors_like_real_ones(count)
        contenders = contenders_for(rows)
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        found: dict[str, int] = {}
        bare_products(1)  # loads torch
        for _ in range(rounds):
            for name, join in contenders.items():
                start = time.perf_counter()
                found[name] = join()
                taken[name].append(time.perf_counter() - start)
        figures["sizes"][count] = {
            name: {"seconds": statistics.median(taken[name]), "pairs": found[name]} for name in contenders
        }
    if part_of is not None:
        figures["slice"] = measure_slice(part_of)
    if by_cells is not None:
        figures["cells"] = measure_cells(by_cells)
    return figures


def contenders_for(rows: Rows) -> dict[str, Callable[[], int]]:
    return {
        "TwinLens self_join": lambda: joined_pairs(rows),
        "TwinLens self_join, each row's nearest as well": lambda: joined_pairs(rows, nearest=True),
        "faiss IndexFlatIP.range_search": lambda: faiss_pairs(rows),
        "ceiling: the bare int8 products of half the square": lambda: bare_products(len(rows)),
    }


def joined_pairs(rows: Rows, *, nearest: bool = False) -> int:
    told = Nearest(len(rows)) if nearest else None
    return sum(len(block) for block in self_join(rows, THRESHOLD, nearest=told))


def faiss_pairs(rows: Rows) -> int:
    import faiss

    units = unit_rows(rows).astype(np.float32)
    index = faiss.IndexFlatIP(DIM)
    index.add(units)
    pairs = 0
    for start in range(0, len(units), QUERIES_AT_ONCE):
        pairs += int(index.range_search(units[start : start + QUERIES_AT_ONCE], THRESHOLD)[0][-1])
    return (pairs - len(units)) // 2


def bare_products(count: int) -> int:
    """As many multiplications as half the square needs, of the same two blocks again and again."""
    import torch

    height = min(BLOCK, count)
    codes = torch.randint(-127, 128, (height, DIM), dtype=torch.int8)
    out = torch.empty((height, height), dtype=torch.int32)
    for _ in range(max(1, round(count * count / 2 / height**2))):
        torch._int_mm(codes, codes.T, out=out)
    return 0


def measure_slice(count: int) -> Figures:
    """Join the last 65,536 vectors with all, exactly: a known share of the pairs of the whole join."""
    rows = vectors_like_real_ones(count)
    fresh = np.arange(count) >= count - SLICE
    start = time.perf_counter()
    pairs = sum(len(block) for block in self_join(rows, THRESHOLD, fresh=fresh))
    seconds = time.perf_counter() - start
    compared = int(fresh.sum()) * (count - int(fresh.sum()) // 2)
    whole = seconds * (count * (count - 1) / 2) / compared
    return {"vectors": count, "compared": compared, "seconds": seconds, "pairs": pairs, "whole": whole}


def measure_whole(count: int) -> Figures:
    """Join all vectors exactly."""
    rows = vectors_like_real_ones(count)
    start = time.perf_counter()
    pairs = joined_pairs(rows)
    return {"vectors": count, "seconds": time.perf_counter() - start, "pairs": pairs}


def measure_cells(count: int) -> Figures:
    """Plan and join by cells."""
    rows = vectors_like_real_ones(count)
    start = time.perf_counter()
    plan = plan_join(rows, THRESHOLD, method="cells")
    planned = time.perf_counter()
    pairs = sum(len(block) for block in joined(plan, rows))
    done = time.perf_counter()
    assert plan.recall is not None
    return {
        "vectors": count,
        "plan": str(plan),
        "planning": planned - start,
        "seconds": done - planned,
        "pairs": pairs,
        "recall": plan.recall.share,
        "sampled_rows": plan.recall.rows,
        "sampled_pairs": plan.recall.pairs,
    }


def join_section(figures: Figures) -> Iterator[str]:
    """This part of the page."""
    yield f"{HEADING}\n"
    yield (
        f"Written by `python -m scripts.bench_join` of TwinLens {__version__}: {processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. All pairs at or above "
        f"{figures['threshold']} of drawn vectors of {DIM} dimensions with the spectrum of real embeddings, "
        f"one in ten a near copy. Medians of {figures['rounds']} rounds, in which all took turns.\n"
    )
    yield "| vectors | | seconds | pairs | times as fast as FAISS |\n|---|---|---|---|---|"
    for count, contenders in figures["sizes"].items():
        slowest = contenders["faiss IndexFlatIP.range_search"]["seconds"]
        for name, figure in contenders.items():
            pairs = f"{figure['pairs']:,}" if not name.startswith("ceiling") else ""
            factor = f"{slowest / figure['seconds']:.1f}"
            yield f"| {int(count):,} | {name} | {figure['seconds']:.2f} | {pairs} | {factor} |"
    if "slice" in figures:
        part = figures["slice"]
        yield (
            f"\nOf the exact join of {part['vectors']:,} vectors, {part['compared']:,} pairs (the last "
            f"{SLICE:,} with all) took {part['seconds']:.0f} s; all of it would take "
            f"{part['whole'] / 60:.0f} minutes."
        )
    if "whole" in figures:
        whole = figures["whole"]
        yield (
            f"\nThe whole exact join of {whole['vectors']:,} vectors took {whole['seconds'] / 60:.1f} "
            f"minutes for {whole['pairs']:,} pairs."
        )
    if "cells" in figures:
        cells = figures["cells"]
        yield (
            f"\nBy cells: {cells['plan']}. Planning took {cells['planning']:.0f} s, the join "
            f"{cells['seconds']:.0f} s for {cells['pairs']:,} pairs."
        )


if __name__ == "__main__":
    main()
