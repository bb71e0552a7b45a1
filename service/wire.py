"""One HTTP connection: bounds for clients that are slow or silent, an answer for those that speak no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from twinlens.service.matching.status import FAILED, RequestIds

log = logging.getLogger("twinlens.service")


class Connection(H11Protocol):
    """Speaks HTTP/1.1 by h11, whose heads have at most 64 KiB; the faster httptools has no such bound.

    Beyond uvicorn's own rules:
    a head that does not come in the time of `timeout_keep_alive`, or an answer of which nothing is taken for
    as long, ends the connection; a client that has sent its request and will send no more still gets its
    answer; what is no HTTP is answered in JSON like every other failure.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._answer_timer):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on; single bytes of a head do not buy it more time."""
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open for the answer to a request that came whole."""
        asked = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if asked:
            self.cycle.keep_alive = False
            # It waits with half a connection, or it waits no more: which of the two cannot be seen.
            self.cycle.scope.setdefault("state", {})["hung_up"] = True
        return asked

    def pause_writing(self) -> None:
        """An answer waits for its reader."""
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        """The answer goes on."""
        super().resume_writing()
        if self._answer_timer:
            self._answer_timer.cancel()
            self._answer_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, where no answer is under way yet."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        ids = RequestIds()
        client = self.client[0] if self.client else ""
        log.warning("not HTTP", extra={"fields": {"request_id": ids.request, "client": client}})
        text = "this is no HTTP/1.1 request that can be read, or its headers have more than 64 KiB"
        body = json.dumps({"detail": text, "status": ids.status(FAILED, text)}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-request-id", ids.request),
            ("connection", "close"),
        ]
        for event in (
            h11.Response(status_code=FAILED, headers=headers, reason="Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_head(self) -> None:
        due = self.cycle is None or self.cycle.response_complete
        if due and self._head_timer is None:
            self._head_timer = self.loop.call_later(self.timeout_keep_alive, self._end)
        elif not due and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch_answer(self, waiting: int | None = None) -> None:
        """End the connection if no byte of an answer was taken since `waiting` bytes were left."""
        left = self.transport.get_write_buffer_size()
        if waiting is not None and left >= waiting:
            self._end()
        else:
            self._answer_timer = self.loop.call_later(self.timeout_keep_alive, self._watch_answer, left)

    def _end(self) -> None:
        self.transport.abort()
