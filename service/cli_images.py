"""Commands about images and datasets: each opens a dataset, asks it one thing and prints the answer.

What reads the command line is imported at once, what does the work when a command runs: help, `serve` and
`keys` must not wait for FAISS, SciPy and PyArrow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from twinlens.engine.join_plan import JoinMethod
from twinlens.engine.keeper import DEFAULT_RULES, RULE_FORMS
from twinlens.engine.results import MAX_PAIRS, EvidenceMode, Linkage
from twinlens.service import console, documents, output
from twinlens.service.cli_layouts import (
    CocoOption,
    LayoutOption,
    NullOption,
    PlanOption,
    ToOption,
    print_choice,
    refuse_table_options,
)
from twinlens.service.cli_options import EXIT_INPUT, JsonOption
from twinlens.service.cli_output import FormatOption, OutOption, format_of, opened_output, report_errors
from twinlens.service.output import Format

if TYPE_CHECKING:
    from twinlens.engine.dataset import Dataset
    from twinlens.service.report import Report

app = typer.Typer()

_DEFAULT_KEEP = ",".join(DEFAULT_RULES)

DatasetOption = Annotated[Path, typer.Option("--dataset", help="Dataset folder.", show_default=False)]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold", help="Similarity in (0, 1]; the calibrated or the model's default if not given."
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="Model name; `twinlens models` lists them.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, float32, bfloat16 or float16.")]
MaxPairsOption = Annotated[
    int, typer.Option("--max-pairs", help="Refuse thresholds with more pairs than this.")
]
LinkageOption = Annotated[Linkage, typer.Option("--linkage", help="How pairs become clusters.")]
EvidenceOption = Annotated[
    EvidenceMode,
    typer.Option("--evidence", help="What makes twins: similarity, near-equal hashes, or any of both."),
]
KeepOption = Annotated[
    str, typer.Option("--keep", help=f"Rules that choose the copy to keep, of {', '.join(RULE_FORMS)}.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Decoding threads.")]
HashesOption = Annotated[
    bool, typer.Option("--hashes", help="Compute exact hashes now, not when first needed.")
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Read files again that failed for good.")]
EmptyOption = Annotated[
    bool, typer.Option("--allow-empty", help="Accept that a source which held images holds none now.")
]
JoinOption = Annotated[
    JoinMethod,
    typer.Option(
        "--join",
        help="How new images are compared: exact, cells (approximately, the recall is measured), or auto: "
        "exact unless that would take more than an hour.",
    ),
]
PrivateOption = Annotated[
    bool, typer.Option("--allow-private-urls", help="Download from private and loopback addresses as well.")
]


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Folder, archive, shards, or list of paths or URLs.")],
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Dataset folder; FOLDER/.twinlens.")
    ] = None,
    model: ModelOption = "auto",
    threshold: ThresholdOption = None,
    linkage: LinkageOption = Linkage.COMPLETE,
    evidence: EvidenceOption = EvidenceMode.EMBEDDING,
    keep: KeepOption = _DEFAULT_KEEP,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report to write.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    retry_failed: RetryOption = False,
    allow_empty: EmptyOption = False,
    join: JoinOption = "auto",
    allow_private_urls: PrivateOption = False,
    json: JsonOption = False,
) -> None:
    """Index a folder, find its twins, score uniqueness and write a report: the main job in one command."""
    from twinlens.engine.ingest import IngestOptions
    from twinlens.service.indexing import indexed, run_summary
    from twinlens.service.wiring import default_dataset_folder

    options = IngestOptions(workers=workers, retry_failed=retry_failed, allow_empty=allow_empty, join=join)
    place = dataset or default_dataset_folder(folder)
    with indexed(
        [folder], place, model, device, precision, options, quiet=json, allow_private_urls=allow_private_urls
    ) as (data, reports):
        chosen = data.threshold_of(threshold, evidence)
        clusters = data.duplicates(threshold, linkage=linkage, rules=_rules(keep), evidence=evidence)
        scores = data.uniqueness()
        source = documents.threshold_source(data, threshold, evidence)
        summary = run_summary(data, chosen, source, linkage, clusters, scores, reports)
        if report is not None:
            _write_report(report, summary)
        if json:
            output.write_json(documents.run_document(summary, report), sys.stdout.buffer)
        else:
            console.print_run(summary, report)


@app.command()
def index(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folders, archives, lists.")],
    dataset: DatasetOption,
    model: ModelOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    hashes: HashesOption = False,
    retry_failed: RetryOption = False,
    allow_empty: EmptyOption = False,
    join: JoinOption = "auto",
    allow_private_urls: PrivateOption = False,
    json: JsonOption = False,
) -> None:
    """Bring a dataset up to date with folders, archives, shards, or lists of paths or URLs."""
    from twinlens.engine.ingest import IngestOptions
    from twinlens.service.indexing import indexed

    options = IngestOptions(
        workers=workers, hashes=hashes, retry_failed=retry_failed, allow_empty=allow_empty, join=join
    )
    with indexed(
        sources, dataset, model, device, precision, options, quiet=json, allow_private_urls=allow_private_urls
    ) as (data, reports):
        if json:
            output.write_json(documents.index_document(data, reports), sys.stdout.buffer)
        else:
            console.print_index(data, sources, reports)


@app.command()
def duplicates(
    dataset: DatasetOption,
    threshold: ThresholdOption = None,
    linkage: LinkageOption = Linkage.COMPLETE,
    evidence: EvidenceOption = EvidenceMode.EMBEDDING,
    keep: KeepOption = _DEFAULT_KEEP,
    max_pairs: MaxPairsOption = MAX_PAIRS,
    format: FormatOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Print clusters of twins."""
    with _open(dataset) as data:
        chosen = data.threshold_of(threshold, evidence)
        clusters = data.duplicates(
            threshold, linkage=linkage, rules=_rules(keep), evidence=evidence, max_pairs=max_pairs
        )
        if (kind := format_of(format, out, json=json)) is None:
            console.print_clusters(clusters, chosen)
        elif kind is Format.JSON:
            document = output.duplicates_document(
                clusters,
                threshold=chosen,
                linkage=linkage,
                model=data.description.name,
                dataset=str(data.folder),
                images=len(data),
                threshold_source=documents.threshold_source(data, threshold, evidence),
                join=data.join,
            )
            with opened_output(out, kind) as file:
                output.write_json(document, file)
        else:
            with opened_output(out, kind) as file:
                output.write_table(output.duplicate_rows(clusters), output.DUPLICATES, kind.value, file)


@app.command()
def pairs(
    dataset: DatasetOption,
    threshold: ThresholdOption = None,
    evidence: EvidenceOption = EvidenceMode.EMBEDDING,
    max_pairs: MaxPairsOption = MAX_PAIRS,
    format: FormatOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Write every pair of images at or above a threshold."""
    with _open(dataset) as data:
        chosen = data.threshold_of(threshold, evidence)
        data.refuse_too_many_pairs(chosen, max_pairs)
        kind = format_of(format, out, json=json) or Format.CSV
        with opened_output(out, kind) as file:
            output.write_table(
                output.pair_rows(data.pairs(threshold, evidence)), output.PAIRS, kind.value, file
            )


@app.command()
def unique(
    dataset: DatasetOption,
    above: Annotated[float | None, typer.Option("--above", help="Only scores above this.")] = None,
    format: FormatOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Print how unique each image is, the most unique first."""
    with _open(dataset) as data:
        scores = data.uniqueness()
        if above is not None:
            scores = [score for score in scores if score.score is not None and score.score > above]
        if (kind := format_of(format, out, json=json)) is None:
            console.print_unique(scores)
        else:
            with opened_output(out, kind) as file:
                output.write_table(output.uniqueness_rows(scores), output.UNIQUENESS, kind.value, file)


@app.command()
def search(
    dataset: DatasetOption,
    image: Annotated[Path | None, typer.Option("--image", help="Images like this file.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Images that show this (CLIP models).")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Images like this one of the dataset.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    device: DeviceOption = "auto",
    format: FormatOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Print the images most similar to an image, a text or an image of the dataset."""
    with _open(dataset, device=device) as data:
        found = data.search(image=image, text=text, id=id, k=k)
        if (kind := format_of(format, out, json=json)) is None:
            console.print_neighbours(found)
        else:
            with opened_output(out, kind) as file:
                output.write_table(output.search_rows(found), output.SEARCH, kind.value, file)


@app.command()
def explain(
    a: Annotated[str, typer.Argument(help="Id or path of an image of the dataset.")],
    b: Annotated[str, typer.Argument(help="Id or path of another.")],
    dataset: DatasetOption,
    threshold: ThresholdOption = None,
    linkage: LinkageOption = Linkage.COMPLETE,
    json: JsonOption = False,
) -> None:
    """Say why two images are together or apart."""
    with _open(dataset) as data:
        answer = data.explain(data.resolve(a), data.resolve(b), threshold, linkage=linkage)
        if json:
            output.write_json(documents.explanation_document(answer), sys.stdout.buffer)
        else:
            console.print_explanation(answer)


@app.command()
def hash(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Image files.")],
    json: JsonOption = False,
) -> None:
    """Print bmh1 (968 bits) and phash (64 bits) of image files, bit-exact to OpenCV."""
    from twinlens.engine.memory import keep_freed_memory
    from twinlens.service.hashes import hash_files

    keep_freed_memory()
    images, failures = hash_files(files)
    if json:
        output.write_json({"images": images, "failures": failures}, sys.stdout.buffer)
    else:
        console.print_hashes(images, failures)
    if failures and not images:
        raise typer.Exit(EXIT_INPUT)


@app.command()
def export(
    dataset: DatasetOption,
    format: FormatOption = None,
    out: OutOption = None,
    vectors: Annotated[
        Path | None,
        typer.Option("--vectors", help="Also write the vectors as .npy: float16, in the order of the table."),
    ] = None,
    layout: LayoutOption = None,
    to: ToOption = None,
    plan: PlanOption = None,
    coco: CocoOption = None,
    null: NullOption = False,
    json: JsonOption = False,
) -> None:
    """Write every image of a dataset, one row each; or what a plan of `curate` keeps, with --as and --to."""
    if (layout, to, plan, coco, null) != (None, None, None, None, False):
        refuse_table_options(format, out, vectors)
        with _open(dataset) as data:
            print_choice(data, layout, to, plan, coco, null=null, json=json)
        return
    with _open(dataset) as data:
        kind = format_of(format, out, json=json) or Format.CSV
        images, scores = data.images(), data.uniqueness()
        with opened_output(out, kind) as file:
            output.write_table(documents.image_rows(images, scores), documents.IMAGES, kind.value, file)
        if vectors is not None:
            place = {image.id: number for number, image in enumerate(images)}
            np.save(vectors, data.vectors()[[place[score.id] for score in scores]])


@app.command()
def models(json: JsonOption = False) -> None:
    """List the names that --model takes."""
    from twinlens.models import KNOWN_MODELS

    if json:
        output.write_json(
            {"models": [documents.model_document(model) for model in KNOWN_MODELS]}, sys.stdout.buffer
        )
    else:
        console.print_models(KNOWN_MODELS)


@app.command()
def info(dataset: DatasetOption, json: JsonOption = False) -> None:
    """Say what a dataset holds."""
    with _open(dataset) as data:
        document = documents.info_document(data)
        if json:
            output.write_json(document, sys.stdout.buffer)
        else:
            console.print_info(document)


def _open(folder: Path, *, device: str = "auto") -> Dataset:
    from twinlens.service.wiring import open_dataset

    return open_dataset(folder, device=device)


def _rules(keep: str) -> tuple[str, ...]:
    return tuple(rule.strip() for rule in keep.split(",") if rule.strip())


def _write_report(path: Path, report: Report) -> None:
    from twinlens.service.report import write_report

    with report_errors(path):
        write_report(path, report)
