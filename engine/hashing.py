"""Digests of bytes and pixels, and the two perceptual hashes of image matching: bmh1 and phash.

bmh1 and phash are bit-exact to OpenCV 4 and 5 (`cv2.img_hash.BlockMeanHash_create(mode=1)` and
`cv2.img_hash.PHash_create()` on the BGR twin of our RGB), without OpenCV: the images are resized in
colour with its INTER_LINEAR_EXACT fixed point, turned grey with its 15-bit weights, and then hashed.

One kind of picture has no settled phash: where the 64 coefficients cancel exactly (a grey ramp that
rises to the right as it falls downwards), OpenCV compares with the rounding noise of its float32 DCT,
which changes with the processor. Here such a mean is exactly 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import InvalidValue
from twinlens.engine.types import Rgb

PackedHash: TypeAlias = NDArray[np.uint8]
"""One hash as OpenCV packs it: bit i is bit i % 8, least significant first, of byte i // 8."""

BMH1_BYTES = 121
PHASH_BYTES = 8

_BMH1_SIDE = 256
_BMH1_CELL = 8
_BMH1_BLOCKS = 31 * 31
_PHASH_SIDE = 32
_PHASH_KEPT = 8
_ROUNDING_NOISE = 1e-9
_WIDE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Hashes:
    """Both perceptual hashes of one image.

    Attributes:
        bmh1: uint8 [121]; 961 bits, the upper seven of the last byte are 0.
        phash: uint8 [8]; 64 bits.
    """

    bmh1: PackedHash
    phash: PackedHash


def byte_digest(data: bytes) -> bytes:
    """SHA-256 of a file's content, 32 bytes: what `sha256sum` prints."""
    return hashlib.sha256(data).digest()


def pixel_digest(rgb: Rgb) -> bytes:
    """SHA-256 over height, width and pixels, 32 bytes: equal only for images of one shape."""
    height, width, _ = _checked(rgb).shape
    digest = hashlib.sha256(height.to_bytes(4, "little") + width.to_bytes(4, "little"))
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.digest()


def image_hashes(rgb: Rgb) -> Hashes:
    """Both hashes of a fully decoded image, uint8 [height, width, 3]."""
    return Hashes(bmh1=bmh1(rgb), phash=phash(rgb))


def bmh1(rgb: Rgb) -> PackedHash:
    """Block mean hash, mode 1, packed: uint8 [121].

    Bit `31 * row + column` is 1 where the mean of a 16x16 block (stride 8) of the 256x256 grey image
    is at least the mean of all of it. Source: opencv_contrib, img_hash/src/block_mean_hash.cpp.
    """
    gray = _gray(_resize(_checked(rgb), _BMH1_SIDE))
    cells = _BMH1_SIDE // _BMH1_CELL
    columns = gray.reshape(cells, _BMH1_CELL, _BMH1_SIDE).sum(axis=1, dtype=np.uint32)
    sums = columns.reshape(cells, cells, _BMH1_CELL).sum(axis=2, dtype=np.uint32)
    blocks = sums[:-1, :-1] + sums[:-1, 1:] + sums[1:, :-1] + sums[1:, 1:]
    blocks_per_image = (cells // 2) ** 2
    return np.packbits((blocks_per_image * blocks >= sums.sum()).T, bitorder="little")


def phash(rgb: Rgb) -> PackedHash:
    """Perceptual hash, packed: uint8 [8].

    Byte r, bit k is 1 where coefficient (r, k) of the 8x8 lowest frequencies of the DCT-II of the
    32x32 grey image, its constant term set to 0, is above their mean. Source: opencv_contrib,
    img_hash/src/phash.cpp.
    """
    gray = _gray(_resize(_checked(rgb), _PHASH_SIDE))
    basis = _dct_basis()
    spectrum = basis @ gray.T.astype(np.float64) @ basis.T
    spectrum[0, 0] = 0.0
    coefficients = _without_noise(spectrum)
    return np.packbits(coefficients > _without_noise(spectrum.mean()), bitorder="little")


def to_bits(packed: PackedHash) -> str:
    """The hash as 968 or 64 characters 0 and 1, each byte most significant bit first.

    Raises:
        InvalidValue: neither 121 nor 8 bytes.
    """
    if packed.dtype != np.uint8 or packed.shape not in ((BMH1_BYTES,), (PHASH_BYTES,)):
        wanted = f"uint8 [{BMH1_BYTES}] or [{PHASH_BYTES}]"
        raise InvalidValue(f"a packed hash is {wanted}, not {packed.dtype} {list(packed.shape)}")
    return (np.unpackbits(packed) + ord("0")).tobytes().decode("ascii")


def from_bits(bits: str) -> PackedHash:
    """Read what `to_bits` wrote.

    Raises:
        InvalidValue: neither 968 nor 64 characters, others than 0 and 1, or one of the seven unused
            bits of bmh1 is set.
    """
    if len(bits) not in (8 * BMH1_BYTES, 8 * PHASH_BYTES):
        raise InvalidValue(
            f"a hash has {8 * BMH1_BYTES} (bmh1) or {8 * PHASH_BYTES} (phash) bits, not {len(bits)}"
        )
    strange = sorted(set(bits) - {"0", "1"})
    if strange:
        raise InvalidValue(f"a hash is written in 0 and 1, not {strange[0]!r}")
    packed = np.packbits(np.frombuffer(bits.encode("ascii"), np.uint8) - ord("0"))
    if len(packed) == BMH1_BYTES and packed[-1] > 1:
        raise InvalidValue(f"the last eight bits of bmh1 are 00000000 or 00000001, not {bits[-8:]}")
    return packed


def _checked(rgb: Rgb) -> Rgb:
    """Wrong shapes would hash to something: refuse them."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise InvalidValue(f"an image is uint8 [height, width, 3], not {rgb.dtype} {list(rgb.shape)}")
    return rgb


def _resize(rgb: Rgb, side: int) -> NDArray[np.uint32]:
    """OpenCV's INTER_LINEAR_EXACT to side x side.

    Source: opencv, imgproc/src/resize.cpp. Two taps per axis, no antialiasing, weights in 1/256. The sums are
    exact, so that the order of the axes is free: rows first, then columns that lie side by side in memory.

    Returns:
        uint32 [side, 3, side]: column, channel, row; values 0 to 255.
    """
    height, width, channels = rgb.shape
    rows, row_weights = _taps(height, side)
    columns, column_weights = _taps(width, side)
    taken = rgb.take(rows, axis=0)
    if width > _WIDE * side:
        taken, columns = taken.take(columns, axis=1), np.arange(2 * side)
    upper, lower = taken.reshape(2, side, -1)
    # 255 * 256 fits in uint16.
    down = upper * row_weights[0, :, np.newaxis]
    down += lower * row_weights[1, :, np.newaxis]
    turned = np.ascontiguousarray(down.T).reshape(-1, channels * side)
    left, right = turned.take(columns, axis=0).reshape(2, side, channels * side)
    left_weight, right_weight = column_weights.astype(np.uint32)[..., np.newaxis]
    resized: NDArray[np.uint32] = left * left_weight
    resized += right * right_weight
    resized += 32768
    resized >>= 16
    return resized.reshape(side, channels, side)


@lru_cache(maxsize=512)
def _taps(size: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
    """Where each of `side` targets reads in `size` sources.

    Returns:
        Indices [2 * side], the first taps and then the second ones; weights uint16 [2, side] that add
        up to 256.
    """
    # The reciprocal of the quotient, not size / side: OpenCV's own rounding.
    centre = (1.0 / (side / size)) * (np.arange(side) + 0.5) - 0.5
    first = np.floor(centre).astype(np.intp)
    second_weight = np.rint((centre - first) * 256)
    second_weight[first < 0] = 0
    first = first.clip(0, size - 1)
    indices = np.concatenate([first, np.minimum(first + 1, size - 1)])
    weights = np.stack([256 - second_weight, second_weight]).astype(np.uint16)
    indices.flags.writeable = weights.flags.writeable = False
    return indices, weights


def _gray(resized: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """OpenCV's grey: BT.601 luma with 15-bit weights. uint32 [column, row]."""
    red, green, blue = (resized[:, channel] for channel in range(3))
    luma = red * np.uint32(9798)
    luma += green * np.uint32(19235)
    luma += blue * np.uint32(3735)
    luma += 16384
    luma >>= 15
    return luma


@lru_cache(maxsize=1)
def _dct_basis() -> NDArray[np.float64]:
    """The lowest rows of the orthonormal DCT-II matrix, float64 [8, 32]."""
    frequency = np.arange(_PHASH_KEPT)[:, np.newaxis]
    angle = np.pi * (2 * np.arange(_PHASH_SIDE) + 1) * frequency / (2 * _PHASH_SIDE)
    basis: NDArray[np.float64] = np.sqrt(2 / _PHASH_SIDE) * np.cos(angle)
    basis[0] = np.sqrt(1 / _PHASH_SIDE)
    basis.flags.writeable = False
    return basis


def _without_noise(values: NDArray[np.float64] | np.float64) -> NDArray[np.float32]:
    """float32 as in OpenCV, exactly 0 where the value is 0 but for float64 rounding."""
    return np.where(np.abs(values) < _ROUNDING_NOISE, 0.0, values).astype(np.float32)
