"""The trash of the desktop, by the freedesktop.org Trash specification 1.0.

Files on the disk of the user's own trash go there; others into `.Trash/UID` or `.Trash-UID` at the top of
their disk. Each has a note under `info`, made first, whose name reserves the name under `files`. File
managers show and restore what lies there.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from twinlens.engine.errors import InvalidValue
from twinlens.engine.filing import existing_folder

_ATTEMPTS = 10_000
_LONGEST_NAME = 255 - len(".10000.trashinfo")


class Trash(NamedTuple):
    """One trash folder.

    Attributes:
        folder: it holds `files` and `info`.
        top: paths in notes are relative to it; empty where they are absolute.
    """

    folder: str
    top: str


class Place(NamedTuple):
    """Where one file goes.

    Attributes:
        file: its new path.
        note: path of its note.
        text: what the note says.
    """

    file: str
    note: str
    text: str


def trash_for(path: str, home: str) -> Trash:
    """The trash that a file goes to.

    Args:
        path: absolute path of the file.
        home: the user's own trash, which need not be there yet.

    Raises:
        InvalidValue: its disk has none, and none can be made.
    """
    folder = os.path.realpath(os.path.dirname(path))
    disk = os.stat(folder).st_dev
    if os.stat(existing_folder(home)).st_dev == disk:
        return Trash(home, "")
    top = folder
    while top != "/" and os.stat(os.path.dirname(top)).st_dev == disk:
        top = os.path.dirname(top)
    shared, own = os.path.join(top, ".Trash"), os.path.join(top, f".Trash-{os.getuid()}")
    if _is_safe_shared(shared):
        return Trash(os.path.join(shared, str(os.getuid())), top)
    if os.path.lexists(own) and not _is_own_folder(own):
        raise InvalidValue(f"{own} is no trash of this user: use --apply move --to FOLDER instead")
    if not os.access(own if os.path.lexists(own) else top, os.W_OK | os.X_OK):
        raise InvalidValue(f"no trash can be made in {top}: use --apply move --to FOLDER instead")
    return Trash(own, top)


def place_for(path: str, trash: Trash, deleted: datetime) -> Place:
    """A free place in a trash for a file; nothing is made yet."""
    stem, ending = os.path.splitext(os.path.basename(path))
    # A note has a longer name than its file, and names have an end.
    stem = os.fsdecode(os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(ending))])
    original = os.path.relpath(_located(path), trash.top) if trash.top else path
    text = f"[Trash Info]\nPath={quote(os.fsencode(original))}\nDeletionDate={deleted:%Y-%m-%dT%H:%M:%S}\n"
    for number in range(1, _ATTEMPTS):
        name = f"{stem}{ending}" if number == 1 else f"{stem}.{number}{ending}"
        place = Place(
            os.path.join(trash.folder, "files", name),
            os.path.join(trash.folder, "info", f"{name}.trashinfo"),
            text,
        )
        if not os.path.lexists(place.file) and not os.path.lexists(place.note):
            return place
    raise InvalidValue(f"{trash.folder} holds too many files of the name {stem}{ending}: empty it")


def write_note(place: Place) -> None:
    """Reserve the place.

    Raises:
        FileExistsError: another program was faster.
    """
    with open(place.note, "x", encoding="ascii") as file:
        file.write(place.text)
        file.flush()
        os.fsync(file.fileno())


def remove_note(note: str, text: str) -> None:
    """Remove a note if it is the one that was written, or the beginning of it."""
    path = Path(note)
    if path.is_file() and text.encode("ascii").startswith(path.read_bytes()):
        path.unlink()


def _located(path: str) -> str:
    """A path with the folders above it resolved, as those above the top of a disk must be."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _is_safe_shared(folder: str) -> bool:
    """The specification asks for a real folder with the sticky bit."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX) and os.access(folder, os.W_OK)


def _is_own_folder(folder: str) -> bool:
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
