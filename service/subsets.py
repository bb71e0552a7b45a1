"""The most representative images of a dataset, as `twinlens curate --keep` asks for them and answers."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from twinlens.engine.errors import InvalidValue

if TYPE_CHECKING:
    from twinlens.engine.curation import Plan
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.subset import Subset

KeepNumberOption = Annotated[
    int | None, typer.Option("--keep", help="Keep this many images: the most representative ones.")
]
KeepFractionOption = Annotated[
    float | None, typer.Option("--keep-fraction", help="Keep this part of the images, in (0, 1].")
]
PerClassOption = Annotated[
    bool,
    typer.Option(
        "--per-class", help="Each class keeps its share: image_annotations.csv, metadata, or folders."
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", help="Classes from this CSV or Parquet file: columns filename and label."),
]


class Asked(NamedTuple):
    """The options; false if none is given."""

    keep: int | None
    fraction: float | None
    per_class: bool
    labels: Path | None

    def __bool__(self) -> bool:
        return self != Asked(None, None, False, None)


def subset_of(
    dataset: Dataset,
    asked: Asked,
    *,
    rules: Sequence[str],
    protected: AbstractSet[str],
    among: AbstractSet[str] | None = None,
) -> Subset:
    """The most representative images, as many as are asked for, of those that may stay.

    Raises:
        InvalidValue: a number, fraction, rule or file of labels that is not served, or classes without a
            number of images to keep.
    """
    from twinlens.engine.subset import choose_subset
    from twinlens.service.labels import labels_of, labels_of_dataset

    if asked.keep is None and asked.fraction is None:
        raise InvalidValue(
            "--per-class and --labels share out --keep N or --keep-fraction F: give one of them"
        )
    by_id = None
    if asked.per_class or asked.labels is not None:
        images = dataset.images()
        by_id = (
            labels_of_dataset(images, dataset.sources())
            if asked.labels is None
            else labels_of(images, [asked.labels])
        )
    return choose_subset(
        dataset.snapshot(),
        keep=asked.keep,
        fraction=asked.fraction,
        rules=rules,
        protected=protected,
        labels=by_id,
        among=among,
    )


def plan_of(subset: Subset, rules: Sequence[str]) -> Plan:
    """The same as a plan, which can be written and applied like any other.

    Its threshold is what the coverage promises: the least similarity of a removed image with information to
    its twin. What stays comes in the order of choice.
    """
    from twinlens.engine.curation import Plan, Removal

    return Plan(
        threshold=round(1.0 - subset.coverage, 6),
        rules=tuple(rules),
        keep=subset.keep,
        remove=tuple(
            Removal(each.image, each.twin, each.similarity, each.rule, each.twin) for each in subset.remove
        ),
        conflicts=(),
    )


def coverage_document(subset: Subset) -> dict[str, Any]:
    """What the JSON of such a plan says beside it."""
    return {
        "coverage": subset.coverage,
        "coverage_after": list(subset.after),
        "classes": [
            {
                "label": share.label,
                "images": share.images,
                "kept": share.kept,
                "coverage": share.coverage,
            }
            for share in subset.classes
        ],
    }
