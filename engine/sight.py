"""One look at one file: read once, decoded once, everything that ingest wants to know about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import Hashes, byte_digest, image_hashes, pixel_digest
from twinlens.engine.previews import encode_preview
from twinlens.engine.quality import Quality, is_low_information, measure
from twinlens.engine.types import Embedder, Prepared, Rgb


@dataclass(frozen=True, slots=True)
class Sight:
    """What one file shows.

    Attributes:
        digest: of its bytes.
        width: upright, px.
        height: upright, px.
        format: "jpeg", "png", ...
        exif_tags: how many.
        quality: sharpness, contrast, brightness, signature.
        low_information: flat, blank or nearly constant.
        pixel_digest: of the fully decoded pixels, where they were needed.
        hashes: bmh1 and phash, where they were asked for.
        preview: JPEG bytes.
        prepared: what the model takes.
    """

    digest: bytes
    width: int
    height: int
    format: str
    exif_tags: int
    quality: Quality
    low_information: bool
    pixel_digest: bytes | None
    hashes: Hashes | None
    preview: bytes
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an upright image, in fractions of its width and height, all in [0, 1]."""

    left: float
    top: float
    width: float
    height: float

    def cut(self, rgb: Rgb) -> Rgb:
        """The pixels that it touches, at least one."""
        height, width = rgb.shape[:2]
        rows = _span(self.top, self.height, height)
        return np.ascontiguousarray(rgb[rows, _span(self.left, self.width, width)])


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
        hashes: hash every image; JPEGs are then decoded in full as well.
        known: digests that need no decoding, because their images only moved or were touched.
    """

    embedder: Embedder
    limits: DecodeLimits
    hashes: bool
    known: frozenset[bytes]

    def look(self, path: str, box: Box | None = None) -> Sight | Known | DecodeError:
        """Look at one file, or at a part of it; what is wrong with it is an answer, not an exception."""
        return self._answer(lambda: self._look(read_bytes(path, self.limits), box))

    def look_at_bytes(self, data: bytes, box: Box | None = None) -> Sight | Known | DecodeError:
        """Look at a file that is in memory already."""
        return self._answer(lambda: self._look(data, box))

    def _answer(self, look: Callable[[], Sight | Known]) -> Sight | Known | DecodeError:
        try:
            return look()
        except DecodeError as error:
            return error
        except MemoryError:
            return DecodeError("it does not fit into memory: scale it down", stage="decode", retryable=True)
        except Exception as error:
            # One file must never end a run of 200,000: whatever a decoder or model trips over is a row.
            return DecodeError(f"it cannot be prepared: {type(error).__name__}: {error}", stage="prepare")

    def _look(self, data: bytes, box: Box | None = None) -> Sight | Known:
        digest = byte_digest(data)
        if digest in self.known:
            return Known(digest)
        if box is None:
            image = decode(data, policy=self.embedder.description.decode, limits=self.limits)
        else:
            # Of a part, a reduced image would leave too few pixels.
            whole = decode(data, limits=self.limits)
            image = replace(whole, rgb=box.cut(whole.rgb))
        quality = measure(image.rgb)
        low_information = is_low_information(quality)
        # Hashes and pixel digests need all pixels; a model must see the same ones with and without them.
        full = (
            decode(data, limits=self.limits) if image.reduced and (self.hashes or low_information) else image
        )
        return Sight(
            digest=digest,
            width=image.width,
            height=image.height,
            format=image.format,
            exif_tags=image.exif_tags,
            quality=quality,
            low_information=low_information,
            # Flat images have no other evidence than identity, so theirs is established at once.
            pixel_digest=pixel_digest(full.rgb) if low_information and not image.transparent else None,
            hashes=image_hashes(full.rgb) if self.hashes else None,
            preview=encode_preview(image.rgb),
            prepared=self.embedder.prepare(image.rgb),
        )


def _span(start: float, length: float, size: int) -> slice:
    first = min(math.floor(start * size), size - 1)
    return slice(first, max(min(math.ceil((start + length) * size), size), first + 1))
