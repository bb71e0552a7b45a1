"""One look at one file: read once, decoded once, everything that ingest wants to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import Hashes, byte_digest, image_hashes, pixel_digest
from twinlens.engine.previews import encode_preview
from twinlens.engine.quality import Quality, is_low_information, measure
from twinlens.engine.types import Embedder, Prepared


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
        image = decode(data, policy=self.embedder.description.decode, limits=self.limits)
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


@contextmanager
def decode_errors() -> Iterator[None]:
    """Raise whatever a decoder or model trips over as a DecodeError of the file that is looked at."""
    try:
        yield
    except DecodeError:
        raise
    except MemoryError:
        reason = "it does not fit into memory: scale it down"
        raise DecodeError(reason, stage="decode", retryable=True) from None
    except Exception as error:
        # One file must never end a run of 200,000: it is a row.
        reason = f"it cannot be prepared: {type(error).__name__}: {error}"
        raise DecodeError(reason, stage="prepare") from error
