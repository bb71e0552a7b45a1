"""Writers of file kinds that no library here writes: they turn arrays into bytes, one rule each."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int, colour_type: int, interlace: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_rows(pixels: Pixels, depth: int) -> bytes:
    """Scanlines [h, w, channels] with filter 0; uint8 below 16 bits, uint16 at 16."""
    if 0 in pixels.shape:
        return b""
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in pixels]
    elif depth == 8:
        lines = [row.tobytes() for row in pixels]
    else:
        lines = [pack_bits(row.ravel(), depth) for row in pixels]
    return b"".join(b"\0" + line for line in lines)


def pack_bits(values: Pixels, depth: int) -> bytes:
    bits = (values[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def png(
    pixels: Pixels,
    depth: int = 8,
    *,
    palette: Pixels | None = None,
    interlace: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of pixels [h, w, channels]; `before` and `after` are chunks around the pixel data."""
    height, width, channels = pixels.shape
    colour_type = PNG_COLOUR_TYPE[channels] if palette is None else 3
    if interlace:
        rows = b"".join(png_rows(pixels[y::dy, x::dx], depth) for y, x, dy, dx in ADAM7)
    else:
        rows = png_rows(pixels, depth)
    head = png_header(width, height, depth, colour_type, interlace)
    plte = b"" if palette is None else png_chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    return head + plte + before + png_chunk(b"IDAT", zlib.compress(rows)) + after + png_chunk(b"IEND", b"")


def bmp(
    rows: Sequence[bytes],
    width: int,
    bits: int,
    *,
    palette: bytes = b"",
    compression: int = 0,
    masks: bytes = b"",
    top_down: bool = False,
    core: bool = False,
) -> bytes:
    """A BMP from its scanlines, top one first; `core` writes the 12-byte OS/2 header."""
    height = len(rows)
    ordered = rows if top_down else rows[::-1]
    data = (
        b"".join(ordered)
        if compression in (1, 2)
        else b"".join(row + b"\0" * (-len(row) % 4) for row in ordered)
    )
    if core:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        sizes = (compression, len(data), 2835, 2835, len(palette) // 4, 0)
        info = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, bits, *sizes)
    offset = 14 + len(info) + len(masks) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + info + masks + palette + data


def gif_lzw(indices: Pixels) -> bytes:
    """GIF image data without compression: a clear code before the table grows past nine bits."""
    codes: list[int] = []
    for start in range(0, indices.size, 250):
        codes += [256, *indices.ravel()[start : start + 250].tolist()]
    stream = np.array([*codes, 257], dtype=np.uint16)
    bits = ((stream[:, None] >> np.arange(9)) & 1).astype(np.uint8).ravel()
    data = np.packbits(bits, bitorder="little").tobytes()
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(
    indices: Pixels,
    palette: Pixels,
    *,
    canvas: tuple[int, int] | None = None,
    at: tuple[int, int] = (0, 0),
    background: int = 0,
    transparent: int | None = None,
    disposal: int = 0,
    interlace: bool = False,
    local_palette: bool = False,
) -> bytes:
    """A one-frame GIF of uint8 indices [h, w]; `canvas` and `at` are (width, height) and (x, y)."""
    height, width = indices.shape
    canvas_width, canvas_height = canvas or (width, height)
    table = palette.astype(np.uint8).tobytes().ljust(768, b"\0")
    screen = 0x70 if local_palette else 0xF7
    head = b"GIF89a" + struct.pack("<HHBBB", canvas_width, canvas_height, screen, background, 0)
    has = transparent is not None
    control = struct.pack("<BHB", disposal << 2 | has, 0, transparent or 0)
    flags = (0x87 if local_palette else 0) | (0x40 if interlace else 0)
    place = b"," + struct.pack("<HHHHB", *at, width, height, flags)
    if interlace:
        passes = (np.s_[0::8], np.s_[4::8], np.s_[2::4], np.s_[1::2])
        indices = np.concatenate([indices[rows] for rows in passes])
    tables = (b"", table) if local_palette else (table, b"")
    return head + tables[0] + b"!\xf9\x04" + control + b"\0" + place + tables[1] + gif_lzw(indices) + b";"


TiffTags = dict[int, tuple[int, Sequence[int]]]
"""Tag -> (type, values); type 1 BYTE, 3 SHORT, 4 LONG, 16 LONG8."""
_TIFF_TYPE = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}


def tiff_directory(order: str, tags: TiffTags, at: int, following: int = 0, big: bool = False) -> bytes:
    """One image file directory for file offset `at`, its long values behind it."""
    room, entry, pointer = (8, 20, "Q") if big else (4, 12, "I")
    start = at + (8 if big else 2) + entry * len(tags) + room
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{_TIFF_TYPE[kind]}", *numbers)
        if len(packed) > room:
            field = struct.pack(order + pointer, start + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            field = packed.ljust(room, b"\0")
        entries += struct.pack(f"{order}HH{pointer}", tag, kind, len(numbers)) + field
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return count + entries + struct.pack(order + pointer, following) + values


def tiff(
    pixels: Pixels,
    photometric: int,
    *,
    big_endian: bool = False,
    big: bool = False,
    deflate: bool = False,
    rows_per_strip: int | None = None,
    tile: tuple[int, int] | None = None,
    planar: bool = False,
    extra: Sequence[int] = (),
    bits: int | None = None,
    more: TiffTags | None = None,
) -> bytes:
    """A TIFF of pixels [h, w, channels]; `tile` is (width, height), `bits` below 8 packs the samples."""
    height, width, channels = pixels.shape
    order: Literal["<", ">"] = ">" if big_endian else "<"
    pixels = pixels.astype(pixels.dtype.newbyteorder(order))
    rows = rows_per_strip or height
    planes = [pixels[..., c : c + 1] for c in range(channels)] if planar else [pixels]
    if tile:
        pad = ((0, -height % tile[1]), (0, -width % tile[0]), (0, 0))
        padded = [np.pad(plane, pad) for plane in planes]
        parts = [
            plane[y : y + tile[1], x : x + tile[0]]
            for plane in padded
            for y in range(0, height, tile[1])
            for x in range(0, width, tile[0])
        ]
    else:
        parts = [plane[y : y + rows] for plane in planes for y in range(0, height, rows)]
    depth = bits or pixels.dtype.itemsize * 8
    if depth < 8:
        blocks = [b"".join(pack_bits(row.ravel(), depth) for row in part) for part in parts]
    else:
        blocks = [part.tobytes() for part in parts]
    if deflate:
        blocks = [zlib.compress(block) for block in blocks]
    start = 16 if big else 8
    offsets = np.cumsum([start, *[len(block) for block in blocks]]).tolist()
    sizes = [len(block) for block in blocks]
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags: TiffTags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [depth] * channels),
        259: (3, [8 if deflate else 1]),
        262: (3, [photometric]),
        277: (3, [channels]),
        284: (3, [2 if planar else 1]),
        339: (3, [sample_format] * channels),
    }
    if tile:
        tags |= {322: (4, [tile[0]]), 323: (4, [tile[1]]), 324: (4, offsets[:-1]), 325: (4, sizes)}
    else:
        tags |= {273: (4, offsets[:-1]), 278: (4, [rows]), 279: (4, sizes)}
    if extra:
        tags[338] = (3, extra)
    body = b"".join(blocks)
    body += b"\0" * (len(body) % 2)
    directory = start + len(body)
    mark = b"MM" if big_endian else b"II"
    head = (
        mark + struct.pack(order + "HHHQ", 43, 8, 0, directory)
        if big
        else mark + struct.pack(order + "HI", 42, directory)
    )
    return head + body + tiff_directory(order, tags | (more or {}), directory, big=big)
