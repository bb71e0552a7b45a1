"""Pictures with content, and real files of them in every odd kind that is decoded."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.encoders import TiffTags, bmp, gif, pack_bits, png, png_chunk, tiff
from twinlens.engine.types import Rgb

HEIGHT, WIDTH = 117, 149
"""Odd, not square, larger than one tile of 128 x 64."""

Kinds = dict[str, bytes]
_TAG_ORIENTATION, _TAG_MAKE, _TAG_COLOUR_MAP, _TAG_SUBSAMPLING, _TAG_PREDICTOR = 274, 271, 320, 530, 317


def picture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Rgb:
    """A picture with content, uint8 [height, width, 3]: gradients, waves, a few shapes, fine noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    angle, turns = rng.uniform(0, np.pi), rng.uniform(2, 7, size=3)
    along = u * np.cos(angle) + v * np.sin(angle)
    channels = [128 + 100 * np.sin(turn * along * np.pi + phase) for phase, turn in enumerate(turns)]
    pixels = np.stack(channels, axis=-1)
    for _ in range(5):
        cy, cx, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.25)
        inside = (u - cx) ** 2 + (v - cy) ** 2 < radius**2
        pixels[inside] = rng.uniform(0, 255, 3)
    return (pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)


def encode(pixels: Rgb | Image.Image, format: str, **options: Any) -> bytes:
    """A file that Pillow writes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def as_mode(pixels: NDArray[np.uint8], mode: str) -> Image.Image:
    """The same samples under another mode of Pillow."""
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def exif(orientation: int) -> Image.Exif:
    """An EXIF block with two tags in IFD0, one in the Exif and one in the GPS directory."""
    block = Image.Exif()
    block[_TAG_ORIENTATION], block[_TAG_MAKE] = orientation, "TwinLens"
    block.get_ifd(0x8769)[0x9003] = "2024:06:07 12:00:00"
    block.get_ifd(0x8825)[1] = "N"
    return block


def like_opencv() -> Kinds:
    """Files whose pixels must be those of OpenCV, by name."""
    return _jpegs() | _pngs() | _webps() | _gifs() | _bmps() | _tiffs() | _oriented() | _avifs()


def beyond_opencv() -> Kinds:
    """Files that OpenCV does not decode in colour, or not rightly, by name."""
    rgb, grey = picture(), _grey()
    kinds = {
        "heic": _heif(rgb, quality=90),
        "heic grey": _heif(Image.fromarray(grey), quality=90),
        "heic alpha": _heif(_with_alpha(rgb), quality=90),
        "avif turned": encode(rgb, "AVIF", exif=exif(6), quality=90),
        "tiff 4 bits": tiff((grey >> 4)[..., None], 1, bits=4),
        "tiff 2 bits deflate": tiff((grey >> 6)[..., None], 1, bits=2, deflate=True),
        "tiff of undefined samples": tiff(grey[..., None], 1, more={339: (3, [4])}),
        "tiff float in [0, 1]": tiff((grey / 255).astype(np.float32)[..., None], 1),
        "tiff float": tiff((grey * 3.5 - 40).astype(np.float32)[..., None], 1),
        "tiff 32 bits": tiff((grey.astype(np.uint32) << 24)[..., None], 1),
        "tiff 32 bits signed": tiff((grey.astype(np.int32) - 100)[..., None], 1),
        "tiff cmyk 16 bits": tiff(_cmyk().astype(np.uint16) * 257, 5),
        "tiff cielab": encode(as_mode(rgb, "LAB"), "TIFF"),
        "gif frame beyond its canvas": gif(grey, _palette(), canvas=(50, 40)),
    }
    tall = np.rot90(rgb)
    kinds["apng whose still picture is no frame"] = encode(
        rgb, "PNG", save_all=True, default_image=True, append_images=[Image.fromarray(rgb[::-1])] * 2
    )
    kinds["webp lossless tall"] = encode(tall, "WEBP", lossless=True)
    return kinds


def _jpegs() -> Kinds:
    rgb = picture()
    image, cmyk = Image.fromarray(rgb), as_mode(_cmyk(), "CMYK")
    kinds = {
        f"jpeg 4:{name}": encode(rgb, "JPEG", subsampling=i) for i, name in enumerate(("4:4", "2:2", "2:0"))
    }
    return kinds | {
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg grey": encode(image.convert("L"), "JPEG"),
        "jpeg cmyk": encode(cmyk, "JPEG", quality=90),
        "jpeg rgb": encode(rgb, "JPEG", keep_rgb=True),
        "jpeg restart markers": encode(rgb, "JPEG", restart_marker_rows=1),
        "jpeg with comment and profile": encode(rgb, "JPEG", comment=b"c" * 9000, icc_profile=b"p" * 200_000),
        "jpeg multi-picture": encode(image, "MPO", save_all=True, append_images=[image.rotate(180)]),
    }


def _pngs() -> Kinds:
    rgb, grey, palette, deep = picture(), _grey(), _palette(), _deep()
    alpha = np.asarray(_with_alpha(rgb))
    kinds = {}
    for depth in (1, 2, 4):
        few = (grey >> (8 - depth))[..., None]
        kinds[f"png grey {depth} bits"] = png(few, depth)
        kinds[f"png palette {depth} bits"] = png(few, depth, palette=palette[: 2**depth])
    for channels, name in ((1, "grey"), (2, "grey alpha"), (3, "rgb"), (4, "rgba")):
        kinds[f"png {name}"] = png(alpha[..., 4 - channels :])
        kinds[f"png {name} 16 bits"] = png(deep[..., :channels], 16)
    animation = [Image.fromarray(rgb[::-1])]
    return kinds | {
        "png palette": png(grey[..., None], palette=palette),
        "png palette transparent": png(
            grey[..., None], palette=palette, before=png_chunk(b"tRNS", bytes(range(256)))
        ),
        "png rgb transparent": png(rgb, before=png_chunk(b"tRNS", struct.pack(">3H", *rgb[40, 60]))),
        "png interlaced": png(rgb, interlace=True),
        "png interlaced grey 1 bit": png((grey >> 7)[..., None], 1, interlace=True),
        "png interlaced 16 bits": png(deep[..., :1], 16, interlace=True),
        "png gamma": png(rgb, before=png_chunk(b"gAMA", struct.pack(">I", 100_000))),
        "png text at its end": png(rgb, after=png_chunk(b"tEXt", b"Comment\0hello")),
        "apng": encode(rgb, "PNG", save_all=True, append_images=animation),
    }


def _webps() -> Kinds:
    rgb = picture()
    image, alpha = Image.fromarray(rgb), _with_alpha(rgb)
    return {
        "webp": encode(rgb, "WEBP", quality=80),
        "webp lossless": encode(rgb, "WEBP", lossless=True),
        "webp alpha": encode(alpha, "WEBP"),
        "webp lossless alpha": encode(alpha, "WEBP", lossless=True, exact=True),
        "webp animated": encode(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
    }


def _gifs() -> Kinds:
    grey, palette = _grey(), _palette()
    image = Image.fromarray(picture())
    larger = {"canvas": (WIDTH + 20, HEIGHT + 10), "at": (7, 5), "background": 9}
    kinds = {
        "gif": encode(image, "GIF"),
        "gif grey": encode(Image.fromarray(grey), "GIF"),
        "gif animated": encode(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "gif interlaced": gif(grey, palette, interlace=True),
        "gif local palette": gif(grey, palette, local_palette=True),
        "gif offset": gif(grey, palette, **larger),  # type: ignore[arg-type]
        "gif offset transparent": gif(grey, palette, transparent=int(grey[40, 60]), **larger),  # type: ignore[arg-type]
        "gif offset local palette": gif(grey, palette, local_palette=True, **larger),  # type: ignore[arg-type]
        "gif transparent": gif(grey, palette, transparent=int(grey[40, 60]), background=7),
    }
    return kinds | {f"gif disposal {d}": gif(grey, palette, disposal=d, transparent=5) for d in (1, 2, 3)}


def _bmps() -> Kinds:
    rgb, grey, palette = picture(), _grey(), _palette()
    bgr, five = [row.tobytes() for row in rgb[..., ::-1]], (rgb >> 3).astype(np.uint16)
    table = np.hstack([palette[:, ::-1], np.zeros((256, 1), np.uint8)]).tobytes()
    kinds = {}
    for depth in (1, 4, 8):
        rows = [pack_bits(row, depth) for row in grey >> (8 - depth)]
        kinds[f"bmp {depth} bits"] = bmp(rows, WIDTH, depth, palette=table[: 4 << depth])
        core = palette[: 1 << depth, ::-1].tobytes()
        kinds[f"bmp {depth} bits os/2"] = bmp(rows, WIDTH, depth, palette=core, core=True)
    rgb555 = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    rgb565 = five[..., 0] << 11 | (rgb[..., 1] >> 2).astype(np.uint16) << 5 | five[..., 2]
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    runs = [b"".join(bytes([1, value]) for value in row.tolist()) + b"\0\0" for row in grey]
    nibbles = [b"".join(bytes([1, value & 0xF0]) for value in row.tolist()) + b"\0\0" for row in grey]
    return kinds | {
        "bmp": bmp(bgr, WIDTH, 24),
        "bmp top down": bmp(bgr, WIDTH, 24, top_down=True),
        "bmp 32 bits": encode(_with_alpha(rgb), "BMP"),
        "bmp 5-5-5": bmp([row.astype("<u2").tobytes() for row in rgb555], WIDTH, 16),
        "bmp 5-6-5": bmp(
            [row.astype("<u2").tobytes() for row in rgb565], WIDTH, 16, compression=3, masks=masks
        ),
        "bmp rle 8": bmp(runs, WIDTH, 8, palette=table, compression=1),
        "bmp rle 4": bmp(nibbles, WIDTH, 4, palette=table[:64], compression=2),
    }


def tiff_layouts() -> dict[str, tuple[NDArray[Any], int, dict[str, Any]]]:
    """Samples, photometric interpretation and further arguments of `tiff`, by name."""
    rgb, grey, deep, cmyk = picture(), _grey()[..., None], _deep(), _cmyk()
    alpha = np.asarray(_with_alpha(rgb))
    maps: dict[int, TiffTags] = {
        bits: {_TAG_COLOUR_MAP: (3, (_palette()[: 1 << bits].astype(int).T.ravel() * 257).tolist())}
        for bits in (1, 4, 8)
    }
    return {
        "rgb": (rgb, 2, {}),
        "rgba": (alpha, 2, {"extra": (2,)}),
        "rgba associated": (alpha, 2, {"extra": (1,)}),
        "rgbx": (alpha, 2, {"extra": (0,)}),
        "grey": (grey, 1, {}),
        "grey white is zero": (grey, 0, {}),
        "grey alpha": (alpha[..., 2:], 1, {"extra": (2,)}),
        "grey 1 bit": (grey >> 7, 1, {"bits": 1}),
        "grey 1 bit white is zero": (grey >> 7, 0, {"bits": 1}),
        "palette": (grey, 3, {"more": maps[8]}),
        "palette 4 bits": (grey >> 4, 3, {"bits": 4, "more": maps[4]}),
        "palette 1 bit": (grey >> 7, 3, {"bits": 1, "more": maps[1]}),
        "rgb 16 bits": (deep[..., :3], 2, {}),
        "rgba 16 bits": (deep, 2, {"extra": (2,)}),
        "grey 16 bits": (deep[..., :1], 1, {}),
        "grey 16 bits white is zero": (deep[..., :1], 0, {}),
        "grey alpha 16 bits": (deep[..., :2], 1, {"extra": (2,)}),
        "grey 16 bits signed": (deep[..., :1].view(np.int16), 1, {}),
        "grey 8 bits signed": (grey.view(np.int8), 1, {}),
        "palette alpha": (alpha[..., 2:], 3, {"extra": (1,), "more": maps[8]}),
        "cmyk": (cmyk, 5, {}),
        "ycbcr": (rgb, 6, {"more": {_TAG_SUBSAMPLING: (3, [1, 1])}}),
    }


def _tiffs() -> Kinds:
    ways: dict[str, dict[str, Any]] = {
        "": {},
        " big-endian": {"big_endian": True},
        " bigtiff": {"big": True},
        " deflate": {"deflate": True},
        " strips": {"rows_per_strip": 5},
        " tiles": {"tile": (128, 64)},
        " tiles deflate": {"tile": (128, 64), "deflate": True},
        " planes": {"planar": True},
        " planes deflate": {"planar": True, "deflate": True, "rows_per_strip": 50},
    }
    low_map: TiffTags = {_TAG_COLOUR_MAP: (3, _palette().T.ravel().tolist())}
    kinds = {"tiff palette of low bytes": tiff(_grey()[..., None], 3, more=low_map)}
    for name, (pixels, photometric, options) in tiff_layouts().items():
        for way, how in ways.items():
            without_planes = pixels.shape[2] == 1 or name == "palette alpha"
            if (without_planes and "planes" in way) or (name in MISREAD_TILES and "tiles" in way):
                continue
            kinds[f"tiff {name}{way}"] = tiff(pixels, photometric, **options, **how)
    return kinds | _pillow_tiffs()


MISREAD_TILES = (
    "grey alpha",
    "grey 16 bits",
    "grey 16 bits white is zero",
    "grey alpha 16 bits",
    "grey 16 bits signed",
    "palette alpha",
)
"""TIFF layouts whose tiles OpenCV 5.0 misreads where they reach over the right edge."""


def _pillow_tiffs() -> Kinds:
    image = Image.fromarray(picture())
    bilevel, cmyk = image.convert("1"), as_mode(_cmyk(), "CMYK")
    kinds = {
        f"tiff {way}": encode(image, "TIFF", compression=way) for way in ("tiff_lzw", "packbits", "jpeg")
    }
    kinds |= {f"tiff 1 bit {way}": encode(bilevel, "TIFF", compression=way) for way in ("group3", "group4")}
    pages = encode(image, "TIFF", save_all=True, append_images=[image.rotate(180)])
    predicted = encode(image, "TIFF", compression="tiff_lzw", tiffinfo={_TAG_PREDICTOR: 2})
    return kinds | {
        "tiff pages": pages,
        "tiff lzw with predictor": predicted,
        "tiff ycbcr jpeg": encode(image.convert("YCbCr"), "TIFF", compression="jpeg"),
        "tiff rgba jpeg": encode(_with_alpha(picture()), "TIFF", compression="jpeg"),
        "tiff rgba jpeg associated": _associated(encode(_with_alpha(picture()), "TIFF", compression="jpeg")),
        "tiff cmyk jpeg": encode(cmyk, "TIFF", compression="jpeg"),
    }


def _associated(data: bytes) -> bytes:
    """The same TIFF with its alpha declared as associated: ExtraSamples 1 instead of 2."""
    tag = struct.pack("<HHI", 338, 3, 1)
    assert data.count(tag) == 1
    return data.replace(tag + b"\2", tag + b"\1")


def _oriented() -> Kinds:
    rgb, grey, deep = picture(), _grey()[..., None], _deep()
    kinds = {}
    for turn in range(1, 9):
        tag: TiffTags = {_TAG_ORIENTATION: (3, [turn])}
        kinds[f"jpeg exif {turn}"] = encode(rgb, "JPEG", exif=exif(turn))
        kinds[f"png exif {turn}"] = encode(rgb, "PNG", exif=exif(turn))
        kinds[f"webp exif {turn}"] = encode(rgb, "WEBP", exif=exif(turn), lossless=True)
        kinds[f"tiff exif {turn}"] = tiff(rgb, 2, more=tag)
        kinds[f"tiff grey exif {turn}"] = tiff(grey, 1, more=tag, deflate=True)
        kinds[f"tiff 16 bits exif {turn}"] = tiff(deep[..., :3], 2, more=tag)
    return kinds


def _avifs() -> Kinds:
    rgb = picture()
    image = Image.fromarray(rgb)
    return {
        "avif": encode(rgb, "AVIF", quality=90),
        "avif grey": encode(image.convert("L"), "AVIF"),
        "avif alpha": encode(_with_alpha(rgb), "AVIF"),
        "avif animated": encode(image, "AVIF", save_all=True, append_images=[image.rotate(180)]),
        "avif exif": encode(rgb, "AVIF", exif=exif(1)),
    }


def _heif(pixels: Rgb | Image.Image, **options: Any) -> bytes:
    from pillow_heif import from_pillow

    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    from_pillow(image).save(target, **options)
    return target.getvalue()


def _grey() -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture()).convert("L"))


def _with_alpha(rgb: Rgb) -> Image.Image:
    alpha = np.linspace(0, 255, rgb.shape[1]).astype(np.uint8)
    return Image.fromarray(np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])]))


def _cmyk() -> NDArray[np.uint8]:
    """The picture with a third of its darkness in the black channel, so that rounding shows."""
    return np.ascontiguousarray(np.dstack([255 - picture(), _grey() // 3]))


def _deep() -> NDArray[np.uint16]:
    """The picture in four channels of 16 bits that use all of them."""
    rng = np.random.default_rng(1)
    wide = np.dstack([picture(), _grey()]).astype(np.uint16) * 256
    return wide + rng.integers(0, 256, wide.shape, dtype=np.uint16)


def _palette() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (256, 3)).astype(np.uint8)
