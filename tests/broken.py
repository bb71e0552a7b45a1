"""A folder of broken and hostile input, each file with what has to be said about it."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from tests.encoders import TiffTags, png, png_chunk, png_header, tiff, tiff_directory
from tests.pictures import beyond_opencv, encode, exif, picture

INDEXED = "indexed"
"""Odd, but an image: it must be decoded."""
SKIPPED = "not an image"
"""It does not claim to be an image: counted, never named."""

Expected = dict[bytes, str]
"""Path below the folder -> `INDEXED`, `SKIPPED`, or words that the reason of its failure holds."""


def make_broken(folder: Path) -> Expected:
    """Fill a folder, and say what is to be found in it."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = _cut_off() | _bombs() | _disguised() | _damaged() | _named_only() | _odd()
    for name, (data, _) in contents.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    return {name: expected for name, (_, expected) in contents.items()} | _special(folder)


Contents = dict[bytes, tuple[bytes, str]]


def _cut_off() -> Contents:
    rgb = picture(seed=3)
    jpeg = encode(rgb, "JPEG", quality=90)
    tenths = {f"cut_at_{i}0.jpg": (jpeg[: len(jpeg) * i // 10], "damaged") for i in range(1, 10)}
    whole = {
        "png": encode(rgb, "PNG"),
        "gif": encode(rgb, "GIF"),
        "webp": encode(rgb, "WEBP"),
        "bmp": encode(rgb, "BMP"),
        "tif": encode(rgb, "TIFF"),
        "avif": encode(rgb, "AVIF"),
        "heic": beyond_opencv()["heic"],
    }
    halves = {f"half.{name}": (data[: len(data) // 2], "damaged") for name, data in whole.items()}
    names = tenths | halves | {"empty.jpg": (b"", "empty"), "three_bytes.jpg": (jpeg[:3], "damaged")}
    return {name.encode(): content for name, content in names.items()}


def _bombs() -> Contents:
    jpeg = bytearray(encode(picture(seed=4), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    wide = struct.pack("<I", 0xFFFFFF)[:3]
    webp = b"RIFF\x60\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + wide + wide
    gif = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
    frame_of_gif = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\0;"
    bmp = bytearray(encode(picture(seed=4), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, -60_000)
    huge = zlib.compress(bytes(50_000_000), 9)
    small = picture(seed=5)
    return {
        b"bomb.png": (png_header(60_000, 60_000, 8, 2) + png_chunk(b"IDAT", b""), "60,000 x 60,000"),
        b"bomb.jpg": (bytes(jpeg), "65,500 x 65,500"),
        b"bomb.webp": (webp, "16,777,216"),
        b"bomb.gif": (gif + frame_of_gif, "65,535 x 65,535"),
        b"bomb.bmp": (bytes(bmp), "60,000 x 60,000"),
        b"bomb.tif": (_tiff_of(60_000, 60_000, rows=60_000), "60,000 x 60,000"),
        b"bomb_tile.tif": (_tiff_of(64, 64, tile=2**30), "pixels"),
        b"bomb_strips.tif": (_tiff_of(10, 10_000_000, rows=1), "strips"),
        b"bomb_text.png": (png(small, before=png_chunk(b"zTXt", b"Comment\0\0" + huge)), INDEXED),
        b"bomb_profile.png": (png(small, before=png_chunk(b"iCCP", b"profile\0\0" + huge)), INDEXED),
        b"scans.jpg": (encode(small, "JPEG") + b"\xff\xda" * 5_000, "scans"),
    }


def _tiff_of(width: int, height: int, *, rows: int = 1, tile: int = 0) -> bytes:
    tags: TiffTags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [8]),
        262: (3, [1]),
        277: (3, [1]),
    }
    if tile:
        tags |= {322: (4, [tile]), 323: (4, [tile]), 324: (4, [8]), 325: (4, [8])}
    else:
        tags |= {273: (4, [8]), 278: (4, [rows]), 279: (4, [8])}
    return struct.pack("<2sHI", b"II", 42, 16) + bytes(8) + tiff_directory("<", tags, 16)


def _disguised() -> Contents:
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'
    mp4 = struct.pack(">I", 24) + b"ftypisom\0\0\x02\0isommp41" + bytes(100)
    return {
        b"zip.png": (_zip(), "zip"),
        b"text.jpg": (b"this is a note about a picture\n" * 5, "text"),
        b"car.jpg": (b"BMW and BMP begin with the same two letters.\n", "text"),
        b"page.jpg": (b"<!DOCTYPE html><html><body>404 not found</body></html>", "HTML"),
        b"svg.png": (svg, "SVG"),
        b"pdf.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
        b"gzip.jpg": (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        b"mp4.jpg": (mp4, "MP4 videos"),
        b"webm.png": (b"\x1aE\xdf\xa3" + bytes(60), "Matroska or WebM videos"),
        b"avi.gif": (b"RIFF\0\0\0\0AVI LIST", "AVI videos"),
        b"mov.jpg": (struct.pack(">I", 8) + b"wide" + bytes(40), "QuickTime videos"),
        b"psd.jpg": (b"8BPS\0\x01" + bytes(30), "Photoshop"),
        b"zeros.jpg": (bytes(4096), "no known format"),
        b"random.jpg": (np.random.default_rng(0).bytes(4096), "no known format"),
        b"jpeg.png": (encode(picture(seed=6), "JPEG"), INDEXED),
        b"png.jpg": (encode(picture(seed=7), "PNG"), INDEXED),
    }


def _zip() -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.jpg", b"not a picture")
    return target.getvalue()


def _damaged() -> Contents:
    rgb = picture(seed=8)
    data = bytearray(encode(rgb, "PNG"))
    data[len(data) // 2] ^= 0xFF
    flat = tiff(rgb, 2)
    return {
        b"flipped_bit.png": (bytes(data), "checksum"),
        b"header_only.png": (png_header(100, 100, 8, 2), "damaged"),
        b"no_size.png": (png_header(0, 0, 8, 2), "damaged"),
        b"no_frame.gif": (b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";", "damaged"),
        b"directory_outside.tif": (b"II*\0" + struct.pack("<I", 2**31) + bytes(99), "damaged"),
        b"directory_is_header.tif": (b"II*\0" + struct.pack("<I", 0) + bytes(99), "damaged"),
        b"data_outside.tif": (flat[:8] + flat[8 + rgb.nbytes :], "damaged"),
        b"corrupt_exif.jpg": (
            encode(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"x" * 40),
            INDEXED,
        ),
    }


def _named_only() -> Contents:
    return {
        b"film.mp4": (b"", "videos"),
        b"FILM.MOV": (b"", "videos"),
        b"drawing.svg": (b"<svg/>", "SVG"),
        b"raw.CR2": (b"II*\0", "camera raw"),
        b"notes.txt": (b"buy milk", SKIPPED),
        b"labels.json": (b"{}", SKIPPED),
        b"Thumbs.db": (b"\xd0\xcf\x11\xe0", SKIPPED),
        b"no_extension": (encode(picture(seed=9), "JPEG"), SKIPPED),
        b".DS_Store": (b"\0\0\0\1Bud1", SKIPPED),
        b"._photo.jpg": (b"\0\5\x16\7", SKIPPED),
    }


def _odd() -> Contents:
    rgb = picture(seed=10)
    frames = encode(rgb, "GIF", save_all=True, append_images=[])
    return {
        b"animated.gif": (frames, INDEXED),
        b"one_pixel.png": (encode(rgb[:1, :1], "PNG"), INDEXED),
        b"one_row.jpg": (encode(rgb[:1], "JPEG"), INDEXED),
        b"turned.jpg": (encode(rgb, "JPEG", exif=exif(6)), INDEXED),
        b"caf\xe9 \xff.jpg": (encode(picture(seed=11), "JPEG"), INDEXED),
        b"cut \xfe.jpg": (encode(rgb, "JPEG")[:999], "damaged"),
        b"two\nlines.jpg": (encode(picture(seed=12), "JPEG"), INDEXED),
        b"n" * 251 + b".jpg": (encode(picture(seed=13), "JPEG"), INDEXED),
        b"junk_behind.jpg": (encode(picture(seed=14), "JPEG") + b"junk" * 500, INDEXED),
    }


def _special(folder: Path) -> Expected:
    """What is no regular file, or not to be read."""
    (folder / "folder.jpg").mkdir(exist_ok=True)
    (folder / "folder.jpg" / "inside.png").write_bytes(encode(picture(seed=15), "PNG"))
    locked = folder / "locked.jpg"
    locked.write_bytes(encode(picture(seed=16), "JPEG"))
    locked.chmod(0)
    for name, target in (("dangling.jpg", "nowhere.jpg"), ("itself.jpg", "itself.jpg"), ("here", ".")):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)
    if not (folder / "pipe.jpg").exists():
        os.mkfifo(folder / "pipe.jpg")
    return {
        b"folder.jpg": "directory",
        b"folder.jpg/inside.png": INDEXED,
        # To root, and on some file systems, modes mean nothing.
        b"locked.jpg": INDEXED if os.access(locked, os.R_OK) else "permission",
        b"dangling.jpg": "dangling",
        b"itself.jpg": "cannot be read",
        b"pipe.jpg": "pipe",
    }
