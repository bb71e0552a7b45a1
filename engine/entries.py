"""What a source yields: files to decode, things that cannot be images, and files that do not claim to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from twinlens.engine.formats import OTHER_PICTURE_EXTENSIONS, VIDEO_EXTENSIONS
from twinlens.engine.refusals import picture_refusal, video_refusal

PRIVATE_FOLDERS = frozenset(
    (b"@eaDir", b"#recycle", b"$RECYCLE.BIN", b"System Volume Information", b"__MACOSX", b"lost+found")
)
"""Thumbnails and bins of file servers and operating systems; nobody's pictures."""


SCAN = "scan"
"""The stage at which something fails before it is opened."""


@dataclass(frozen=True, slots=True)
class _Named:
    """Something in a source.

    Attributes:
        root: absolute folder that relative paths start from.
        relative: path from there as the file system spells it, maybe not UTF-8; or a URL.
    """

    root: Path
    relative: bytes

    @property
    def path(self) -> str:
        """Absolute path as `os.fsdecode` gives it, or the URL."""
        return path_of(str(self.root), self.relative)


@dataclass(frozen=True, slots=True)
class SourceFile(_Named):
    """A file that is to be decoded, or a member of an archive.

    Attributes:
        size: bytes.
        mtime_ns: time of last change, nanoseconds since 1970; of a member that of its archive.
    """

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SourceFailure(_Named):
    """Something that should be an image and cannot be one, or a folder that cannot be listed.

    Attributes:
        reason: one sentence for a person, without the name.
        retryable: True if it may be readable later.
        stage: "scan", or "fetch" for a download.
    """

    reason: str
    retryable: bool
    stage: str = SCAN


@dataclass(frozen=True, slots=True)
class SkippedFile(_Named):
    """A file that does not claim to be an image, or a hidden folder."""


SourceEntry: TypeAlias = SourceFile | SourceFailure | SkippedFile


def is_url(text: bytes) -> bool:
    """True for a URL that can be downloaded; no path below a folder looks like one."""
    return text[:8].lower().startswith((b"http://", b"https://"))


def path_of(root: str, relative: bytes) -> str:
    """How an image is called: its absolute path, or its URL."""
    name = os.fsdecode(relative)
    return name if is_url(relative) else os.path.join(root, name)


def is_private(name: bytes) -> bool:
    """True for the name of a hidden file or folder, and of a folder that is nobody's pictures."""
    return name.startswith(b".") or name in PRIVATE_FOLDERS


def refused_by_name(relative: bytes) -> str | None:
    """Why a video or another picture is refused by its name: reading gigabytes would tell nothing more."""
    extension = extension_of(relative)
    if extension in VIDEO_EXTENSIONS:
        return video_refusal(extension[1:].upper())
    if (kind := OTHER_PICTURE_EXTENSIONS.get(extension)) is not None:
        return picture_refusal(kind)
    return None


def extension_of(relative: bytes) -> str:
    """The extension in lower case, with its dot."""
    return os.path.splitext(os.fsdecode(relative))[1].lower()
