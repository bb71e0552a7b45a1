"""Around every request: an id, a line in the access log, and its metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinlens.service.metrics import Metrics

log = logging.getLogger("twinlens.access")
_HEADER = b"x-request-id"


class AccessLog:
    """Gives each request an id, answers it as `X-Request-Id`, and logs and counts the request at its end.

    The id is the client's where that is a UUID, so that a request can be followed through several
    services. It is `request_id` in the status objects.

    Args:
        app: serves the requests.
        metrics: counts them.
        failed: what is answered where the app fails in a way that nobody expected.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, failed: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _uuid(scope) or str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status, sent = 0, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_HEADER, request_id.encode())]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            with self._metrics.inflight.track_inprogress():
                await self._app(scope, receive, count)
        except Exception as error:
            if status:
                raise
            answer = await self._failed(Request(scope), error)
            await answer(scope, receive, count)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.request(_route(scope), status, seconds)
            log.info("request", extra={"fields": _line(scope, request_id, status, sent, seconds)})


def _uuid(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER:
            try:
                return str(UUID(value.decode("latin-1")))
            except ValueError:
                return None
    return None


def _route(scope: Scope) -> str:
    """The template of the path: what a client writes there must not become a label."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return path.rstrip("/") if isinstance(path, str) else "unknown"


def _line(
    scope: Scope, request_id: str, status: int, sent: int, seconds: float
) -> dict[str, str | int | float]:
    client = scope.get("client")
    return {
        "request_id": request_id,
        "client": client[0] if client else "",
        "key": scope["state"].get("key", ""),
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "bytes": sent,
        "ms": round(1000 * seconds, 2),
    }
