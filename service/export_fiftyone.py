"""FiftyOne: a FiftyOneImageClassificationDataset whose images stay where they are.

`labels.json` names images by their absolute paths, with what each of them shows. FiftyOne reads files only,
so images in archives are written to `data/`, and named by what they are called there.

Source: FiftyOne's documentation, "Loading datasets from disk", FiftyOneImageClassificationDataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twinlens.engine.archive_reading import find_member
from twinlens.engine.decode import read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.service.table import shown, write_json

if TYPE_CHECKING:
    from twinlens.engine.catalog import ImageRecord


def write_fiftyone(
    images: Iterable[ImageRecord], labels: Mapping[str, str], folder: Path
) -> tuple[int, tuple[str, ...]]:
    """Write images and their labels; an image without a label has none there.

    Args:
        images: what to write.
        labels: by path.
        folder: exists.

    Returns:
        How many were written, and what could not be.
    """
    (folder / "data").mkdir(exist_ok=True)
    failures: list[str] = []
    targets: dict[str, str | None] = {}
    for image in images:
        try:
            targets[shown(_name(image, folder))] = labels.get(image.path)
        except DecodeError as error:
            failures.append(f"{image.path}: {error}")
    classes = sorted({label for label in targets.values() if label is not None})
    with open(folder / "labels.json", "wb") as out:
        write_json({"classes": classes or None, "labels": targets}, out)
    return len(targets), tuple(failures)


def _name(image: ImageRecord, folder: Path) -> str:
    """What FiftyOne calls an image: its path, or the name of its copy without the extension."""
    if os.path.exists(image.file) or find_member(image.file) is None:
        return image.file
    copy = folder / "data" / (image.id + os.path.splitext(image.path)[1].lower())
    copy.write_bytes(read_bytes(image.path))
    return image.id
