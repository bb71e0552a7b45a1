"""What archives of every kind are to `archives`: members, and two ways to be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20


class MemberDamaged(Exception):
    """One member cannot be read; those after it can. Its text is one sentence about the member."""


class ArchiveDamaged(Exception):
    """Nothing can be read from here on. Its text is one sentence about the archive."""


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of an archive.

    Attributes:
        name: as the archive spells it, not to be trusted.
        size: unpacked bytes that it claims to have.
        read: its bytes, at most `CHUNK_BYTES` at a time and no more than `size`; raises `MemberDamaged` or
            `ArchiveDamaged`. Of a tar only before the next member is asked for.
        is_folder: true for a folder.
        refusal: why it is not unpacked, one sentence; None for a file that can be.
    """

    name: str
    size: int
    read: Callable[[], Iterator[bytes]]
    is_folder: bool = False
    refusal: str | None = None


def as_text(name: bytes) -> str:
    """A name in UTF-8 or, where it is not, in latin-1."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
