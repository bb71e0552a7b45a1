"""A small web server for tests, over real sockets, whose pages misbehave as told.

    with serve({"/a.jpg": answer(picture)}) as server:
        download(server.url + "/a.jpg")
        assert server.hits == ["/a.jpg"]

A page is a function that answers one request; `in_turn` makes a page of several, one for each request.
Pages may be added while the server runs, so that they can point at its address.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import Event, Lock, Thread
from typing import Any, TypeAlias


class WebServer(ThreadingHTTPServer):
    """A running server.

    Attributes:
        hits: path of each request, in the order they came.
        headers: headers of each request.
        connections: how many were taken, also those without any request.
        most_at_once: most requests that were being answered at one moment.
        stopped: set when the server stops; pages that wait, wait for it.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, pages: Mapping[str, Page], host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.pages = pages
        self.tls = tls
        self.hits: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.running = 0
        self.most_at_once = 0
        self.stopped = Event()
        self.lock = Lock()
        super().__init__((host, port), Visit)

    @property
    def url(self) -> str:
        """Address of the server without a path."""
        return f"{'https' if self.tls else 'http'}://{self.server_address[0]!s}:{self.server_port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.connections += 1
        if self.tls is None:
            return super().finish_request(request, client_address)
        with self.tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up in the middle are what these tests are about; other errors are printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Visit(BaseHTTPRequestHandler):
    """One connection: answers GET with the page of its path."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.hits.append(self.path)
            server.headers.append(dict(self.headers))
            server.running += 1
            server.most_at_once = max(server.most_at_once, server.running)
        try:
            server.pages.get(self.path, answer(status=404))(self)
        finally:
            with server.lock:
                server.running -= 1

    def log_message(self, format: str, *args: object) -> None:
        pass


Page: TypeAlias = Callable[[Visit], None]


@contextmanager
def serve(
    pages: Mapping[str, Page], *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[WebServer]:
    """Serve pages by path; everything else is 404."""
    server = WebServer(pages, host, port, tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def answer(body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Page:
    """A whole and correct answer, unless the headers say otherwise."""

    def page(visit: Visit) -> None:
        visit.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            visit.send_header(name, value)
        visit.end_headers()
        visit.wfile.write(body)

    return page


def redirect(location: str, status: int = 302) -> Page:
    """Send the client somewhere else."""
    return answer(b"moved", status, {"Location": location})


def raw(*pieces: bytes, pause: float = 0.0) -> Page:
    """Send these bytes as they are, headers included, and hang up."""

    def page(visit: Visit) -> None:
        for piece in pieces:
            visit.wfile.write(piece)
            visit.server.stopped.wait(pause)
        visit.close_connection = True

    return page


def cut(body: bytes, promised: int) -> Page:
    """Promise more bytes than come."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % promised + body)


def endless(piece: bytes, pause: float = 0.0) -> Page:
    """A body without an end: the same piece again and again, with a pause in seconds after each."""

    def page(visit: Visit) -> None:
        visit.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not visit.server.stopped.wait(pause):
            visit.wfile.write(piece)
        visit.close_connection = True

    return page


def silence(visit: Visit) -> None:
    """Take the request and never answer."""
    visit.server.stopped.wait()
    visit.close_connection = True


def slow(page: Page, seconds: float) -> Page:
    """Answer after a while."""

    def slowed(visit: Visit) -> None:
        visit.server.stopped.wait(seconds)
        page(visit)

    return slowed


def in_turn(*pages: Page) -> Page:
    """The first page for the first request, the second for the second; the last one from then on."""
    left = list(pages)

    def page(visit: Visit) -> None:
        with visit.server.lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(visit)

    return page


@contextmanager
def nobody_listening() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections."""
    with socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
