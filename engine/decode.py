"""Image bytes to upright RGB: the one place that decides what is an image, and how much of it.

Pixels are those of `cv2.imdecode(..., IMREAD_COLOR)`, bit by bit, so that hashes are OpenCV's. Known
differences, where OpenCV is arguable: it ignores the rotation of AVIF, shows the first animation
frame of an APNG whose still picture is another one, misreads the right edge of tiled 16-bit and
grey-alpha TIFFs, and decodes neither HEIC nor several TIFF kinds that are decoded here; CIELab TIFFs
go through Pillow's colour management. Decoding is thread-safe and changes no global.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from twinlens.engine.archive_reading import find_member
from twinlens.engine.encoded import Damaged, Encoded
from twinlens.engine.errors import DecodeError
from twinlens.engine.exif import upright
from twinlens.engine.formats import identify
from twinlens.engine.readers import (
    read_avif,
    read_bmp,
    read_gif,
    read_heif,
    read_jpeg,
    read_png,
    read_webp,
)
from twinlens.engine.refusals import kind_refusal, one_line, unreadable_refusal
from twinlens.engine.tiff import read_tiff
from twinlens.engine.types import DecodePolicy, Rgb

_IN_FULL = DecodePolicy()
_READERS: dict[str, Callable[[bytes], Encoded]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "gif": read_gif,
    "bmp": read_bmp,
    "tiff": read_tiff,
    "heif": read_heif,
    "avif": read_avif,
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is refused before a pixel is decoded.

    Attributes:
        max_bytes: largest file, bytes.
        max_pixels: largest width times height, px; the default admits the largest phone cameras
            (16,320 x 12,240). Decoding takes 10 to 25 bytes of memory for each pixel.
    """

    max_bytes: int = 200 * 2**20
    max_pixels: int = 200_000_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image.

    Attributes:
        rgb: uint8 [h, w, 3], upright, C-contiguous, writable.
        width: of the upright image in full size, px, also when `rgb` is reduced.
        height: likewise, px.
        format: "jpeg", "png", "webp", "gif", "bmp", "tiff", "heif" or "avif".
        exif_tags: number of EXIF tags, those of the Exif and GPS directories included.
        reduced: True if `rgb` is smaller than the image.
        transparent: True if the file stores transparency, which is dropped here.
    """

    rgb: Rgb
    width: int
    height: int
    format: str
    exif_tags: int
    reduced: bool
    transparent: bool


def decode(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    policy: DecodePolicy = _IN_FULL,
    limits: DecodeLimits = DecodeLimits(),
) -> Decoded:
    """Decode one image.

    Args:
        source: a path, the bytes of a file, or a binary file object, which is read to its end.
        policy: how far a JPEG may be reduced; other formats are decoded in full.
        limits: what is refused before decoding.

    Raises:
        DecodeError: it cannot be read, or it is not an image that is decoded, or it is too large,
            or it is damaged.
    """
    data = _bytes_of(source, limits)
    format = identify(data)
    try:
        encoded = _READERS[format](data)
        _check(encoded, limits)
        pixels = encoded.pixels(policy.min_side)
    except DecodeError:
        raise
    except MemoryError:
        reason = "there is not enough memory to decode it: run fewer workers or scale it down"
        raise DecodeError(reason, stage="decode", retryable=True) from None
    except Exception as error:
        # Decoders meet hostile bytes with every kind of exception, and each of them means this.
        raise _undecodable(error, format) from error
    rgb = upright(pixels, encoded.exif.orientation)
    reduced = format == "jpeg" and pixels.shape[:2] != (encoded.height, encoded.width)
    height, width = rgb.shape[:2]
    if reduced:
        width, height = encoded.width, encoded.height
        if encoded.exif.orientation >= 5:
            width, height = height, width
    return Decoded(rgb, width, height, format, encoded.exif.tags, reduced, encoded.transparent)


def read_bytes(path: str | os.PathLike[str], limits: DecodeLimits = DecodeLimits()) -> bytes:
    """Read a file, or a file in an archive, whose size is within the limits.

    Raises:
        DecodeError: it cannot be opened or read, is not a regular file, or is too large.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except NotADirectoryError as error:
        return _read_in_archive(path, limits, error)
    except (OSError, ValueError) as error:
        raise _unreadable(error, "open") from error
    try:
        status = os.fstat(descriptor)
        if (refusal := kind_refusal(status.st_mode)) is not None:
            raise DecodeError(refusal, stage="open")
        _check_bytes(status.st_size, limits)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(status.st_size + 1)
    except OSError as error:
        raise _unreadable(error, "read") from error
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        reason = "the file changed while it was read: try again when nothing writes to it"
        raise DecodeError(reason, stage="read", retryable=True)
    return data


def _read_in_archive(
    path: str | os.PathLike[str], limits: DecodeLimits, missing: NotADirectoryError
) -> bytes:
    try:
        if (found := find_member(path)) is None:
            raise _unreadable(missing, "open")
        _check_bytes(found.held.size, limits)
        return found.read()
    except OSError as error:
        raise _unreadable(error, "read") from error


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryIO, limits: DecodeLimits) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        return read_bytes(source, limits)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = source.read(limits.max_bytes + 1)
        except (OSError, ValueError) as error:
            raise _unreadable(error, "read") from error
    _check_bytes(len(data), limits)
    return data


def _unreadable(error: OSError | ValueError, stage: str) -> DecodeError:
    return DecodeError(unreadable_refusal(error), stage=stage, retryable=isinstance(error, OSError))


def _check_bytes(size: int, limits: DecodeLimits) -> None:
    if size > limits.max_bytes:
        reason = (
            f"the file has {size:,} bytes or more, and at most {limits.max_bytes:,} are read: raise max_bytes"
        )
        raise DecodeError(reason, stage="limits")


def _check(encoded: Encoded, limits: DecodeLimits) -> None:
    width, height = encoded.width, encoded.height
    if width < 1 or height < 1:
        raise Damaged(f"its header gives {width} x {height} pixels")
    if max(width * height, encoded.buffer) > limits.max_pixels:
        reason = (
            f"its header promises {width:,} x {height:,} pixels, and at most {limits.max_pixels:,} are "
            "decoded: scale it down or raise max_pixels"
        )
        raise DecodeError(reason, stage="limits")


def _undecodable(error: Exception, format: str) -> DecodeError:
    # How Pillow's plugins meet the end of the bytes: their messages are about Python, not about the file.
    detail = "it is cut off" if isinstance(error, (struct.error, IndexError, EOFError)) else one_line(error)
    reason = (
        f"its {format.upper()} data is damaged or of a kind that is not decoded ({detail}): "
        "restore the file or export it again"
    )
    return DecodeError(reason, stage="decode")
