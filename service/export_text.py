"""Lists of paths as text: what is kept and what is removed, one path a line or ended by NUL."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from twinlens.engine.errors import InvalidValue


def write_paths(paths: Iterable[str], file: Path, *, null: bool) -> int:
    """Write absolute paths as the file system spells them; their number.

    Raises:
        InvalidValue: a path holds a line break and lines are asked for.
    """
    end, count = (b"\0" if null else b"\n"), 0
    with open(file, "wb") as out:
        for path in paths:
            if not null and ("\n" in path or "\r" in path):
                raise InvalidValue(f"the path {path!r} holds a line break: write the lists with --null")
            out.write(os.fsencode(path) + end)
            count += 1
    return count
