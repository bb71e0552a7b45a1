"""Folders of the operator that clients may name: below allowed roots, and nothing of the server's own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.failures import BadRequest

NO_S3 = "S3 is not supported by this server: upload the files or an archive, or name a folder it may read"
_SHOWN = 200


def allowed_folder(path: str | None, roots: Iterable[Path], home: Path) -> Path:
    """A folder that the operator allowed to be read, by its real path.

    Args:
        path: absolute; links and ".." count for where they lead to.
        roots: folders below which it may lie, or one of which it may be.
        home: where the server keeps what others uploaded: a folder in it, or around it, is not allowed.

    Raises:
        BadRequest: none is named.
        InvalidValue: S3, or a folder that is not allowed or not there: which of the two is not said.
    """
    if not path:
        raise BadRequest("path is missing: name a folder")
    if path.lower().startswith("s3:"):
        raise InvalidValue(NO_S3)
    try:
        if os.path.isabs(path):
            folder = Path(os.path.realpath(path))
            if _is_allowed(folder, roots, Path(os.path.realpath(home))) and folder.is_dir():
                return folder
    except (OSError, ValueError):
        # A name that no file system takes.
        pass
    raise InvalidValue(
        f"path is {path[:_SHOWN]!r}: it takes the absolute path of a folder below those that the operator "
        "allowed (TWINLENS_ALLOWED_ROOTS)"
    )


def _is_allowed(folder: Path, roots: Iterable[Path], home: Path) -> bool:
    if folder.is_relative_to(home) or home.is_relative_to(folder):
        return False
    return any(folder.is_relative_to(os.path.realpath(root)) for root in roots)
