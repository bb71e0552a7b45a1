"""Measure the whole way from a folder of JPEGs to its twins, each tool as a process of its own.

    python -m scripts.bench_folder [--images 20000] [--model NAME]... [--fastdup PYTHON] [--rounds 3]
        [--pictures FOLDER]... [--page docs/benchmarks.md]

The folder holds 800 x 600 cuts of pictures: of JPEGs and PNGs of at least 400 x 300 in the folders given,
else of scikit-image's few photographs, which then are twins by the thousand. Ours is `twinlens run`:
vectors, quality measures, previews, pairs, clusters and uniqueness, without exact hashes. fastdup is its
`run` as shipped, in the interpreter that `--fastdup` names; it needs an environment of its own. All take
turns; every process reads the same files, which are in the page cache when they are few enough. Memory is
the peak of the process; beside it stands what a process takes that imports torch and does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from scripts.cuts import pictures_below, save_cuts
from scripts.make_demo import photographs
from scripts.pages import with_section
from scripts.processes import processor
from twinlens import __version__

HEADING = "## Folder to result"
SIZE, SMALLEST = (800, 600), (400, 300)
FASTDUP = "import sys, fastdup; sys.exit(fastdup.run(sys.argv[1], work_dir=sys.argv[2], verbose=False))"


@dataclass(frozen=True)
class Run:
    """One process: its wall time, and its peak resident memory in MiB."""

    seconds: float
    peak: float


def measured(command: Sequence[str], folder: Path) -> Run:
    """Run a command in a folder and wait for it.

    Raises:
        SystemExit: it failed.
    """
    output = folder / "output.txt"
    start = time.perf_counter()
    with output.open("wb") as file:
        process = os.posix_spawn(
            command[0],
            [*command],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, file.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, file.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(process, 0)
    taken = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}: {output.read_text()[-2000:]}")
    return Run(taken, usage.ru_maxrss / 1024)


def commands(photos: Path, folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """What is compared, by name; each writes into a fresh folder."""
    ours = {
        f"twinlens run, {model}": [
            *(sys.executable, "-m", "twinlens.service", "run", str(photos), "--model", model),
            *("--dataset", str(folder / model), "--json"),
        ]
        for model in options.model
    }
    if options.fastdup is None:
        return ours
    return {
        **ours,
        "fastdup run": [str(options.fastdup), "-c", FASTDUP, str(photos), str(folder / "fastdup")],
    }


def measure(photos: Path, options: argparse.Namespace) -> tuple[dict[str, list[Run]], Run]:
    """All rounds of each command, and a process that imports torch."""
    runs: dict[str, list[Run]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
            for name, command in commands(photos, Path(scratch), options).items():
                runs.setdefault(name, []).append(measured(command, Path(scratch)))
                print(f"{name}: {options.images / runs[name][-1].seconds:.0f} images/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        return runs, measured([sys.executable, "-c", "import torch"], Path(scratch))


def section(runs: Mapping[str, Sequence[Run]], torch: Run, options: argparse.Namespace) -> str:
    return "\n".join([HEADING, "", *_lines(runs, torch, options)]) + "\n"


def _lines(runs: Mapping[str, Sequence[Run]], torch: Run, options: argparse.Namespace) -> Iterator[str]:
    yield (
        f"Written by `python -m scripts.bench_folder` of TwinLens {__version__}: {processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}; {options.images:,} JPEGs of 800 x 600, "
        f"cut from {options.sources:,} pictures, "
        f"medians of {options.rounds} rounds in which all took turns. A process that imports torch and does "
        f"nothing else peaks at {torch.peak:.0f} MiB."
    )
    yield ""
    yield "| | seconds | images/s | peak memory, MiB | beyond torch |"
    yield "|---|---|---|---|---|"
    for name, taken in runs.items():
        seconds = statistics.median(run.seconds for run in taken)
        peak = max(run.peak for run in taken)
        yield (
            f"| {name} | {seconds:.1f} | {options.images / seconds:.0f} | {peak:.0f} "
            f"| {peak - torch.peak:.0f} |"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--model", action="append", default=[], help="a name of `twinlens models`")
    parser.add_argument("--fastdup", type=Path, metavar="PYTHON", help="interpreter that has fastdup")
    parser.add_argument("--pictures", type=Path, action="append", default=[], help="folder to cut from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, help="put the section into this page")
    parser.add_argument("--json", type=Path, help="write all runs here")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        photos = Path(scratch) / "photos"
        pictures = pictures_below(options.pictures, SMALLEST)
        options.sources = len(pictures) or len(photographs())
        # In a process of its own: the peak of a process starts at that of the one which starts it.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(save_cuts, photos, options.images, SIZE, pictures).result()
        runs, torch = measure(photos, options)
    text = section(runs, torch, options)
    print(text)
    if options.json is not None:
        plain = {name: [vars(run) for run in taken] for name, taken in runs.items()}
        options.json.write_text(json.dumps({"torch": vars(torch), "runs": plain}, indent=1) + "\n")
    if options.page is not None:
        page = options.page.read_text() if options.page.is_file() else ""
        options.page.write_text(with_section(page, HEADING, text))


if __name__ == "__main__":
    main()
