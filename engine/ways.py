"""How files go and come back: put elsewhere, replaced by a link, or deleted.

Each way can say whether a step is done, clear what an attempt left that did not get to its end, and put the
file back. None of it loses a byte or overwrites anything but the very file that a link replaces.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from datetime import datetime

from twinlens.engine.errors import InvalidValue
from twinlens.engine.filing import (
    copy_content,
    digest_of,
    inode_of,
    is_same_entry,
    missing_folders,
    put,
    remove_if_empty,
    remove_if_there,
    replace_by,
    sync_folder,
)
from twinlens.engine.journal import Action, Begun, Heading, Step
from twinlens.engine.trash import Place, place_for, remove_note, trash_for, write_note


class Refused(Exception):
    """A step cannot be done or undone; the message says why, after the name of the file."""


class Way(ABC):
    """How one kind of step is done, found again, and taken back. Each of these may be repeated."""

    def __init__(self, heading: Heading) -> None:
        self.heading = heading

    def spare(self, step: Step, path: str) -> str:
        """A name beside a path for what is not finished."""
        return os.path.join(os.path.dirname(path), f".twinlens-{self.heading.key}-{step.number}")

    @abstractmethod
    def begin(self, step: Step) -> Begun:
        """What will be done; nothing is touched yet."""

    @abstractmethod
    def do(self, step: Step, begun: Begun) -> None:
        """Do it."""

    @abstractmethod
    def is_done(self, step: Step, begun: Begun) -> bool:
        """True if nothing is left to do."""

    @abstractmethod
    def clear(self, step: Step, begun: Begun, *, is_taken: bool = False) -> None:
        """Remove what an attempt left that did not get to its end.

        Args:
            step: what was attempted.
            begun: how.
            is_taken: what lies where the file should go is not ours.
        """

    @abstractmethod
    def undo(self, step: Step, begun: Begun) -> None:
        """Put the file back as it was."""


class _Putting(Way):
    """Into a folder or a trash."""

    def begin(self, step: Step) -> Begun:
        place = self._place(step)
        folders = sorted({os.path.dirname(path) for path in (place.file, place.note) if path})
        made = dict.fromkeys(missing for folder in folders for missing in missing_folders(folder))
        return Begun(to=place.file, note=place.note, note_text=place.text, made=tuple(made))

    def _place(self, step: Step) -> Place:
        if self.heading.action is Action.MOVE:
            target = os.path.join(self.heading.to, step.inside)
            if os.path.lexists(target):
                raise Refused(f"stays, since {target} is there already")
            return Place(target, "", "")
        try:
            trash = trash_for(step.file.path, self.heading.trash)
            return place_for(step.file.path, trash, datetime.now())
        except InvalidValue as error:
            raise Refused(f"stays: {error}") from error

    def do(self, step: Step, begun: Begun) -> None:
        for folder in begun.made:
            os.makedirs(folder, mode=0o700 if begun.note else 0o777, exist_ok=True)
        if begun.note:
            write_note(Place(begun.to, begun.note, begun.note_text))
        put(step.file.path, begun.to, self.spare(step, begun.to))

    def is_done(self, step: Step, begun: Begun) -> bool:
        return os.path.lexists(begun.to) and not os.path.lexists(step.file.path)

    def clear(self, step: Step, begun: Begun, *, is_taken: bool = False) -> None:
        source, target = step.file.path, begun.to
        remove_if_there(self.spare(step, target))
        if not is_taken and os.path.lexists(target) and os.path.lexists(source):
            copied = not is_same_entry(source, target)
            if copied and not (_holds(step, source) and _holds(step, target)):
                return
            remove_if_there(target)
        if begun.note and (is_taken or not os.path.lexists(target)):
            remove_note(begun.note, begun.note_text)
        for folder in reversed(begun.made):
            remove_if_empty(folder)

    def undo(self, step: Step, begun: Begun) -> None:
        source, target = step.file.path, begun.to
        remove_if_there(self.spare(step, source))
        if os.path.lexists(source):
            self.clear(step, begun)
            if os.path.lexists(target):
                raise Refused(f"is there again, as another file: what was removed lies in {target}")
            if _holds(step, source):
                begun.was.give(source)
            return
        if not os.path.lexists(target):
            raise Refused(f"cannot be restored: {target} is gone")
        put(target, source, self.spare(step, source), begun.was)
        begun.was.give(source)
        if begun.note:
            remove_note(begun.note, begun.note_text)


class _Linking(Way):
    """A link to the twin in the place of the file."""

    def begin(self, step: Step) -> Begun:
        if step.file.digest != step.twin.digest:
            raise Refused(
                f"stays, since its bytes are not those of {step.twin.path}: only copies become links"
            )
        if os.path.islink(step.file.path):
            raise Refused("stays, since it is a symbolic link already")
        inode = inode_of(step.twin.path)
        if inode_of(step.file.path) == inode:
            raise Refused(f"stays, since it shares its bytes with {step.twin.path} already")
        return Begun(inode=inode)

    def do(self, step: Step, begun: Begun) -> None:
        path, twin = step.file.path, step.twin.path

        def link(spare: str) -> None:
            if self.heading.action is Action.HARDLINK:
                os.link(os.path.realpath(twin), spare)
            else:
                os.symlink(_relative(twin, path), spare)

        replace_by(path, self.spare(step, path), link)

    def is_done(self, step: Step, begun: Begun) -> bool:
        path = step.file.path
        is_link = os.path.islink(path)
        try:
            return is_link is (self.heading.action is Action.SYMLINK) and inode_of(path) == begun.inode
        except FileNotFoundError:
            return False

    def clear(self, step: Step, begun: Begun, *, is_taken: bool = False) -> None:
        remove_if_there(self.spare(step, step.file.path))

    def undo(self, step: Step, begun: Begun) -> None:
        path = step.file.path
        self.clear(step, begun)
        if not self.is_done(step, begun):
            if os.path.islink(path) or not _holds(step, path):
                raise Refused("is another file now: it is left as it is")
            begun.was.give(path)
            return
        if not _holds(step, path):
            raise Refused(f"cannot be restored: the bytes that it shares with {step.twin.path} changed")
        replace_by(path, self.spare(step, path), lambda spare: copy_content(path, spare, begun.was))


class _Deleting(Way):
    """Gone for good."""

    def begin(self, step: Step) -> Begun:
        return Begun()

    def do(self, step: Step, begun: Begun) -> None:
        os.unlink(step.file.path)
        sync_folder(os.path.dirname(step.file.path))

    def is_done(self, step: Step, begun: Begun) -> bool:
        return not os.path.lexists(step.file.path)

    def clear(self, step: Step, begun: Begun, *, is_taken: bool = False) -> None:
        """There is nothing between a file and none."""

    def undo(self, step: Step, begun: Begun) -> None:
        raise Refused("was deleted for good")


def way_of(heading: Heading) -> Way:
    """How the steps of a journal are done."""
    ways: dict[Action, type[Way]] = {
        Action.TRASH: _Putting,
        Action.MOVE: _Putting,
        Action.HARDLINK: _Linking,
        Action.SYMLINK: _Linking,
        Action.DELETE: _Deleting,
    }
    return ways[heading.action](heading)


def _holds(step: Step, path: str) -> bool:
    """True if a file, or the target of a symbolic link, has the bytes that were indexed."""
    try:
        return digest_of(path) == step.file.digest
    except OSError:
        return False


def _relative(twin: str, path: str) -> str:
    """What a link in the place of a file says, so that both can move together."""
    return os.path.relpath(os.path.realpath(twin), os.path.realpath(os.path.dirname(path)))
