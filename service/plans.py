"""What a plan of `curate` keeps and removes, read back and matched with the images of a dataset."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.engine.errors import InvalidValue
from twinlens.service.table import shown

if TYPE_CHECKING:
    from twinlens.engine.catalog import ImageRecord

_MAKE_ONE = "write one with `twinlens curate --json` or `--out plan.json`"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images of a dataset stay.

    Attributes:
        kept: images of the dataset, in its order.
        removed: paths, in the order of the plan.
        notices: what of the plan and the dataset do not meet.
    """

    kept: tuple[ImageRecord, ...]
    removed: tuple[str, ...]
    notices: tuple[str, ...] = ()


def read_choice(plan: Path | None, images: Iterable[ImageRecord]) -> Choice:
    """The choice that a plan makes among the images of a dataset; without a plan all of them are kept.

    Args:
        plan: JSON with "keep" (paths) and "remove" (objects with a "path"), or CSV with the columns
            "action" and "path".
        images: of the dataset.

    Raises:
        InvalidValue: the plan cannot be read, or is none of this dataset.
    """
    held = list(images)
    if plan is None:
        return Choice(tuple(held), ())
    keep, remove = _read(plan)
    if both := set(keep) & set(remove):
        raise InvalidValue(f"{plan} both keeps and removes {min(both)}: {_MAKE_ONE}")
    kept = tuple(image for image in held if image.path in keep or shown(image.path) in keep)
    if keep and not kept:
        raise InvalidValue(
            f"{plan} keeps {next(iter(keep))} and others, and the dataset holds none of them: "
            "name the dataset that it was made for"
        )
    known = {image.path for image in held} | {shown(image.path) for image in held}
    notices = []
    if gone := len(keep) - len(kept):
        notices.append(f"{gone:,} images that the plan keeps are not in the dataset any more: left out")
    if others := len(held) - len(kept) - sum(path in known for path in remove):
        notices.append(f"{others:,} images of the dataset are not in the plan: left out, make a new plan")
    return Choice(kept, tuple(remove), tuple(notices))


def _read(plan: Path) -> tuple[dict[str, None], dict[str, None]]:
    """Paths to keep and to remove, each once, in their order."""
    try:
        with plan.open(encoding="utf-8", newline="") as text:
            if plan.suffix.lower() == ".csv":
                rows = list(csv.DictReader(text))
                return _of_action(rows, "keep"), _of_action(rows, "remove")
            document = json.load(text)
    except OSError as error:
        raise InvalidValue(f"the plan {plan} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise InvalidValue(f"{plan} is no plan, neither JSON nor CSV ({error}): {_MAKE_ONE}") from error
    if not isinstance(document, dict) or not isinstance(document.get("keep"), list):
        raise InvalidValue(f'{plan} is no plan: it lacks a list called "keep": {_MAKE_ONE}')
    return _paths(plan, document, "keep"), _paths(plan, document, "remove")


def _of_action(rows: Iterable[dict[str, str]], action: str) -> dict[str, None]:
    return dict.fromkeys(row.get("path") or "" for row in rows if row.get("action") == action)


def _paths(plan: Path, document: dict[str, Any], key: str) -> dict[str, None]:
    """Paths in one list of a plan."""

    def paths() -> Iterator[str]:
        for number, entry in enumerate(document.get(key) or []):
            path = entry.get("path") if isinstance(entry, dict) else entry
            if not isinstance(path, str):
                raise InvalidValue(f"{plan} is no plan: entry {number} of {key!r} has no path: {_MAKE_ONE}")
            yield path

    return dict.fromkeys(paths())
