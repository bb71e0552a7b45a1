"""Measure how many files a second are looked at, without a model's forward, by threads and by viewers.

JPEGs of 800 x 600 cut from photographs, read, decoded, measured and prepared as an ingest does, 16 at a time.

usage: python -m scripts.measure_looks [--images N] [--workers N ...] [--model NAME] [--device DEVICE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.bench_ingest import SIZE
from scripts.cuts import save_cuts
from twinlens import load_model
from twinlens.engine.cores import usable_cores
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.sight import Looker, wanted_for
from twinlens.engine.types import Embedder
from twinlens.engine.viewers import viewing

TOGETHER = 16
WARM = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--workers", type=int, nargs="+", default=[usable_cores()])
    parser.add_argument("--model", default="twinlens_copy512")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinlens-looks-") as scratch:
        photos = Path(scratch) / "photos"
        save_cuts(photos, options.images, SIZE)
        files = [str(path) for path in sorted(photos.iterdir())]
        embedder = load_model(options.model, device=options.device)
        for workers in options.workers:
            for name, apart in (("threads", False), ("viewers", True)):
                print(
                    f"{workers} {name}: {looks_per_second(files, embedder, workers, apart):.0f} files/s",
                    flush=True,
                )


def looks_per_second(files: Sequence[str], embedder: Embedder, workers: int, apart: bool) -> float:
    """Files a second once all workers run."""
    limits = DecodeLimits()
    with (
        viewing(workers if apart else 0) as seeing,
        ThreadPoolExecutor(workers, initializer=embedder.use_one_core) as pool,
    ):
        looker = Looker(embedder, seeing(wanted_for(embedder, limits, hashes=False)))
        handfuls = [files[start : start + TOGETHER] for start in range(0, len(files), TOGETHER)]
        list(pool.map(looker.look, handfuls[:WARM]))
        start = time.perf_counter()
        list(pool.map(looker.look, handfuls))
        return len(files) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
