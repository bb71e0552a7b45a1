"""leaks.html: the leaks between two sets, each with its two images side by side, in one self-contained file.

It needs no script. The most similar leaks come first; what is beyond `PAIRS_SHOWN` is for a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from twinlens.engine.catalog import Failure, ImageRecord
from twinlens.engine.leaks import Leaks
from twinlens.engine.results import Leak
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

PAIRS_SHOWN = 2000
"""Leaks of one file: what a browser lays out within a second, some 30 MB."""


@dataclass(frozen=True)
class LeakSet:
    """One of the two sets, as the report shows it.

    Attributes:
        title: what a reader calls it, e.g. the name of its folder.
        dataset: folder of the dataset.
        images: how many it holds.
        failures: files that are not part of it.
        find: an image by id.
        preview: a small JPEG or WebP of an image by id, None where there is none.
    """

    title: str
    dataset: str
    images: int
    failures: Sequence[Failure]
    find: Callable[[str], ImageRecord]
    preview: Callable[[str], bytes | None]


@dataclass(frozen=True)
class LeaksReport:
    """What a report of leaks shows.

    Attributes:
        leaks: in the order to show them.
        train: the set that images leak from.
        test: the set that they leak into.
        model: name of the model of both.
        notices: sentences the reader should see first.
        generated: when.
        version: of TwinLens.
    """

    leaks: Leaks
    train: LeakSet
    test: LeakSet
    model: str
    notices: Sequence[str]
    generated: datetime
    version: str


def write_leaks_report(out: Path, report: LeaksReport, *, most: int = PAIRS_SHOWN) -> None:
    """Write the report in one step: a reader sees the old file or the whole new one.

    Args:
        out: the file; missing folders above it are made.
        report: what to show.
        most: how many leaks are shown.

    Raises:
        OSError: the file cannot be written.
    """
    shown = report.leaks[:most]
    paths = Paths.below_common_folder(_all_paths(report, shown))
    values = {
        "report": report,
        "root": paths.root,
        "generated": f"{report.generated.day} {report.generated:%B %Y, %H:%M %Z}".strip(),
        "notices": [*report.notices, *_not_shown(len(report.leaks), most)],
        "leaks": (_pair(leak, report, paths) for leak in shown),
        "failures": [*_failures(report.train, paths), *_failures(report.test, paths)],
        "style": Inline.asset("report.css", "leaks.css"),
    }
    write_page(out, "leaks.html", values)


def _not_shown(leaks: int, most: int) -> list[str]:
    if leaks <= most:
        return []
    return [f"The {most:,} most similar of {leaks:,} leaks are shown: `twinlens leaks --out` writes all."]


def _all_paths(report: LeaksReport, shown: Sequence[Leak]) -> Iterator[str]:
    yield from chain.from_iterable((leak.train_path, leak.test_path) for leak in shown)
    yield from (failure.path for side in (report.train, report.test) for failure in side.failures)


def _pair(leak: Leak, report: LeaksReport, paths: Paths) -> Mapping[str, Any]:
    return {
        "similarity": similarity_text(leak.similarity),
        "evidence": str(leak.evidence),
        "label": EVIDENCE[leak.evidence],
        "sides": [
            {"set": "test", **_image(report.test, leak.test, paths)},
            {"set": "train", **_image(report.train, leak.train, paths)},
        ],
    }


def _image(side: LeakSet, id_: str, paths: Paths) -> Mapping[str, Any]:
    image = side.find(id_)
    known = image.width > 0
    return {
        **paths.view(image.path),
        "size": f"{image.width} × {image.height} · {human_bytes(image.size)}" if known else "",
        "kind": f"{image.format.upper()} · sharpness {number_text(image.sharpness)}" if known else "",
        "picture": data_uri(side.preview(id_)),
    }


def _failures(side: LeakSet, paths: Paths) -> Iterator[Mapping[str, Any]]:
    for failure in side.failures:
        yield {"path": paths.relative(failure.path), "reason": failure.reason, "stage": failure.stage}
