"""TIFF 6.0 and BigTIFF: the first picture of a file.

The directory is read here, and Pillow gets the file with a new one that holds nothing but what
pixels depend on: it warns about anything else that is odd. Samples of 8 and 16 bits are presented
to it as one wide grey image, since it knows neither 16-bit colour nor every planar layout; they
become colours by libtiff's rules, which are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from twinlens.engine.colours import cmyk_of_tiff, eight_bits, grey, premultiplied, rgb_of, stretch, ycbcr
from twinlens.engine.encoded import Damaged, Encoded
from twinlens.engine.exif import EXIF_POINTER, GPS_POINTER, ORIENTATION, Exif, directory, orientation
from twinlens.engine.tiff_directory import Directory, read_directory, with_directory
from twinlens.engine.types import Rgb


class Tag(IntEnum):
    """What is read, and written anew."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    STRIP_OFFSETS = 273
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_SIZES = 279
    PLANAR = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_SIZES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    SUBSAMPLING = 530


_PASSED_ON = frozenset((266, 292, 293, 320, 332, 347, *range(512, 522), 529, 531, 532))
"""Fill order, fax options, colour map, ink set, JPEG tables, YCbCr: as the file has them."""
_KEPT = _PASSED_ON.union(Tag)
_UNTOLD = frozenset((254, 255, 282, 283, 296))
"""Resolution and kind of page: they say no more about a picture than its structure does."""

_PLAIN = frozenset((1, 5, 8, 32773, 32946, 34925, 50000))
"""Compressions of bytes as bytes: none, LZW, deflate, packbits, LZMA, zstd."""
_PREDICTED = _PLAIN - {1, 32773}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOUR_MAP = 320
_UNASSOCIATED, _FLOAT = 2, 3
_MOST_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class _Picture:
    """Where the samples of a picture lie and what they mean; counts and sizes are checked."""

    data: bytes
    directory: Directory
    width: int
    height: int
    samples: int
    bits: int
    photometric: int
    extra: int | None
    planar: bool
    predictor: int
    tile: tuple[int, int] | None
    parts: int

    @property
    def offsets_and_sizes(self) -> tuple[int, int]:
        return (Tag.TILE_OFFSETS, Tag.TILE_SIZES) if self.tile else (Tag.STRIP_OFFSETS, Tag.STRIP_SIZES)


def read_tiff(data: bytes) -> Encoded:
    """The first picture of a TIFF file."""
    wanted = _KEPT | {ORIENTATION, EXIF_POINTER, GPS_POINTER}
    head, tags = read_directory(data, wanted)
    pointers = [head.number(tag, 0) for tag in (EXIF_POINTER, GPS_POINTER)]
    inner = 0 if head.big else sum(len(directory(data, head.order, at)) for at in pointers)
    exif = Exif(orientation(head.number(ORIENTATION, 1)), len(tags - wanted - _UNTOLD) + inner)
    kept = {tag: field for tag, field in head.fields.items() if tag in _KEPT}
    picture = _picture(data, Directory(head.order, head.big, kept))
    buffer = picture.tile[0] * picture.tile[1] if picture.tile else 0
    transparent = picture.extra is not None
    return Encoded(picture.width, picture.height, exif, lambda _: _pixels(picture), buffer, transparent)


def _picture(data: bytes, head: Directory) -> _Picture:
    width, height = head.number(Tag.WIDTH, 0), head.number(Tag.HEIGHT, 0)
    bits = head.numbers(Tag.BITS) or (1,)
    samples = head.number(Tag.SAMPLES, len(bits))
    if not 1 <= samples <= _MOST_SAMPLES or len(set(bits)) > 1:
        raise Damaged(f"its pixels have {samples} samples of {bits[0]} bits, which is not supported")
    planar = head.number(Tag.PLANAR, 1) == 2 and samples > 1
    tile = None
    rows = min(head.number(Tag.ROWS_PER_STRIP, height), height)
    across = 1
    if Tag.TILE_WIDTH in head.fields or Tag.TILE_OFFSETS in head.fields:
        tile = head.number(Tag.TILE_WIDTH, 0), head.number(Tag.TILE_HEIGHT, 0)
        across, rows = -(-width // (tile[0] or 1)), tile[1]
    parts = across * -(-height // (rows or 1))
    given = len(head.numbers(Tag.TILE_OFFSETS if tile else Tag.STRIP_OFFSETS))
    if rows == 0 or 0 in (tile or ()) or not parts * (samples if planar else 1) <= given:
        raise Damaged(f"it has {given:,} strips or tiles, which do not fit {width:,} x {height:,} pixels")
    compression = head.number(Tag.COMPRESSION, 1)
    return _Picture(
        data=data,
        directory=head,
        width=width,
        height=height,
        samples=samples,
        bits=bits[0],
        photometric=head.number(Tag.PHOTOMETRIC, _WHITE_IS_ZERO),
        extra=next(iter(head.numbers(Tag.EXTRA_SAMPLES)), None),
        planar=planar,
        predictor=head.number(Tag.PREDICTOR, 1) if compression in _PREDICTED else 1,
        tile=tile,
        parts=parts,
    )


def _pixels(picture: _Picture) -> Rgb:
    if not _is_plain(picture):
        return _pillow_pixels(picture)
    samples = _planes(picture) if picture.planar else _interleaved(picture)
    if picture.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        return _grey_pixels(picture, samples)
    if picture.photometric == _PALETTE and picture.bits == 8:
        return np.take(_palette(picture), samples[..., 0], axis=0)
    colours = eight_bits(samples)
    if picture.photometric == _CMYK and picture.samples >= 4:
        return cmyk_of_tiff(colours)
    if picture.photometric == _YCBCR and picture.samples == 3:
        return ycbcr(colours)
    if picture.photometric == _RGB and picture.samples >= 3:
        return _without_alpha(picture, colours, 3).astype(np.uint8)
    raise Damaged(f"its colours ({picture.samples} samples of kind {picture.photometric}) are not supported")


def _is_plain(picture: _Picture) -> bool:
    """True if the samples are 8 or 16 bits that can be read one by one."""
    head = picture.directory
    if picture.bits not in (8, 16) or head.number(Tag.SAMPLE_FORMAT, 1) == _FLOAT:
        return False
    if head.number(Tag.COMPRESSION, 1) not in _PLAIN or picture.predictor > 2:
        return False
    if picture.photometric == _YCBCR:
        if head.numbers(Tag.SUBSAMPLING) == (1, 1):
            return True
        if head.number(Tag.COMPRESSION, 1) == 1:
            raise Damaged("its YCbCr colours are subsampled and not compressed, which is not supported")
    return picture.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK)


def _palette(picture: _Picture) -> Rgb:
    """256 colours, uint8 [256, 3]; some writers left the high byte of its 16 bits empty."""
    values = np.array(picture.directory.numbers(_COLOUR_MAP), np.uint16)
    if values.shape != (768,):
        raise Damaged(f"its colour map has {len(values)} values instead of 768")
    return (values >> 8 if values.max() > 255 else values).reshape(3, 256).T.astype(np.uint8)


def _grey_pixels(picture: _Picture, samples: NDArray[Any]) -> Rgb:
    """Grey by libtiff: the high byte of interleaved samples, rounded and premultiplied ones of planes."""
    if picture.planar:
        luma = _without_alpha(picture, eight_bits(samples), 1)[..., 0]
    else:
        luma = samples[..., 0] >> (picture.bits - 8)
    return grey(255 - luma if picture.photometric == _WHITE_IS_ZERO else luma)


def _without_alpha(picture: _Picture, samples: NDArray[Any], colours: int) -> NDArray[Any]:
    if picture.extra == _UNASSOCIATED and picture.samples > colours:
        return premultiplied(samples[..., :colours], samples[..., colours : colours + 1])
    return samples[..., :colours]


def _planes(picture: _Picture) -> NDArray[Any]:
    """Samples [h, w, samples] of a file that stores one plane after the other."""
    offsets, sizes = picture.offsets_and_sizes
    planes = []
    for plane in range(picture.samples):
        own = slice(plane * picture.parts, (plane + 1) * picture.parts)
        changes = {tag: picture.directory.numbers(tag)[own] for tag in (offsets, sizes)}
        planes.append(_grey_samples(picture, 1, changes))
    return np.stack(planes, axis=-1)


def _interleaved(picture: _Picture) -> NDArray[Any]:
    """Samples [h, w, samples] of a file that stores pixel after pixel."""
    samples = picture.samples
    changes: dict[int, tuple[int, ...]] = {Tag.PREDICTOR: ()} if samples > 1 else {}
    wide = _grey_samples(picture, samples, changes).reshape(picture.height, picture.width, samples)
    if picture.predictor == 2 and samples > 1:
        # libtiff predicts a sample from the one before it; of a wide grey image that is another colour.
        step = picture.tile[0] if picture.tile else picture.width
        for left in range(0, picture.width, step):
            part = wide[:, left : left + step]
            np.add.accumulate(part, axis=1, dtype=part.dtype, out=part)
    return wide


def _grey_samples(picture: _Picture, samples: int, changes: Mapping[int, tuple[int, ...]]) -> NDArray[Any]:
    """The file decoded as a grey image `samples` times as wide: uint8 or uint16, native and writable."""
    as_grey: dict[int, tuple[int, ...]] = {
        Tag.WIDTH: (picture.width * samples,),
        Tag.BITS: (picture.bits,),
        Tag.SAMPLES: (1,),
        Tag.PHOTOMETRIC: (_BLACK_IS_ZERO,),
        Tag.PLANAR: (1,),
        Tag.EXTRA_SAMPLES: (),
        Tag.SAMPLE_FORMAT: (),
    }
    if picture.tile:
        as_grey[Tag.TILE_WIDTH] = (picture.tile[0] * samples,)
    image = _load(picture.data, picture.directory.changed({**as_grey, **changes}))
    pixels = np.asarray(image)
    return pixels.astype(np.uint16 if picture.bits == 16 else np.uint8)


def _pillow_pixels(picture: _Picture) -> Rgb:
    """Pixels as Pillow understands them: 1 to 4 bits, fax, JPEG, 12 and 32 bits, CIELab."""
    # Associated alpha is to be dropped, and Pillow would divide by it.
    plain: dict[int, tuple[int, ...]] = {
        Tag.EXTRA_SAMPLES: tuple(
            0 if kind == 1 else kind for kind in picture.directory.numbers(Tag.EXTRA_SAMPLES)
        )
    }
    image = _load(picture.data, picture.directory.changed(plain))
    if image.mode == "CMYK":
        return cmyk_of_tiff(np.asarray(image))
    if image.mode == "RGBA":
        return _without_alpha(picture, np.asarray(image), 3).astype(np.uint8)
    if picture.bits == 12:
        return grey(np.asarray(image) >> 4)
    if image.mode == "I" and picture.directory.number(Tag.SAMPLE_FORMAT, 1) == 1:
        return grey(stretch(np.asarray(image).view(np.uint32)))
    return rgb_of(image)


def _load(data: bytes, head: Directory) -> Image.Image:
    image = TiffImagePlugin.TiffImageFile(BytesIO(with_directory(data, head)))
    # With its memory in place, Pillow does not compare the size with a global that is the user's.
    image.im = Image.new(image.mode, image.size).im
    image.load()
    return image
