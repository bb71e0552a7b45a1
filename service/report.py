"""report.html: one self-contained file that shows what was found, to look at without a server.

Pictures are WebP data URIs. Clusters lie in the file as inert JSON, one `<script type="application/json">`
each, and a small index of all of them; the script turns one page of clusters at a time into elements,
so that a browser never holds more than a page of images. The file is written piece by piece: memory
holds the pictures of one cluster. A content security policy allows no network and no script or style
but the two of this package, so that a file name can never become either.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from twinlens.engine.catalog import Failure
from twinlens.engine.results import Cluster, Evidence, Member, Uniqueness
from twinlens.service.histogram import histogram
from twinlens.service.output import spare_bytes, totals
from twinlens.service.table import shown

MEMBERS_SHOWN = 24
"""Members of one cluster that are shown with a picture; the others are listed by name."""

PICTURES = 30_000
"""Pictures of members in one file: what browsers open without complaint, some 200 MB."""

_EVIDENCE = {
    Evidence.BYTES: "identical bytes",
    Evidence.PIXELS: "identical pixels",
    Evidence.HASH: "hash",
    Evidence.EMBEDDING: "look-alike",
}


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
        preview: a small WebP of an image by id, None where there is none.
        generated: when.
        version: of TwinLens.
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


def write_report(out: Path, report: Report) -> None:
    """Write the report in one step: a reader sees the old file or the whole new one.

    Args:
        out: the file; missing folders above it are made.
        report: what to show.

    Raises:
        OSError: the file cannot be written.
    """
    pieces = _template().generate(_page(report))
    with _replacing(out) as file:
        file.writelines(pieces)


@contextmanager
def _replacing(out: Path) -> Iterator[TextIO]:
    target = Path(os.path.realpath(out))
    if target.exists() and not target.is_file():
        with open(target, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".new")
    try:
        with open(beside, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"count": "{:,}".format, "size": human_bytes, "similarity": similarity_text}
    return environment.from_string(_asset("report.html"))


def _asset(name: str) -> str:
    return resources.files("twinlens.service").joinpath("templates", name).read_text("utf-8")


def _page(report: Report) -> Mapping[str, Any]:
    """What the template fills in; the long parts are iterators."""
    paths = _Paths.below_common_folder(_all_paths(report))
    pictured = _pictured(report.clusters)
    return {
        "report": report,
        "root": paths.root,
        "totals": totals(report.clusters),
        "generated": f"{report.generated.day} {report.generated:%B %Y, %H:%M %Z}".strip(),
        "notices": [*report.notices, *_missing_pictures(pictured, len(report.clusters))],
        "evidence": {str(kind): label for kind, label in _EVIDENCE.items()},
        "index": (_index_entry(cluster, paths) for cluster in report.clusters),
        "clusters": (
            _cluster(cluster, paths, report.preview if number < pictured else _no_picture)
            for number, cluster in enumerate(report.clusters)
        ),
        "unique": (_unique(score, paths, report.preview) for score in report.unique),
        "failures": (replace(failure, path=paths.relative(failure.path)) for failure in report.failures),
        "histogram": histogram(report.nearest, report.threshold),
        "style": _Inline.asset("report.css"),
        "script": _Inline.asset("report.js"),
    }


@dataclass(frozen=True)
class _Inline:
    """A style or script of this package and the hash by which the page's policy allows it."""

    text: Markup
    hash: str

    @classmethod
    def asset(cls, name: str) -> _Inline:
        text = _asset(name)
        return cls(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


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


def _index_entry(cluster: Cluster, paths: _Paths) -> list[Any]:
    """What sorting and filtering need: size, least similarity, spare bytes, evidence, names."""
    names = [shown(paths.relative(member.path)) for member in cluster.members]
    return [cluster.size, cluster.min_similarity, spare_bytes(cluster), str(cluster.evidence), names]


def _cluster(cluster: Cluster, paths: _Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    bound = "" if cluster.min_is_exact else "≥\u00a0"
    return {
        "id": cluster.cluster_id,
        "lowest": bound + similarity_text(cluster.min_similarity),
        "mean": similarity_text(cluster.mean_similarity),
        "links": cluster.links_out,
        "spare": human_bytes(spare_bytes(cluster)),
        "members": [_member(member, paths, preview) for member in cluster.members[:MEMBERS_SHOWN]],
    }


def _member(member: Member, paths: _Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    known = member.width > 0
    kind = f"{member.format.upper()} · sharpness {number_text(member.sharpness)}"
    return {
        **paths.view(member.path),
        "keeper": member.keeper,
        "similarity": similarity_text(member.similarity_to_keeper),
        "evidence": str(member.evidence or ""),
        "size": f"{member.width} × {member.height} · {human_bytes(member.bytes)}" if known else "",
        "kind": kind if known else "",
        "picture": _base64(preview(member.id)),
    }


def _unique(score: Uniqueness, paths: _Paths, preview: Callable[[str], bytes | None]) -> dict[str, Any]:
    return {
        **paths.view(score.path),
        "score": "–" if score.score is None else f"{score.score:.3f}",
        "percentile": "–" if score.percentile is None else f"{score.percentile:.0f}",
        "nearest": None if score.nearest_path is None else paths.view(score.nearest_path),
        "similarity": score.nearest_similarity,
        "picture": _base64(preview(score.id)),
    }


def _base64(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()


# -- paths -----------------------------------------------------------------------------------------


def _all_paths(report: Report) -> Iterator[str]:
    for cluster in report.clusters:
        yield from (member.path for member in cluster.members)
    yield from (score.path for score in report.unique)
    yield from (failure.path for failure in report.failures)


@dataclass(frozen=True)
class _Paths:
    """Paths as they are shown: relative to the folder that all of them share."""

    root: str

    @classmethod
    def below_common_folder(cls, paths: Iterable[str]) -> _Paths:
        folders = {os.path.dirname(path) for path in paths}
        try:
            return cls(os.path.commonpath(folders))
        except ValueError:  # none at all, or absolute beside relative ones
            return cls("")

    def relative(self, path: str) -> str:
        return os.path.relpath(path, self.root) if self.root else path

    def view(self, path: str) -> dict[str, Any]:
        folder, name = os.path.split(self.relative(path))
        return {"name": shown(name), "folder": shown(folder), "path": shown(path), "href": _file_link(path)}


def _file_link(path: str) -> str | None:
    try:
        return Path(path).as_uri()
    except ValueError:  # not an absolute path, or one that no file system can hold
        return None


# -- numbers ---------------------------------------------------------------------------------------


def similarity_text(similarity: float) -> str:
    """Three decimals, rounded down: 0.9996 is not shown as 1, nor 0.9496 as 0.950."""
    return f"{round(similarity * 1_000_000) // 1000 / 1000:.3f}"


def number_text(number: float) -> str:
    """Whole numbers from ten on, one decimal below."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def human_bytes(count: int) -> str:
    """A size in decimal units: 512 bytes, 1.4 MB, 12 GB."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "bytes" else f"{size:,.0f} {unit}"
