"""URLs in a list of paths, downloaded into a dataset before it is indexed.

What is there is not loaded again, so that a run that was interrupted goes on where it stopped. A failure that
may pass is tried again in the next run, another one with `--retry-failed` only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinlens.engine.downloads import Downloads, FailedDownload
from twinlens.engine.entries import is_url
from twinlens.engine.errors import FetchError
from twinlens.engine.ingest import OnProgress, Progress
from twinlens.engine.path_lists import LIST_EXTENSIONS, read_list
from twinlens.engine.storage import storage_errors
from twinlens.service.connections import MayPass
from twinlens.service.fetch import Fetcher, FetchLimits

MAX_BYTES = 64 << 20
"""Of one file; as many at a time are in memory as are downloaded at a time."""

_ATTEMPTS, _SECONDS, _AT_A_TIME = 4, 60.0, 16
_AGAIN = "run the same command again to retry"


def listed_urls(source: Path) -> Iterator[bytes]:
    """The URLs in a list of paths; none in any other source.

    Raises:
        SourceError: the list cannot be read.
    """
    if source.suffix.lower() in LIST_EXTENSIONS and source.is_file():
        yield from (entry for entry in read_list(source) if is_url(entry))


def download_listed(
    sources: Sequence[Path],
    dataset: Path,
    on_progress: OnProgress,
    *,
    allow_private: bool = False,
    retry_failed: bool = False,
) -> None:
    """Download the URLs of all lists among some sources; each failure is remembered beside its file.

    Args:
        sources: of the dataset.
        dataset: its folder.
        on_progress: is told how far it is.
        allow_private: connect to private and loopback addresses as well.
        retry_failed: try again what failed for good.

    Raises:
        SourceError: a list cannot be read.
        StorageFull, DatasetReadOnly: the folder cannot be written.
    """
    total = sum(1 for source in sources for _ in listed_urls(source))
    if not total:
        return
    downloads = Downloads(dataset)
    limits = FetchLimits(MAX_BYTES, _ATTEMPTS, _SECONDS, _AT_A_TIME, allow_private=allow_private)
    with storage_errors(dataset):
        asyncio.run(_Run(downloads, sources, total, on_progress, retry_failed).run(limits))


class _Run:
    """One pass over the URLs, some at a time."""

    def __init__(
        self,
        downloads: Downloads,
        sources: Sequence[Path],
        total: int,
        on_progress: OnProgress,
        retry_failed: bool,
    ) -> None:
        self._downloads = downloads
        self._urls = (url for source in sources for url in listed_urls(source))
        self._total = total
        self._on_progress = on_progress
        self._retry_failed = retry_failed
        self._done = 0
        self._loading: set[bytes] = set()

    async def run(self, limits: FetchLimits) -> None:
        fetcher = Fetcher(limits)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(limits.concurrency):
                    tasks.create_task(self._work(fetcher, limits.allow_private))
        except ExceptionGroup as group:
            # A disk without room or a damaged list fails all workers alike.
            raise group.exceptions[0] from None
        finally:
            await fetcher.aclose()

    async def _work(self, fetcher: Fetcher, allow_private: bool) -> None:
        for url in self._urls:
            if url not in self._loading and self._is_wanted(url, allow_private):
                self._loading.add(url)
                await self._load(fetcher, url)
                self._loading.discard(url)
            self._done += 1
            self._on_progress(Progress("download", self._done, self._total))

    def _is_wanted(self, url: bytes, allow_private: bool) -> bool:
        if self._downloads.has(url):
            return False
        failed = self._downloads.failure(url)
        # What was refused may be an address that is allowed by now.
        return failed is None or failed.retryable or self._retry_failed or (failed.refused and allow_private)

    async def _load(self, fetcher: Fetcher, url: bytes) -> None:
        try:
            data = await fetcher.fetch(os.fsdecode(url))
        except MayPass as error:
            failed = FailedDownload(f"{error.reason}; {_AGAIN}", retryable=True)
            await asyncio.to_thread(self._downloads.fail, url, failed)
        except FetchError as error:
            failed = FailedDownload(error.reason, retryable=False, refused=error.refused)
            await asyncio.to_thread(self._downloads.fail, url, failed)
        else:
            await asyncio.to_thread(self._downloads.keep, url, data)
