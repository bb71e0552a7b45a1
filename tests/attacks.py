"""Hostile clients: a server that must come out unharmed, requests byte by byte, and the contract's errors."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from tests.matching import JsonObject, record
from tests.pictures import picture
from tests.servers import MATCHING, RunningServer, running_server

KEPT = 40 * 2**20
"""Bytes by which a server may end above its level before an attack: 16 MiB that each of its two hashing
threads keeps for the next image, and what Python's own heap does not give back."""

_SECONDS_TO_SETTLE = 10


@contextmanager
def unharmed(home: Path, **settings: object) -> Iterator[RunningServer]:
    """A server, warm at first, that must answer and have its memory back in the end.

    Its log must be whole JSON lines until then, without a failure of its own.
    """
    with running_server(home, workers=2, **settings) as server:
        for method in ("visual_hash", "insert", "remove_duplicates"):
            server.post(method, {"records": [record(picture(seed=seed)) for seed in range(10)]})
        before = server.memory()
        yield server
        assert server.process.poll() is None, "the server died"
        assert server.post("ping").status_code in (200, 401)
        assert settled(server, before) < before + KEPT
        for line in server.lines():
            assert line["level"] != "error", line
            assert line.get("status", 200) < 500, line


def settled(server: RunningServer, level: int) -> int:
    """The memory of a server once it is back near a level, or does not come back."""
    until = time.monotonic() + _SECONDS_TO_SETTLE
    while (now := server.memory()) > level + KEPT and time.monotonic() < until:
        time.sleep(0.1)
    return now


def logged(server: RunningServer, request_id: str) -> JsonObject:
    """The line of the access log about a request; it is written after the answer."""
    until = time.monotonic() + _SECONDS_TO_SETTLE
    while time.monotonic() < until:
        for line in server.log.read_text().splitlines(keepends=True):
            if request_id in line and line.endswith("\n"):
                entry: JsonObject = json.loads(line)
                if entry["message"] == "request":
                    return entry
        time.sleep(0.01)
    raise AssertionError(f"request {request_id} is not in the log")


@dataclass(frozen=True)
class Answer:
    """What a server sent back over a bare connection.

    Attributes:
        code: of HTTP.
        headers: names in lower case.
        body: whole.
    """

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> JsonObject:
        """The body, which must be JSON."""
        value: JsonObject = json.loads(self.body)
        return value


class Client:
    """A bare connection to a server."""

    def __init__(self, server: RunningServer, seconds: float = 20) -> None:
        address = urlsplit(server.url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 0), timeout=seconds)
        self._read = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send as much as the server takes before it hangs up."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def receive(self) -> Answer | None:
        """The next answer; None if the server hung up."""
        try:
            line = self._read.readline()
            if not line:
                return None
            headers = {}
            while (header := self._read.readline().strip()) != b"":
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = self._read.read(int(headers.get("content-length", 0)))
        except ConnectionResetError:
            return None
        return Answer(int(line.split()[1]), headers, body)

    def exchange(self, data: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(data)
        answer = self.receive()
        assert answer is not None, "the server hung up without an answer"
        return answer

    def hung_up(self) -> bool:
        """True if the server ends the connection without a word."""
        return self.receive() is None

    def close(self) -> None:
        """Hang up."""
        self._read.close()
        self.socket.close()


def head(method: str, *headers: str, verb: str = "POST") -> bytes:
    """The head of a request for a method of the dialect."""
    lines = [f"{verb} {MATCHING}/{method} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(method: str, body: bytes, *headers: str, verb: str = "POST") -> bytes:
    """A whole request."""
    return head(method, f"Content-Length: {len(body)}", *headers, verb=verb) + body


def assert_refused(answer: httpx.Response | Answer, code: int, words: str) -> None:
    """See that a request failed as a whole, in the form of the contract: HTTP code, status object, reason."""
    if isinstance(answer, httpx.Response):
        content, headers, http = answer.json(), dict(answer.headers), answer.status_code
    else:
        content, headers, http = answer.json, answer.headers, answer.code
    assert http == code, content
    assert headers["content-type"] == "application/json"
    status = content["status"]
    assert status["code"] == code
    assert words in status["text"], status["text"]
    assert set(status) == {"code", "text", "request_id", "proc_id"}
    assert headers["x-request-id"] == status["request_id"]
    assert UUID(status["request_id"]) != UUID(status["proc_id"])
    others = set(content) - {"status"}
    assert others <= {"detail"}, others


def assert_failed(record: JsonObject, words: str) -> None:
    """See that one record failed, in the form of the contract, and was not analysed."""
    status = record["_status"]
    assert (status["code"], set(status)) == (400, {"code", "text", "request_id"})
    assert status["text"].startswith("Error Loading Image: ")
    assert words in status["text"], status["text"]
    assert not {"_width", "_height", "bmh1", "phash", "_base64"} & set(record)


def only_record(answer: httpx.Response) -> Any:
    """The record of a `visual_hash` that failed for its only one."""
    content = answer.json()
    assert answer.status_code == 200, content
    assert content["status"]["code"] == 400
    (found,) = content["records"]
    assert found["_status"]["request_id"] == content["status"]["request_id"]
    return found
