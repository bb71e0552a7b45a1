"""Files that are needed for one answer: where they are small they never see a disk."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from twinlens.service.explore.failures import BadRequest


class MemoryStaging:
    """In place of `Staging` for a body whose size is known to be small: files are kept in memory."""

    def __init__(self) -> None:
        self._files: list[_KeptFile] = []

    def create(self, parts: Sequence[str]) -> tuple[Path, _KeptFile]:
        """A new file; its path says no more than its name."""
        self._files.append(_KeptFile())
        return Path(*parts), self._files[-1]

    def only_content(self) -> bytes:
        """Bytes of the only file.

        Raises:
            BadRequest: there are none, or several.
        """
        if len(self._files) != 1:
            raise only_one()
        return self._files[0].content

    def sync(self) -> None:
        """Nothing is on a disk."""

    def discard(self) -> None:
        """Forget everything."""
        self._files.clear()


def only_one() -> BadRequest:
    """What a request is told that brings no image to search for, or several."""
    return BadRequest("form field 'file' takes one image")


class _KeptFile(BytesIO):
    """Gives its content when it is closed."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()
