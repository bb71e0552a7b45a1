"""Small and read-only disks, really mounted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(mount: Path, *options: str) -> Iterator[Path]:
    """What `mount OPTIONS` mounts on a new folder, or a skipped test that says why it cannot be."""
    mount.mkdir()
    made = subprocess.run(["mount", *options, str(mount)], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def small_disk(mount: Path, size: str) -> AbstractContextManager[Path]:
    """A disk in memory with so much room."""
    return mounted(mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


@contextmanager
def read_only(mount: Path, folder: Path) -> Iterator[Path]:
    """A folder once more, on a read-only mount of its own."""
    with mounted(mount, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mount)], check=True)
        yield mount
