"""Request bodies of any size, in batches, within a limit on bytes and on silence."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import Request

from twinlens.service.bodies import TooSlow, declared_bytes, drain, expects_continue
from twinlens.service.explore.failures import BadRequest

BATCH_BYTES = 1 << 20


class BodyBatches:
    """The body of one request.

    Args:
        request: its body is not read yet.
        max_bytes: most that it may have.
        seconds_idle: how long no byte may come.
    """

    def __init__(self, request: Request, *, max_bytes: int, seconds_idle: float) -> None:
        self._request = request
        self._stream = request.stream()
        self._max_bytes = max_bytes
        self._seconds_idle = seconds_idle
        self._is_begun = False
        self._received = 0

    def check_declared_size(self) -> None:
        """See that the headers announce no more than `max_bytes`.

        Raises:
            BadRequest: they do.
        """
        if declared_bytes(self._request) > self._max_bytes:
            raise self._too_large()

    async def next(self) -> bytes:
        """The next bytes, `BATCH_BYTES` and maybe some more, less only at the end; none after it.

        Raises:
            BadRequest: the body has more than `max_bytes`.
            TooSlow: nothing came for `seconds_idle`.
            ClientDisconnect: the client is gone.
        """
        batch = bytearray()
        while len(batch) < BATCH_BYTES and (chunk := await self._chunk()) is not None:
            self._received += len(chunk)
            if self._received > self._max_bytes:
                raise self._too_large()
            batch += chunk
        return bytes(batch)

    async def drain(self) -> None:
        """Throw the rest away, for `seconds_idle` at most: who still sends would not read an answer.

        A client that waits to be told has sent nothing.
        """
        if self._is_begun or not expects_continue(self._request):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_idle):
                    await drain(self._stream)

    async def _chunk(self) -> bytes | None:
        self._is_begun = True
        try:
            async with asyncio.timeout(self._seconds_idle):
                return await anext(self._stream, None)
        except TimeoutError:
            raise TooSlow(
                f"no byte of the body came for {self._seconds_idle:g} s: send the request again"
            ) from None

    def _too_large(self) -> BadRequest:
        return BadRequest(
            f"the request has more than {self._max_bytes:,} bytes: send fewer files in one request, "
            "or raise TWINLENS_MAX_UPLOAD_BYTES"
        )
