"""COCO: the kept images as one, or an annotation file without the removed ones.

Source: the COCO data format, https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.engine.errors import InvalidValue
from twinlens.service.image_names import ImageNames, NameLookup
from twinlens.service.plans import Choice
from twinlens.service.table import shown

if TYPE_CHECKING:
    from twinlens.engine.catalog import ImageRecord


def coco_document(images: Iterable[ImageRecord], names: ImageNames) -> dict[str, Any]:
    """Images with their sizes and names, numbered from 1, without annotations."""
    return {
        "info": {"description": "images that TwinLens keeps"},
        "licenses": [],
        "categories": [],
        "images": [
            {
                "id": number,
                "file_name": shown(names.relative(image.path)),
                "width": image.width,
                "height": image.height,
            }
            for number, image in enumerate(images, start=1)
        ],
        "annotations": [],
    }


def filtered_coco(
    annotations: Path, choice: Choice, roots: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """An annotation file without the removed images and what is said of them; all else stays as it is.

    Returns:
        The document, and notices about images that are not part of the dataset.

    Raises:
        InvalidValue: it cannot be read, is no COCO file, or names no image of the dataset.
    """
    document = _read(annotations)
    kept = [image.path for image in choice.kept]
    lookup = NameLookup([*kept, *choice.removed], [str(annotations.absolute().parent), *roots])
    removed = frozenset(choice.removed)
    dropped: set[object] = set()
    unknown = 0
    for image in document["images"]:
        path = lookup.find(image["file_name"])
        unknown += path is None
        if path in removed:
            dropped.add(image["id"])
    if document["images"] and unknown == len(document["images"]):
        raise InvalidValue(
            f"{annotations} names {document['images'][0]['file_name']} and others, and none of them is an "
            "image of the dataset and its plan: name the annotations of these images"
        )
    filtered = dict(document)
    filtered["images"] = [image for image in document["images"] if image["id"] not in dropped]
    if isinstance(said := document.get("annotations"), list):
        filtered["annotations"] = [each for each in said if each.get("image_id") not in dropped]
    notice = f"{unknown:,} images of {annotations.name} are not in the plan: they stay in it"
    return filtered, (notice,) if unknown else ()


def _read(annotations: Path) -> dict[str, Any]:
    try:
        document = json.loads(annotations.read_bytes())
    except OSError as error:
        raise InvalidValue(f"{annotations} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{annotations} is no JSON ({error}): give a COCO annotation file") from error
    images = document.get("images") if isinstance(document, dict) else None
    said = document.get("annotations", []) if isinstance(document, dict) else None
    is_coco = isinstance(images, list) and all(
        isinstance(image, dict) and "id" in image and isinstance(image.get("file_name"), str)
        for image in images
    )
    if not is_coco or not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        raise InvalidValue(
            f'{annotations} is no COCO file: it needs a list "images", each with "id" and "file_name", '
            'and a list "annotations"'
        )
    assert isinstance(document, dict)
    return document
