"""The journal of an apply: what is to be done, what was begun, what is done. JSON lines.

The first line says what the journal is, the next ones hold the plan, one step each; the file appears under
its name when they are all on disk. Then each step writes a line before it touches anything and one when it is
finished, each flushed to disk before the next thing happens. So after a kill at any instant the journal says
which one step may be half done, and what to look for. A last line that was cut off counts as not written.
The line at the end of an apply or an undo says that it got there.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from twinlens.engine.errors import DatasetReadOnly, InvalidValue, StorageFull
from twinlens.engine.filing import Facts, IndexedFile, put_new, sync_folder
from twinlens.engine.storage import FULL, UNWRITABLE

_KIND, _FORMAT = "twinlens curate", 1
_END = "end"
_LAST = 64
"""More bytes than the line at the end has."""
_NOBODY = Facts(0, 0, 0, 0, 0, {})


class Action(StrEnum):
    """What is done with files that go.

    trash: into the trash of the desktop, or of the disk that they lie on.
    move: into a folder.
    hardlink, symlink: a link to the identical twin takes their place.
    delete: gone for good.
    """

    TRASH = "trash"
    MOVE = "move"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Step:
    """One file that goes.

    Attributes:
        number: of the step, from 0.
        id: the image.
        source: the folder or list that it was indexed from, absolute.
        file: what goes.
        twin: what stays for it.
        inside: where it goes inside the folder, for moves.
        stays: why it must not be done after all, as the end of a sentence; empty if it may.
    """

    number: int
    id: str
    source: str
    file: IndexedFile
    twin: IndexedFile
    inside: str = ""
    stays: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """What a journal is about.

    Attributes:
        action: what is done.
        dataset: folder of the dataset.
        to: folder of a move, absolute.
        trash: the trash of the user.
        key: part of the names of temporary files.
    """

    action: Action
    dataset: str
    to: str = ""
    trash: str = ""
    key: str = field(default_factory=lambda: secrets.token_hex(4))


@dataclass(frozen=True, slots=True)
class Begun:
    """What a step wrote down before it touched anything.

    Attributes:
        was: the file.
        folders: folders in which names come and go, with their access and modification times.
        to: where the file goes, for trash and moves.
        note: a file that describes it there, and its text.
        made: folders that are made for it, outermost first.
        inode: device and number of the twin's inode, for links.
    """

    was: Facts = _NOBODY
    folders: dict[str, tuple[int, int]] = field(default_factory=dict)
    to: str = ""
    note: str = ""
    note_text: str = ""
    made: tuple[str, ...] = ()
    inode: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class StepState:
    """What the journal says of a step.

    Attributes:
        begun: the last attempt.
        done: True if it is finished.
        folders: those of the attempt, with their modification times when the step was done.
        refused: why it was not done.
        undoing: those that nobody touched since, when the step began to be undone.
        undone: True if it is.
    """

    begun: Begun | None = None
    done: bool = False
    folders: dict[str, int] = field(default_factory=dict)
    refused: str = ""
    undoing: list[str] | None = None
    undone: bool = False


class Journal:
    """A journal that is open for writing; a second process is refused."""

    def __init__(self, path: Path, file: BinaryIO, heading: Heading) -> None:
        self.path = path
        self.heading = heading
        self.steps: list[Step] = []
        self.states: list[StepState] = []
        self._begun: dict[int, None] = {}
        self._file = file

    # -- life ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, heading: Heading, steps: Sequence[Step]) -> Journal:
        """Write the plan; nothing is done yet.

        Raises:
            InvalidValue: the file is there already.
            StorageFull, DatasetReadOnly: it cannot be written.
        """
        path = path.absolute()
        draft = path.with_name(f".{path.name}.{heading.key}")
        with _disk_errors(path):
            try:
                with open(draft, "xb") as file:
                    file.write(_line({"journal": _KIND, "format": _FORMAT, **asdict(heading)}))
                    file.writelines(_line({"step": step.number, **asdict(step)}) for step in steps)
                    file.flush()
                    os.fsync(file.fileno())
                put_new(draft, path)
            except FileExistsError as error:
                raise InvalidValue(f"{path} is there already: name another journal") from error
            except FileNotFoundError as error:
                raise InvalidValue(f"{path} cannot be written: there is no folder {path.parent}") from error
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read a journal and go on writing it.

        Raises:
            InvalidValue: it is no journal, damaged, of a newer version, or another process works on it.
        """
        path = path.absolute()
        try:
            file = path.open("r+b")
        except OSError as error:
            raise InvalidValue(f"{path} cannot be opened as a journal: {error.strerror}") from error
        try:
            _lock(file, path)
            journal = cls(path, file, _heading(_record(file.readline(), path, 1), path))
            end, number = file.tell(), 1
            while (line := file.readline()).endswith(b"\n"):
                number += 1
                journal._take(_record(line, path, number))
                end = file.tell()
            file.truncate(end)
            file.seek(end)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            file.close()
            raise InvalidValue(f"{path} is damaged: {error!r} is not what a journal holds") from error
        except BaseException:
            file.close()
            raise
        return journal

    def close(self) -> None:
        """Close the file; others may then work on it."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what happens, each on disk before the call returns --------------------------------------

    def begin(self, step: Step, begun: Begun) -> None:
        """A step is about to touch files."""
        self._write({"begin": step.number, **asdict(begun)})

    def finish(self, step: Step, folders: dict[str, int]) -> None:
        """A step is done."""
        self._write({"done": step.number, "folders": folders})

    def refuse(self, step: Step, reason: str) -> None:
        """A step was not done, and nothing is left of it."""
        self._write({"refused": step.number, "reason": reason})

    def begin_undo(self, step: Step, untouched: list[str]) -> None:
        """A step is about to be undone."""
        self._write({"undo": step.number, "untouched": untouched})

    def finish_undo(self, step: Step) -> None:
        """A step is undone."""
        self._write({"undone": step.number})

    def end(self) -> None:
        """An apply or an undo got to its end."""
        self._write({_END: len(self.steps)})

    @property
    def begun(self) -> list[Step]:
        """Steps that were begun and not refused, in the order in which that happened last."""
        return [self.steps[number] for number in self._begun]

    @property
    def is_being_undone(self) -> bool:
        """True if undoing has begun."""
        return any(state.undoing is not None for state in self.states)

    def _write(self, record: dict[str, Any]) -> None:
        with _disk_errors(self.path):
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        kind = next(iter(record))
        if kind == "step":
            self.steps.append(_step(record))
            self.states.append(StepState())
            return
        if kind == _END:
            return
        state = self.states[record[kind]]
        if kind == "begin":
            state.begun, state.refused = _begun(record), ""
            self._begun[record[kind]] = self._begun.pop(record[kind], None)
        elif kind == "done":
            state.done, state.folders = True, record["folders"]
        elif kind == "refused":
            state.refused = record["reason"]
            self._begun.pop(record[kind], None)
        elif kind == "undo":
            state.undoing = record["untouched"]
        elif kind == "undone":
            state.undone = True
        else:
            raise ValueError(kind)


def is_unfinished(path: Path) -> bool:
    """True if what is written in a journal, an apply or an undo, was cut off and is not going on now."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        file.seek(-min(_LAST, path.stat().st_size), os.SEEK_END)
        last = file.read().rpartition(b"\n{")[2]
    return not last.startswith(f'"{_END}": '.encode())


def _line(record: dict[str, Any]) -> bytes:
    # Names that are not UTF-8 are kept as lone surrogates, which only ASCII can carry.
    return json.dumps(record, ensure_ascii=True).encode() + b"\n"


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(
                f"no room left for the journal {path}: free some space, then use --continue or --undo; "
                "or name another place with --journal"
            ) from error
        if error.errno in UNWRITABLE:
            raise DatasetReadOnly(
                f"the journal {path} cannot be written: {error.strerror}: name another place with --journal"
            ) from error
        raise


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidValue(f"another process works on {path}: wait for it") from error


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or not record:
            raise ValueError("no record")
    except ValueError as error:
        raise InvalidValue(f"{path} is no journal of curate, or damaged in line {number}") from error
    return record


def _heading(record: dict[str, Any], path: Path) -> Heading:
    if record.get("journal") != _KIND:
        raise InvalidValue(f"{path} is no journal of curate")
    if record["format"] > _FORMAT:
        raise InvalidValue(f"{path} was written by a newer TwinLens: update TwinLens")
    fields = {name: record[name] for name in Heading.__slots__}
    return Heading(**fields | {"action": Action(record["action"])})


def _step(record: dict[str, Any]) -> Step:
    file, twin = IndexedFile(**record["file"]), IndexedFile(**record["twin"])
    return Step(record["step"], record["id"], record["source"], file, twin, record["inside"], record["stays"])


def _begun(record: dict[str, Any]) -> Begun:
    fields = {name: record[name] for name in Begun.__slots__}
    fields["was"] = Facts(**record["was"])
    fields["folders"] = {path: tuple(times) for path, times in record["folders"].items()}
    return Begun(**fields | {name: tuple(record[name]) for name in ("made", "inode")})
