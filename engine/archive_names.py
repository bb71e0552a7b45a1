"""Names of archives, and names in archives: which are read, and which lead elsewhere."""

from __future__ import annotations

import os

SHARD_EXTENSIONS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2"),
    *(".tar.xz", ".txz", ".tar.zst", ".tzst"),
)
ARCHIVE_EXTENSIONS = (".zip", *SHARD_EXTENSIONS)
OTHER_ARCHIVE_EXTENSIONS = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".cab")

_MAX_DEPTH, _MAX_PATH_BYTES, _MAX_NAME_BYTES = 32, 1024, 255


def is_archive(name: bytes | str) -> bool:
    """True if a name is that of an archive that is read."""
    return os.fsdecode(name).lower().endswith(ARCHIVE_EXTENSIONS)


def is_shard(name: bytes | str) -> bool:
    """True if a name is that of a tar archive, compressed or not."""
    return os.fsdecode(name).lower().endswith(SHARD_EXTENSIONS)


def is_other_archive(name: bytes | str) -> bool:
    """True if a name is that of an archive that is not read."""
    return os.fsdecode(name).lower().endswith(OTHER_ARCHIVE_EXTENSIONS)


def member_path(name: str) -> tuple[bytes, str | None]:
    r"""Where a member lies below its archive, and why it is not read; None for a sound name.

    Both `/` and `\` separate parts. The path never leads out of the archive, so that it can be printed
    and joined; a name that would lead out of it is refused.
    """
    parts = name.replace("\\", "/").replace("\0", "").split("/")
    is_drive = len(parts[0]) == 2 and parts[0][0].isalpha() and parts[0][1] == ":"
    inside = [part for part in parts[is_drive:] if part not in ("", ".", "..")]
    path = "/".join(inside).encode("utf-8", "surrogateescape")
    if not inside or "\0" in name:
        return path or b"?", "its name leads to no file: pack it under another name"
    if ".." in parts or is_drive or parts[0] == "":
        return path, f"its name {name[:200]!r} leads out of the archive: pack it with a relative name"
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in inside)
    if len(inside) > _MAX_DEPTH or len(path) > _MAX_PATH_BYTES or longest > _MAX_NAME_BYTES:
        limits = f"{_MAX_DEPTH} parts, {_MAX_NAME_BYTES} bytes in one of them or {_MAX_PATH_BYTES:,} bytes"
        return path[:_MAX_PATH_BYTES], f"its path has more than {limits}: pack it under a shorter name"
    return path, None
