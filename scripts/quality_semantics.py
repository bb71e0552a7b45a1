"""Whether an embedder still knows what things are: the categories of the nearest neighbours of stamps.

The folders of tuxpaint-stamps-default are categories: animals/birds, food/fruit, and so on. A stamp whose
five nearest others lie in its folder agrees fully; the figure is the mean share.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.quality_methods import Method, Rows
from scripts.quality_pictures import SMALLEST_SIDE, STAMPS, fitted, is_candidate, read
from scripts.quality_scores import Figure, resamples, with_interval
from scripts.quality_truth import save

NEIGHBOURS = 5
FEWEST = NEIGHBOURS + 1
DRAWS = 500


def agreement(rows: Rows, categories: list[str], seed: int) -> Figure:
    """Mean share of the five nearest others in the same category, with its interval over resampled rows."""
    products = rows @ rows.T
    np.fill_diagonal(products, -np.inf)
    nearest = np.argsort(-products, axis=1, kind="stable")[:, :NEIGHBOURS]
    names = np.array(categories)
    shares: NDArray[np.float64] = (names[nearest] == names[:, None]).mean(axis=1)
    draws = resamples(len(shares), DRAWS, seed)
    return with_interval(float(shares.mean()), draws @ shares / len(shares))


def save_stamps(packages: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Stamps on white as files, and the category of each; categories of five or fewer are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    root = packages / STAMPS
    files, categories = [], []
    for number, path in enumerate(sorted(path for path in root.rglob("*") if is_candidate(path))):
        image = read(path)
        if image is None or min(image.size) < SMALLEST_SIDE:
            continue
        save(fitted(image), folder / f"{number:04}.jpg", 92)
        files.append(f"{number:04}.jpg")
        categories.append(path.parent.relative_to(root).as_posix())
    sizes = Counter(categories)
    kept = [place for place, category in enumerate(categories) if sizes[category] >= FEWEST]
    return [files[place] for place in kept], [categories[place] for place in kept]


def measured_semantics(method: Method, packages: Path, seed: int) -> tuple[Figure, int, int]:
    """The agreement of a method, the number of stamps and that of categories."""
    with tempfile.TemporaryDirectory() as scratch:
        files, categories = save_stamps(packages, Path(scratch))
        rows = method.describe(Path(scratch), files).rows
    return agreement(rows, categories, seed), len(files), len(set(categories))
