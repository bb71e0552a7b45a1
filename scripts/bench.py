"""Measure everything beside its limits and peers; write docs/benchmarks.md, its figures and docs/scale.md.

Each part is a script of its own, which says what it measures: bench_ingest, bench_join, bench_hamming,
bench_search, bench_queries, bench_leaks, bench_matching, bench_explore. Parts that were not asked for stay
on the page, and so does what bench_folder.py, bench_quality.py and bench_limits.py wrote there. Figures are
medians, and the things compared take turns.

usage: python -m scripts.bench [--only PART ...] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scripts import bench_hamming, bench_ingest, bench_join, bench_queries, bench_search
from scripts.bench_explore import explore_section
from scripts.bench_leaks import leaks_section
from scripts.bench_matching import matching_section
from scripts.bench_scale import write_scale
from scripts.pages import section_of, with_section
from scripts.processes import processor
from twinlens import __version__

ROOT = Path(__file__).parent.parent
PAGE, FIGURES, SCALE = (ROOT / "docs" / name for name in ("benchmarks.md", "benchmarks.json", "scale.md"))
JOINED_IN_PART, JOINED_BY_CELLS = 1_000_000, 2_000_000
ROUNDS = 2

Part = tuple[str, Any]
"""A part of the page, and its figures."""


def main() -> None:
    options = parse()
    page = PAGE.read_text() if PAGE.is_file() else ""
    figures = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    for name in options.only or PARTS:
        text, figures[name] = PARTS[name](options)
        print(text, flush=True)
        page = with_sections(with_section(page, "# Benchmarks", heading()), text)
        if not options.quick:
            PAGE.write_text(page)
            FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    if not options.quick:
        write_scale(figures, SCALE)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    bench_ingest.add_arguments(parser)
    return parser.parse_args()


def heading() -> str:
    import torch

    return (
        "# Benchmarks\n\n"
        f"Written by `scripts/bench` of TwinLens {__version__}: {processor()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, Python {platform.python_version()}. Figures are medians; what is "
        "compared took turns in one run. [scale.md](scale.md) says what follows for larger collections."
    )


def with_sections(page: str, text: str) -> str:
    """A page with each section of a text in its place."""
    for line in text.splitlines():
        if line.startswith("## "):
            page = with_section(page, line, section_of(text, line))
    return page


def join_part(options: argparse.Namespace) -> Part:
    if options.quick:
        figures = bench_join.measure_joins(bench_join.SIZES[:2], 1)
    else:
        figures = bench_join.measure_joins(
            bench_join.SIZES, ROUNDS, part_of=JOINED_IN_PART, by_cells=JOINED_BY_CELLS
        )
    return "\n".join([*bench_join.join_section(figures), ""]), figures


def hamming_part(options: argparse.Namespace) -> Part:
    figures = bench_hamming.all_measured(quick=options.quick)
    return _text(bench_hamming.section(figures)), figures


def search_part(options: argparse.Namespace) -> Part:
    figures = bench_search.all_measured(quick=options.quick)
    return _text(bench_search.section(figures)), figures


def queries_part(options: argparse.Namespace) -> Part:
    return bench_queries.queries_section(quick=options.quick)


def text_part(section: Callable[..., Iterable[str]]) -> Callable[[argparse.Namespace], Part]:
    """A part whose figures are on the page only."""
    return lambda options: (_text(section(quick=options.quick)), None)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).strip() + "\n"


PARTS: dict[str, Callable[[argparse.Namespace], Part]] = {
    "ingest": bench_ingest.ingest_section,
    "join": join_part,
    "hamming": hamming_part,
    "search": search_part,
    "queries": queries_part,
    "leaks": text_part(leaks_section),
    "matching": text_part(matching_section),
    "explore": text_part(explore_section),
}

if __name__ == "__main__":
    main()
