"""Where images come from: folders, lists of paths, single files. Ordered, lazy, nothing is opened.

A folder is walked in the order of the bytes of its paths, so that every machine sees the same order.
Paths are bytes: a file system has names that are not UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from twinlens.engine.errors import SourceError
from twinlens.engine.formats import IMAGE_EXTENSIONS, OTHER_PICTURE_EXTENSIONS, VIDEO_EXTENSIONS
from twinlens.engine.path_lists import LIST_EXTENSIONS, read_list
from twinlens.engine.refusals import (
    DIRECTORY,
    kind_refusal,
    picture_refusal,
    unreadable_refusal,
    video_refusal,
)

OWN_FOLDER = b".twinlens"
_PRIVATE_FOLDERS = frozenset(
    (b"@eaDir", b"#recycle", b"$RECYCLE.BIN", b"System Volume Information", b"__MACOSX", b"lost+found")
)
"""Thumbnails and bins of file servers and operating systems; nobody's pictures."""

_Identity: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Named:
    """Something in a source.

    Attributes:
        root: absolute folder that relative paths start from.
        relative: path from there as the file system spells it; maybe not UTF-8.
    """

    root: Path
    relative: bytes

    @property
    def path(self) -> str:
        """Absolute path as `os.fsdecode` gives it."""
        return os.path.join(self.root, os.fsdecode(self.relative))


@dataclass(frozen=True, slots=True)
class SourceFile(_Named):
    """A file that is to be decoded.

    Attributes:
        size: bytes.
        mtime_ns: time of last change, nanoseconds since 1970.
    """

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SourceFailure(_Named):
    """Something that should be an image and cannot be one, or a folder that cannot be listed.

    Attributes:
        reason: one sentence for a person, without the name.
        retryable: True if it may be readable later.
        stage: always "scan".
    """

    reason: str
    retryable: bool
    stage: str = "scan"


@dataclass(frozen=True, slots=True)
class SkippedFile(_Named):
    """A file that does not claim to be an image, or a hidden folder."""


SourceEntry: TypeAlias = SourceFile | SourceFailure | SkippedFile


def source_root(source: Path) -> Path:
    """The folder that relative paths of a source start from: itself, or the one it lies in; absolute."""
    absolute = Path(os.path.abspath(source))
    return absolute if absolute.is_dir() else absolute.parent


def scan(source: Path, *, exclude: Collection[Path] = ()) -> Iterator[SourceEntry]:
    """Entries of a source, in the order of the bytes of their paths, or of the list.

    A folder is walked with everything below it. Symbolic links are followed; each real folder is
    visited once. Hidden files and folders are skipped, `.twinlens` is not even counted. Files count
    as images by extension; videos and pictures that are not decoded are failures.
    A list of paths (text, CSV, Parquet) is taken by its word: every file in it is to be decoded, but
    only once. A single image file is a source too.

    Args:
        source: what to scan.
        exclude: folders that are left out.

    Raises:
        SourceError: the source is missing, cannot be read, or is neither folder, list nor image; a
            damaged list says so when the damage is reached.
    """
    root = source_root(source)
    extension = source.suffix.lower()
    try:
        status = os.stat(source)
    except (OSError, ValueError) as error:
        raise SourceError(f"{source} cannot be used as a source: {unreadable_refusal(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        return _walk(root, {_identity(status)}, exclude)
    if stat.S_ISREG(status.st_mode) and extension in LIST_EXTENSIONS:
        return _listed(root, read_list(source))
    if stat.S_ISREG(status.st_mode) and extension in IMAGE_EXTENSIONS:
        return _listed(root, [os.fsencode(source.name)])
    lists = " ".join(sorted(LIST_EXTENSIONS))
    raise SourceError(
        f"{source} is no source of images: name a folder, an image file, or a list of paths ({lists})"
    )


def _listed(root: Path, paths: Iterable[bytes]) -> Iterator[SourceEntry]:
    base, seen = os.fsencode(root), set()
    for path in paths:
        relative = os.path.relpath(os.path.join(base, path), base)
        if relative not in seen:
            seen.add(relative)
            yield _refused(root, relative) or _file(root, relative)


def _walk(root: Path, seen: set[_Identity], exclude: Collection[Path]) -> Iterator[SourceEntry]:
    """Depth first with a stack of its own: trees are deeper than Python's."""
    base, inside = os.fsencode(root), os.path.realpath(os.fsencode(root))
    seen |= {_identity(os.stat(folder)) for folder in exclude if os.path.exists(folder)}
    try:
        stack = [(b"", _children(base))]
    except OSError as error:
        raise SourceError(f"{root} cannot be listed: {unreadable_refusal(error)}") from error
    while stack:
        folder, children = stack[-1]
        if not children:
            stack.pop()
            continue
        relative = folder + children.pop()
        if not relative.endswith(b"/"):
            yield _walked_file(root, relative)
            continue
        if (entry := _passed_by(root, relative[:-1], inside, seen)) is not None:
            yield from entry
            continue
        if _extension(relative[:-1]) in IMAGE_EXTENSIONS:
            yield SourceFailure(root, relative[:-1], DIRECTORY, retryable=False)
        try:
            stack.append((relative, _children(base + b"/" + relative)))
        except OSError as error:
            yield SourceFailure(root, relative[:-1], unreadable_refusal(error), retryable=True)


def _children(folder: bytes) -> list[bytes]:
    """Names in a folder, last one first; a folder's name ends in a slash, which also sorts it rightly."""
    with os.scandir(folder) as entries:
        names = [entry.name + b"/" if _is_folder(entry) else entry.name for entry in entries]
    names.sort(reverse=True)
    return names


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _passed_by(
    root: Path, relative: bytes, inside: bytes, seen: set[_Identity]
) -> Iterable[SourceEntry] | None:
    """None if a folder is to be entered, which marks it as seen; else what to say about it."""
    name = os.path.basename(relative)
    if name == OWN_FOLDER:
        return ()
    if name.startswith(b".") or name in _PRIVATE_FOLDERS:
        return (SkippedFile(root, relative),)
    path = os.path.join(os.fsencode(root), relative)
    try:
        identity = _identity(os.stat(path))
        if os.path.islink(path) and _is_visited_anyway(os.path.realpath(path), inside):
            return ()
    except OSError as error:
        return (SourceFailure(root, relative, unreadable_refusal(error), retryable=True),)
    if identity in seen:
        return ()
    seen.add(identity)
    return None


def _is_visited_anyway(target: bytes, inside: bytes) -> bool:
    """True if a link leads to a folder that the walk reaches by its real path."""
    if target == inside:
        return True
    names = os.path.relpath(target, inside).split(b"/")
    return not any(name.startswith(b".") or name in _PRIVATE_FOLDERS for name in names)


def _walked_file(root: Path, relative: bytes) -> SourceEntry:
    if os.path.basename(relative).startswith(b"."):
        return SkippedFile(root, relative)
    if (refused := _refused(root, relative)) is not None:
        return refused
    if _extension(relative) not in IMAGE_EXTENSIONS:
        return SkippedFile(root, relative)
    return _file(root, relative)


def _refused(root: Path, relative: bytes) -> SourceFailure | None:
    """Videos and other pictures are refused by name: reading gigabytes would tell nothing more."""
    extension = _extension(relative)
    if extension in VIDEO_EXTENSIONS:
        return SourceFailure(root, relative, video_refusal(extension[1:].upper()), retryable=False)
    if (kind := OTHER_PICTURE_EXTENSIONS.get(extension)) is not None:
        return SourceFailure(root, relative, picture_refusal(kind), retryable=False)
    return None


def _file(root: Path, relative: bytes) -> SourceEntry:
    try:
        status = os.stat(os.path.join(os.fsencode(root), relative))
    except (OSError, ValueError) as error:
        retryable = isinstance(error, OSError)
        return SourceFailure(root, relative, unreadable_refusal(error), retryable)
    if (refusal := kind_refusal(status.st_mode)) is not None:
        return SourceFailure(root, relative, refusal, retryable=False)
    return SourceFile(root, relative, status.st_size, status.st_mtime_ns)


def _extension(relative: bytes) -> str:
    return os.path.splitext(os.fsdecode(relative))[1].lower()


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
