"""One look at one file: read once, decoded once, everything that ingest wants to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twinlens.engine.decode import DecodeLimits, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest
from twinlens.engine.types import Embedder, Prepared, Rgb
from twinlens.engine.view import View, Wanted, decode_errors, view_of

ViewOf = Callable[[bytes], tuple[View, Rgb]]
"""Gives what the bytes of a file show, and its pixels; raises DecodeError."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one file shows.

    Attributes:
        digest: of its bytes.
        view: whatever the model.
        prepared: what the model takes.
    """

    digest: bytes
    view: View
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Known:
    """A file whose bytes are those of an image that is known already."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Looker:
    """How files are looked at; calls run on many threads at once.

    Attributes:
        embedder: prepares images for the model.
        limits: what is refused before decoding.
        view_of: decodes and measures, here or in another process.
        known: digests that need no decoding, because their images only moved or were touched.
    """

    embedder: Embedder
    limits: DecodeLimits
    view_of: ViewOf
    known: frozenset[bytes] = frozenset()

    def look(self, path: str) -> Sight | Known | DecodeError:
        """Look at one file; what is wrong with it is an answer, not an exception."""
        return self._answer(lambda: self._look(read_bytes(path, self.limits)))

    def look_at_bytes(self, data: bytes) -> Sight | Known | DecodeError:
        """Look at a file that is in memory already."""
        return self._answer(lambda: self._look(data))

    def _answer(self, look: Callable[[], Sight | Known]) -> Sight | Known | DecodeError:
        try:
            with decode_errors():
                return look()
        except DecodeError as error:
            return error

    def _look(self, data: bytes) -> Sight | Known:
        digest = byte_digest(data)
        if digest in self.known:
            return Known(digest)
        view, rgb = self.view_of(data)
        return Sight(digest, view, self.embedder.prepare(rgb))


def wanted_for(embedder: Embedder, limits: DecodeLimits, *, hashes: bool) -> Wanted:
    """What this model wants of every file."""
    return Wanted(embedder.description.decode, limits, hashes)


def viewing_here(wanted: Wanted) -> ViewOf:
    """Decode and measure on the thread that asks."""
    return partial(view_of, wanted=wanted)
