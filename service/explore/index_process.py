"""The process that indexes, seen from the server: started, listened to, ended."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twinlens.engine.errors import TwinLensError
from twinlens.service.explore.worker import Order

log = logging.getLogger("twinlens.service")
_LAST_WORDS = 8192
_LONGEST_LINE = 1 << 20
_SECONDS_FOR_LAST_WORDS = 1.0
_INDEXED = 90
"""Percent when all images are embedded; comparing them takes the rest."""


class IndexingFailed(TwinLensError):
    """The process of a job failed or crashed; the message says how."""


async def run_index_process(order: Order, told: Callable[[int], Awaitable[None]]) -> dict[str, int]:
    """Have a process follow an order; it is gone when this returns, or raises.

    Args:
        order: what is to be done.
        told: awaited with percent whenever they rise.

    Returns:
        How many images and failures there are.

    Raises:
        IndexingFailed: it failed or crashed.
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "twinlens.service.explore.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    assert process.stdin and process.stdout and process.stderr
    last_words = bytearray()
    listener = asyncio.create_task(_listen(process.stderr, last_words))
    try:
        process.stdin.write(order.to_json().encode() + b"\n")
        with suppress(ConnectionError):
            await process.stdin.drain()
        said = await _follow(process.stdout, told)
        code = await process.wait()
        await asyncio.wait([listener], timeout=_SECONDS_FOR_LAST_WORDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        listener.cancel()
    if "done" in said:
        return {name: int(number) for name, number in said["done"].items()}
    if last_words:
        words = last_words.decode(errors="replace")
        log.error("index process", extra={"fields": {"dataset": order.folder, "stderr": words}})
    raise IndexingFailed(said.get("failed") or _crash(code))


async def _follow(output: asyncio.StreamReader, told: Callable[[int], Awaitable[None]]) -> dict[str, Any]:
    """Pass on how far it is; its last word."""
    highest = 0
    last: dict[str, Any] = {}
    while line := await output.readline():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if "progress" not in said:
            last = said
        elif (percent := _percent(said["progress"])) > highest:
            highest = percent
            await told(percent)
    return last


async def _listen(stream: asyncio.StreamReader, words: bytearray) -> None:
    """Read on, so that the process never waits for it; keep the end."""
    while piece := await stream.read(_LAST_WORDS):
        words += piece
        del words[:-_LAST_WORDS]


def _percent(progress: dict[str, Any]) -> int:
    share = float(progress["share"])
    if progress["stage"] == "index":
        return int(_INDEXED * share)
    return _INDEXED if share < 1.0 else 99


def _crash(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        how = f"was ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
    else:
        how = f"ended with code {code}"
    return (
        f"the index process {how}: its work so far is kept, and goes on after a POST to .../reindex or when "
        "the server starts again"
    )
