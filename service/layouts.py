"""What a plan keeps and removes, in the formats of other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.engine.errors import InvalidValue
from twinlens.engine.image_folders import labels_of
from twinlens.service.cli_layouts import Layout
from twinlens.service.cli_output import opened_output
from twinlens.service.export_coco import coco_document, filtered_coco
from twinlens.service.export_fiftyone import write_fiftyone
from twinlens.service.export_metadata import write_metadata
from twinlens.service.export_text import write_paths
from twinlens.service.export_webdataset import write_webdataset
from twinlens.service.image_names import ImageNames
from twinlens.service.output import Format, write_json
from twinlens.service.plans import Choice, read_choice

if TYPE_CHECKING:
    from twinlens.engine.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Written:
    """What an export wrote.

    Attributes:
        counts: what of it, by name.
        notices: what a reader should know.
        failures: what could not be written, each with its name and reason.
    """

    counts: dict[str, int]
    notices: tuple[str, ...] = ()
    failures: tuple[str, ...] = field(default=())


def export_choice(
    data: Dataset, plan: Path | None, layout: Layout, to: Path, *, coco: Path | None, null: bool
) -> Written:
    """Write the images that a plan keeps, or all of a dataset, into a folder.

    Args:
        data: the dataset.
        plan: of `curate`; None keeps all images.
        layout: how.
        to: the folder, made if it is not there.
        coco: an annotation file to filter; only as COCO.
        null: end each path with NUL; only as text.

    Raises:
        InvalidValue: an option, the plan or an annotation file is off, or the folder cannot be written.
    """
    if coco is not None and layout is not Layout.COCO:
        raise InvalidValue(f"--coco names annotations to filter, and goes with --as coco, not {layout}")
    if null and layout is not Layout.TEXT:
        raise InvalidValue(f"--null ends paths, and goes with --as text, not {layout}")
    if layout is Layout.WEBDATASET and (inside := _source_around(data, to)) is not None:
        raise InvalidValue(f"{to} lies in {inside}, and its shards would be indexed with those: name another")
    choice = read_choice(plan, data.images())
    names = ImageNames(data.sources())
    try:
        to.mkdir(parents=True, exist_ok=True)
        if layout is Layout.WEBDATASET and any(to.iterdir()):
            raise InvalidValue(f"{to} is not empty: name a new folder for the shards")
        written = _write(data, choice, names, layout, to, coco=coco, null=null)
    except OSError as error:
        raise InvalidValue(f"{to} cannot be written: {error.strerror}") from error
    return Written(written.counts, choice.notices + written.notices, written.failures)


def _source_around(data: Dataset, to: Path) -> Path | None:
    """A folder that was indexed and that the folder to write lies in."""
    absolute = to.absolute()
    return next((each for each in data.sources() if each.is_dir() and absolute.is_relative_to(each)), None)


def _write(
    data: Dataset,
    choice: Choice,
    names: ImageNames,
    layout: Layout,
    to: Path,
    *,
    coco: Path | None,
    null: bool,
) -> Written:
    if layout is Layout.TEXT:
        kept = write_paths((image.path for image in choice.kept), to / "kept.txt", null=null)
        removed = write_paths(choice.removed, to / "removed.txt", null=null)
        return Written({"kept": kept, "removed": removed})
    if layout is Layout.COCO:
        notices: tuple[str, ...] = ()
        document: dict[str, Any] = coco_document(choice.kept, names)
        if coco is not None:
            document, notices = filtered_coco(coco, choice, names.roots)
        with opened_output(to / "annotations.json", Format.JSON) as out:
            write_json(document, out)
        return Written({key: len(document.get(key, ())) for key in ("images", "annotations")}, notices)
    if layout is Layout.FIFTYONE:
        labels = labels_of([image.path for image in choice.kept], names.roots)
        count, unwritten = write_fiftyone(choice.kept, labels, to)
        return Written({"images": count}, failures=unwritten)
    if layout is Layout.METADATA:
        return Written(*write_metadata(choice, names, to))
    shards = write_webdataset(choice, (failure.path for failure in data.failures()), names, to)
    counts = {"shards": shards.shards, "samples": shards.samples, "dropped": shards.dropped}
    notice = f"{shards.unplanned:,} images failed or are newer than the plan: left out with their samples"
    return Written(counts, (notice,) if shards.unplanned else (), shards.failures)
