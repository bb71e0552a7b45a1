"""Hashes of files, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import image_hashes, to_bits


def hash_files(files: Sequence[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """bmh1 and phash of image files as bit strings, in the order given, and the files that failed."""
    images, failures = [], []
    for file in files:
        try:
            image = decode(file)
        except DecodeError as error:
            failures.append({"path": str(file), "stage": error.stage, "reason": error.reason})
            continue
        hashes = image_hashes(image.rgb)
        images.append(
            {
                "path": str(file),
                "bmh1": to_bits(hashes.bmh1),
                "phash": to_bits(hashes.phash),
                "width": image.width,
                "height": image.height,
            }
        )
    return images, failures
