"""Files that strangers name, written below one folder and nowhere else."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from twinlens.service.explore.failures import BadRequest

MAX_NAME_BYTES = 255
"""Of one name in UTF-8; what the file systems of Linux hold."""

_MAX_EXTENSION_BYTES = 32
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
_SHOWN = 100


def safe_name(name: str) -> str:
    r"""The base name under which a file is kept: its last part after `/` and `\`, and no hidden one.

    Control characters, lone surrogates, outer spaces and leading dots are removed. A name of more than
    `MAX_NAME_BYTES` is shortened before its extension.

    Raises:
        BadRequest: nothing is left, or it is a folder's name: "", "." or "..".
    """
    last = _parts(name)[-1]
    visible = last.lstrip(". ")
    if not visible:
        raise BadRequest(f"{shown(name)} is no name of a file: name each file as in 'photo.jpg'")
    return _shortened(visible)


def safe_parts(name: str) -> tuple[str, ...]:
    """The path of a member of an archive, part by part, as it may lie below a folder.

    Parts that lead elsewhere (the root, a drive, "..") are left out; hidden ones are kept. Empty where
    nothing remains.
    """
    first, *others = _parts(name)
    is_drive = len(first) == 2 and first[0].isalpha() and first[1] == ":"
    parts = others if is_drive else [first, *others]
    return tuple(_shortened(part) for part in parts if part not in ("", ".", ".."))


def shown(name: str) -> str:
    """A name for a message: quoted, escaped where it does not print, and not too long."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")


class Staging:
    """Creates files below a folder and remembers which, until they are safe on disk or thrown away."""

    def __init__(self, folder: Path) -> None:
        """Creates nothing yet.

        Args:
            folder: exists; nobody else writes to it.
        """
        self._folder = folder
        self._files: dict[Path, None] = {}
        self._folders: dict[Path, None] = {}
        self._next_numbers: dict[tuple[str, ...], int] = {}

    @property
    def folders(self) -> int:
        """How many folders there are by now below the one at the top."""
        return len(self._folders)

    def create(self, parts: Sequence[str]) -> tuple[Path, BinaryIO]:
        """A new file with its folders; where its place is taken, in `2/`, `3/`, ... beside it.

        Args:
            parts: folders and base name, each as `safe_name` or `safe_parts` give it.
        """
        wanted = tuple(parts)
        for number in count(self._next_numbers.get(wanted, 1)):
            place = wanted if number == 1 else (str(number), *wanted)
            path = self._folder.joinpath(*place)
            try:
                self._make_folders(place[:-1])
                file = path.open("xb")
            except FileExistsError:
                continue
            if number > 1:
                self._next_numbers[wanted] = number + 1
            self._files[path] = None
            return path, file
        raise AssertionError("unreachable")

    def remove(self, path: Path) -> None:
        """Throw one file away."""
        del self._files[path]
        path.unlink()

    def sync(self) -> None:
        """Return when all files are on disk, with their names."""
        for path in (*self._files, *self._folders, self._folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def discard(self) -> None:
        """Throw everything away that was created here; what cannot be removed is left to the caller."""
        for path in self._files:
            with suppress(OSError):
                path.unlink()
        for folder in reversed(self._folders):
            with suppress(OSError):
                folder.rmdir()
        self._files.clear()
        self._folders.clear()

    def _make_folders(self, parts: Sequence[str]) -> None:
        """Raises FileExistsError if one of them is a file."""
        folder = self._folder
        for part in parts:
            folder = folder / part
            if folder in self._folders:
                continue
            try:
                folder.mkdir()
            except FileExistsError:
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    raise
            self._folders[folder] = None


def _parts(name: str) -> list[str]:
    """At least one; each without what does not print and without outer spaces."""
    if not name.isprintable():
        name = "".join(letter for letter in name if unicodedata.category(letter) not in _UNPRINTABLE)
    return [part.strip() for part in name.replace("\\", "/").split("/")]


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, extension = os.path.splitext(name)
    if len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    room = MAX_NAME_BYTES - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore") + extension
