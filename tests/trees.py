"""Folders compared as a careful person would: names, content, modes, owners, times of everything in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

Tree = dict[bytes, tuple[Any, ...]]


def tree_of(folder: Path) -> Tree:
    """Everything below a folder and itself, by its relative name; also which names are of one inode."""
    root = os.fsencode(folder)
    found: Tree = {b".": _facts(root)}
    first: dict[tuple[int, int], bytes] = {}
    for place, folders, files in os.walk(root):
        for name in sorted(folders) + sorted(files):
            path = os.path.join(place, name)
            relative = os.path.relpath(path, root)
            status = os.lstat(path)
            found[relative] = (*_facts(path), first.setdefault((status.st_dev, status.st_ino), relative))
    return found


def _facts(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    content: Any = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content
