"""Names of images in an archive: safe to unpack anywhere, and no two alike."""

from __future__ import annotations

import os.path
import re
import unicodedata
from collections.abc import Iterator
from itertools import count

from twinlens.service.table import shown

FOLDER = "images/"

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9-]")
_MAX_BYTES = 255
_IDENTITY_CHARACTERS = 40
_EXTENSION_BYTES = 16


class ArchiveNames:
    """Gives each image its path in one archive.

    Names are alike if they are on a disk that ignores case or how letters are composed.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def path(self, file_name: str, media_id: str) -> str:
        """The name if it is free, else with a part of the media id before the extension.

        Args:
            file_name: of the original; what some system refuses in a name becomes "_".
            media_id: tells images of one name apart.
        """
        identity = _NOT_PLAIN.sub("_", media_id)[-_IDENTITY_CHARACTERS:]
        for name in _candidates(_safe(file_name) or identity or "image", identity):
            alike = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
            if alike not in self._taken:
                self._taken.add(alike)
                return FOLDER + name
        raise AssertionError("numbers never run out")


def _safe(name: str) -> str:
    """A name that every system can make a file of; empty if it says nothing but where a folder is."""
    return _UNSAFE.sub("_", shown(name)).lstrip(" ").rstrip(". ")


def _candidates(name: str, identity: str) -> Iterator[str]:
    yield _within(name, "")
    for part in (identity[:8], identity):
        if part:
            yield _within(name, f"-{part}")
    for number in count(2):
        yield _within(name, f"-{identity}-{number}")


def _within(name: str, suffix: str) -> str:
    """The suffix before the extension, and as much of the name before both as file systems take."""
    stem, extension = os.path.splitext(name)
    if len(extension.encode()) > _EXTENSION_BYTES:
        stem, extension = name, ""
    room = _MAX_BYTES - len((suffix + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix + extension
