"""Compressed files, unpacked piece by piece in bounded memory."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from twinlens.engine.archive_members import CUT_OFF, ArchiveDamaged, ReadThrough
from twinlens.engine.refusals import one_line

MAX_XZ_MEMORY = 1 << 28
"""Bytes that an xz file may ask for; `xz -9` asks for 65 MiB."""

_INPUT_BYTES = 16 * 1024


class _Decompressor(Protocol):
    """What `bz2` and `lzma` have."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """`zlib` in the shape of the others; it checks the sum at the end."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


FORMATS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _Gunzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY),
}
"""First bytes of a compressed file -> what unpacks it: gzip, bzip2 and xz."""


class Decompressed(ReadThrough):
    """The unpacked bytes of a file of one or several compressed streams.

    Args:
        file: at its start.
        new: makes what unpacks one stream.
    """

    def __init__(self, file: BinaryIO, new: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._new = new
        self._decompressor = new()
        self._ahead = b""
        self._is_over = False
        self._told = 0

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end.

        Raises:
            ArchiveDamaged: the file breaks off, its checksum does not hold, or it is of another kind.
        """
        data = bytearray()
        while len(data) < size and not self._is_over:
            data += self._more(size - len(data))
        self._told += len(data)
        return bytes(data)

    def tell(self) -> int:
        """How many unpacked bytes were read or passed by."""
        return self._told

    def _more(self, most: int) -> bytes:
        if self._decompressor.eof and not self._next_stream():
            self._is_over = True
            return b""
        given = b""
        if self._decompressor.needs_input:
            given, self._ahead = self._ahead or self._file.read(_INPUT_BYTES), b""
        is_last = self._decompressor.needs_input and not given
        try:
            data = self._decompressor.decompress(given, most)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            raise ArchiveDamaged(f"the archive is damaged ({one_line(error)})") from error
        if is_last and not data and not self._decompressor.eof:
            raise ArchiveDamaged(CUT_OFF)
        return data

    def _next_stream(self) -> bool:
        """Begin what follows a stream; zeros that fill up a block are nothing."""
        rest = self._decompressor.unused_data
        while not (rest := rest.lstrip(b"\0")):
            if not (rest := self._file.read(_INPUT_BYTES)):
                return False
        self._decompressor, self._ahead = self._new(), rest
        return True


class Zstandard(ReadThrough):
    """The unpacked bytes of a file of one or several Zstandard frames.

    Args:
        file: at its start.
    """

    MAGIC = b"\x28\xb5\x2f\xfd"

    def __init__(self, file: BinaryIO) -> None:
        import pyarrow as pa

        self._stream: BinaryIO = pa.CompressedInputStream(file, "zstd")
        self._told = 0

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end.

        Raises:
            ArchiveDamaged: the file breaks off, or its checksum does not hold.
        """
        try:
            data = self._stream.read(size)
        except OSError as error:
            raise ArchiveDamaged(f"the archive is cut off or damaged ({one_line(error)})") from error
        self._told += len(data)
        return data

    def tell(self) -> int:
        """How many unpacked bytes were read or passed by."""
        return self._told
