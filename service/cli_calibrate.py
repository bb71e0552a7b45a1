"""`twinlens calibrate`: thresholds for a precision, measured on edits of the dataset's own images."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens import __version__
from twinlens.engine.calibration import DEFAULT_SAMPLE
from twinlens.engine.errors import DatasetReadOnly, InvalidValue
from twinlens.service import console, output
from twinlens.service.cli_images import DeviceOption, PrecisionOption
from twinlens.service.cli_options import JsonOption
from twinlens.service.cli_output import report_errors

if TYPE_CHECKING:
    from twinlens.engine.calibration import Calibration
    from twinlens.engine.dataset import Dataset

app = typer.Typer()


@app.command()
def calibrate(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Dataset folder, or the folder of images that it is of.")
    ],
    sample: Annotated[
        int, typer.Option("--sample", help="How many images are edited, 50 to 5,000.")
    ] = DEFAULT_SAMPLE,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Another seed takes other images and edits.")
    ] = 0,
    report: Annotated[
        Path | None, typer.Option("--report", help="HTML page with the plots to write.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and store nothing.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Drop what is stored; measure nothing.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure thresholds for 99, 95 and 90 % precision on a dataset's own images, as its defaults."""
    from twinlens.engine.storage import is_writable
    from twinlens.service.wiring import open_dataset

    if forget and (dry_run or report is not None):
        raise InvalidValue("--forget measures nothing: leave --dry-run and --report out")
    with open_dataset(_place(dataset), device=device, precision=precision) as data:
        if forget:
            _forget(data, json=json)
            return
        if not dry_run and not is_writable(data.folder):
            raise DatasetReadOnly(
                f"the dataset in {data.folder} cannot be written: calibrate a copy, or measure with --dry-run"
            )
        with console.progress(quiet=json) as on_progress:
            found = data.calibrate(sample=sample, seed=seed, on_progress=on_progress)
        if not dry_run:
            data.keep_calibration(found)
        if report is not None:
            _write_report(report, data, found)
        if json:
            output.write_json(_document(data, found, report, stored=not dry_run), sys.stdout.buffer)
        else:
            _print(data, found, report, stored=not dry_run)


def _place(path: Path) -> Path:
    from twinlens.service.wiring import default_dataset_folder, has_dataset

    inside = default_dataset_folder(path)
    return inside if not has_dataset(path) and has_dataset(inside) else path


def _forget(data: Dataset, *, json: bool) -> None:
    forgotten = data.forget_calibration()
    if json:
        output.write_json(
            {"dataset": str(data.folder), "forgotten": forgotten, "threshold_source": data.threshold_source},
            sys.stdout.buffer,
        )
    elif forgotten:
        console.print_lines(
            [
                f"forgotten: the default threshold is {data.default_threshold:g} again, "
                f"of {data.threshold_source}"
            ]
        )
    else:
        console.print_lines(["there was no calibration"])


def _document(data: Dataset, found: Calibration, report: Path | None, *, stored: bool) -> dict[str, Any]:
    return {
        "dataset": str(data.folder),
        "stored": stored,
        "default_threshold": data.default_threshold,
        "threshold_source": data.threshold_source,
        "report": None if report is None else str(report),
        "calibration": found.to_json(),
    }


def _print(data: Dataset, found: Calibration, report: Path | None, *, stored: bool) -> None:
    from twinlens.service.calibration_text import calibration_lines

    console.print_lines(calibration_lines(found, {image.id: _short(image.path) for image in data.images()}))
    if stored:
        console.print_lines(
            [
                f"stored with {data.folder}: the default threshold is {data.default_threshold:g}, "
                f"{data.threshold_source}"
            ]
        )
    else:
        console.print_lines(["nothing was stored (--dry-run)"])
    if report is not None:
        console.print_lines([f"report {report}"])


def _short(path: str) -> str:
    """A path, relative where that is shorter."""
    return min(path, os.path.relpath(path), key=len)


def _write_report(path: Path, data: Dataset, found: Calibration) -> None:
    from twinlens.service.calibration_report import CalibrationReport, write_calibration_report

    folder = data.sources()[0].name if data.sources() else data.folder.name
    content = CalibrationReport(
        title=folder,
        dataset=str(data.folder),
        calibration=found,
        paths={image.id: image.path for image in data.images()},
        generated=datetime.now().astimezone(),
        version=__version__,
    )
    with report_errors(path):
        write_calibration_report(path, content)
