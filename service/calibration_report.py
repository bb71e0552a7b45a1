"""calibration.html: what calibrating a dataset measured, in one self-contained file without a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from twinlens.engine.calibration import Calibration
from twinlens.service.calibration_plot import calibration_view
from twinlens.service.page import Inline, Paths, write_page


@dataclass(frozen=True)
class CalibrationReport:
    """What the page shows.

    Attributes:
        title: what was looked at, e.g. the name of the folder.
        dataset: folder of the dataset.
        calibration: what was measured.
        paths: of the images of the dataset, by id.
        generated: when.
        version: of TwinLens.
    """

    title: str
    dataset: str
    calibration: Calibration
    paths: Mapping[str, str]
    generated: datetime
    version: str


def write_calibration_report(out: Path, report: CalibrationReport) -> None:
    """Write the page in one step: a reader sees the old file or the whole new one.

    Args:
        out: the file; missing folders above it are made.
        report: what to show.

    Raises:
        OSError: the file cannot be written.
    """
    shown = {id_ for pair in report.calibration.alike for id_ in (pair.a, pair.b)} & set(report.paths)
    paths = Paths.below_common_folder(report.paths[id_] for id_ in shown)
    values = {
        "report": report,
        "generated": f"{report.generated.day} {report.generated:%B %Y, %H:%M %Z}".strip(),
        "calibration": calibration_view(
            report.calibration, {id_: paths.relative(report.paths[id_]) for id_ in shown}
        ),
        "style": Inline.asset("report.css", "calibration.css"),
    }
    write_page(out, "calibration.html", values)
