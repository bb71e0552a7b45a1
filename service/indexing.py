"""A dataset brought up to date with its sources, and what one run of it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from twinlens import __version__
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.engine.ingest import IngestOptions, IngestReport
from twinlens.engine.memory import give_back_freed_memory, kept_for_good
from twinlens.engine.results import Cluster, Linkage, Uniqueness
from twinlens.engine.sources import source_exists
from twinlens.models import resolve_auto
from twinlens.service import console, documents
from twinlens.service.downloading import download_listed
from twinlens.service.report import Report
from twinlens.service.wiring import create_dataset, has_dataset, open_dataset

_UNIQUE_SHOWN = 60


@contextmanager
def indexed(
    sources: Sequence[Path],
    place: Path,
    model: str,
    device: str,
    precision: str,
    options: IngestOptions,
    *,
    quiet: bool,
    allow_private_urls: bool = False,
) -> Iterator[tuple[Dataset, list[IngestReport]]]:
    """The dataset at `place`, made if it is not there, brought up to date with the sources; and how it went.

    Raises:
        InvalidValue: a source that does not exist, or a model other than that of the dataset.
        ModelError: the model cannot be had.
        DatasetError: the dataset cannot be opened or written.
    """
    for source in sources:
        if not source_exists(source):
            raise InvalidValue(
                f"{source} does not exist: give a folder of images, an archive or a list of paths"
            )
    if has_dataset(place):
        data = open_dataset(place, device=device, precision=precision)
        refuse_other_model(data, model)
    else:
        name, notice = _resolve(model)
        if notice:
            console.print_notice(notice)
        namespace = sources[0].absolute().name
        with kept_for_good():
            data = create_dataset(place, name, device=device, precision=precision, namespace=namespace)
    with data:
        with console.progress(quiet=quiet) as on_progress:
            download_listed(
                sources,
                data.folder,
                on_progress,
                allow_private=allow_private_urls,
                retry_failed=options.retry_failed,
            )
        reports = []
        for source in sources:
            with console.progress(quiet=quiet) as on_progress:
                reports.append(data.add(source, options, on_progress, relate=False))
        # What decoding and embedding took is not needed any more, and comparing wants some.
        give_back_freed_memory()
        with console.progress(quiet=quiet) as on_progress:
            data.relate(on_progress, options.join)
        if archives := sum(report.archives for report in reports):
            console.print_notice(
                f"{archives:,} archives lie in these folders and were not entered: name those with images as "
                "sources of their own"
            )
        yield data, reports


def run_summary(
    data: Dataset,
    threshold: float,
    threshold_source: str,
    linkage: Linkage,
    clusters: Sequence[Cluster],
    scores: Sequence[Uniqueness],
    reports: Sequence[IngestReport],
) -> Report:
    """What a run found, for the terminal, as JSON and as a page."""
    return Report(
        title=data.sources()[0].name if data.sources() else data.folder.name,
        dataset=str(data.folder),
        model=data.description.name,
        threshold=threshold,
        threshold_source=threshold_source,
        linkage=linkage.value,
        images=len(data),
        clusters=clusters,
        unique=[score for score in scores if score.score is not None][:_UNIQUE_SHOWN],
        failures=data.failures(),
        skipped=sum(report.skipped for report in reports),
        nearest=documents.nearest_similarities(scores),
        notices=documents.notices(data),
        preview=data.preview,
        calibration=data.calibration,
        generated=datetime.now().astimezone(),
        version=__version__,
    )


def _resolve(model: str) -> tuple[str, str | None]:
    if model != "auto":
        return model, None
    resolution = resolve_auto()
    return resolution.name, resolution.notice


def refuse_other_model(data: Dataset, model: str) -> None:
    """Refuse a `--model` that names another model than that of the dataset.

    Raises:
        InvalidValue: naming both.
    """
    if model not in ("auto", data.description.name):
        raise InvalidValue(
            f"{data.folder} holds vectors of {data.description.name}, and --model says {model}: "
            "leave --model out, or choose another --dataset"
        )
