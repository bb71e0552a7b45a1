"""A plan done to files, one step after the other, each of them written down before and after it is done.

Whatever a kill left half done is found again by looking: each way of doing a step (`ways`) can tell whether
it is done, clear what an attempt left, and take it back. A file goes only if it and its twin are what was
indexed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from twinlens.engine.errors import InvalidValue
from twinlens.engine.filing import (
    Facts,
    IndexedFile,
    change_of,
    existing_folder,
    missing_folders,
    remove_if_empty,
)
from twinlens.engine.journal import Action, Begun, Journal, Step
from twinlens.engine.ways import Refused, Way, way_of

OnStep = Callable[[int, int], None]
"""Is told how many of how many steps are behind."""

_ATTEMPTS = 100


@dataclass(slots=True)
class Outcome:
    """What became of the steps of a journal.

    Attributes:
        done: steps that are done, or undone.
        refused: steps that are not, and why: a sentence after the name of the file.
    """

    done: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, str]] = field(default_factory=list)


# -- do and undo ---------------------------------------------------------------------------------------


def apply(journal: Journal, on_step: OnStep) -> Outcome:
    """Do every step that is not done yet, refused ones included; one that cannot be is named, the next go on.

    Args:
        journal: what is to be done.
        on_step: is told how far it is.

    Raises:
        InvalidValue: the journal is being undone, or was.
        StorageFull, DatasetReadOnly: the journal cannot be written; what it does not know was not begun.
    """
    if journal.is_being_undone:
        raise InvalidValue(f"{journal.path} is being undone: finish that with --undo, then plan again")
    way, outcome, twins = way_of(journal.heading), Outcome(), _Twins()
    for done, step in enumerate(journal.steps):
        on_step(done, len(journal.steps))
        state = journal.states[step.number]
        if not state.done:
            _do(journal, way, step, twins)
        if state.refused:
            outcome.refused.append((step, state.refused))
        else:
            outcome.done.append(step)
    journal.end()
    on_step(len(journal.steps), len(journal.steps))
    return outcome


def undo(journal: Journal, on_step: OnStep) -> Outcome:
    """Take back every step that was begun, the last one first; one that cannot be is named.

    Raises:
        InvalidValue: the files were deleted for good.
        StorageFull, DatasetReadOnly: the journal cannot be written.
    """
    if journal.heading.action is Action.DELETE:
        raise InvalidValue(f"{journal.path} deleted files for good: there is nothing to restore them from")
    way, outcome = way_of(journal.heading), Outcome()
    begun = journal.begun[::-1]
    for done, step in enumerate(begun):
        on_step(done, len(begun))
        try:
            if not journal.states[step.number].undone:
                _undo(journal, way, step)
            outcome.done.append(step)
        except (Refused, OSError) as error:
            outcome.refused.append((step, _reason(error)))
    journal.end()
    on_step(len(begun), len(begun))
    return outcome


def _do(journal: Journal, way: Way, step: Step, twins: _Twins) -> None:
    try:
        state = journal.states[step.number]
        before = None if state.refused else state.begun
        if before is not None:
            if way.is_done(step, before):
                journal.finish(step, _changed(before))
                return
            way.clear(step, before)
        for _ in range(_ATTEMPTS):
            twins.check_given(step)
            if step.stays:
                raise Refused(f"stays, since {step.stays}")
            was = Facts.of(step.file.path)
            twins.check(step)
            begun = replace(way.begin(step), was=was)
            # An attempt that was cut off may have touched folders already.
            known = before.folders if before is not None else {}
            begun = replace(begun, folders=_folders(step, begun) | known)
            journal.begin(step, begun)
            try:
                way.do(step, begun)
            except FileExistsError:
                # Another program took the place since it was chosen: what lies there is not ours.
                way.clear(step, begun, is_taken=True)
                continue
            except OSError:
                way.clear(step, begun)
                _give_times(begun, begun.folders)
                raise
            twins.remember(step.twin)
            journal.finish(step, _changed(begun))
            return
        raise Refused("finds no free place: other programs are faster")
    except (Refused, OSError) as error:
        journal.refuse(step, _reason(error))


def _undo(journal: Journal, way: Way, step: Step) -> None:
    state = journal.states[step.number]
    assert state.begun is not None
    folder = os.path.dirname(step.file.path)
    for missing in missing_folders(folder):
        os.mkdir(missing)
    if state.undoing is None:
        now = _changed(state.begun)
        # What another program did in a folder meanwhile keeps its time.
        journal.begin_undo(
            step, [path for path in now if not state.done or now[path] == state.folders.get(path)]
        )
    way.undo(step, state.begun)
    for made in reversed(state.begun.made):
        remove_if_empty(made)
    _give_times(state.begun, state.undoing or [])
    journal.finish_undo(step)


class _Twins:
    """Twins that were seen to be what was indexed, so that they are not read for each of many copies."""

    def __init__(self) -> None:
        self._seen: dict[IndexedFile, tuple[int, ...]] = {}

    def check_given(self, step: Step) -> None:
        """Refuse a step of an image that came without a file."""
        if not step.file.digest or not step.twin.digest:
            raise Refused("has no file: its vector was given without one")

    def check(self, step: Step) -> None:
        """Refuse a step whose file or twin is not what was indexed."""
        if change := change_of(step.file):
            raise Refused(f"{change}: index it again and plan anew")
        if _is_one_entry(step.file.path, step.twin.path):
            raise Refused(f"stays, since it is the very file {step.twin.path}, by another name of its folder")
        if self._seen.get(step.twin) != _signature(step.twin.path):
            if change := change_of(step.twin):
                raise Refused(f"stays, since its twin {step.twin.path} {change}")
            self.remember(step.twin)

    def remember(self, twin: IndexedFile) -> None:
        """Take a twin as it is now for what it was; a new link to it changes when it was changed."""
        self._seen[twin] = _signature(twin.path)


def _folders(step: Step, begun: Begun) -> dict[str, tuple[int, int]]:
    """Folders that a step changes and that are there already, with their times."""
    found = {}
    for path in (step.file.path, begun.to, begun.note):
        if path:
            folder = existing_folder(os.path.dirname(path))
            status = os.stat(folder)
            found[folder] = status.st_atime_ns, status.st_mtime_ns
    return found


def _changed(begun: Begun) -> dict[str, int]:
    """When those folders were changed last, if they are there."""
    return {path: os.stat(path).st_mtime_ns for path in begun.folders if os.path.isdir(path)}


def _give_times(begun: Begun, folders: Iterable[str]) -> None:
    for path in folders:
        with suppress(OSError):
            os.utime(path, ns=begun.folders[path])


def _is_one_entry(path: str, twin: str) -> bool:
    """True if two paths lead to one name of one file, as two mounts of a folder make them."""
    try:
        status = os.lstat(path)
        return os.path.samestat(status, os.lstat(twin)) and status.st_nlink == 1
    except FileNotFoundError:
        return False


def _signature(path: str) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _reason(error: Refused | OSError) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "is gone: index it again and plan anew"
    return f"is left alone: {error.strerror}"
