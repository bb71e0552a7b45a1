"""`twinlens curate`: plan which images to keep, do it to the files, go on with it, take it back."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.engine.errors import InvalidValue, TwinLensError
from twinlens.engine.journal import Action, Heading, Journal, is_unfinished
from twinlens.engine.keeper import DEFAULT_RULES, RULE_FORMS
from twinlens.engine.lock import WriterLock
from twinlens.engine.storage import is_writable
from twinlens.service import console, documents, output
from twinlens.service.cli_images import ThresholdOption, WorkersOption
from twinlens.service.cli_options import JsonOption
from twinlens.service.cli_output import FormatOption, OutOption, format_of, opened_output
from twinlens.service.curation_answers import (
    CURATION,
    Applied,
    applied_document,
    curation_document,
    curation_rows,
    notices_of,
)
from twinlens.service.output import Format
from twinlens.service.planning import make_plan
from twinlens.service.settings import user_trash
from twinlens.service.subsets import (
    Asked,
    KeepFractionOption,
    KeepNumberOption,
    LabelsOption,
    PerClassOption,
    coverage_document,
)

if TYPE_CHECKING:
    from twinlens.engine.applying import OnStep
    from twinlens.engine.curation import Plan
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.ingest import OnProgress

app = typer.Typer()

_REMOVED = (Action.TRASH, Action.MOVE, Action.DELETE)
"""After these, files are gone from where they were."""
_JOURNALS = "curate-*.jsonl"


@app.command()
def curate(
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Dataset folder.", show_default=False)
    ] = None,
    threshold: ThresholdOption = None,
    rules: Annotated[
        str,
        typer.Option(
            "--rules",
            "--rules-file",
            metavar="RULES|FILE",
            help=f"Which copy to keep, the most important first: of {', '.join(RULE_FORMS)}; "
            "or a file that holds them, also as @FILE.",
        ),
    ] = ",".join(DEFAULT_RULES),
    protect: Annotated[
        list[Path] | None,
        typer.Option("--protect", help="Folder or file that must stay; may be repeated.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Rank copies by what is stored; look into no file.")
    ] = False,
    keep: KeepNumberOption = None,
    keep_fraction: KeepFractionOption = None,
    per_class: PerClassOption = False,
    labels: LabelsOption = None,
    workers: WorkersOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="The same as --format csv.")] = False,
    apply: Annotated[
        Action | None,
        typer.Option("--apply", help="Do it; without this nothing is touched. Links: identical files only."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder for --apply move.")] = None,
    yes_delete_for_good: Annotated[
        bool, typer.Option("--yes-delete-for-good", help="Needed for --apply delete, which is final.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="Where to write what is done; in the dataset folder if not given."),
    ] = None,
    continue_: Annotated[
        Path | None,
        typer.Option(
            "--continue", metavar="JOURNAL", help="Go on with an apply that was cut off or refused files."
        ),
    ] = None,
    undo: Annotated[
        Path | None, typer.Option("--undo", metavar="JOURNAL", help="Restore what an apply moved or linked.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Plan which images to keep: each that goes has a twin that stays, and no two that stay are twins.

    With --keep or --keep-fraction the most representative ones stay: of all images, or with --threshold of
    those that stay by it.
    """
    if undo is not None or continue_ is not None:
        if (undo is None) is (continue_ is None) or apply is not None:
            raise InvalidValue("give one of --apply ACTION, --continue JOURNAL and --undo JOURNAL")
        _resume(undo or continue_ or Path(), dataset, undone=undo is not None, quiet=json)
        return
    if dataset is None:
        raise InvalidValue("--dataset is missing: name the dataset folder")
    _refuse_half_said(apply, to, yes_delete_for_good)
    from twinlens.service.wiring import open_dataset

    kind = format_of(Format.CSV if csv and format is None else format, out, json=json)
    with open_dataset(dataset) as data:
        asked = Asked(keep, keep_fraction, per_class, labels)
        planned = make_plan(
            data, threshold, rules, protect or [], asked, workers=workers, quick=quick, quiet=json
        )
        plan = planned.plan
        general = [*documents.notices(data), *_unfinished(data.folder)]
        notices = notices_of(plan, data, to and to.absolute(), general)
        # Where the answer cannot be written, nothing is done.
        with nullcontext() if kind is None else opened_output(out, kind) as file:
            applied = None
            if apply is not None and plan.remove:
                target, trash = str(to.absolute()) if to else "", str(user_trash().absolute())
                heading = Heading(apply, str(data.folder), target, trash)
                applied = _apply(data, plan, heading, journal or _journal_of(data.folder), quiet=json)
            if file is None or kind is None:
                console.print_plan(plan, notices, planned.unseen, applied, planned.subset)
                return
            if kind is Format.JSON:
                document = curation_document(plan, data, planned.unseen, notices, applied)
                if planned.subset is not None:
                    document |= coverage_document(planned.subset)
                output.write_json(document, file)
            else:
                output.write_table(curation_rows(plan), CURATION, kind.value, file)
        if applied is not None and kind is not Format.JSON:
            console.print_notice(console.applied_summary(applied))


def _refuse_half_said(apply: Action | None, to: Path | None, yes_delete_for_good: bool) -> None:
    if (apply is Action.MOVE) != (to is not None):
        raise InvalidValue("--apply move and --to FOLDER belong together: give both or neither")
    if to is not None and to.exists() and not to.is_dir():
        raise InvalidValue(f"--to {to} is no folder: name one, it need not be there yet")
    if apply is Action.DELETE and not yes_delete_for_good:
        raise InvalidValue(
            "--apply delete is final, nothing restores what it deletes: "
            "add --yes-delete-for-good, or use --apply trash"
        )


# -- the files -----------------------------------------------------------------------------------------


def _apply(data: Dataset, plan: Plan, heading: Heading, path: Path, *, quiet: bool) -> Applied:
    from twinlens.engine.applying import apply
    from twinlens.engine.steps import steps_of

    with _locked(data.folder), Journal.create(path, heading, steps_of(plan)) as journal:
        is_final = heading.action is Action.DELETE
        back = "nothing takes back what is deleted" if is_final else "--undo takes it back"
        console.print_notice(f"journal {journal.path}: --continue goes on with it, {back}")
        with console.progress(quiet=quiet) as on_progress:
            outcome = apply(journal, _told(on_progress, "apply"))
        applied = Applied(journal, outcome)
    _forget(data, applied)
    return applied


def _resume(path: Path, dataset: Path | None, *, undone: bool, quiet: bool) -> None:
    """Go on with a journal, or take back what it says; the dataset is that of the journal unless it moved."""
    from twinlens.engine.applying import apply, undo
    from twinlens.service.wiring import has_dataset, open_dataset

    with Journal.open(path) as journal:
        folder = dataset or Path(journal.heading.dataset)
        with _locked(folder), console.progress(quiet=quiet) as on_progress:
            if undone:
                outcome = undo(journal, _told(on_progress, "undo"))
            else:
                outcome = apply(journal, _told(on_progress, "apply"))
    applied = Applied(journal, outcome, undone)
    if has_dataset(folder) and is_writable(folder):
        with open_dataset(folder) as data:
            if undone:
                _take_in_again(data, applied, quiet=quiet)
            else:
                _forget(data, applied)
    if quiet:
        output.write_json(applied_document(applied), sys.stdout.buffer)
    else:
        console.print_applied(applied)


def _forget(data: Dataset, applied: Applied) -> None:
    """Take what went out of the dataset, so that it answers for what is there."""
    if applied.journal.heading.action not in _REMOVED or not is_writable(data.folder):
        return
    known = data.snapshot().position
    gone = [step for step in applied.outcome.done if step.id in known]
    data.remove([step.id for step in gone if not os.path.lexists(step.file.path)])


def _take_in_again(data: Dataset, applied: Applied, *, quiet: bool) -> None:
    """Index what came back, so that the dataset answers for it as before."""
    known = data.snapshot().position
    back = [step for step in applied.outcome.done if step.id not in known]
    try:
        with console.progress(quiet=quiet) as on_progress:
            for source in sorted({step.source for step in back}):
                data.add(source, on_progress=on_progress)
    except TwinLensError as error:
        console.print_notice(f"{len(back):,} files came back that the dataset does not know: {error}")


def _unfinished(folder: Path) -> list[str]:
    """What a reader should know of journals in a dataset folder that were cut off."""
    return [
        f"{path} was cut off: --continue goes on with it, --undo takes it back"
        for path in sorted(folder.glob(_JOURNALS))
        if is_unfinished(path)
    ]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others from indexing meanwhile, where there is a dataset that could be."""
    if not folder.is_dir() or not is_writable(folder):
        yield
        return
    lock = WriterLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _told(on_progress: OnProgress, stage: str) -> OnStep:
    from twinlens.engine.ingest import Progress

    return lambda done, total: on_progress(Progress(stage, done, total))


def _journal_of(folder: Path) -> Path:
    return folder / f"curate-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.jsonl"
