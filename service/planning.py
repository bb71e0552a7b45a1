"""The plan that `twinlens curate` asks for by its options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import RULE_FORMS, parse_rules, refuse_unknown_sets, split_rules
from twinlens.service import console
from twinlens.service.subsets import Asked, plan_of, subset_of

if TYPE_CHECKING:
    from twinlens.engine.credit import Looks
    from twinlens.engine.curation import Curation, Plan
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.subset import Subset


class Planned(NamedTuple):
    """A plan and what belongs to it.

    Attributes:
        plan: what stays and what goes.
        unseen: paths of files that could not be looked at for it.
        subset: the choice that the plan comes from, where a number of images is kept.
    """

    plan: Plan
    unseen: list[str]
    subset: Subset | None


def make_plan(
    dataset: Dataset,
    threshold: float | None,
    rules: str,
    protect: Sequence[Path],
    asked: Asked,
    *,
    workers: int | None,
    quick: bool,
    quiet: bool,
) -> Planned:
    """By star removal, by the most representative images, or the second among what stays by the first.

    Args:
        dataset: what is planned.
        threshold: for star removal; None is the dataset's default, or none where a number is asked for.
        rules: as they are given, or a file that holds them.
        protect: folders and files that must stay.
        asked: how many of the most representative images stay.
        workers: threads that look at files.
        quick: look at no file.
        quiet: without progress.

    Raises:
        InvalidValue: an option that is not served.
    """
    order = read_rules(rules)
    refuse_unknown_sets(order, dataset.sources())
    protected = _protected(dataset, protect)
    if not dataset.related:
        dataset.relate()
    if asked and threshold is None:
        subset = subset_of(dataset, asked, rules=order, protected=protected)
        return Planned(plan_of(subset, order), [], subset)
    chosen = dataset.default_threshold if threshold is None else threshold
    plan, unseen = _by_star(dataset, chosen, order, protected, workers, quick=quick, quiet=quiet)
    if not asked:
        return Planned(plan, unseen, None)
    among = {image.id for image in plan.keep}
    subset = subset_of(dataset, asked, rules=order, protected=protected, among=among)
    return Planned(plan_of(subset, order), unseen, subset)


def read_rules(given: str) -> tuple[str, ...]:
    """Rules separated by commas, or those of a file.

    Raises:
        InvalidValue: a rule that does not exist or is malformed, a file that cannot be read, or no rule.
    """
    rules = split_rules(given)
    try:
        parse_rules(rules)
    except InvalidValue:
        if not given.startswith("@") and not os.path.isfile(given):
            raise
        rules = _rules_in(Path(given.removeprefix("@")))
        parse_rules(rules)
    if not rules:
        raise InvalidValue(f"--rules {given!r} holds no rule: give some of {', '.join(RULE_FORMS)}")
    return rules


def _rules_in(path: Path) -> tuple[str, ...]:
    """Separated by commas or lines; lines that start with # are left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"the rules in {path} cannot be read: {error}") from error
    return tuple(rule for line in lines if not line.startswith("#") for rule in split_rules(line))


def _by_star(
    dataset: Dataset,
    threshold: float,
    rules: tuple[str, ...],
    protected: frozenset[str],
    workers: int | None,
    *,
    quick: bool,
    quiet: bool,
) -> tuple[Plan, list[str]]:
    from twinlens.engine.curation import Curation
    from twinlens.engine.looking import look_at_files

    curation = Curation(dataset.copy_snapshot(), threshold, rules, protected)
    if quick:
        return curation.plan(), []
    with console.progress(quiet=quiet) as on_progress:
        looks = look_at_files(curation, on_progress, workers=workers)
    return curation.plan(looks), _unseen(curation, looks)


def _unseen(curation: Curation, looks: Looks) -> list[str]:
    return [image.path for image in curation.to_look_at() if looks.by_digest[image.digest or b""] is None]


def _protected(dataset: Dataset, folders: Sequence[Path]) -> frozenset[str]:
    from twinlens.engine.steps import protected_ids

    for folder in folders:
        if not folder.exists():
            raise InvalidValue(f"--protect {folder} does not exist: name a folder or a file")
    found = protected_ids(dataset.images(), folders)
    for folder, ids in found.items():
        if not ids:
            console.print_notice(f"--protect {folder} holds no image of this dataset")
    return frozenset().union(*found.values())
