"""Downloads for tests: what they may take, a name server of their own, and how they fail."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import cache

import pytest

from twinlens.engine.errors import FetchError
from twinlens.service.addresses import refusal
from twinlens.service.connections import IsRefused, Resolve, resolve_host
from twinlens.service.fetch import Fetcher, FetchLimits

BODY = bytes(range(256)) * 500
PUBLIC = "127.0.0.2"
OPEN = FetchLimits(max_bytes=len(BODY), seconds=10, allow_private=True)
GUARDED = FetchLimits(max_bytes=len(BODY), seconds=10)
REFUSED, FAILED = True, False


trusting_the_system = cache(ssl.create_default_context)


def public_is_127_0_0_2(address: str) -> str | None:
    """The rule for addresses where 127.0.0.2 plays the public internet."""
    return None if address == PUBLIC else refusal(address)


class Names:
    """A name server: answers the first look-up of a name with the first list, and so on; keeps count."""

    def __init__(self, **answers: Sequence[Sequence[str] | OSError]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        left = self.answers[host]
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, OSError):
            raise found
        return found


def fetch(
    *urls: str,
    limits: FetchLimits = OPEN,
    resolve: Resolve = resolve_host,
    is_refused: IsRefused = refusal,
    tls: ssl.SSLContext | None = None,
) -> list[bytes]:
    """Download one URL after the other."""

    async def run() -> list[bytes]:
        fetcher = Fetcher(limits, resolve=resolve, is_refused=is_refused, tls=tls or trusting_the_system())
        try:
            return [await fetcher.fetch(url) for url in urls]
        finally:
            await fetcher.aclose()

    return asyncio.run(run())


def failure(
    url: str,
    limits: FetchLimits = OPEN,
    resolve: Resolve = resolve_host,
    is_refused: IsRefused = refusal,
    tls: ssl.SSLContext | None = None,
) -> tuple[bool, str]:
    """Whether a rule refused the download, and the reason, which never gives anything away."""
    with pytest.raises(FetchError) as caught:
        fetch(url, limits=limits, resolve=resolve, is_refused=is_refused, tls=tls)
    reason = caught.value.reason
    assert ": " in reason and "\n" not in reason and len(reason) < 120
    assert len(url) < 9 or url not in reason
    return caught.value.refused, reason
