"""Colours of decoded samples as 8-bit RGB, in the integer arithmetic of OpenCV and libtiff.

Hashes are bit-exact to OpenCV's only if every pixel is. The rules were found by comparing with
`cv2.imdecode(..., IMREAD_COLOR)` and in the sources of libtiff's `tif_getimage.c` and OpenCV's
`imgcodecs/src/utils.cpp`. Alpha is dropped, never composited.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinlens.engine.types import Rgb

Samples = NDArray[Any]


def rgb_of(image: Image.Image) -> Rgb:
    """8-bit RGB of a loaded Pillow image of any mode but CMYK, which has two readings."""
    if image.mode.startswith("I;16"):
        return grey(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return grey(stretch(np.asarray(image)))
    # Pillow warns about palette transparency that is about to be dropped anyway.
    image.info.pop("transparency", None)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def grey(luma: Samples) -> Rgb:
    """Grey samples [h, w] in [0, 255] as RGB."""
    return np.repeat(luma.astype(np.uint8)[..., None], 3, axis=2)


def stretch(values: Samples) -> Samples:
    """Samples of 32 bits as [0, 255]: [0, 1] is taken as the full range, anything else is stretched.

    OpenCV decodes no such file in colour, so there is nothing to be exact to.
    """
    known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(known.min()), float(known.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return np.rint((known - low) * (255 / ((high - low) or 1.0)))


def cmyk_of_jpeg(cmyk: Samples) -> Rgb:
    """CMYK [h, w, 4] of a JPEG as Pillow gives it, by OpenCV's `icvCvt_CMYK2BGR_8u_C4C3R`."""
    light = 255 - cmyk[..., 3:].astype(np.uint16)
    rgb: Rgb = (light - (cmyk[..., :3] * light >> 8)).astype(np.uint8)
    return rgb


def cmyk_of_tiff(cmyk: Samples) -> Rgb:
    """CMYK [h, w, 4] of a TIFF, by libtiff's `putRGBcontig8bitCMYKtile`."""
    light = 255 - cmyk[..., 3:].astype(np.uint16)
    rgb: Rgb = (light * (255 - cmyk[..., :3]) // 255).astype(np.uint8)
    return rgb


def premultiplied(colours: Samples, alpha: Samples) -> Samples:
    """Colours times alpha, both in [0, 255], by libtiff's `BuildMapUaToAa`."""
    return (colours * alpha.astype(np.uint16) + 127) // 255


def eight_bits(samples: Samples) -> Samples:
    """16-bit samples rounded to 8, by libtiff's `BuildMapBitdepth16To8`; 8-bit ones as they are."""
    if samples.dtype == np.uint8:
        return samples
    table = ((np.arange(65_536) + 128) // 257).astype(np.uint8)
    rounded = np.empty(samples.shape, np.uint8)
    # Row by row: looking up all at once would turn every sample into a 64-bit index first.
    for source, target in zip(samples, rounded, strict=True):
        target[:] = table[source]
    return rounded


def ycbcr(samples: Samples) -> Rgb:
    """YCbCr [h, w, 3] of full range, by libtiff's `TIFFYCbCrtoRGB` in 16-bit fixed point."""
    y, cb, cr = np.moveaxis(samples.astype(np.int32), -1, 0)
    cb, cr = cb - 128, cr - 128
    half = 1 << 15
    red = y + ((91881 * cr + half) >> 16)
    green = y + ((-46802 * cr - 22553 * cb + half) >> 16)
    blue = y + ((116130 * cb + half) >> 16)
    return np.stack([red, green, blue], axis=-1).clip(0, 255).astype(np.uint8)
