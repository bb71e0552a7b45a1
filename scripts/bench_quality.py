"""Measure how well embedders, hashes and other tools find edited copies, and what they take for copies.

    python -m scripts.bench_quality --packages FOLDER --work FOLDER
        [--model NAME]... [--embedder MODULE:FUNCTION]... [--peers] [--fastdup PYTHON]
        [--semantics] [--quick] [--page docs/benchmarks.md]

FOLDER of `--packages` holds the Debian packages that `scripts/quality_pictures.py` names, unpacked
(`dpkg-deb -x`) into folders of their names. The collection is made there once (`scripts/quality_truth.py`),
then every method that is asked for is measured and its figures are kept as JSON in `results` beneath the
work folder, with a sheet of its hundred most similar wrong pairs. The page is made of all results there.

An embedder of your own is a function without arguments that returns an `Embedder`. Peers are measured where
they are installed: `pip install imagehash pdqhash`; OpenCV's hashes come with the development set-up. fastdup
wants an environment of its own, whose interpreter `--fastdup` names.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from scripts.pages import with_section
from scripts.quality_measure import WrongPair, measured
from scripts.quality_methods import Fastdup, Method, named_model, own_embedder, peers
from scripts.quality_report import HEADING, section
from scripts.quality_semantics import measured_semantics
from scripts.quality_sheet import save_sheet
from scripts.quality_truth import QUICK, SETS, Sizes, Truth, built
from twinlens import __version__

SEED = 20260107


def methods(options: argparse.Namespace) -> Iterator[Method]:
    """Those that were asked for, loaded one at a time."""
    yield from map(named_model, options.model)
    yield from map(own_embedder, options.embedder)
    if options.peers:
        yield from peers()
    if options.fastdup is not None:
        yield Fastdup(options.fastdup)


def result_of(method: Method, truth: Truth, options: argparse.Namespace) -> dict[str, object]:
    """All figures of a method, and what they were measured on."""
    start = time.perf_counter()
    described = method.describe(truth.folder, [item.file for item in truth.items])
    seconds = time.perf_counter() - start
    result = {
        "name": method.name,
        "version": __version__,
        "collection": collection(truth, options.seed),
        "seconds": round(seconds, 1),
        **measured(truth, described, options.seed),
    }
    if options.semantics:
        figure, stamps, categories = measured_semantics(method, options.packages, options.seed)
        result["semantics"] = {"agreement": asdict(figure), "stamps": stamps, "categories": categories}
    return result


def collection(truth: Truth, seed: int) -> dict[str, int]:
    """What it consists of."""
    counts = {name: len(copies) for name, copies in truth.copies.items()}
    families = {f"{name} families": len(families) for name, families in SETS.items()}
    distractors = len(truth.references) - truth.originals
    return {"seed": seed, "originals": truth.originals, "distractors": distractors, **counts, **families}


def keep(result: dict[str, object], truth: Truth, folder: Path) -> Path:
    """Write the figures and the sheet of a method; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(result["name"]))
    for name in SETS:
        pairs = [WrongPair(**pair) for pair in result[name]["wrong pairs"]]  # type: ignore[index]
        save_sheet(truth.folder, pairs, folder / f"{stem}-{name}.jpg")
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packages", type=Path, required=True, help="holds the unpacked packages")
    parser.add_argument("--work", type=Path, required=True, help="for the collection and the results")
    parser.add_argument("--model", action="append", default=[], help="a name of `twinlens models`")
    parser.add_argument("--embedder", action="append", default=[], metavar="MODULE:FUNCTION")
    parser.add_argument("--peers", action="store_true", help="hashes of others that are installed")
    parser.add_argument("--fastdup", type=Path, metavar="PYTHON", help="interpreter that has fastdup")
    parser.add_argument("--semantics", action="store_true", help="measure categories of neighbours as well")
    parser.add_argument("--quick", action="store_true", help="a small collection")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--page", type=Path, help="put the section into this page")
    return parser.parse_args()


def main() -> None:
    options = parse()
    name = f"{'quick' if options.quick else 'full'}-{options.seed}"
    truth = built(options.work / name, options.packages, QUICK if options.quick else Sizes(), options.seed)
    results = options.work / f"{name}-results"
    for method in methods(options):
        path = keep(result_of(method, truth, options), truth, results)
        print(f"{method.name}: {path}", flush=True)
    kept = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    if not kept:
        return
    text = section(kept)
    print(text)
    if options.page is not None:
        page = options.page.read_text() if options.page.is_file() else ""
        options.page.write_text(with_section(page, HEADING, text))


if __name__ == "__main__":
    main()
