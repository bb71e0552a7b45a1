"""Readers of JPEG, PNG, WebP, GIF, BMP, HEIC and AVIF; TIFF has its own module.

Each reads the header itself, so that limits cost nothing to check, and gives Pillow only what pixels
depend on. Text, colour profiles, EXIF and animation control never reach it: they are where
decompression bombs hide, and where Pillow warns, which no thread can silence for itself before
Python 3.14. Pillow's plugin classes are called directly: `Image.open` would check sizes against a
global that belongs to the user.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from twinlens.engine.colours import cmyk_of_jpeg, rgb_of
from twinlens.engine.encoded import Damaged, Encoded
from twinlens.engine.exif import Exif, read_exif
from twinlens.engine.isobmff import split_exif
from twinlens.engine.types import Rgb

_MOST_BLOCKS = 250_000
"""Segments, chunks or blocks in one file; the largest real files have some ten thousand."""
_MOST_SCANS = 1_000
"""Scans of a progressive JPEG, each a pass over all pixels; encoders write about ten."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset(range(0xD0, 0xD9)) | {0x01}
_JPEG_UNUSED = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}


def read_jpeg(data: bytes) -> Encoded:
    """JPEG, ISO/IEC 10918-1 annex B; of a multi-picture file the first picture."""
    # Most files have too few of the second byte, which is counted ten times as fast.
    ends = np.count_nonzero(np.frombuffer(data, np.uint8) == 0xDA)
    if ends > _MOST_SCANS and data.count(b"\xff\xda") > _MOST_SCANS:
        raise Damaged(f"it has more than {_MOST_SCANS:,} scans")
    kept, exif, size, at = [b"\xff\xd8"], b"", (0, 0), 2
    for _ in range(_MOST_BLOCKS):
        at = data.find(b"\xff", at)
        marker = data[at + 1] if 0 <= at < len(data) - 1 else 0xD9
        if marker == 0xD9:
            raise Damaged("it ends before its pixels begin")
        if marker in (0x00, 0xFF) or marker in _JPEG_BARE:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : end]
        if marker in _JPEG_FRAMES and len(segment) >= 6:
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
        if marker == 0xDA:
            break
        if marker == 0xE1 and segment.startswith(b"Exif\0\0") and not exif:
            exif = segment
        if marker not in _JPEG_UNUSED:
            kept.append(data[at:end])
        at = end
    else:
        raise Damaged("it has too many segments")
    stream = b"".join([*kept, data[at:]])
    return Encoded(*size, read_exif(exif), lambda min_side: _jpeg_pixels(stream, min_side))


def _jpeg_pixels(stream: bytes, min_side: int | None) -> Rgb:
    image = JpegImagePlugin.JpegImageFile(BytesIO(stream))
    if min_side is not None:
        image.draft(None, (min_side, min_side))
    # In one piece: between pieces, decoding would wait for every other thread to let go of the GIL.
    image.decodermaxblock = len(stream)
    image.load()
    return cmyk_of_jpeg(np.asarray(image)) if image.mode == "CMYK" else rgb_of(image)


def read_png(data: bytes) -> Encoded:
    """PNG, W3C third edition; of an animated one the still picture."""
    kept, exif, width, height, at = [data[:8]], b"", 0, 0, 8
    transparent = False
    for _ in range(_MOST_BLOCKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"eXIf":
            exif = data[at + 8 : end - 4]
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            if end > len(data):
                raise Damaged(f"it is cut off inside its {kind.decode()} chunk")
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise Damaged(f"the checksum of its {kind.decode()} chunk is wrong")
            kept.append(data[at:end])
        if kind == b"IHDR" and length >= 10:
            width, height, _, colour_type = struct.unpack_from(">IIBB", data, at + 8)
            transparent |= colour_type in (4, 6)
        transparent |= kind == b"tRNS"
        if kind == b"IEND" or end >= len(data):
            break
        at = end
    else:
        raise Damaged("it has too many chunks")
    stream = b"".join(kept)

    def pixels(_: int | None) -> Rgb:
        image = PngImagePlugin.PngImageFile(BytesIO(stream))
        image.load()
        return rgb_of(image)

    return Encoded(width, height, read_exif(exif), pixels, transparent=transparent)


def read_webp(data: bytes) -> Encoded:
    """WebP, RFC 9649; of an animated one the first frame."""
    kind, head = data[12:16], data[20:30]
    transparent = False
    if len(head) < 10:
        raise Damaged("it is cut off inside its header")
    if kind == b"VP8X":
        transparent = bool(head[0] & 0x10)
        size = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        transparent = bool(bits >> 28 & 1)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = struct.unpack_from("<HH", head, 6)
        size = width & 0x3FFF, height & 0x3FFF

    def pixels(_: int | None) -> Rgb:
        image = WebPImagePlugin.WebPImageFile(BytesIO(data))
        image.load()
        return rgb_of(image)

    return Encoded(*size, read_exif(_riff_chunk(data, b"EXIF")), pixels, transparent=transparent)


def _riff_chunk(data: bytes, wanted: bytes) -> bytes:
    at = 12
    for _ in range(_MOST_BLOCKS):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == wanted:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if at >= len(data):
            break
    return b""


def read_gif(data: bytes) -> Encoded:
    """GIF, CompuServe version 89a; the first frame on its canvas.

    As in OpenCV, what the frame leaves open or transparent shows the background colour.
    """
    if len(data) < 13:
        raise Damaged("it is cut off inside its header")
    width, height, flags, background = struct.unpack_from("<HHBB", data, 6)
    table = data[13 : 13 + _gif_table_bytes(flags)]
    at, transparent = _gif_first_frame(data, 13 + len(table))
    if at + 11 > len(data):
        raise Damaged("it is cut off before its first frame")
    left, top, frame_width, frame_height, frame_flags = struct.unpack_from("<HHHHB", data, at + 1)
    local = data[at + 10 : at + 10 + _gif_table_bytes(frame_flags)]
    screen = struct.pack("<HHB", frame_width, frame_height, flags) + data[11:13] + table
    frame = struct.pack("<HHHHB", 0, 0, frame_width, frame_height, frame_flags)
    stream = data[:6] + screen + b"," + frame + data[at + 10 :]
    colours = _gif_colours(local or table)
    ground = _gif_colours(table)[background] if table else np.zeros(3, np.uint8)
    canvas = max(width, left + frame_width), max(height, top + frame_height)

    def pixels(_: int | None) -> Rgb:
        image = GifImagePlugin.GifImageFile(BytesIO(stream))
        image.load()
        indices = np.asarray(image)
        rgb = np.empty((canvas[1], canvas[0], 3), np.uint8)
        rgb[:] = ground
        part = rgb[top : top + frame_height, left : left + frame_width]
        shown = colours[indices]
        part[:] = shown if transparent is None else np.where(indices[..., None] == transparent, part, shown)
        return rgb

    return Encoded(*canvas, Exif(), pixels, transparent=transparent is not None)


def _gif_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_colours(table: bytes) -> Rgb:
    """256 colours, uint8 [256, 3]; black beyond the table, and without one greys with 1 as white."""
    if not table:
        greys = np.arange(256, dtype=np.uint8)
        greys[1] = 255
        return np.repeat(greys[:, None], 3, axis=1)
    return np.frombuffer(table.ljust(768, b"\0"), np.uint8).reshape(256, 3)


def _gif_first_frame(data: bytes, at: int) -> tuple[int, int | None]:
    """Offset of the first image descriptor, and the transparent index in force there."""
    transparent, inside = None, False
    for _ in range(_MOST_BLOCKS):
        block = data[at : at + 1]
        if inside:
            size = int.from_bytes(block, "big")
            at, inside = at + 1 + size, size > 0
        elif block == b",":
            return at, transparent
        elif block == b"!":
            if data[at + 1 : at + 3] == b"\xf9\x04":
                transparent = data[at + 6] if data[at + 3] & 1 else None
            at, inside = at + 2, True
        else:
            raise Damaged("it ends before its first frame")
    raise Damaged("it has too many extensions")


def read_bmp(data: bytes) -> Encoded:
    """BMP, Windows versions 2 to 5 and OS/2.

    As in OpenCV, 5 and 6 bits a colour become 8 by a shift, so white is 248 there.
    """
    if len(data) < 54:
        data = data.ljust(54, b"\0")
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        bits, compression = struct.unpack_from("<H", data, 24)[0], 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    six_bits_of_green = compression == 3 and data[54 + 4 : 54 + 8] == b"\xe0\x07\0\0"

    def pixels(_: int | None) -> Rgb:
        image = BmpImagePlugin.BmpImageFile(BytesIO(data))
        image.load()
        rgb = rgb_of(image)
        return (
            rgb & np.array([0xF8, 0xFC if six_bits_of_green else 0xF8, 0xF8], np.uint8) if bits == 16 else rgb
        )

    return Encoded(width, abs(height), Exif(), pixels)


def read_heif(data: bytes) -> Encoded:
    """HEIC, ISO/IEC 23008-12; the primary picture. libheif turns it upright."""
    from pillow_heif import HeifImageFile

    image = HeifImageFile(BytesIO(data))
    width, height = image.size
    tags = read_exif(image.info.get("exif") or b"").tags

    def pixels(_: int | None) -> Rgb:
        image.load()
        return rgb_of(image)

    return Encoded(width, height, Exif(tags=tags), pixels, transparent=image.mode == "RGBA")


def read_avif(data: bytes) -> Encoded:
    """AVIF; the primary picture, turned as its `irot` and `imir` properties say.

    OpenCV ignores those properties, which the format requires to be applied.
    """
    from PIL import AvifImagePlugin

    block, stream = split_exif(data)
    image = AvifImagePlugin.AvifImageFile(BytesIO(stream))
    turned = read_exif(image.info.get("exif") or b"").orientation

    def pixels(_: int | None) -> Rgb:
        image.load()
        return rgb_of(image)

    exif = Exif(turned, read_exif(block).tags)
    return Encoded(*image.size, exif, pixels, transparent=image.mode == "RGBA")
