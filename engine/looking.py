"""Look at the files of candidates, so that copies can be ranked by what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.cores import usable_cores
from twinlens.engine.credit import Looks
from twinlens.engine.curation import Curation
from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.detail import Look, is_enlargement, look_at
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest
from twinlens.engine.ingest import OnProgress, Progress
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.types import Rgb

STAGE = "measure"

Answer = TypeVar("Answer")

_LIMITS = DecodeLimits()


def look_at_files(
    curation: Curation,
    on_progress: OnProgress,
    *,
    limits: DecodeLimits = _LIMITS,
    workers: int | None = None,
) -> Looks:
    """See what is in the files that a plan depends on. Files that cannot be read show nothing.

    Memory is that of a few decoded pictures for each worker.
    """
    workers = workers or usable_cores()
    images, ladders = curation.to_look_at(), curation.to_compare()
    total = len(images) + len(ladders)
    by_digest: dict[bytes, Look | None] = {}
    enlargements: dict[bytes, bytes] = {}
    on_progress(Progress(STAGE, 0, total))
    with ThreadPoolExecutor(workers) as pool:
        looks = ordered_map(pool, lambda image: _seen(image, limits), images, ahead=2 * workers)
        for done, (image, look) in enumerate(looks, start=1):
            by_digest[image.digest or b""] = look
            on_progress(Progress(STAGE, done, total))
        origins = ordered_map(pool, lambda ladder: _origin(*ladder, limits), ladders, ahead=2 * workers)
        for done, ((larger, _), origin) in enumerate(origins, start=len(images) + 1):
            if origin is not None:
                enlargements[larger.digest or b""] = origin.digest or b""
            on_progress(Progress(STAGE, done, total))
    return Looks(by_digest, enlargements)


def _seen(image: ImageRecord, limits: DecodeLimits) -> Look | None:
    return _unless_unreadable(lambda: look_at(_pixels(image, limits)))


def _origin(larger: ImageRecord, smaller: Sequence[ImageRecord], limits: DecodeLimits) -> ImageRecord | None:
    """What an image is an enlargement of, if it is one."""
    if (pixels := _unless_unreadable(lambda: _pixels(larger, limits))) is None:
        return None
    for image in smaller:
        enlarged = _unless_unreadable(partial(_is_enlargement, pixels, image, limits))
        if enlarged is not None:
            return image if enlarged else None
    return None


def _is_enlargement(larger: Rgb, smaller: ImageRecord, limits: DecodeLimits) -> bool | None:
    return is_enlargement(larger, _pixels(smaller, limits))


def _unless_unreadable(look: Callable[[], Answer]) -> Answer | None:
    try:
        return look()
    except (DecodeError, MemoryError):
        return None


def _pixels(image: ImageRecord, limits: DecodeLimits) -> Rgb:
    data = read_bytes(image.file, limits)
    if byte_digest(data) != image.digest:
        raise DecodeError("the file changed since it was indexed", stage="read", retryable=True)
    return decode(data, limits=limits).rgb
