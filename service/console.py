"""What a person sees in the terminal: answers on standard output, progress and notices on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from twinlens.service.output import totals
from twinlens.service.table import shown

if TYPE_CHECKING:
    from twinlens.engine.catalog import Failure
    from twinlens.engine.curation import Plan
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.ingest import IngestReport, OnProgress
    from twinlens.engine.ingest import Progress as Step
    from twinlens.engine.leaks import Leaks
    from twinlens.engine.results import Cluster, Explanation, Member, Neighbour, Uniqueness
    from twinlens.engine.subset import Subset
    from twinlens.engine.types import OperatingPoints
    from twinlens.models import KnownModel
    from twinlens.service.curation_answers import Applied
    from twinlens.service.keys import Key, NewKey
    from twinlens.service.report import Report

_CLUSTERS_SHOWN = 20
_MEMBERS_SHOWN = 8
_ROWS_SHOWN = 20
_STAGES = {
    "download": "downloading",
    "index": "reading images",
    "compare": "comparing",
    "measure": "looking at copies",
    "apply": "applying",
    "undo": "restoring",
    "edit": "editing images",
    "score": "comparing edits",
    "check": "looking for twins",
}
_EVIDENCE = {
    "bytes": "identical bytes",
    "pixels": "identical pixels",
    "hash": "near-equal hash",
    "embedding": "look-alike",
}


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: Exception) -> None:
    """One line on standard error."""
    _err().print(f"[bold red]error:[/] {_safe(str(error))}")


def print_notice(text: str) -> None:
    """One line on standard error."""
    _err().print(f"[yellow]note:[/] {_safe(text)}")


def print_lines(lines: Iterable[str]) -> None:
    """An answer that is text already."""
    out = _out()
    for line in lines:
        out.print(_safe(line))


@contextmanager
def progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Bars with count, rate and time left on standard error; only notes when not a terminal."""
    if quiet:
        yield lambda step: None
        return
    if not sys.stderr.isatty():
        yield lambda step: print_notice(step.note) if step.note else None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err(), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def update(step: Step) -> None:
            if step.note:
                print_notice(step.note)
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(_STAGES.get(step.stage, step.stage), rate="")
            task = tasks[step.stage]
            speed = bars.tasks[task].speed
            bars.update(task, completed=step.done, total=step.total, rate=f"{speed:.0f}/s" if speed else "")

        yield update


def print_run(report: Report, html: Path | None) -> None:
    """The answer of `run`."""
    out = _out()
    for notice in report.notices:
        print_notice(notice)
    print_clusters(report.clusters, report.threshold)
    if report.unique:
        out.print("\n[bold]Most unique[/]")
        _print_unique(out, report.unique[:10])
    if report.failures:
        out.print()
        _print_failures(out, report.failures)
    sums = totals(report.clusters)
    out.print(
        f"\n[bold]{report.images:,}[/] images, [bold]{sums.clusters:,}[/] clusters, "
        f"[bold]{sums.spare:,}[/] spare copies ({sums.spare_bytes / 1e6:,.1f} MB), "
        f"{len(report.failures):,} failures, {report.skipped:,} other files"
    )
    out.print(f"model {report.model}, threshold {report.threshold:g}, dataset {_path(report.dataset)}")
    if html is not None:
        out.print(f"report {_path(str(html))}")


def print_index(dataset: Dataset, sources: Sequence[Path], reports: Sequence[IngestReport]) -> None:
    """The answer of `index`."""
    out = _out()
    for source, report in zip(sources, reports, strict=True):
        counts = ("added", "changed", "moved", "removed", "unchanged", "failed", "skipped")
        parts = [f"{getattr(report, name):,} {name}" for name in counts if getattr(report, name)]
        out.print(f"{_path(os.path.abspath(source))}: {', '.join(parts) or 'nothing to do'}")
    if failures := dataset.failures():
        _print_failures(out, failures)
    out.print(f"{len(dataset):,} images in {_path(str(dataset.folder))}, model {dataset.description.name}")


def _print_failures(out: Console, failures: Sequence[Failure]) -> None:
    out.print(f"[bold]{len(failures)} files could not be read[/]")
    for failure in failures[:_ROWS_SHOWN]:
        out.print(f"  {_path(failure.path)}: {_safe(failure.reason)}")
    _print_rest(out, len(failures) - _ROWS_SHOWN, "failures")


def print_clusters(clusters: Sequence[Cluster], threshold: float) -> None:
    """Clusters with their members."""
    out = _out()
    if not clusters:
        out.print(f"no twins at {threshold:g}")
        return
    for number, cluster in enumerate(clusters[:_CLUSTERS_SHOWN], start=1):
        bound = "" if cluster.min_is_exact else "at least "
        out.print(
            f"\n[bold]Cluster {number}[/]: {cluster.size} images, least similar pair {bound}"
            f"{cluster.min_similarity:.4f}, {cluster.links_out} links out"
        )
        for member in cluster.members[:_MEMBERS_SHOWN]:
            out.print(_member_line(member))
        _print_rest(out, cluster.size - _MEMBERS_SHOWN, "images")
    _print_rest(out, len(clusters) - _CLUSTERS_SHOWN, "clusters")


def print_unique(scores: Sequence[Uniqueness]) -> None:
    """Uniqueness scores, most unique first."""
    out = _out()
    _print_unique(out, scores[:_ROWS_SHOWN])
    _print_rest(out, len(scores) - _ROWS_SHOWN, "images (--out writes all)")


def print_neighbours(found: Sequence[Neighbour]) -> None:
    """Answers of a search."""
    out = _out()
    for rank, neighbour in enumerate(found, start=1):
        out.print(f"{rank:>4}  {neighbour.similarity:.6f}  {_path(neighbour.path)}")


def print_explanation(explanation: Explanation) -> None:
    """Why two images are together or apart."""
    out = _out()
    out.print(f"{_path(explanation.path_a)}\n{_path(explanation.path_b)}")
    verdict = "together" if explanation.together else "apart"
    out.print(f"[bold]{verdict}[/] at {explanation.threshold:g} ({explanation.linkage.value})")
    out.print(_safe(explanation.reason))
    out.print(f"similarity {explanation.similarity:.6f}, evidence {explanation.evidence or 'none'}")
    for name, distance, bits in (
        ("bmh1", explanation.bmh1_distance, 968),
        ("phash", explanation.phash_distance, 64),
    ):
        out.print(f"{name} {'not known' if distance is None else f'differs in {distance} of {bits} bits'}")
    points = ", ".join(f"{name} {value:g}" for name, value in explanation.points.items())
    out.print(f"thresholds: {points}")
    if len(explanation.chain) > 2:
        out.print("linked through " + " ~ ".join(_path(os.path.basename(path)) for path in explanation.chain))


def print_leaks(leaks: Leaks, notices: Sequence[str], html: Path | None) -> None:
    """The answer of `leaks`."""
    out = _out()
    for notice in notices:
        print_notice(notice)
    for leak in leaks[:_ROWS_SHOWN]:
        out.print(
            f"  {leak.similarity:.4f}  {_path(leak.test_path)}  is like  {_path(leak.train_path)}"
            f"  {_EVIDENCE[leak.evidence]}"
        )
    _print_rest(out, len(leaks) - _ROWS_SHOWN, "leaks (--out writes all)")
    out.print(leaks_summary(leaks))
    if html is not None:
        out.print(f"report {_path(str(html))}")


def leaks_summary(leaks: Leaks) -> str:
    """One sentence."""
    at, train, test = f"{leaks.threshold:g}", len(leaks.train.images), len(leaks.test.images)
    if not leaks:
        return f"no leaks at {at}: none of {test:,} test images is like any of {train:,} training images"
    return (
        f"{len(leaks):,} leaks at {at}: {leaks.leaked_test:,} of {test:,} test images are like "
        f"{leaks.leaked_train:,} of {train:,} training images"
    )


def print_plan(
    plan: Plan,
    notices: Sequence[str],
    unseen: Sequence[str],
    applied: Applied | None,
    subset: Subset | None,
) -> None:
    """The answer of `curate`."""
    out = _out()
    for notice in notices:
        print_notice(notice)
    for removal in plan.remove[:_ROWS_SHOWN]:
        out.print(
            f"  {removal.similarity:.4f}  {_path(removal.image.path)}  goes for  {_path(removal.twin.path)}"
            f"  ({_safe(removal.rule)})"
        )
    _print_rest(out, len(plan.remove) - _ROWS_SHOWN, "to remove (--out writes all)")
    for conflict in plan.conflicts[:_ROWS_SHOWN]:
        out.print(f"  both protected: {_path(conflict.image.path)} and {_path(conflict.twin.path)}")
    _print_rest(out, len(plan.conflicts) - _ROWS_SHOWN, "protected twins")
    for path in unseen[:_ROWS_SHOWN]:
        out.print(f"  could not be looked at: {_path(path)}")
    _print_rest(out, len(unseen) - _ROWS_SHOWN, "files that could not be looked at")
    out.print(
        f"at {plan.threshold:g}: [bold]{len(plan.keep):,}[/] images stay, [bold]{len(plan.remove):,}[/] go "
        f"({plan.freed_bytes / 1e6:,.1f} MB)"
    )
    if subset is not None:
        _print_coverage(out, subset)
    if applied is not None:
        print_applied(applied)
    elif plan.remove:
        out.print("nothing was touched: --apply trash does it")


def _print_coverage(out: Console, subset: Subset) -> None:
    """What the most representative images reach, as a whole and in each class."""
    for share in subset.classes:
        label = "without a label" if share.label is None else f"class {_safe(share.label)}"
        covered = f", each image within {share.coverage:.4f} of a kept one" if share.kept else ""
        out.print(f"  {label}: {share.kept:,} of {share.images:,} stay{covered}")
    out.print(f"coverage: every removed image is within {subset.coverage:.4f} of a kept one (1 - similarity)")


def print_applied(applied: Applied) -> None:
    """The answer of `curate --undo` and `--continue`, and of `--apply` the last part."""
    out = _out()
    for step, reason in applied.outcome.refused[:_ROWS_SHOWN]:
        out.print(f"  [yellow]{_path(step.file.path)}[/] {_safe(reason)}")
    _print_rest(out, len(applied.outcome.refused) - _ROWS_SHOWN, "files that were left alone")
    out.print(applied_summary(applied))


def applied_summary(applied: Applied) -> str:
    """One or two sentences."""
    action, done = applied.journal.heading.action.value, len(applied.outcome.done)
    refused = f", {len(applied.outcome.refused):,} could not be" if applied.outcome.refused else ""
    if applied.undone:
        return f"{action}: {done:,} files restored{refused}"
    return f"{action}: {done:,} files done{refused}. Journal: {_path(str(applied.journal.path))}"


def print_hashes(images: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> None:
    """Hashes, one block for each file."""
    out = _out()
    for image in images:
        out.print(f"{_path(image['path'])}  {image['width']}x{image['height']}")
        out.print(f"  phash {image['phash']}\n  bmh1  {image['bmh1']}")
    for failure in failures:
        _err().print(f"[bold red]{_path(failure['path'])}[/]: {_safe(failure['reason'])}")


def print_written(
    to: Path, counts: Mapping[str, int], notices: Sequence[str], failures: Sequence[str]
) -> None:
    """The answer of `export --as`."""
    out = _out()
    for notice in notices:
        print_notice(notice)
    for failure in failures[:_ROWS_SHOWN]:
        out.print(f"  {_path(failure)}")
    _print_rest(out, len(failures) - _ROWS_SHOWN, "failures")
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    out.print(f"{parts} in {_path(str(to))}" + (f", {len(failures):,} failures" if failures else ""))


def print_models(models: Sequence[KnownModel]) -> None:
    """Model names, what they are, and where their thresholds lie."""
    out = _out()
    table = Table("model", "text", "what it is", box=None, pad_edge=False)
    for model in models:
        table.add_row(escape(model.name), "yes" if model.text_capable else "no", escape(model.summary))
    out.print(table)
    out.print("\nThresholds (precision and recall where they were measured: docs/benchmarks.md)")
    for model in models:
        if model.points is not None:
            out.print(f"{escape(model.name):<20} {_points(model.points)}")


def _points(points: OperatingPoints) -> str:
    shares = zip(points.precision or (), points.recall or (), strict=True)
    measured = [f" ({precision:.2%}, {recall:.1%})" for precision, recall in shares] or [""] * 3
    return ", ".join(
        f"{name} {value:g}{share}"
        for (name, value), share in zip(points.thresholds.items(), measured, strict=True)
    )


def print_info(document: Mapping[str, Any]) -> None:
    """What a dataset holds."""
    out = _out()
    for key, value in document.items():
        out.print(f"{key.replace('_', ' '):<16} {_safe(str(value))}")


def print_new_key(key: NewKey) -> None:
    """A key just made, one value a line."""
    out = _out()
    out.print(f"key [bold]{_safe(key.name)}[/]: secret and token are shown this once, keep them")
    for field in ("api_key", "api_secret", "token"):
        out.print(f"  {field:<10} {_safe(getattr(key, field))}")


def print_keys(keys: Sequence[Key]) -> None:
    """All keys, one a line."""
    out = _out()
    if not keys:
        out.print("no keys")
    for key in keys:
        state = "live" if key.revoked is None else f"revoked {key.revoked:%Y-%m-%d %H:%M} UTC"
        out.print(f"{key.api_key}  made {key.created:%Y-%m-%d %H:%M} UTC, {state}  {_safe(key.name)}")


def print_revoked(key: Key) -> None:
    """A key that has just ended."""
    _out().print(f"key [bold]{_safe(key.name)}[/] ({key.api_key}) is revoked")


def _member_line(member: Member) -> str:
    mark = "[green]keep[/]" if member.keeper else "    "
    why = "" if member.evidence is None else f"  {_EVIDENCE[member.evidence]}"
    size = f"{member.width}x{member.height}, {member.bytes / 1e3:,.0f} kB"
    return f"  {mark} {member.similarity_to_keeper:.4f}  {_path(member.path)}  ({size}){why}"


def _print_unique(out: Console, scores: Sequence[Uniqueness]) -> None:
    for score in scores:
        shown_score = "  none" if score.score is None else f"{score.score:.4f}"
        nearest = (
            "" if score.nearest_path is None else f"  nearest {_path(os.path.basename(score.nearest_path))}"
        )
        similarity = "" if score.nearest_similarity is None else f" at {score.nearest_similarity:.4f}"
        out.print(f"  {shown_score}  {_path(score.path)}{nearest}{similarity}")


def _print_rest(out: Console, count: int, what: str) -> None:
    if count > 0:
        out.print(f"  ... and {count:,} more {what}")


def _path(path: str) -> str:
    """A path for the terminal: relative where that is shorter."""
    return _safe(min(path, os.path.relpath(path) if os.path.isabs(path) else path, key=len))


def _safe(text: str) -> str:
    """Text without markup, control characters and surrogates."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown(text))
    return escape(printable)
