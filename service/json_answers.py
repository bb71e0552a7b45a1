"""JSON as every client reads it."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


class StrictJson(Response):
    """A JSON answer in ASCII, so that even half a surrogate pair is echoed; never NaN or Infinity."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Serialise."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
