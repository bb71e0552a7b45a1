"""HTTP connections to public addresses only.

A host name is looked up once for each connection, every address it has is checked, and the connection goes
to a checked address: the name cannot change between check and connection (DNS rebinding). The name itself
still decides which certificate is right, and which requests may use the connection again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import httpcore

from twinlens.engine.errors import FetchError
from twinlens.service.addresses import is_address

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a host name and port; raises OSError where there are none."""

IsRefused: TypeAlias = Callable[[str], str | None]
"""Why an IP address must not be connected to, None if it may be."""

_MOST_TRIED = 8
_KEEP_ALIVE = 5.0
_MOST_LOOK_UPS = 16


class MayPass(FetchError):
    """A failure that the next try may not meet."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason, refused=False)
        self.wait = wait


@cache
def _look_ups() -> ThreadPoolExecutor:
    """Threads of their own: look-ups that hang must not take the ones that everybody shares."""
    return ThreadPoolExecutor(_MOST_LOOK_UPS, thread_name_prefix="look-up")


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Look a host name up as the operating system does.

    Raises:
        OSError: the name is unknown, or cannot be looked up at the moment.
    """
    look_up = asyncio.get_running_loop().run_in_executor(
        _look_ups(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [str(address[0]) for *_, address in await look_up]


class Connections:
    """Connections that are used by one request at a time and kept open for the next to the same origin.

    httpcore's own pool loses connections when a task is cancelled at the wrong moment
    (github.com/encode/httpcore/issues/1093); here each has one owner, who closes it unless all went well.
    A server that sends more than it announced can confuse later downloads from itself, and no others.
    """

    def __init__(
        self, resolve: Resolve, is_refused: IsRefused, *, tls: ssl.SSLContext, most_kept: int
    ) -> None:
        """Connects nothing yet.

        Args:
            resolve: looks host names up; addresses are never looked up.
            is_refused: why an address must not be connected to.
            tls: whom to trust.
            most_kept: how many unused connections stay open, for a few seconds.
        """
        self._resolve = resolve
        self._is_refused = is_refused
        self._tls = tls
        self._most_kept = most_kept
        self._kept: list[_Connection] = []

    @asynccontextmanager
    async def to(self, origin: httpcore.Origin) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        """A connection of one's own for one request; it connects when it is first used.

        Raises:
            FetchError: while it connects: no such host, or one that must not be connected to.
        """
        connection = await self._kept_one(origin) or self._new_one(origin)
        try:
            yield connection.http
        finally:
            if connection.is_reusable() and len(self._kept) < self._most_kept:
                self._kept.append(connection)
            else:
                await connection.aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            await self._kept.pop().aclose()

    async def _kept_one(self, origin: httpcore.Origin) -> _Connection | None:
        while expired := next((kept for kept in self._kept if kept.http.has_expired()), None):
            self._kept.remove(expired)
            await expired.aclose()
        fitting = next((kept for kept in self._kept if kept.http.can_handle_request(origin)), None)
        if fitting:
            self._kept.remove(fitting)
        return fitting

    def _new_one(self, origin: httpcore.Origin) -> _Connection:
        network = _CheckedNetwork(self._resolve, self._is_refused)
        http = httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._tls, keepalive_expiry=_KEEP_ALIVE, network_backend=network
        )
        return _Connection(http, network)


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    http: httpcore.AsyncHTTPConnection
    network: _CheckedNetwork

    def is_reusable(self) -> bool:
        return self.http.is_idle() and not self.http.is_closed()

    async def aclose(self) -> None:
        """Close the socket; done before this first waits, so that no cancellation can prevent it."""
        if self.network.stream:
            await self.network.stream.aclose()


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to names.

    Attributes:
        stream: the last connection that was made.
    """

    def __init__(self, resolve: Resolve, is_refused: IsRefused) -> None:
        self.stream: httpcore.AsyncNetworkStream | None = None
        self._resolve = resolve
        self._is_refused = is_refused
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers, if all of them may be connected to."""
        addresses = [host] if is_address(host) else await self._look_up(host, port, timeout)
        for address in addresses:
            if why := self._is_refused(address):
                reason = f"the host leads to {why}: give a URL that everybody can reach"
                raise FetchError(reason, refused=True)
        *others, last = addresses[:_MOST_TRIED]
        each = None if timeout is None else timeout / (len(others) + 1)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._connect(address, port, each, local_address, socket_options)
        return await self._connect(last, port, each, local_address, socket_options)

    async def _connect(
        self,
        address: str,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        self.stream = await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        return self.stream

    async def _look_up(self, host: str, port: int, timeout: float | None) -> Sequence[str]:
        """All addresses of a name, at least one."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except OSError as error:
            if isinstance(error, TimeoutError) or getattr(error, "errno", None) == socket.EAI_AGAIN:
                raise MayPass("the host name cannot be looked up now: try again later") from None
            addresses = []
        if not addresses:
            raise FetchError("unknown host: check the name in the URL", refused=False)
        return addresses
