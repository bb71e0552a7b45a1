"""What archives of every kind have in common: members, where they lie, and three ways to be refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20
CUT_OFF = "the archive is cut off"


class MemberDamaged(Exception):
    """One member cannot be read; those after it can. Its text is one sentence about the member."""


class ArchiveDamaged(Exception):
    """Nothing can be read from here on. Its text is one sentence about the archive."""


class ArchiveRefused(Exception):
    """An archive that is not read, whatever its state. Its text is one sentence about the archive."""


class ReadThrough(ABC):
    """A stream that passes bytes by only by reading them."""

    @abstractmethod
    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end."""

    def skip(self, size: int, /) -> None:
        """Pass by so many bytes.

        Raises:
            ArchiveDamaged: there are fewer, or as for `read`.
        """
        while size:
            if not (data := self.read(min(size, CHUNK_BYTES))):
                raise ArchiveDamaged(CUT_OFF)
            size -= len(data)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a member lie.

    Attributes:
        offset: of a zip, its local header in the file; of a tar, its first byte in the unpacked archive.
        stored: bytes that it takes there, the local header not included.
        method: 0 stored as it is, 8 deflated.
        crc: CRC-32 of the unpacked bytes; None where the archive has none.
    """

    offset: int
    stored: int
    method: int = 0
    crc: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of an archive.

    Attributes:
        name: as the archive spells it, not to be trusted.
        size: unpacked bytes that it claims to have.
        place: where they lie.
        read: its bytes, at most `CHUNK_BYTES` at a time and no more than `size`; raises `MemberDamaged` or
            `ArchiveDamaged`. Of a tar only before the next member is asked for.
        is_folder: true for a folder.
        refusal: why it is not unpacked, one sentence; None for a file that can be.
    """

    name: str
    size: int
    place: Place
    read: Callable[[], Iterator[bytes]]
    is_folder: bool = False
    refusal: str | None = None


def as_text(name: bytes) -> str:
    """A name in UTF-8 or, where it is not, in latin-1."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
