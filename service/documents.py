"""JSON documents of the commands that answer more than one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.results import EvidenceMode
from twinlens.service.output import (
    UNIQUENESS,
    Column,
    Kind,
    Row,
    Schema,
    cluster_json,
    leak_rows,
    totals,
    uniqueness_rows,
)

if TYPE_CHECKING:
    from twinlens.engine.calibration import Calibration
    from twinlens.engine.catalog import Failure, ImageRecord
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.ingest import IngestReport
    from twinlens.engine.leaks import Leaks
    from twinlens.engine.results import Explanation, Uniqueness
    from twinlens.engine.types import ModelDescription
    from twinlens.models import KnownModel
    from twinlens.service.report import Report

IMAGES = Schema(
    "images",
    (
        *UNIQUENESS.columns,
        Column("bytes", Kind.INTEGER, "size of the file"),
        Column("format", Kind.STRING, "jpeg, png, ..."),
        Column("exif_tags", Kind.INTEGER, "how many EXIF tags"),
        Column("sharpness", Kind.NUMBER, "variance of the Laplacian at a common size"),
        Column("brightness", Kind.NUMBER, "mean luma, 0 to 255"),
        Column("contrast", Kind.NUMBER, "spread of the colours, in grey levels"),
        Column("low_information", Kind.BOOLEAN, "flat, blank or nearly constant"),
        Column("digest", Kind.STRING, "of the bytes, hexadecimal"),
    ),
)
"""Every image with its facts and scores, one row each."""


def image_rows(images: Iterable[ImageRecord], scores: Sequence[Uniqueness]) -> Iterator[Row]:
    """Rows of `IMAGES`, in the order of the scores."""
    known = {image.id: image for image in images}
    for row in uniqueness_rows(scores):
        image = known[str(row["id"])]
        yield {
            **row,
            "bytes": image.size,
            "format": image.format,
            "exif_tags": image.exif_tags,
            "sharpness": image.sharpness,
            "brightness": image.brightness,
            "contrast": image.contrast,
            "low_information": image.low_information,
            "digest": image.digest.hex() if image.digest else None,
        }


def run_document(report: Report, html: Path | None) -> dict[str, Any]:
    """What `run --json` prints."""
    sums = totals(report.clusters)
    return {
        "clusters": [cluster_json(cluster) for cluster in report.clusters],
        "unique": list(uniqueness_rows(report.unique)),
        "failures": [failure_document(failure) for failure in report.failures],
        "images": report.images,
        "cluster_count": sums.clusters,
        "clustered_images": sums.clustered,
        "spare_images": sums.spare,
        "spare_bytes": sums.spare_bytes,
        "skipped": report.skipped,
        "dataset": report.dataset,
        "model": report.model,
        "threshold": report.threshold,
        "threshold_source": report.threshold_source,
        "linkage": report.linkage,
        "notices": list(report.notices),
        "report": str(html) if html is not None else None,
    }


def index_document(dataset: Dataset, reports: Sequence[IngestReport]) -> dict[str, Any]:
    """What `index --json` prints."""
    return {
        "dataset": str(dataset.folder),
        "model": dataset.description.name,
        "images": len(dataset),
        "sources": [asdict(report) for report in reports],
        "failures": [failure_document(failure) for failure in dataset.failures()],
    }


def failure_document(failure: Failure) -> dict[str, Any]:
    """One file that is not part of a dataset."""
    return asdict(failure)


def leaks_document(leaks: Leaks, train: Dataset, test: Dataset, source: str) -> dict[str, Any]:
    """What `leaks --json` prints; `source` says where its threshold comes from."""
    return {
        "leaks": leak_rows(leaks),
        "leak_count": len(leaks),
        "threshold": leaks.threshold,
        "threshold_source": source,
        "model": train.description.name,
        "train": _leak_set(train, leaks.leaked_train),
        "test": _leak_set(test, leaks.leaked_test),
        "notices": notices(train),
    }


def _leak_set(dataset: Dataset, leaked: int) -> dict[str, Any]:
    return {
        "dataset": str(dataset.folder),
        "images": len(dataset),
        "leaked": leaked,
        "failures": len(dataset.failures()),
    }


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """What `explain --json` prints."""
    return asdict(explanation)


def model_document(model: KnownModel) -> dict[str, Any]:
    """One model of `models --json`."""
    return asdict(model)


def info_document(dataset: Dataset) -> dict[str, Any]:
    """What `info --json` prints."""
    description = dataset.description
    return {
        "dataset": str(dataset.folder),
        "images": len(dataset),
        "failures": len(dataset.failures()),
        "sources": [str(source) for source in dataset.sources()],
        "model": description.name,
        "revision": description.revision,
        "dim": description.dim,
        "fingerprint": description.fingerprint,
        "text": description.text_capable,
        "thresholds": thresholds(description),
        "threshold_source": dataset.threshold_source,
        "calibration": calibration_summary(dataset.calibration),
        "pairs_kept_from": dataset.kept_from,
        "join": dataset.join,
        "isolation": dataset.isolation,
        "search_recall": dataset.search_recall,
    }


def thresholds(description: ModelDescription) -> dict[str, Any]:
    """A model's operating points, or those that were calibrated in their place."""
    return asdict(description.points)


def threshold_source(
    dataset: Dataset, asked: float | None, evidence: EvidenceMode = EvidenceMode.EMBEDDING
) -> str:
    """Where the threshold of an answer comes from."""
    if evidence is EvidenceMode.HASH:
        return "hashes"
    return dataset.threshold_source if asked is None else "asked for"


def calibration_summary(calibration: Calibration | None) -> dict[str, Any] | None:
    """A calibration without its curves."""
    if calibration is None:
        return None
    names = ("made", "seed", "held", "images", "sample", "edits", "compared", "left_out", "twins", "levels")
    document = calibration.to_json()
    return {name: document[name] for name in names}


def notices(dataset: Dataset) -> list[str]:
    """What a reader of a result should know about how it came to be."""
    description = dataset.description
    said = []
    if dataset.calibration_ignored is not None:
        said.append(
            f"The calibration is not used: {dataset.calibration_ignored}. Run `twinlens calibrate` again."
        )
    if dataset.calibration is not None and dataset.calibration.is_outgrown(len(dataset)):
        said.append(
            f"The thresholds were calibrated for {dataset.calibration.held:,} images, and the dataset has "
            f"{len(dataset):,} now: run `twinlens calibrate` again."
        )
    if dataset.join is not None:
        said.append(_approximate(dataset.join))
    if not description.points.measured:
        said.append(
            f"The thresholds of {description.name} are uncalibrated: they were not measured on labelled "
            "pairs. Look at a few clusters before you trust them, or run `twinlens calibrate`."
        )
    return said


def _approximate(join: dict[str, Any]) -> str:
    recall, sample = join["recall"], join["recall_measured_on"]
    found = "an unknown share" if recall is None else f"{recall:.2%}"
    return (
        f"Images were compared inside {join['cells']:,} cells, not each with all: {found} of the pairs at or "
        f"above {join['threshold']:g} is found, as measured on {sample['rows']:,} images with "
        f"{sample['pairs']:,} such pairs. Nearest others are those of shared cells."
    )


def nearest_similarities(scores: Iterable[Uniqueness]) -> NDArray[np.float64]:
    """Nearest-neighbour similarities of all images that have one, float64 [n]."""
    return np.array([s.nearest_similarity for s in scores if s.nearest_similarity is not None], np.float64)
