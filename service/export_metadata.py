"""The metadata of image folders without the rows of removed images."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twinlens.engine.errors import InvalidValue
from twinlens.engine.image_folders import FILE_NAME, labels_of, metadata_files, write_kept_rows
from twinlens.service.image_names import ImageNames
from twinlens.service.plans import Choice
from twinlens.service.table import shown


def write_metadata(choice: Choice, names: ImageNames, folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write the rows of the kept images, to files called as those that they come from.

    Where there are no metadata, `metadata.jsonl` is written with a row for each kept image: its name, its
    size and, of classes that are folders, its label.

    Args:
        choice: what is kept.
        names: how images and metadata are called below the folder.
        folder: exists.

    Returns:
        How many rows were written and left out, and what a reader should know.

    Raises:
        SourceError: metadata that cannot be read.
        InvalidValue: the folder is the one with the metadata.
        OSError: the folder cannot be written.
    """
    kept = {image.path: image for image in choice.kept}
    found = metadata_files([*kept, *choice.removed], names.roots)
    if not found:
        _write_rows(choice, names, folder / "metadata.jsonl")
        return {"rows": len(kept)}, ()
    rows = left_out = 0
    for metadata in found:
        target = folder / names.relative(str(metadata))
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(target) and os.path.samefile(metadata, target):
            raise InvalidValue(f"{target} is what is to be filtered: name another folder with --to")
        written, dropped = write_kept_rows(metadata, target, kept.__contains__)
        rows += written
        left_out += dropped
    without = len(kept) - rows
    notice = f"{without:,} kept images have no row in the metadata"
    return {"rows": rows, "left out": left_out}, (notice,) if without > 0 else ()


def _write_rows(choice: Choice, names: ImageNames, target: Path) -> None:
    labels = labels_of([image.path for image in choice.kept], names.roots)
    with target.open("w", encoding="utf-8") as out:
        for image in choice.kept:
            row = {FILE_NAME: shown(names.relative(image.path)), "width": image.width, "height": image.height}
            if image.path in labels:
                row["label"] = labels[image.path]
            out.write(json.dumps(row) + "\n")
