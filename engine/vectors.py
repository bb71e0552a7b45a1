"""vectors.f16: one float16 row per image, append-only.

The file says what it is: a header of 512 bytes, JSON padded with blanks, then the rows. How many
rows count is not the file's to say: the catalog holds the committed number, and rows behind it are
what a killed run left, cut off by the next writer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import DatasetCorrupt, FormatTooNew, ModelMismatch
from twinlens.engine.storage import storage_errors

Rows: TypeAlias = NDArray[np.float16]

FORMAT_VERSION = 1
HEADER_BYTES = 512
_MAGIC = "twinlens vectors"


class VectorFile:
    """The rows of one dataset.

    Attributes:
        path: the file.
        dim: length of a row.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self.dim = dim

    @classmethod
    def create(cls, path: Path, dim: int, fingerprint: str) -> VectorFile:
        """Make an empty file for rows of `dim` values by the model of that fingerprint."""
        header = {"magic": _MAGIC, "version": FORMAT_VERSION, "dim": dim, "fingerprint": fingerprint}
        with storage_errors(path.parent):
            path.write_bytes(json.dumps(header).encode().ljust(HEADER_BYTES))
        return cls(path, dim)

    @classmethod
    def open(cls, path: Path, dim: int, fingerprint: str, committed: int) -> VectorFile:
        """Open a file that must hold at least `committed` rows of this model.

        Raises:
            DatasetCorrupt: missing, not a vector file, of another length, or too short.
            ModelMismatch: rows of another model.
        """
        header = _read_header(path)
        if header["fingerprint"] != fingerprint:
            raise ModelMismatch(
                f"{path} holds vectors of model {header['fingerprint'][:12]}, "
                f"the catalog says {fingerprint[:12]}"
            )
        if header["dim"] != dim:
            raise DatasetCorrupt(f"{path} has rows of {header['dim']} values, the catalog says {dim}")
        held = (path.stat().st_size - HEADER_BYTES) // (2 * dim)
        if held < committed:
            raise DatasetCorrupt(
                f"{path} holds {held} rows, the catalog says {committed}: restore it or index again"
            )
        return cls(path, dim)

    def truncate(self, committed: int) -> None:
        """Cut off whatever lies behind the committed rows."""
        size = HEADER_BYTES + committed * 2 * self.dim
        if self.path.stat().st_size > size:
            with storage_errors(self.path.parent):
                os.truncate(self.path, size)

    def write(self, start: int, rows: Rows) -> None:
        """Write float16 [n, dim] rows at `start` and flush them to the disk."""
        with storage_errors(self.path.parent), open(self.path, "r+b") as file:
            file.seek(HEADER_BYTES + start * 2 * self.dim)
            file.write(np.ascontiguousarray(rows, dtype=np.float16).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def rows(self, committed: int) -> Rows:
        """The committed rows, float16 [committed, dim], mapped and not read."""
        if committed == 0:
            return np.empty((0, self.dim), np.float16)
        shape = (committed, self.dim)
        # As a plain array: each slice of a memmap costs as much as fetching ten rows.
        return np.asarray(np.memmap(self.path, dtype=np.float16, mode="r", offset=HEADER_BYTES, shape=shape))


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            header = dict(json.loads(file.read(HEADER_BYTES)))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetCorrupt(f"{path} is not a vector file: restore it or index again ({error})") from error
    if header.get("magic") != _MAGIC:
        raise DatasetCorrupt(f"{path} is not a vector file: restore it or index again")
    if header["version"] > FORMAT_VERSION:
        raise FormatTooNew(
            f"{path} has format {header['version']}, this TwinLens reads up to {FORMAT_VERSION}"
        )
    return header
