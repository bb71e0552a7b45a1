"""What `twinlens curate` hands out: the plan as JSON and as a table, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.engine.journal import Action
from twinlens.service.table import Column, Kind, Row, Schema

if TYPE_CHECKING:
    from twinlens.engine.applying import Outcome
    from twinlens.engine.curation import Plan
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.journal import Journal

CURATION = Schema(
    "images",
    (
        Column("action", Kind.STRING, "keep or remove"),
        Column("path", Kind.STRING, "absolute path; the id where there is no file"),
        Column("twin", Kind.STRING, "path of the kept image most similar to a removed one"),
        Column("similarity", Kind.NUMBER, "of the two, in (0, 1], 6 decimals"),
        Column("rule", Kind.STRING, "why the one goes and not the winner"),
        Column("bytes", Kind.INTEGER, "size of the file"),
        Column("id", Kind.STRING, "the image"),
        Column("twin_id", Kind.STRING, "its twin"),
        Column("winner", Kind.STRING, "path of the kept image, a twin as well, that came before it"),
    ),
)
"""A plan, one row per image: first those to remove, then those to keep, each by path."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the steps of a journal; `undone` tells whether they were done or taken back."""

    journal: Journal
    outcome: Outcome
    undone: bool = False


def curation_rows(plan: Plan) -> Iterator[Row]:
    """Rows of `CURATION`."""
    for removal in plan.remove:
        yield {
            "action": "remove",
            "path": removal.image.path,
            "twin": removal.twin.path,
            "similarity": removal.similarity,
            "rule": removal.rule,
            "bytes": removal.image.size,
            "id": removal.image.id,
            "twin_id": removal.twin.id,
            "winner": removal.winner.path,
        }
    nothing: dict[str, None] = dict.fromkeys(("twin", "similarity", "rule", "twin_id", "winner"))
    for image in plan.keep:
        yield {"action": "keep", "path": image.path, "bytes": image.size, "id": image.id, **nothing}


def curation_document(
    plan: Plan, dataset: Dataset, unseen: Sequence[str], notices: Sequence[str], applied: Applied | None
) -> dict[str, Any]:
    """What `curate --json` prints.

    Args:
        plan: the plan.
        dataset: what was planned.
        unseen: paths of files that could not be looked at, and so come last by rules about content.
        notices: what a reader should know.
        applied: what became of it; None for a dry run.
    """
    return {
        "keep": (image.path for image in plan.keep),
        "remove": (
            {
                "path": removal.image.path,
                "twin": removal.twin.path,
                "similarity": removal.similarity,
                "rule": removal.rule,
            }
            for removal in plan.remove
        ),
        "conflicts": (
            {"path": each.image.path, "twin": each.twin.path, "similarity": each.similarity}
            for each in plan.conflicts
        ),
        "dataset": str(dataset.folder),
        "model": dataset.description.name,
        "threshold": plan.threshold,
        "rules": list(plan.rules),
        "kept_images": len(plan.keep),
        "removed_images": len(plan.remove),
        "freed_bytes": plan.freed_bytes,
        "unseen": list(unseen),
        "notices": list(notices),
        "applied": None if applied is None else applied_document(applied),
    }


def applied_document(applied: Applied) -> dict[str, Any]:
    """What `curate --apply`, `--continue` and `--undo` say of each step that failed."""
    heading, outcome = applied.journal.heading, applied.outcome
    return {
        "journal": str(applied.journal.path),
        "action": heading.action.value,
        "final": heading.action is Action.DELETE,
        "undone" if applied.undone else "done": len(outcome.done),
        "bytes": sum(step.file.size for step in outcome.done),
        "refused": [{"path": step.file.path, "reason": reason} for step, reason in outcome.refused],
    }


def notices_of(plan: Plan, dataset: Dataset, to: Path | None, general: Sequence[str]) -> list[str]:
    """What a reader of a plan should know about it."""
    notices = list(general)
    if plan.conflicts:
        notices.append(
            f"{len(plan.conflicts):,} protected images are twins of other protected ones: all of them stay"
        )
    for source in dataset.sources():
        if to is not None and to.is_relative_to(source) and not _is_hidden(to.relative_to(source)):
            notices.append(f"{to} lies in {source}: the next index of it takes the moved files in again")
    return notices


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
