"""Shards of a WebDataset, copied sample by sample: bytes of members and headers stay as they are.

A sample is all members that follow each other and share their path up to the first dot of its last
part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, TypeAlias

from twinlens.engine.archive_members import CHUNK_BYTES, ArchiveDamaged, ArchiveRefused, ReadThrough
from twinlens.engine.archives import held_file, opened_stream
from twinlens.engine.errors import SourceError
from twinlens.engine.tar_members import BLOCK_BYTES, PlainStream, Stream, is_tar, whole_tar

_HELD_BYTES = 16 << 20
_RECORD_BYTES = 20 * BLOCK_BYTES
"""A tar ends with two empty blocks and is filled up to a record."""


Fate: TypeAlias = Callable[[bytes], bool | None]
"""True for an image that is kept, False for one that is not, None for any other file."""


@dataclass(frozen=True, slots=True)
class CopiedShard:
    """What came of one shard.

    Attributes:
        samples: that were copied.
        dropped: samples that were left out.
        damage: why not all of the shard was read, one sentence; None for a whole one.
    """

    samples: int
    dropped: int
    damage: str | None


def copy_shard(shard: Path, target: Path, fate: Fate) -> CopiedShard:
    """Copy a shard without the samples that hold images and no kept one.

    The target is a plain tar, there when it is complete, and not there if no sample remains. Of a shard
    that breaks off the whole samples before that are copied.

    Args:
        shard: a tar, plain or compressed.
        target: the file to write.
        fate: what becomes of the file at a path below the shard.

    Raises:
        SourceError: the shard cannot be read, or is no tar.
        OSError: the target cannot be written.
    """
    fresh = target.with_name(target.name + ".part")
    try:
        with open(shard, "rb") as file, open(fresh, "wb") as out:
            copying = _Copying(out, fate)
            damage = copying.copy(_stream_of(shard, file))
            copying.close()
        if copying.samples:
            os.replace(fresh, target)
        return CopiedShard(copying.samples, copying.dropped, damage)
    finally:
        fresh.unlink(missing_ok=True)


class _Copying:
    """One shard on its way to another."""

    def __init__(self, out: BinaryIO, fate: Fate) -> None:
        self._out = out
        self._fate = fate
        self._key: bytes | None = None
        self._paths: list[bytes] = []
        self.samples = 0
        self.dropped = 0

    def copy(self, stream: Stream) -> str | None:
        """Copy the samples of a stream; why it broke off, or None."""
        with SpooledTemporaryFile(_HELD_BYTES) as held:
            passed, end = _Passed(stream, held), 0
            try:
                for member in whole_tar(passed):
                    path = held_file(member).path
                    if (key := sample_key(path)) != self._key:
                        self._finish(passed, end)
                        self._key = key
                    self._paths.append(path)
                    end = member.place.offset + member.place.stored + -member.place.stored % BLOCK_BYTES
            except (ArchiveDamaged, ArchiveRefused) as error:
                last = os.fsdecode(self._key or b"")
                return f"it ends after {passed.tell():,} bytes ({error}): its last sample {last} is left out"
            self._finish(passed, end)
            return None

    def close(self) -> None:
        """Write the end mark."""
        self._out.write(bytes(2 * BLOCK_BYTES))
        self._out.write(bytes(-self._out.tell() % _RECORD_BYTES))

    def _finish(self, passed: _Passed, end: int) -> None:
        if self._key is None:
            return
        fates = {self._fate(path) for path in self._paths}
        is_dropped = False in fates and True not in fates
        passed.take(end, None if is_dropped else self._out)
        self.samples += not is_dropped
        self.dropped += is_dropped
        self._paths = []


class _Passed(ReadThrough):
    """A stream that holds what passed by until somebody takes it."""

    def __init__(self, stream: Stream, held: IO[bytes]) -> None:
        self._stream = stream
        self._start = 0
        self._held = held

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._held.write(data)
        return data

    def tell(self) -> int:
        return self._stream.tell()

    def take(self, end: int, out: BinaryIO | None) -> None:
        """Give what passed by up to an offset to a file, or to nobody."""
        self._held.seek(0)
        left = end - self._start
        while left:
            data = self._held.read(min(left, CHUNK_BYTES))
            left -= len(data)
            if out is not None:
                out.write(data)
        # What is left are the headers of the next member.
        rest = self._held.read()
        self._held.seek(0)
        self._held.truncate()
        self._held.write(rest)
        self._start = end


def sample_key(path: bytes) -> bytes:
    """What members of one sample share."""
    folder, slash, name = path.rpartition(b"/")
    return folder + slash + name.partition(b".")[0]


def _stream_of(shard: Path, file: BinaryIO) -> Stream:
    head = file.read(BLOCK_BYTES)
    file.seek(0)
    if (compressed := opened_stream(file, head)) is not None:
        return compressed
    if not is_tar(head):
        raise SourceError(f"{shard} is no tar archive: only those are copied as shards of a WebDataset")
    return PlainStream(file)
