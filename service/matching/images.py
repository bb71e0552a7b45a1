"""From records to hashes: `_base64` and `_url` are read, decoded and hashed, many at a time.

Requests take turns image by image, however many a request brings: one of its images at a time waits for
the hashing threads, and whoever has waited longest is next.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from twinlens.engine.decode import DecodeLimits, decode
from twinlens.engine.errors import DecodeError, FetchError
from twinlens.engine.hashing import Hashes, image_hashes

LOADING_ERROR = "Error Loading Image: "
_DATA_URL = re.compile(r"\s*data:[^,]{0,256},", re.IGNORECASE)
_TIDIED = str.maketrans("-_", "+/", " \t\r\n\f\v")
_LONGEST_SHOWN = 8192
_SMALLER = "send a smaller image"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HashedImage:
    """What matching knows of one image.

    Attributes:
        width: of the upright image, px.
        height: likewise.
        hashes: both of them.
    """

    width: int
    height: int
    hashes: Hashes


@dataclass(frozen=True, slots=True)
class Unloadable:
    """One image that could not be analysed.

    Attributes:
        text: for the `_status` of its record.
    """

    text: str


Loaded: TypeAlias = HashedImage | Unloadable


class Fetches(Protocol):
    """Something that downloads."""

    def fetch(self, url: str) -> Awaitable[bytes]:
        """The bytes behind a URL.

        Raises:
            FetchError: they cannot be had.
        """


class Counts(Protocol):
    """Something that counts what was read."""

    def image(self, outcome: str) -> None:
        """One image more: "hashed" or "failed"."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the image of a record is.

    Attributes:
        base64: its bytes as text, with or without the prefix of a data URL; preferred.
        url: where to download it.
    """

    base64: str | None
    url: str | None


class ImageLoader:
    """Loads and hashes images.

    Args:
        fetcher: downloads.
        limits: of one image.
        workers: threads that decode and hash.
        downloads: images that are downloaded or wait to be decoded, of all requests together.
        url_attempts: what a failed download says about its attempts.
        counts: told of each image.
    """

    def __init__(
        self,
        fetcher: Fetches,
        limits: DecodeLimits,
        *,
        workers: int,
        downloads: int,
        url_attempts: int,
        counts: Counts,
    ) -> None:
        self._fetcher = fetcher
        self._limits = limits
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="hash")
        # As many again wait in the pool, so that no thread waits for the event loop.
        self._places = asyncio.Semaphore(2 * workers)
        self._at_a_time = downloads + 2 * workers
        self._downloads = asyncio.Semaphore(downloads)
        self._url_attempts = url_attempts
        self._counts = counts

    def close(self) -> None:
        """Finish what is being hashed, drop what waits."""
        self._pool.shutdown(cancel_futures=True)

    async def load(self, sources: Sequence[Source | Unloadable], seconds: float) -> list[Loaded]:
        """Hash all images, in order; what is not done after `seconds` has failed.

        Each image that fails says so in its place, and the others go on.
        """
        late = Unloadable(
            f"{LOADING_ERROR}not analysed within the {seconds:g} s of one request: send fewer records"
        )
        loaded: list[Loaded] = [late] * len(sources)
        todo = iter(enumerate(sources))
        turn = asyncio.Lock()

        async def work() -> None:
            for index, source in todo:
                loaded[index] = await self._load(source, turn)

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for _ in range(min(len(sources), self._at_a_time)):
                    group.create_task(work())
        for image in loaded:
            self._counts.image("hashed" if isinstance(image, HashedImage) else "failed")
        return loaded

    async def _load(self, source: Source | Unloadable, turn: asyncio.Lock) -> Loaded:
        if isinstance(source, Unloadable):
            return source
        if source.base64 is not None:
            return await self._run(_hash_base64, source.base64, turn)
        url = source.url or ""
        async with self._downloads:
            try:
                data = await self._fetcher.fetch(url)
            except FetchError as error:
                return Unloadable(_fetch_text(url, error, self._url_attempts))
            return await self._run(_hash_bytes, data, turn)

    async def _run(self, hashing: Callable[[T, DecodeLimits], Loaded], data: T, turn: asyncio.Lock) -> Loaded:
        async with turn:
            await self._places.acquire()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, hashing, data, self._limits)
        finally:
            self._places.release()


def _hash_base64(text: str, limits: DecodeLimits) -> Loaded:
    start = prefix.end() if (prefix := _DATA_URL.match(text)) else 0
    if (len(text) - start) * 3 // 4 > 2 * limits.max_bytes:
        return Unloadable(f"{LOADING_ERROR}_base64 holds more than {limits.max_bytes:,} bytes: {_SMALLER}")
    try:
        data = _decode_base64(text[start:])
    except ValueError as error:
        return Unloadable(f"{LOADING_ERROR}_base64 is not base64 text ({error})")
    return _hash_bytes(data, limits)


def _decode_base64(text: str) -> bytes:
    """Strict where that works; else blanks, the URL-safe alphabet and missing padding are put right."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        cleaned = text.translate(_TIDIED).rstrip("=")
        return base64.b64decode(cleaned + "=" * (-len(cleaned) % 4), validate=True)


def _hash_bytes(data: bytes, limits: DecodeLimits) -> Loaded:
    try:
        image = decode(data, limits=limits)
    except DecodeError as error:
        return Unloadable(LOADING_ERROR + error.reason)
    return HashedImage(image.width, image.height, image_hashes(image.rgb))


def _fetch_text(url: str, error: FetchError, attempts: int) -> str:
    """The documented text for a download that failed; a rule that forbids one is told apart from it."""
    url = url if len(url) <= _LONGEST_SHOWN else f"{url[:200]}..."
    if error.refused:
        return f"{LOADING_ERROR}'{url}' is not fetched: {error.reason}"
    return f"{LOADING_ERROR}Unable to download image from '{url}', Attempts: {attempts}"
