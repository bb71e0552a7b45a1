"""One look at one file: read once, decoded once, everything that ingest wants to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from twinlens.engine.decode import DecodeLimits, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest
from twinlens.engine.types import Embedder, Prepared, Rgb
from twinlens.engine.view import View, Wanted, answered, view_of

File = str | bytes
"""A path, or what a file holds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one file shows, before any model.

    Attributes:
        digest: of its bytes.
        view: what was measured.
        pixels: prepared where that was wanted; else all, those of a JPEG perhaps reduced.
    """

    digest: bytes
    view: View
    pixels: Rgb


@dataclass(frozen=True, slots=True)
class Known:
    """A file whose bytes are those of an image that is known already."""

    digest: bytes


See = Callable[[Sequence[File]], Iterable[Seen | Known | DecodeError]]
"""Gives what files show, in their order; what is wrong with one is an answer, not an exception."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one file shows, ready for a model.

    Attributes:
        digest: of its bytes.
        view: whatever the model.
        prepared: what the model takes.
    """

    digest: bytes
    view: View
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks at files for one model; calls run on many threads at once.

    Attributes:
        embedder: prepares images for the model.
        see: decodes and measures, here or in another process.
    """

    embedder: Embedder
    see: See

    def look(self, files: Sequence[File]) -> list[Sight | Known | DecodeError]:
        """Look at files; what is wrong with one is an answer, not an exception."""
        return [self._prepared(seen) if isinstance(seen, Seen) else seen for seen in self.see(files)]

    def _prepared(self, seen: Seen) -> Sight | DecodeError:
        if self.embedder.preparation is not None:
            return Sight(seen.digest, seen.view, seen.pixels)
        return answered(lambda: Sight(seen.digest, seen.view, self.embedder.prepare(seen.pixels)))


def see(file: File, wanted: Wanted) -> Seen | Known | DecodeError:
    """What one file shows."""
    return answered(lambda: _seen(file, wanted))


def _seen(file: File, wanted: Wanted) -> Seen | Known:
    data = file if isinstance(file, bytes) else read_bytes(file, wanted.limits)
    digest = byte_digest(data)
    if digest in wanted.known:
        return Known(digest)
    view, rgb = view_of(data, wanted)
    return Seen(digest, view, rgb if wanted.preparation is None else wanted.preparation(rgb))


def seeing_here(wanted: Wanted) -> See:
    """Decode and measure on the thread that asks."""
    return lambda files: (see(file, wanted) for file in files)


def wanted_for(
    embedder: Embedder, limits: DecodeLimits, *, hashes: bool, known: frozenset[bytes] = frozenset()
) -> Wanted:
    """What this model wants of every file."""
    return Wanted(embedder.description.decode, limits, hashes, known, embedder.preparation)
