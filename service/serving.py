"""A running server: sockets, signals, and one line that says where it listens."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import uvicorn

from twinlens.engine.errors import AddressInUse, ServiceError
from twinlens.engine.memory import keep_freed_memory
from twinlens.service.app import create_app
from twinlens.service.auth import check_exposure
from twinlens.service.database import Database
from twinlens.service.explore.desk import owner_key
from twinlens.service.explore.layout import LAYOUT as DATASETS_LAYOUT
from twinlens.service.keys import KeyStore
from twinlens.service.logs import log_to_stdout
from twinlens.service.matching.collections import CollectionStore
from twinlens.service.settings import Settings
from twinlens.service.wire import Connection

_BACKLOG = 1024


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first.

    Raises:
        UnsafeAddress: a public address, and no key.
        AddressInUse: the port is taken.
        NotAStore: a file in its folder is damaged, or of something else.
        DatasetError: one of the datasets it was to serve cannot be opened.
        InvalidValue: their owner is no live key.
        ServiceError: the address is not one of this machine, or the folder cannot be used.
    """
    keys = KeyStore(settings.home)
    try:
        check_exposure(settings.host, keys, allow_anonymous=settings.allow_anonymous)
        _check_datasets(settings, keys)
    finally:
        keys.close()
    # The app opens them when it starts, where a failure would be a traceback in the log.
    CollectionStore(settings.collections_file, max_records=settings.max_collection_records).close()
    Database(settings.datasets_file, DATASETS_LAYOUT).close()
    sockets = listen(settings.host, settings.port)
    log_to_stdout()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        http=Connection,
        ws="none",
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        lifespan="on",
    )
    _AnnouncedServer(config, _where(settings.host, sockets)).run(sockets=sockets)


def _check_datasets(settings: Settings, keys: KeyStore) -> None:
    if settings.datasets:
        from twinlens.engine.dataset import Dataset

        owner_key(settings.owner, keys)
        for folder in settings.datasets:
            Dataset.open(folder).close()


def listen(host: str, port: int) -> list[socket.socket]:
    """Bound sockets: for "localhost" 127.0.0.1 and, where there is one, ::1, both on one port.

    Raises:
        AddressInUse: the port is taken.
        ServiceError: the address is not one of this machine, or may not be bound.
    """
    hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    first = _bind(hosts[0], port)
    bound = [first]
    for other in hosts[1:]:
        try:
            bound.append(_bind(other, first.getsockname()[1]))
        except ServiceError:
            # No IPv6, or another program on that port of it: IPv4 serves.
            break
    return bound


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServiceError(f"{host} cannot be listened on: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {port} of {host} is taken by another program: choose another with --port"
            ) from error
        raise ServiceError(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return bound


class _AnnouncedServer(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, where: str) -> None:
        super().__init__(config)
        self._where = where

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stderr.write(
                f"TwinLens listens on {self._where}, its documentation is at {self._where}/docs\n"
            )
            sys.stderr.flush()


def _where(host: str, sockets: list[socket.socket]) -> str:
    port = sockets[0].getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """The server has finished by then, or has not begun."""
    raise SystemExit(0)
