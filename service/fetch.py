"""Images by URL: downloads with retries, a deadline and a size limit, from public addresses only.

A host name is looked up once for each connection, every address it has is checked, and the connection goes
to a checked address (`connections`).

Sits on httpcore, the transport of httpx, without a client on top: nothing keeps cookies, reads proxies or
credentials from the environment, follows redirects unasked, unpacks bodies, or logs URLs.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from urllib.parse import unquote_to_bytes

import httpcore
import httpx

from twinlens import __version__
from twinlens.engine.errors import FetchError
from twinlens.service.addresses import is_address, refusal
from twinlens.service.connections import Connections, IsRefused, MayPass, Resolve, resolve_host

__all__ = ["FetchLimits", "Fetcher", "Resolve", "parse_url", "resolve_host"]

_MAX_URL = 8192
_UNUSABLE = re.compile(r"[\s\x00-\x20\x7f-\x9f]")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACK_OFF = 0.1


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one download may take.

    Attributes:
        max_bytes: largest body.
        attempts: tries, the first included; only failures that may pass are tried again.
        seconds: time for one URL: look-ups, all tries, the pauses between them and redirects. A server
            that is silent for `seconds / attempts` has failed one try.
        concurrency: downloads at a time, over all callers.
        redirects: redirects followed in one try.
        allow_private: connect to any address, public or not.
    """

    max_bytes: int
    attempts: int = 3
    seconds: float = 30.0
    concurrency: int = 16
    redirects: int = 5
    allow_private: bool = False


class Fetcher:
    """Downloads URLs within limits; one for a server, used by all its requests."""

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolve: Resolve = resolve_host,
        is_refused: IsRefused = refusal,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connects nothing yet.

        Args:
            limits: what one download may take.
            resolve: looks host names up; IP addresses in URLs are never looked up.
            is_refused: why an IP address must not be connected to, None if it may be.
            tls: whom to trust; the certificates of the system and of certifi if None.
        """
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        rule = (lambda _: None) if limits.allow_private else is_refused
        self._connections = Connections(
            resolve, rule, tls=tls or httpcore.default_ssl_context(), most_kept=limits.concurrency
        )

    async def fetch(self, url: str) -> bytes:
        """Download one URL; may be cancelled at any time.

        Waiting for one of the `concurrency` slots does not count towards the deadline.

        Raises:
            FetchError: it cannot be downloaded, or must not be.
        """
        start = parse_url(url)
        async with self._slots:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    return await self._try(start, time.monotonic() + self._limits.seconds)
            except TimeoutError:
                reason = (
                    f"not finished within {self._limits.seconds:g} s: try again later, or give another URL"
                )
                raise MayPass(reason) from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def _try(self, url: httpx.URL, deadline: float) -> bytes:
        """Download from the start, again while that may help and there is time (`time.monotonic()`)."""
        attempt = 1
        while True:
            try:
                return await self._follow(url)
            except MayPass as failure:
                pause = max(failure.wait, _BACK_OFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
                if attempt >= self._limits.attempts or time.monotonic() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            attempt += 1

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(self._limits.redirects + 1):
            with _told_as_fetch_errors():
                found = await self._get(url)
            if isinstance(found, bytes):
                return found
            url = found
        reason = f"more than {self._limits.redirects} redirects: give the URL they lead to"
        raise FetchError(reason, refused=True)

    async def _get(self, url: httpx.URL) -> bytes | httpx.URL:
        """The body of an answer, or where it redirects to."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        silence = self._limits.seconds / self._limits.attempts
        timeouts = dict.fromkeys(("connect", "read", "write"), silence)
        async with (
            self._connections.to(target.origin) as connection,
            connection.stream(
                "GET", target, headers=_request_headers(url), extensions={"timeout": timeouts}
            ) as response,
        ):
            headers = httpx.Headers(response.headers)
            if response.status in _REDIRECTS and "location" in headers:
                return _redirected(url, headers["location"])
            _expect_ok(response.status, headers)
            return await self._body(response, headers)

    async def _body(self, response: httpcore.Response, headers: httpx.Headers) -> bytes:
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise FetchError("the server compressed the file unasked: have it sent as it is", refused=True)
        body = bytearray()
        self._expect_at_most(int(headers.get("content-length", 0)))
        async for piece in response.aiter_stream():
            body += piece
            self._expect_at_most(len(body))
            # Tiny pieces arrive without any waiting, and would keep everybody else from running.
            await asyncio.sleep(0)
        return bytes(body)

    def _expect_at_most(self, size: int) -> None:
        if size > self._limits.max_bytes:
            reason = f"larger than {self._limits.max_bytes:,} bytes: give a smaller file"
            raise FetchError(reason, refused=True)


def parse_url(text: str) -> httpx.URL:
    """Read an absolute http or https URL.

    Raises:
        FetchError: not usable as a URL (not refused), or of another scheme (refused).
    """
    try:
        if len(text) > _MAX_URL or _UNUSABLE.search(text):
            raise ValueError("too long, or with blanks")
        return _http_url(httpx.URL(text))
    except (httpx.InvalidURL, ValueError):
        reason = f"not a usable URL: give one like https://example.com/a.jpg, up to {_MAX_URL} characters"
        raise FetchError(reason, refused=False) from None


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Where a Location leads. Credentials stay with the origin that they were given for."""
    try:
        target = _http_url(url.join(location))
        same_origin = all(
            getattr(url, part) == getattr(target, part) for part in ("scheme", "raw_host", "port")
        )
        return target.copy_with(userinfo=url.userinfo if same_origin else b"")
    except (httpx.InvalidURL, ValueError):
        reason = "the server redirects to something that is no URL: give the URL of the file itself"
        raise FetchError(reason, refused=False) from None


def _http_url(url: httpx.URL) -> httpx.URL:
    """The URL without the dot that ends an absolute host name.

    Raises:
        FetchError: another scheme.
        ValueError: no scheme, no host, a host or port that cannot be.
    """
    if url.scheme not in ("", "http", "https"):
        raise FetchError("only http and https URLs are fetched: give one of these", refused=True)
    host = url.raw_host.decode("ascii").removesuffix(".")
    is_host = is_address(host) or _HOST_NAME.fullmatch(host)
    is_port = url.port is None or 0 < url.port <= 65535
    if not (url.scheme and is_host and is_port):
        raise ValueError("no scheme, host or port")
    return url.copy_with(host=host)


def _request_headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"Host", url.netloc),
        (b"User-Agent", f"TwinLens/{__version__}".encode()),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"identity"),
    ]
    if url.userinfo:
        user, _, password = unquote_to_bytes(url.userinfo).partition(b":")
        headers.append((b"Authorization", b"Basic " + base64.b64encode(user + b":" + password)))
    return headers


def _expect_ok(status: int, headers: httpx.Headers) -> None:
    answer = f"the server answered {status} {responses.get(status, '')}".rstrip()
    if status in _MAY_PASS:
        raise MayPass(f"{answer}: try again later", wait=_retry_after(headers))
    if status != HTTPStatus.OK:
        raise FetchError(f"{answer}: check that the URL is one of a public file", refused=False)


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds that the server asks to wait, 0 if it asks for none (RFC 9110, section 10.2.3)."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return parsedate_to_datetime(asked).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


@contextmanager
def _told_as_fetch_errors() -> Iterator[None]:
    """Say what failed on the way to a server or back."""
    try:
        yield
    except httpcore.TimeoutException:
        raise MayPass("the server was silent for too long: try again later") from None
    except httpcore.ConnectError as error:
        if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
            reason = "no secure connection: the server needs a valid certificate for its name"
            raise FetchError(reason, refused=False) from None
        raise MayPass("the host takes no connection: check host and port in the URL") from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise MayPass("the connection broke off before the whole file had come: try again later") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
