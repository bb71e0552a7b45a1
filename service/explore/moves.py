"""Folders moved as one: there or not there after a kill, and in an order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twinlens.engine.filing import sync_folder


def numbered(number: int) -> str:
    """Names that sort as their numbers do: ingest takes files by name."""
    return f"{number:010d}"


def move(source: Path, target: Path) -> None:
    """Rename, and have it on disk."""
    os.rename(source, target)
    for folder in {source.parent, target.parent}:
        sync_folder(folder)


@contextmanager
def removed_on_failure() -> Iterator[list[Path]]:
    """A list of folders that are removed again where what they are part of fails, its commit included."""
    folders: list[Path] = []
    try:
        yield folders
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def folders_in(folder: Path) -> list[Path]:
    """Those right below it; none where it is not there."""
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
