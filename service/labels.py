"""Labels of the images of a dataset: from files with the columns `filename` and `label`, or from its folders.

A filename names every image whose path ends with it, folder by folder: `cat.jpg` all of that name,
`animals/cat.jpg` those in such a folder. The longest end that is labelled decides; of several labels of one
filename, the first in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from twinlens.engine import image_folders
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.annotation_files import is_annotation_file, read_annotations

MAX_ROWS = 50_000_000


def labels_of_dataset(images: Sequence[ImageRecord], sources: Sequence[Path]) -> dict[str, str]:
    """Label by id, of the images of a dataset that have one.

    Labels are those of `image_annotations.csv` and `.parquet` in the folders that were indexed; else those of
    Hugging Face metadata beside the images; else the names of the folders that the images lie in.

    Raises:
        InvalidValue: there are none, or a file cannot be read.
    """
    folders = list(dict.fromkeys(source if source.is_dir() else source.parent for source in sources))
    files = [
        path
        for folder in folders
        for path in sorted(folder.iterdir() if folder.is_dir() else ())
        if is_annotation_file(path.name)
    ]
    if files:
        return labels_of(images, files)
    found = image_folders.labels_of([image.path for image in images], list(map(str, folders)))
    if not found:
        places = ", ".join(map(str, folders)) or "no folder was indexed"
        raise InvalidValue(
            f"no labels in the indexed folders ({places}), neither image_annotations.csv or .parquet, nor "
            "metadata with labels, nor folders of classes: give a file with the columns filename and label "
            "with --labels"
        )
    return {image.id: found[image.path] for image in images if image.path in found}


def labels_of(images: Sequence[ImageRecord], files: Sequence[Path]) -> dict[str, str]:
    """Label by id, of the images that have one.

    Raises:
        InvalidValue: a file cannot be read, or labels none of the images.
    """
    texts: dict[str, str] = {}
    for file in files:
        if not file.is_file():
            raise InvalidValue(f"{file} is no file: give a CSV or Parquet file with filename and label")
        for annotation in read_annotations(file, file.name, max_rows=MAX_ROWS):
            if annotation.label is not None:
                texts.setdefault(annotation.filename, annotation.label)
    labels = {image.id: label for image in images if (label := _label(texts, image.path)) is not None}
    if not labels:
        raise InvalidValue(
            f"{', '.join(map(str, files))}: no filename with a label is the end of a path of the dataset"
        )
    return labels


def _label(texts: Mapping[str, str], path: str) -> str | None:
    return next((texts[end] for end in _ends(path) if end in texts), None)


def _ends(path: str) -> Iterator[str]:
    """The path, then without its first folder, and so on to the name alone."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))
