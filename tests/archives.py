"""Archives for tests: whole, hostile, and cut off."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from tests.collections_of_pictures import picture

Files = Sequence[tuple[str, bytes]]


def jpeg(seed: int) -> bytes:
    """A picture that no other seed shares."""
    packed = io.BytesIO()
    picture(seed).save(packed, "JPEG", quality=90)
    return packed.getvalue()


def pictures(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """Members as in a WebDataset: for each key an image and a label."""
    keys = range(first, first + count)
    return [file for key in keys for file in ((f"{key:05}.jpg", jpeg(key)), (f"{key:05}.cls", b"1"))]


def save_tar(
    path: Path,
    files: Iterable[tuple[str | tarfile.TarInfo, bytes]],
    packed: Literal["", "gz", "bz2", "xz"] = "",
) -> Path:
    """A tar, plain or compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode=f"w:{packed}") as archive:  # type: ignore[call-overload]
        for name, data in files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(plain.getvalue())
    return path


def save_zip(path: Path, files: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path
