"""One writer at a time, and a second one is told who holds the dataset."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from twinlens.engine.errors import DatasetLocked
from twinlens.engine.storage import storage_errors


class WriterLock:
    """The lock on a dataset folder. The operating system frees it when its process dies."""

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / "writer.lock", timeout=0)
        self._holder = folder / "writer.json"
        self._folder = folder

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DatasetLocked: another process holds it; the message says which and since when.
        """
        try:
            with storage_errors(self._folder):
                self._lock.acquire()
        except Timeout as error:
            raise DatasetLocked(
                f"{self._folder} is being written by {self._read_holder()}: wait for it"
            ) from error
        try:
            with storage_errors(self._folder):
                self._holder.write_text(json.dumps(_this_process()))
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _read_holder(self) -> str:
        try:
            holder = json.loads(self._holder.read_text())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError):
            return "another process"


def _this_process() -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
