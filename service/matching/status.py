"""The status object of the image-matching dialect: one for each request, one for each record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

OK = 200
FOUND = 205
SOME_NOT_FOUND = 206
INSERTED = 210
SOME_INSERTED = 211
DELETED = 220
MIXED = 300
FAILED = 400
UNAUTHORIZED = 401
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
DUPLICATE = 411
FULL = 412
BUSY = 429
INTERNAL = 500
UNAVAILABLE = 503

TEXTS = {
    OK: "OK",
    FOUND: "records found",
    SOME_NOT_FOUND: "some of the records not found",
    INSERTED: "records inserted",
    SOME_INSERTED: "some records inserted",
    DELETED: "records deleted",
    MIXED: "MIXED_RESULT",
    FAILED: "no record could be analysed: the _status of each says why",
    NOT_FOUND: "records not found",
    DUPLICATE: "record duplicate",
    FULL: "hard capacity exceeded",
}
"""What the body codes say; failures of a request bring a text of their own."""


@dataclass(frozen=True, slots=True)
class RequestIds:
    """What the status objects of one answer share.

    Attributes:
        request: UUIDv4, repeated in each record and in the access log.
        process: UUIDv4, in the top-level status only.
    """

    request: str = field(default_factory=lambda: str(uuid4()))
    process: str = field(default_factory=lambda: str(uuid4()))

    def status(self, code: int, text: str | None = None) -> dict[str, Any]:
        """The status of a whole answer."""
        return {**self.record_status(code, text), "proc_id": self.process}

    def record_status(self, code: int, text: str | None = None) -> dict[str, Any]:
        """The `_status` of one record."""
        return {"code": code, "text": TEXTS[code] if text is None else text, "request_id": self.request}


def overall(good: int, failed: int) -> int:
    """The code of an answer by how many of its records could be analysed."""
    if not failed:
        return OK
    return MIXED if good else FAILED
