"""Which format a file is, from its first bytes; everything that is no picture gets its own sentence."""

from __future__ import annotations

from twinlens.engine.errors import DecodeError
from twinlens.engine.refusals import ACCEPTED, picture_refusal, video_refusal

_IMAGE_NAMES = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff"
    " .heic .heif .heics .heifs .hif .avif .avifs"
)
_VIDEO_NAMES = ".mp4 .m4v .mov .avi .mkv .webm .wmv .flv .mpg .mpeg .mts .m2ts .3gp .ogv"
IMAGE_EXTENSIONS = frozenset(_IMAGE_NAMES.split())
VIDEO_EXTENSIONS = frozenset(_VIDEO_NAMES.split())
OTHER_PICTURES = {
    "an SVG drawing": ".svg .svgz",
    "a Photoshop document": ".psd .psb",
    "a PostScript file": ".eps .ai",
    "a camera raw file": ".cr2 .cr3 .crw .nef .arw .dng .orf .rw2 .raf .pef .srw",
    "a JPEG XL image": ".jxl",
    "a JPEG 2000 image": ".jp2 .j2k .jpx",
    "an HDR image": ".exr .hdr",
    "an icon": ".ico .icns",
    "a Targa image": ".tga",
    "a PNM image": ".ppm .pgm .pbm .pnm",
    "a design file": ".xcf .kra",
}
OTHER_PICTURE_EXTENSIONS = {
    extension: name for name, extensions in OTHER_PICTURES.items() for extension in extensions.split()
}

_IMAGES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
}
_VIDEOS = {
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"FLV\x01": "Flash",
    b"0&\xb2u\x8ef\xcf\x11": "Windows Media",
    b"OggS": "Ogg",
    b"\0\0\x01\xba": "MPEG",
    b"\0\0\x01\xb3": "MPEG",
}
_OTHERS = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file",
    b"8BPS": "a Photoshop document",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b": "gzip-compressed data",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\x01\0": "an icon file",
    b"v/1\x01": "an OpenEXR image",
    b"#?RADIANCE": "a Radiance image",
    b"DDS ": "a DirectDraw texture",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"SQLite format 3\0": "a database",
}
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = frozenset(b"avif avis".split())
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_MOVIE_ATOMS = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))


def identify(data: bytes) -> str:
    """The format of image bytes: "jpeg", "png", "webp", "gif", "bmp", "tiff", "heif" or "avif".

    Raises:
        DecodeError: these are not the bytes of an image that can be decoded; the reason names what
            they are.
    """
    if not data:
        raise DecodeError("the file is empty (0 bytes)", stage="identify")
    if format := _image(data):
        return format
    raise DecodeError(_refusal(data), stage="identify")


def _image(data: bytes) -> str | None:
    for magic, format in _IMAGES.items():
        if data.startswith(magic):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else None


def _brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 512)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}


def _refusal(data: bytes) -> str:
    if video := _video(data):
        return video_refusal(video)
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        return picture_refusal(f"a media file of the brand {brand!r}")
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return picture_refusal(name)
    if text := _text(data[:4096]):
        return picture_refusal(text)
    shown = data[:8].hex(" ")
    return f"its bytes are those of no known format (they begin {shown}): export it as one of {ACCEPTED}"


def _video(data: bytes) -> str | None:
    for magic, name in _VIDEOS.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "AVI"
    if data[4:8] in _MOVIE_ATOMS or data[4:12] == b"ftypqt  ":
        return "QuickTime"
    if data[4:8] == b"ftyp" and data[8:11] in (
        b"iso",
        b"mp4",
        b"M4V",
        b"3gp",
        b"avc",
        b"MSN",
        b"f4v",
        b"das",
    ):
        return "MP4"
    if data[:1] == b"G" and data[188:189] == b"G" and data[376:377] == b"G":
        return "MPEG"
    return None


def _text(head: bytes) -> str | None:
    """What kind of text this is; None if it is not text."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8")):
        if head.startswith(mark):
            text = head.decode(encoding, errors="ignore")
            break
    if (
        sum(not (c.isprintable() or c in "\t\r\n\f\ufeff") for c in text) > len(text) // 50
        or not text.strip()
    ):
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if "<svg" in start:
        return "an SVG drawing"
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    return "text"
