"""report.html: one self-contained file that shows what was found, to look at without a server.

Clusters lie in the file as inert JSON, one `<script type="application/json">` each, and a small index of
all of them; the script turns one page of clusters at a time into elements, so that a browser never holds
more than a page of images. The file is written piece by piece: memory holds the pictures of one cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.calibration import Calibration
from twinlens.engine.catalog import Failure
from twinlens.engine.results import Cluster, Member, Uniqueness
from twinlens.service.calibration_plot import calibration_view
from twinlens.service.histogram import histogram
from twinlens.service.output import spare_bytes, totals
from twinlens.service.page import (
    EVIDENCE,
    Inline,
    Paths,
    data_uri,
    human_bytes,
    number_text,
    similarity_text,
    write_page,
)
from twinlens.service.table import shown

MEMBERS_SHOWN = 24
"""Members of one cluster that are shown with a picture; the others are listed by name."""

PICTURES = 30_000
"""Pictures of members in one file: what browsers open without complaint, some 230 MB."""


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: what was looked at, e.g. the name of the folder.
        dataset: folder of the dataset.
        model: name of its model.
        threshold: at which clusters were made, in [0, 1].
        linkage: by which they were made.
        images: how many the dataset holds.
        clusters: in the order to show them.
        unique: most unique first, as many as are to be shown.
        failures: files that are not part of the dataset.
        skipped: how many files were no images.
        nearest: float64 [n], similarity of each image to its nearest other one, in [0, 1]; what is not
            finite is left out.
        notices: sentences the reader should see first.
        preview: a small JPEG or WebP of an image by id, None where there is none.
        generated: when.
        version: of TwinLens.
        threshold_source: where the threshold comes from, in a few words.
        calibration: of the dataset, if it has one.
    """

    title: str
    dataset: str
    model: str
    threshold: float
    linkage: str
    images: int
    clusters: Sequence[Cluster]
    unique: Sequence[Uniqueness]
    failures: Sequence[Failure]
    skipped: int
    nearest: NDArray[np.float64]
    notices: Sequence[str]
    preview: Callable[[str], bytes | None]
    generated: datetime
    version: str
    threshold_source: str = "asked for"
    calibration: Calibration | None = None


def write_report(out: Path, report: Report) -> None:
    """Write the report in one step: a reader sees the old file or the whole new one.

    Args:
        out: the file; missing folders above it are made.
        report: what to show.

    Raises:
        OSError: the file cannot be written.
    """
    write_page(out, "report.html", _page(report))


def _page(report: Report) -> Mapping[str, Any]:
    """What the template fills in; the long parts are iterators."""
    paths = Paths.below_common_folder(_all_paths(report))
    pictured = _pictured(report.clusters)
    return {
        "report": report,
        "root": paths.root,
        "totals": totals(report.clusters),
        "generated": f"{report.generated.day} {report.generated:%B %Y, %H:%M %Z}".strip(),
        "notices": [*report.notices, *_missing_pictures(pictured, len(report.clusters))],
        "evidence": {str(kind): label for kind, label in EVIDENCE.items()},
        "index": (_index_entry(cluster, paths) for cluster in report.clusters),
        "clusters": (
            _cluster(cluster, paths, report.preview if number < pictured else _no_picture)
            for number, cluster in enumerate(report.clusters)
        ),
        "unique": (_unique(score, paths, report.preview) for score in report.unique),
        "failures": (replace(failure, path=paths.relative(failure.path)) for failure in report.failures),
        "histogram": histogram(report.nearest, report.threshold),
        "calibration": None if report.calibration is None else calibration_view(report.calibration, {}),
        "style": Inline.asset("report.css", "calibration.css"),
        "script": Inline.asset("report.js"),
    }


# -- clusters --------------------------------------------------------------------------------------


def _pictured(clusters: Sequence[Cluster]) -> int:
    """How many clusters, from the first, get pictures."""
    return sum(sofar <= PICTURES for sofar in accumulate(min(c.size, MEMBERS_SHOWN) for c in clusters))


def _missing_pictures(pictured: int, clusters: int) -> list[str]:
    if pictured == clusters:
        return []
    return [f"To keep this file small, only the first {pictured:,} of {clusters:,} clusters have pictures."]


def _no_picture(_: str) -> None:
    return None


def _index_entry(cluster: Cluster, paths: Paths) -> list[Any]:
    """What sorting and filtering need: size, least similarity, spare bytes, evidence, names."""
    names = [shown(paths.relative(member.path)) for member in cluster.members]
    return [cluster.size, cluster.min_similarity, spare_bytes(cluster), str(cluster.evidence), names]


def _cluster(cluster: Cluster, paths: Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    bound = "" if cluster.min_is_exact else "≥\u00a0"
    return {
        "id": cluster.cluster_id,
        "lowest": bound + similarity_text(cluster.min_similarity),
        "mean": similarity_text(cluster.mean_similarity),
        "links": cluster.links_out,
        "spare": human_bytes(spare_bytes(cluster)),
        "members": [_member(member, paths, preview) for member in cluster.members[:MEMBERS_SHOWN]],
    }


def _member(member: Member, paths: Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    known = member.width > 0
    kind = f"{member.format.upper()} · sharpness {number_text(member.sharpness)}"
    return {
        **paths.view(member.path),
        "keeper": member.keeper,
        "similarity": similarity_text(member.similarity_to_keeper),
        "evidence": str(member.evidence or ""),
        "size": f"{member.width} × {member.height} · {human_bytes(member.bytes)}" if known else "",
        "kind": kind if known else "",
        "picture": data_uri(preview(member.id)),
    }


def _unique(score: Uniqueness, paths: Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    return {
        **paths.view(score.path),
        "score": "–" if score.score is None else f"{score.score:.3f}",
        "percentile": "–" if score.percentile is None else f"{score.percentile:.0f}",
        "nearest": None if score.nearest_path is None else paths.view(score.nearest_path),
        "similarity": score.nearest_similarity,
        "picture": data_uri(preview(score.id)),
    }


# -- paths -----------------------------------------------------------------------------------------


def _all_paths(report: Report) -> Iterator[str]:
    for cluster in report.clusters:
        yield from (member.path for member in cluster.members)
    yield from (score.path for score in report.unique)
    yield from (failure.path for failure in report.failures)
