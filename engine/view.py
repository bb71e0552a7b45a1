"""What the bytes of one file show, whatever the model: decoded once, measured, hashed, made small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from twinlens.engine.decode import DecodeLimits, decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import Hashes, image_hashes, pixel_digest
from twinlens.engine.previews import encode_preview
from twinlens.engine.quality import Quality, is_low_information, measure
from twinlens.engine.types import DecodePolicy, Preparation, Rgb

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of every file.

    Attributes:
        policy: how far a JPEG may be reduced.
        limits: what is refused before decoding.
        hashes: hash every image; JPEGs are then decoded in full as well.
        known: digests of bytes that need no decoding, because their images only moved or were touched.
        preparation: what is made of the pixels at once, for a model that lets it be done anywhere.
    """

    policy: DecodePolicy
    limits: DecodeLimits
    hashes: bool
    known: frozenset[bytes] = frozenset()
    preparation: Preparation | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one file shows.

    Attributes:
        width: upright, px.
        height: upright, px.
        format: "jpeg", "png", ...
        exif_tags: how many.
        quality: sharpness, contrast, brightness, signature.
        low_information: flat, blank or nearly constant.
        pixel_digest: of the fully decoded pixels, where they were needed.
        hashes: bmh1 and phash, where they were asked for.
        preview: JPEG bytes.
    """

    width: int
    height: int
    format: str
    exif_tags: int
    quality: Quality
    low_information: bool
    pixel_digest: bytes | None
    hashes: Hashes | None
    preview: bytes


def view_of(data: bytes, wanted: Wanted) -> tuple[View, Rgb]:
    """Decode and measure the bytes of a file; gives its pixels too, those of a JPEG perhaps reduced.

    Raises:
        DecodeError: they are no image that is decoded, or damaged, or too large.
    """
    image = decode(data, policy=wanted.policy, limits=wanted.limits)
    picture = Image.fromarray(image.rgb)
    quality = measure(picture)
    low_information = is_low_information(quality)
    # Hashes and pixel digests need all pixels; a model must see the same ones with and without them.
    needs_all = image.reduced and (wanted.hashes or low_information)
    full = decode(data, limits=wanted.limits) if needs_all else image
    view = View(
        width=image.width,
        height=image.height,
        format=image.format,
        exif_tags=image.exif_tags,
        quality=quality,
        low_information=low_information,
        # Flat images have no other evidence than identity, so theirs is established at once.
        pixel_digest=pixel_digest(full.rgb) if low_information and not image.transparent else None,
        hashes=image_hashes(full.rgb) if wanted.hashes else None,
        preview=encode_preview(picture),
    )
    return view, image.rgb


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


def answered(look: Callable[[], Answer]) -> Answer | DecodeError:
    """What a look gives; what `decode_errors` would raise is an answer, too."""
    try:
        with decode_errors():
            return look()
    except DecodeError as error:
        return error
