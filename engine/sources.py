"""Where images come from: folders, archives, lists of paths, single files. Ordered, lazy, no image is opened.

A folder is walked in the order of the bytes of its paths, so that every machine sees the same order;
members of an archive come in the order of the archive. Paths are bytes: a file system has names that
are not UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from twinlens.engine.archive_entries import MemberEntries, archive_entries, is_entered, member_entry
from twinlens.engine.archive_names import ARCHIVE_EXTENSIONS, is_archive, is_shard
from twinlens.engine.brace_patterns import expand, is_pattern
from twinlens.engine.downloads import Downloads, other_scheme
from twinlens.engine.entries import (
    SkippedFile,
    SourceEntry,
    SourceFailure,
    SourceFile,
    extension_of,
    is_private,
    is_url,
    refused_by_name,
)
from twinlens.engine.errors import SourceError
from twinlens.engine.formats import IMAGE_EXTENSIONS
from twinlens.engine.path_lists import LIST_EXTENSIONS, read_list
from twinlens.engine.refusals import DIRECTORY, kind_refusal, unreadable_refusal

__all__ = [
    "SkippedFile",
    "SourceEntry",
    "SourceFailure",
    "SourceFile",
    "scan",
    "source_exists",
    "source_root",
]

OWN_FOLDER = b".twinlens"

_Identity: TypeAlias = tuple[int, int]


def source_root(source: Path) -> Path:
    """The folder that relative paths of a source start from: itself, or the one it lies in; absolute."""
    absolute = Path(os.path.abspath(source))
    if absolute.is_dir():
        return absolute
    return next(folder for folder in absolute.parents if folder.exists() or not is_pattern(str(folder)))


def source_exists(source: Path) -> bool:
    """True if there is such a file or folder, or it is a pattern that names one."""
    return source.exists() or any(os.path.exists(name) for name in _names(source))


def scan(
    source: Path,
    *,
    exclude: Collection[Path] = (),
    members: MemberEntries = archive_entries,
    shards: bool = True,
    downloads: Downloads | None = None,
) -> Iterator[SourceEntry]:
    """Entries of a source, in the order of the bytes of their paths, or of the list.

    A folder is walked with everything below it. Symbolic links are followed; each real folder is
    visited once. Hidden files and folders are skipped, `.twinlens` is not even counted. Files count
    as images by extension; videos and pictures that are not decoded are failures.
    A list of paths (text, CSV, Parquet) is taken by its word: every file in it is to be decoded, but
    only once. A single image file is a source too.
    An archive (zip, tar) is a folder of its members, and a brace pattern a list of files or archives. Tar
    archives in a folder without images are the shards of a WebDataset and are entered; beside images they
    are files like others.

    Args:
        source: what to scan.
        exclude: folders that are left out.
        members: lists an archive.
        shards: enter the tar archives of a folder without images.
        downloads: where the files of URLs in a list lie.

    Raises:
        SourceError: the source is missing, cannot be read, or is neither folder, list nor image; a
            damaged list says so when the damage is reached.
    """
    root = source_root(source)
    extension = source.suffix.lower()
    if (names := _names(source)) and not source.exists():
        return _listed(root, map(os.fsencode, names), members)
    try:
        status = os.stat(source)
    except (OSError, ValueError) as error:
        raise SourceError(f"{source} cannot be used as a source: {unreadable_refusal(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        return _walk(root, {_identity(status)}, exclude, members if shards else None)
    if stat.S_ISREG(status.st_mode) and extension in LIST_EXTENSIONS:
        return _listed(root, read_list(source), members, downloads)
    if stat.S_ISREG(status.st_mode) and (extension in IMAGE_EXTENSIONS or is_archive(source.name)):
        return _listed(root, [os.fsencode(source.name)], members)
    lists, archives = " ".join(sorted(LIST_EXTENSIONS)), " ".join(ARCHIVE_EXTENSIONS)
    raise SourceError(
        f"{source} is no source of images: name a folder, an image file, an archive ({archives}), "
        f"or a list of paths ({lists})"
    )


def _names(source: Path) -> list[str]:
    """Absolute paths that a brace pattern stands for; none for any other source."""
    text = os.path.abspath(source)
    return expand(text) if is_pattern(text) else []


def _listed(
    root: Path, paths: Iterable[bytes], members: MemberEntries, downloads: Downloads | None = None
) -> Iterator[SourceEntry]:
    base, seen = os.fsencode(root), set()
    for path in paths:
        is_remote = is_url(path) or other_scheme(path) is not None
        relative = path if is_remote else os.path.relpath(os.path.join(base, path), base)
        if relative in seen:
            continue
        seen.add(relative)
        if is_url(path) and downloads is not None:
            yield downloads.entry(root, path)
        elif is_remote:
            reason = other_scheme(path) or "it is a URL: those are downloaded when a dataset is indexed"
            yield SourceFailure(root, relative, reason, retryable=False)
        elif is_archive(relative) and is_entered(root, relative):
            yield from members(root, relative)
        else:
            yield _refused(root, relative) or _file(root, relative)


def _walk(
    root: Path, seen: set[_Identity], exclude: Collection[Path], members: MemberEntries | None
) -> Iterator[SourceEntry]:
    """Depth first with a stack of its own: trees are deeper than Python's."""
    base, inside = os.fsencode(root), os.path.realpath(os.fsencode(root))
    seen |= {_identity(os.stat(folder)) for folder in exclude if os.path.exists(folder)}
    try:
        stack = [(b"", top := _children(base), _holds_shards(top))]
    except OSError as error:
        raise SourceError(f"{root} cannot be listed: {unreadable_refusal(error)}") from error
    while stack:
        folder, children, has_shards = stack[-1]
        if not children:
            stack.pop()
            continue
        relative = folder + children.pop()
        if not relative.endswith(b"/"):
            if members and has_shards and is_shard(relative) and not is_private(os.path.basename(relative)):
                yield from members(root, relative)
            else:
                yield _walked_file(root, relative)
            continue
        if (entry := _passed_by(root, relative[:-1], inside, seen)) is not None:
            yield from entry
            continue
        if extension_of(relative[:-1]) in IMAGE_EXTENSIONS:
            yield SourceFailure(root, relative[:-1], DIRECTORY, retryable=False)
        try:
            below = _children(base + b"/" + relative)
            stack.append((relative, below, _holds_shards(below)))
        except OSError as error:
            yield SourceFailure(root, relative[:-1], unreadable_refusal(error), retryable=True)


def _children(folder: bytes) -> list[bytes]:
    """Names in a folder, last one first; a folder's name ends in a slash, which also sorts it rightly."""
    with os.scandir(folder) as entries:
        names = [entry.name + b"/" if _is_folder(entry) else entry.name for entry in entries]
    names.sort(reverse=True)
    return names


def _holds_shards(children: list[bytes]) -> bool:
    """True for a folder with tar archives and without images: those of a WebDataset."""
    is_image = any(extension_of(name) in IMAGE_EXTENSIONS for name in children)
    return not is_image and any(is_shard(name) for name in children)


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
    if is_private(name):
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
    return not any(is_private(name) for name in names)


def _walked_file(root: Path, relative: bytes) -> SourceEntry:
    if os.path.basename(relative).startswith(b"."):
        return SkippedFile(root, relative)
    if (refused := _refused(root, relative)) is not None:
        return refused
    if extension_of(relative) not in IMAGE_EXTENSIONS:
        return SkippedFile(root, relative)
    return _file(root, relative)


def _refused(root: Path, relative: bytes) -> SourceFailure | None:
    reason = refused_by_name(relative)
    return None if reason is None else SourceFailure(root, relative, reason, retryable=False)


def _file(root: Path, relative: bytes) -> SourceEntry:
    try:
        status = os.stat(os.path.join(os.fsencode(root), relative))
    except NotADirectoryError:
        return member_entry(root, relative)
    except (OSError, ValueError) as error:
        retryable = isinstance(error, OSError)
        return SourceFailure(root, relative, unreadable_refusal(error), retryable)
    if (refusal := kind_refusal(status.st_mode)) is not None:
        return SourceFailure(root, relative, refusal, retryable=False)
    return SourceFile(root, relative, status.st_size, status.st_mtime_ns)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
