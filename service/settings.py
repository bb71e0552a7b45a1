"""What the environment says; the only module that reads it."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """The user's cache folder by the XDG Base Directory rules, `~/.cache` unless set otherwise."""
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"
