"""Images by URL: where a dataset keeps what was downloaded, and what it remembers of what was not."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from twinlens.engine.entries import SourceEntry, SourceFailure, SourceFile, is_url

FETCH = "fetch"
"""The stage at which a download fails."""

_OTHER_URL = re.compile(rb"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def other_scheme(text: bytes) -> str | None:
    """Why a URL of another scheme is not downloaded; None for a path, and for http and https."""
    if is_url(text) or not _OTHER_URL.match(text):
        return None
    return "only http and https URLs are downloaded: give one of these, or a path"


@dataclass(frozen=True, slots=True)
class FailedDownload:
    """Why a URL was not downloaded.

    Attributes:
        reason: one sentence for a person, without the URL.
        retryable: True if another try may help.
        refused: True if a rule forbids it (scheme, address, size).
    """

    reason: str
    retryable: bool
    refused: bool = False


_NOT_YET = FailedDownload("it was not downloaded yet: run the same command again", retryable=True)


class Downloads:
    """The downloads of a dataset: one file for each URL, named by the digest of the URL.

    A file is there when it is complete. What failed leaves a note beside the place of its file.
    """

    def __init__(self, dataset: Path) -> None:
        """Makes nothing yet.

        Args:
            dataset: its folder.
        """
        self._folder = dataset / "downloads"

    def place(self, url: bytes) -> Path:
        """Where the file of a URL lies, or would lie."""
        name = hashlib.sha256(url).hexdigest()
        return self._folder / name[:2] / name

    def entry(self, root: Path, url: bytes) -> SourceEntry:
        """What a source yields for a URL."""
        try:
            status = os.stat(self.place(url))
        except FileNotFoundError:
            failed = self.failure(url) or _NOT_YET
            return SourceFailure(root, url, failed.reason, failed.retryable, FETCH)
        return SourceFile(root, url, status.st_size, status.st_mtime_ns)

    def has(self, url: bytes) -> bool:
        """True if a URL was downloaded."""
        return self.place(url).exists()

    def failure(self, url: bytes) -> FailedDownload | None:
        """Why a URL was not downloaded; None if it was never tried."""
        try:
            return FailedDownload(**json.loads(self._note(url).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, url: bytes, data: bytes) -> None:
        """Write the file of a URL.

        Raises:
            OSError: it cannot be written.
        """
        _write(self.place(url), data)
        self._note(url).unlink(missing_ok=True)

    def fail(self, url: bytes, failed: FailedDownload) -> None:
        """Remember why a URL was not downloaded.

        Raises:
            OSError: the note cannot be written.
        """
        _write(self._note(url), json.dumps(asdict(failed)).encode())

    def _note(self, url: bytes) -> Path:
        return self.place(url).with_suffix(".failed")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    try:
        fresh.write_bytes(data)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
