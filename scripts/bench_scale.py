"""What the measured curves say of collections that are larger than was measured: docs/scale.md.

Work on images grows with their number, comparing all pairs with its square. Joins by cells grow with the
power of their method: with cells in proportion to the root of the number, 1.5. Searches by lists grow with
the power between the two largest sizes that were measured, at least with the root.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.pages import with_section

HEADING = "## Figures"
SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
VECTOR_BYTES = 2 * 512
MODELS = ("twinlens_copy512", "ViT-B-32")
CELLS_POWER = 1.5

Figures = Mapping[str, Any]


def write_scale(figures: Figures, page: Path) -> None:
    """Put the figures into the page, if all that they rest on was measured."""
    if {"ingest", "join", "search"} <= figures.keys():
        text = page.read_text() if page.is_file() else "# Larger collections\n"
        page.write_text(with_section(text, HEADING, "\n".join(scale_section(figures))))


def scale_section(figures: Figures) -> Iterator[str]:
    """This part of the page."""
    ingest, join, search = figures["ingest"], figures["join"], figures["search"]
    yield f"{HEADING}\n"
    yield (
        "Written by `scripts/bench` from docs/benchmarks.json. At a million, searches and their index were "
        "measured, and a slice of the exact join; all else follows from smaller sizes, for this machine. The "
        "catalog is that of a collection full of twins, whose pairs it keeps.\n"
    )
    yield "| | " + " | ".join(f"{size:,}" for size in SIZES) + " |"
    yield "|---" * (len(SIZES) + 1) + "|"
    memory = {int(count): each for count, each in ingest["memory"].items()}
    most = max(memory)
    catalog = memory[most]["catalog"] * 2**20 / most
    yield _row("vectors on disk, float16", (_bytes(VECTOR_BYTES * size) for size in SIZES))
    yield _row("catalog", (_bytes(catalog * size) for size in SIZES))
    file = search[-1]["file"] * 1e6 / search[-1]["vectors"]
    yield _row("search index", (_bytes(file * size) for size in SIZES))
    for model in MODELS:
        rate = ingest["models"][model]["ingest"]
        yield _row(f"indexing with `{model}`", (_time(size / rate) for size in SIZES))
    whole = join["slice"]["whole"] / join["slice"]["vectors"] ** 2
    yield _row("all pairs, exactly", (_time(whole * size**2) for size in SIZES))
    cells = join["cells"]
    yield _row(
        f"pairs by cells (recall {cells['recall']:.2%} measured at {cells['vectors']:,})",
        (_time(cells["seconds"] * (size / cells["vectors"]) ** CELLS_POWER) for size in SIZES),
    )
    power = power_of([(each["vectors"], each["p99"]) for each in search if each["kind"] == "inverted"])
    last = search[-1]
    yield _row(
        "a search, p99 on one core",
        (_time(last["p99"] / 1000 * (size / last["vectors"]) ** power) for size in SIZES),
    )
    yield ""


def power_of(curve: Sequence[tuple[float, float]]) -> float:
    """The power with which the last two points of a curve grow, at least the root."""
    if len(curve) < 2:
        return 0.5
    (x, y), (larger, z) = curve[-2:]
    return max(0.5, math.log(z / y) / math.log(larger / x))


def _row(name: str, values: Iterator[str]) -> str:
    first, *rest = values
    return f"| {name} | {first} | " + " | ".join(f"*{each}*" for each in rest) + " |"


def _bytes(count: float) -> str:
    for unit in ("MB", "GB", "TB"):
        count /= 1e6 if unit == "MB" else 1e3
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
    raise AssertionError


def _time(seconds: float) -> str:
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"
