"""Datasets and models, put together: the only place that knows both."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

from twinlens.engine.catalog import catalog_path
from twinlens.engine.dataset import Dataset
from twinlens.engine.sources import source_root
from twinlens.engine.storage import is_writable
from twinlens.models import load_model
from twinlens.service.settings import cache_home

DATASET_FOLDER = ".twinlens"


def create_dataset(
    folder: str | Path,
    model: str = "auto",
    *,
    device: str = "auto",
    precision: str = "auto",
    namespace: str | None = None,
) -> Dataset:
    """Make an empty dataset that uses `model`, "auto" resolved now and pinned.

    Raises:
        ModelError: the model cannot be had.
        DatasetError: the folder holds a dataset or cannot be written.
    """
    embedder = load_model(model, device=device, precision=precision)
    return Dataset.create(folder, embedder, namespace=namespace)


def open_dataset(folder: str | Path, *, device: str = "auto", precision: str = "auto") -> Dataset:
    """Open a dataset; its model is loaded when something must be embedded.

    Raises:
        DatasetError: it cannot be opened.
    """
    return Dataset.open(folder, models=partial(load_model, device=device, precision=precision), device=device)


def has_dataset(folder: Path) -> bool:
    """True if the folder holds a dataset."""
    return catalog_path(folder).is_file()


def default_dataset_folder(source: Path) -> Path:
    """Where the dataset of a source lies unless told otherwise.

    Inside a folder of images as `.twinlens`; in the user's cache folder where that cannot be written.
    """
    folder = source_root(source)
    inside = folder / DATASET_FOLDER
    if has_dataset(inside) or is_writable(folder):
        return inside
    name = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:16]
    return cache_home() / "twinlens" / f"{folder.name}-{name}"
