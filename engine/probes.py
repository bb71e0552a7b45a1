"""Image files that are searched for: looked at no further than a search needs, and embedded as they come.

A stored row comes from calls of one shape, so that it can be made again bit for bit. A query is not stored:
it is embedded in calls no larger than it takes, in which a vector differs by 2e-7 at most from that of
a stored row (docs/decisions/0013). A file that is stored itself is not embedded at all: its row is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinlens.engine.box import Box
from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.embedding import embed_few
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest, pixel_digest
from twinlens.engine.quality import shows_something
from twinlens.engine.search import probe_stored
from twinlens.engine.similarity import unit_rows
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.types import Embedder, Prepared, Probe
from twinlens.engine.view import decode_errors

Part = Callable[[int, int], Box]
"""Which part of an image is meant, by the width and height of the upright image, px."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a file that is searched for shows.

    Attributes:
        digest: of its bytes; None for a part, which is not what its file is identical to.
        pixel_digest: of the fully decoded pixels of a low-information image.
        prepared: what the model takes; None for a low-information image.
    """

    digest: bytes | None
    pixel_digest: bytes | None
    prepared: Prepared | None


def glimpse(embedder: Embedder, data: bytes, limits: DecodeLimits, part: Part | None = None) -> Glimpse:
    """Look at a file, or at a part of it. Runs on any thread, touches no device.

    Raises:
        DecodeError: it cannot be read or prepared.
        InvalidValue: the part lies outside.
    """
    digest = byte_digest(data) if part is None else None
    with decode_errors():
        # Of a part, a reduced image would leave too few pixels.
        image = (
            decode(data, policy=embedder.description.decode, limits=limits)
            if part is None
            else decode(data, limits=limits)
        )
    rgb = image.rgb if part is None else part(image.width, image.height).cut(image.rgb)
    with decode_errors():
        if shows_something(rgb):
            return Glimpse(digest, None, embedder.prepare(rgb))
        # Its only evidence is identity, as that of a flat image that is stored: all its pixels count.
        full = decode(data, limits=limits).rgb if image.reduced else rgb
        return Glimpse(digest, None if image.transparent else pixel_digest(full), None)


def embed(embedder: Embedder, glimpses: Sequence[Glimpse], most: int) -> list[Probe]:
    """What the files search for, in order.

    Args:
        embedder: the model that they were looked at for.
        glimpses: of any number of files.
        most: images embedded in one call.
    """
    prepared = [each.prepared for each in glimpses if each.prepared is not None]
    # Rounded as stored rows are.
    vectors = iter(unit_rows(embed_few(embedder, prepared, most).astype(np.float16)))
    return [
        Probe(None if each.prepared is None else next(vectors), each.digest, each.pixel_digest)
        for each in glimpses
    ]


def probe_image(snapshot: Snapshot, load: Callable[[], Embedder], image: str | Path | bytes) -> Probe:
    """An image file, given by its path or its bytes.

    Args:
        snapshot: of the dataset that is searched.
        load: gives its model, if the file is none of its own.
        image: what is searched for.

    Raises:
        DecodeError: the image cannot be read.
    """
    limits = DecodeLimits()
    if isinstance(image, bytes):
        if (stored := probe_stored(snapshot, image)) is not None:
            return stored
        embedder = load()
        return embed(embedder, [glimpse(embedder, image, limits)], most=1)[0]
    try:
        return probe_image(snapshot, load, read_bytes(image, limits))
    except DecodeError as error:
        raise DecodeError(f"{image}: {error.reason}", stage=error.stage, retryable=error.retryable) from None
