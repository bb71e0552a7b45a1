"""Archives as sources: their members, listed where they lie, and what is said about the rest."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from twinlens.engine.archive_names import is_archive, is_other_archive
from twinlens.engine.archive_reading import find_member
from twinlens.engine.archives import Held, contents_of
from twinlens.engine.entries import (
    SkippedFile,
    SourceEntry,
    SourceFailure,
    SourceFile,
    extension_of,
    is_private,
    refused_by_name,
)
from twinlens.engine.formats import IMAGE_EXTENSIONS
from twinlens.engine.refusals import kind_refusal, unreadable_refusal

MemberEntries: TypeAlias = Callable[[Path, bytes], Iterable[SourceEntry]]
"""Lists the archive at a path below a root."""

NESTED = "it is an archive in an archive, which is not read: unpack the outer one and name this one"
NO_MEMBER = "the archive holds no such file: check the name in the list"


def archive_entries(root: Path, relative: bytes) -> Iterator[SourceEntry]:
    """Entries of an archive, in its order: its members by name, as in a folder, then what is wrong with it.

    Members carry the time of the archive: when it changes, each is compared by its content.
    """
    archive = os.path.join(os.fsencode(root), relative)
    try:
        status = os.stat(archive)
        if (refusal := kind_refusal(status.st_mode)) is not None:
            yield SourceFailure(root, relative, refusal, retryable=False)
            return
        contents = contents_of(archive, status)
    except OSError as error:
        yield SourceFailure(root, relative, unreadable_refusal(error), retryable=True)
        return
    for held in contents.members:
        # What repeats a path gets a row of its own, beside the image that the path belongs to.
        repeated = b" (%d)" % held.occurrence if held.occurrence > 1 else b""
        yield _entry(root, relative + b"/" + held.path + repeated, held, status)
    if contents.damage is not None:
        yield SourceFailure(root, relative, contents.damage, retryable=False)


def member_entry(root: Path, relative: bytes) -> SourceEntry:
    """The entry of one file in an archive, by its path; a failure where there is none."""
    try:
        found = find_member(os.path.join(os.fsencode(root), relative))
    except OSError as error:
        return SourceFailure(root, relative, unreadable_refusal(error), retryable=True)
    if found is None:
        return SourceFailure(root, relative, NO_MEMBER, retryable=False)
    return SourceFile(root, relative, found.held.size, found.status.st_mtime_ns)


def is_entered(root: Path, relative: bytes) -> bool:
    """True for what an archive's name names, unless it is a folder that is only called like one."""
    try:
        return not stat.S_ISDIR(os.stat(os.path.join(os.fsencode(root), relative)).st_mode)
    except OSError:
        return True


def _entry(root: Path, relative: bytes, held: Held, status: os.stat_result) -> SourceEntry:
    if any(is_private(part) for part in held.path.split(b"/")):
        return SkippedFile(root, relative)
    if is_archive(held.path) or is_other_archive(held.path):
        return SourceFailure(root, relative, NESTED, retryable=False)
    reason = refused_by_name(held.path)
    if reason is None and extension_of(held.path) not in IMAGE_EXTENSIONS:
        return SkippedFile(root, relative)
    if (reason := reason or held.refusal) is not None:
        return SourceFailure(root, relative, reason, retryable=False)
    return SourceFile(root, relative, held.size, status.st_mtime_ns)
