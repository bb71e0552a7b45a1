"""`twinlens leaks`: images of a test set that have a twin in the training set, with an exit code for CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens import __version__
from twinlens.engine.errors import InvalidValue
from twinlens.engine.results import MAX_LEAKS
from twinlens.service import console, documents, output
from twinlens.service.cli_images import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ThresholdOption,
    WorkersOption,
)
from twinlens.service.cli_options import EXIT_LEAKS, JsonOption
from twinlens.service.cli_output import FormatOption, OutOption, format_of, opened_output, report_errors
from twinlens.service.output import Format

if TYPE_CHECKING:
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.leaks import Leaks
    from twinlens.service.leaks_report import LeakSet

app = typer.Typer()

_SET = "a dataset folder, or a folder of images, which is then brought up to date first"


@app.command()
def leaks(
    train: Annotated[Path, typer.Option("--train", help=f"Training set: {_SET}.", show_default=False)],
    test: Annotated[Path, typer.Option("--test", help="Test set: likewise.", show_default=False)],
    threshold: ThresholdOption = None,
    model: ModelOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    max_pairs: Annotated[
        int, typer.Option("--max-pairs", help="Refuse thresholds with more leaks than this.")
    ] = MAX_LEAKS,
    format: FormatOption = None,
    out: OutOption = None,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report to write.")] = None,
    json: JsonOption = False,
) -> None:
    """Find images of a test set that have a twin in the training set; exit code 3 if there are any."""
    from twinlens.engine.leaks import find_leaks

    with _opened(train, test, model, device, precision, workers, quiet=json) as (first, second):
        chosen = first.default_threshold if threshold is None else threshold
        source = documents.threshold_source(first, threshold)
        found = find_leaks(first.snapshot(), second.snapshot(), chosen, limit=max_pairs, workers=workers)
        if report is not None:
            _write_report(report, found, (train, first), (test, second))
        if (kind := format_of(format, out, json=json)) is None:
            console.print_leaks(found, documents.notices(first), report)
        else:
            with opened_output(out, kind) as file:
                if kind is Format.JSON:
                    output.write_json(documents.leaks_document(found, first, second, source), file)
                else:
                    output.write_table(output.leak_rows(found), output.LEAKS, kind.value, file)
            if found:
                console.print_notice(console.leaks_summary(found))
        if failed := len(first.failures()) + len(second.failures()):
            console.print_notice(f"{failed:,} files could not be read, so they were not compared")
    if found:
        raise typer.Exit(EXIT_LEAKS)


@contextmanager
def _opened(
    train: Path, test: Path, model: str, device: str, precision: str, workers: int | None, *, quiet: bool
) -> Iterator[tuple[Dataset, Dataset]]:
    """Both datasets, those of folders of images made and brought up to date, with the model of the other."""
    from twinlens.engine.ingest import IngestOptions
    from twinlens.engine.leaks import refuse_two_models
    from twinlens.service.indexing import indexed, refuse_other_model
    from twinlens.service.wiring import has_dataset, open_dataset

    paths = (train, test)
    places = [_place(path) for path in paths]
    if places[0].resolve() == places[1].resolve():
        raise InvalidValue(f"--train {train} and --test {test} are one dataset: give two sets")
    model = _model_of(places, model)
    with ExitStack() as stack:
        opened = []
        for path, place in zip(paths, places, strict=True):
            if has_dataset(path):
                data = stack.enter_context(open_dataset(path, device=device, precision=precision))
                refuse_other_model(data, model)
            else:
                options = IngestOptions(workers=workers)
                context = indexed([path], place, model, device, precision, options, quiet=quiet)
                data, _ = stack.enter_context(context)
            model = data.description.name
            if not len(data):
                raise InvalidValue(f"{path} holds no image that can be read, so there is nothing to compare")
            opened.append(data)
        refuse_two_models(opened[0].description, opened[1].description)
        yield opened[0], opened[1]


def _place(path: Path) -> Path:
    """Where the dataset of a set lies, or will."""
    from twinlens.service.wiring import default_dataset_folder, has_dataset

    if has_dataset(path):
        return path
    if not path.is_dir():
        problem = "is no folder" if path.exists() else "does not exist"
        raise InvalidValue(f"{path} {problem}: give a folder of images or a dataset folder")
    return default_dataset_folder(path)


def _model_of(places: Sequence[Path], model: str) -> str:
    """The model that both sets have: as asked for, else that of a dataset that is there.

    Raises:
        ModelMismatch: two datasets are there, of different models.
    """
    from twinlens.engine.leaks import refuse_two_models
    from twinlens.service.wiring import has_dataset, open_dataset

    there = []
    for place in places:
        if has_dataset(place):
            with open_dataset(place) as data:
                there.append(data.description)
    if len(there) == 2:
        refuse_two_models(*there)
    return there[0].name if there and model == "auto" else model


def _write_report(path: Path, found: Leaks, train: tuple[Path, Dataset], test: tuple[Path, Dataset]) -> None:
    from twinlens.service.leaks_report import LeaksReport, write_leaks_report

    report = LeaksReport(
        leaks=found,
        train=_set(*train),
        test=_set(*test),
        model=train[1].description.name,
        notices=documents.notices(train[1]),
        generated=datetime.now().astimezone(),
        version=__version__,
    )
    with report_errors(path):
        write_leaks_report(path, report)


def _set(path: Path, data: Dataset) -> LeakSet:
    from twinlens.service.leaks_report import LeakSet
    from twinlens.service.wiring import DATASET_FOLDER

    folder = path.absolute()
    return LeakSet(
        title=folder.parent.name if folder.name == DATASET_FOLDER else folder.name,
        dataset=str(data.folder),
        images=len(data),
        failures=data.failures(),
        find=data.snapshot().find,
        preview=data.preview,
    )
