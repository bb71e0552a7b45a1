"""Files of the Hugging Face hub: from the local cache, or downloaded, or one error within seconds.

`hf_hub_download` alone retries an unreachable hub for 23 seconds per file, and open_clip asks it for
several; so the cache is looked at first, then one short question is put, and only then is anything
downloaded. Endpoint, cache folder, offline switch and proxies are huggingface_hub's own settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError

from twinlens.engine.errors import WeightsUnavailable
from twinlens.models.weights import one_line

OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls the weights in a repository, best first."""

ANSWER_SECONDS = 3.0
PROBE_SECONDS = 5.0

T = TypeVar("T")


def fetch(repository: str, filenames: Sequence[str], revision: str | None = None) -> Path:
    """Path on disk of the first of these files that is cached, else of the first that the hub has.

    Args:
        repository: "organisation/name".
        filenames: alternatives, best first.
        revision: a commit; None is the newest known.

    Raises:
        WeightsUnavailable: not cached, and the hub does not answer or has none of them.
    """
    cached = find_cached(repository, filenames, revision)
    if cached is not None:
        return cached
    filename = find_published(repository, filenames)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision))
    except Exception as error:
        raise WeightsUnavailable(
            f"the download of {page(repository)} broke off: {one_line(error)}"
        ) from error


def find_cached(repository: str, filenames: Sequence[str], revision: str | None = None) -> Path | None:
    """Path in the local cache of the first of these files that is there. Never asks the network."""
    for filename in filenames:
        found = huggingface_hub.try_to_load_from_cache(repository, filename, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def find_published(repository: str, filenames: Sequence[str]) -> str:
    """The first of these files that the hub has, asked within `PROBE_SECONDS`.

    Raises:
        WeightsUnavailable: no answer, or none of them.
    """
    try:
        offered = (filename for filename in filenames if has_file(repository, filename))
        published = within(PROBE_SECONDS, lambda: next(offered, None))
    except TimeoutError as error:
        raise WeightsUnavailable(f"{constants.ENDPOINT} did not answer in {PROBE_SECONDS:g} s") from error
    except Exception as error:
        raise WeightsUnavailable(f"{page(repository)} cannot be had: {one_line(error)}") from error
    if published is None:
        raise WeightsUnavailable(f"{page(repository)} has no {' or '.join(filenames)}")
    return published


def has_file(repository: str, filename: str) -> bool:
    """One HEAD request for a file of a repository."""
    try:
        url = huggingface_hub.hf_hub_url(repository, filename)
        metadata = huggingface_hub.get_hf_file_metadata(url, timeout=ANSWER_SECONDS)
    except EntryNotFoundError:
        return False
    # The login page of a captive network answers every address, but with no commit.
    return metadata.commit_hash is not None


def within(seconds: float, question: Callable[[], T]) -> T:
    """The answer, or TimeoutError: looking up a host name obeys none of the HTTP time-outs."""
    future: Future[T] = Future()

    def ask() -> None:
        try:
            future.set_result(question())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return future.result(timeout=seconds)


def page(repository: str) -> str:
    """Address of a repository, for a person."""
    return f"{constants.ENDPOINT}/{repository}"
