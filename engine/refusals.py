"""Sentences about files that are not indexed: what is wrong, and what to do about it."""

from __future__ import annotations

import errno
import stat

ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF"
DIRECTORY = "it is a directory, not a file: the files in it are indexed one by one"
SPECIAL = "it is a device, pipe or socket: only regular files are read"


def video_refusal(kind: str) -> str:
    """About a video; `kind` names its container or its extension."""
    return f"{kind} videos are not indexed: extract frames from it, those are welcome"


def picture_refusal(kind: str) -> str:
    """About bytes of a known kind that is not decoded, with its article."""
    return f"it is {kind}, which is not decoded: export it as one of {ACCEPTED}"


def kind_refusal(mode: int) -> str | None:
    """About what is no regular file, by its `st_mode`; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return DIRECTORY if stat.S_ISDIR(mode) else SPECIAL


def unreadable_refusal(error: OSError | ValueError) -> str:
    """About what the operating system would not open, list or read."""
    if isinstance(error, FileNotFoundError):
        return "it is missing or a dangling link: restore it or remove it from here"
    if isinstance(error, PermissionError):
        return "there is no permission to read it: change its mode or run as its owner"
    if isinstance(error, IsADirectoryError):
        return DIRECTORY
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return SPECIAL
    detail = one_line(error.strerror if isinstance(error, OSError) and error.strerror else error)
    return f"it cannot be read ({detail}): check its name and the disk"


def one_line(message: object) -> str:
    """A foreign message on one line of at most 200 characters."""
    text = " ".join(str(message).split()) or type(message).__name__
    return text if len(text) <= 200 else text[:197] + "..."
