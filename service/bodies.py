"""Request bodies: read within limits, parsed as strict JSON.

Bodies that are too large are read to their end and thrown away, chunk by chunk, before they are refused:
a client that is still sending would otherwise see a broken connection in place of the reason.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from starlette.requests import Request

from twinlens.engine.errors import InputError, InvalidValue
from twinlens.engine.memory import give_back_freed_memory
from twinlens.service.nesting import nests_deeper

DRAINED_BYTES = 1 << 30
"""How much of a refused body is read and thrown away; who sends more is cut off."""


MAX_DEPTH = 100
"""Levels of objects and arrays in a body: Python reads and writes JSON recursively, and what was read at the
edge of that could not be answered."""

LARGE_BYTES = 16 * 2**20
"""After a body of this size the freed memory is given back to the system."""

_SECONDS_AFTER = 1.0


class BodyTooLarge(InputError):
    """A body of more bytes than are read."""


class Busy(InputError):
    """More work is under way than the server takes on at a time: the same request works later."""


class TooSlow(InputError):
    """A body that did not arrive in time."""


class BodyReader:
    """Reads bodies; holds what all of them together may take.

    Args:
        max_bytes: largest body.
        max_values: most JSON values in one body.
        max_inflight: bytes of all bodies that are held at once.
        seconds: time for a body to arrive.
    """

    def __init__(self, *, max_bytes: int, max_values: int, max_inflight: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_values = max_values
        self._max_inflight = max(max_inflight, max_bytes)
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def json_object(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """The JSON object in the body of a request; its bytes count as held until the block is left.

        Raises:
            BodyTooLarge: more than `max_bytes`.
            Busy: all bodies together are more than `max_inflight`.
            TooSlow: not there within `seconds`.
            InvalidValue: not a JSON object, or one of more than `max_values` values.
        """
        body = bytearray()
        held = 0
        try:
            async with self._in_time():
                if declared_bytes(request) > self._max_bytes:
                    await self._refuse(request)
                async for chunk in request.stream():
                    self._held += len(chunk)
                    held += len(chunk)
                    if held > self._max_bytes:
                        body.clear()
                        self._held -= held
                        held = 0
                        await self._refuse(request)
                    if self._held > self._max_inflight:
                        raise Busy("the server holds as many requests as it can: try again in a second")
                    body += chunk
            yield parse_object(body, self._max_values)
        finally:
            self._held -= held
            if held >= LARGE_BYTES:
                # Not before its values are gone and its answer is.
                asyncio.get_running_loop().call_later(_SECONDS_AFTER, give_back_freed_memory)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise TooSlow(
                f"the body did not arrive within {self._seconds:g} s: send fewer records in one request"
            ) from None

    async def _refuse(self, request: Request) -> NoReturn:
        """Read on without keeping anything, then say why.

        A client that waits for `100 Continue` has sent nothing yet and is told at once.
        """
        if not expects_continue(request):
            await drain(request.stream())
        raise BodyTooLarge(
            f"the body has more than {self._max_bytes:,} bytes: send fewer or smaller images in one "
            "request, or raise TWINLENS_MAX_BODY_BYTES"
        )


async def drain(body: AsyncIterable[bytes]) -> None:
    """Throw the rest of a refused body away, up to `DRAINED_BYTES`."""
    drained = 0
    async for chunk in body:
        drained += len(chunk)
        if drained > DRAINED_BYTES:
            break


def declared_bytes(request: Request) -> int:
    """Size of the body by the headers of a request, 0 if they do not say."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def expects_continue(request: Request) -> bool:
    """True if a client sends its body only after `100 Continue`, which the first read sends."""
    return request.headers.get("expect", "").lower() == "100-continue"


def parse_object(body: bytes | bytearray, max_values: int) -> dict[str, Any]:
    """A JSON object by RFC 8259; numbers that no float64 holds are refused, not turned into infinity.

    Args:
        body: as it was sent; a bytearray is emptied, since its text and its values are two copies already.
        max_values: most values, counted by commas and opening brackets, those in texts included. As objects
            they can take fifty times the size of their text, and reading them keeps all others waiting.

    Raises:
        InvalidValue: anything else; the message says where.
    """
    if body.count(b",") + body.count(b"{") + body.count(b"[") > max_values:
        raise InvalidValue(
            f"the body holds more than {max_values:,} values, counted by its commas and opening brackets: "
            "send fewer records in one request, or raise TWINLENS_MAX_BODY_VALUES"
        )
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if isinstance(body, bytearray):
            body.clear()
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except InvalidValue:
        raise
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise InvalidValue(f"the body is not {error.encoding} text from byte {error.start} on") from None
    except json.JSONDecodeError as error:
        raise InvalidValue(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise InvalidValue("the body holds a number of too many digits") from None
    if not isinstance(value, dict):
        raise InvalidValue(f"the body must be a JSON object, not {_kind(value)}")
    if nests_deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _too_deep() -> InvalidValue:
    return InvalidValue(f"the body is nested too deeply: {MAX_DEPTH} levels of objects and arrays are read")


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidValue(f"the body is not JSON: {name} is not a number there")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidValue(f"the body holds {text[:40]}, which no 64-bit number holds")
    return value


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
