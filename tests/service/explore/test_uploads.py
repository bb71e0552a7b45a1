"""Uploads over real HTTP: what real clients send, and what hostile ones do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import cycle
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import pytest
import requests
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.disks import small_disk
from twinlens.engine.errors import InvalidValue, StorageFull, TwinLensError
from twinlens.service.bodies import TooSlow
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.uploads import Accept, Upload, UploadLimits, receive_upload
from twinlens.service.wire import Connection

LIMITS = UploadLimits(
    max_bytes=60_000_000, max_file_bytes=50_000_000, max_files=50, seconds_idle=20, max_fields=10
)
CODES = {InvalidValue: 422, BadRequest: 400, TooSlow: 408, StorageFull: 507}
MULTIPART = "multipart/form-data; boundary=frontier"


@dataclass
class Receiving:
    """A running server that takes uploads at `url`.

    Attributes:
        left: files that lay in the staging folder of each request that failed, when it failed.
        gone: how many clients hung up.
        threads: in which names were accepted.
    """

    folder: Path
    limits: UploadLimits
    url: str = ""
    port: int = 0
    left: list[list[str]] = field(default_factory=list)
    gone: int = 0
    threads: set[str] = field(default_factory=set)

    async def upload(self, request: Request) -> Response:
        staging = Path(mkdtemp(dir=self.folder))
        try:
            received = await receive_upload(request, staging, self.limits, accept=self.accept)
        except TwinLensError as error:
            self.left.append(files_below(staging))
            return JSONResponse({"detail": str(error)}, CODES[type(error)])
        except ClientDisconnect:
            self.gone += 1
            self.left.append(files_below(staging))
            return Response(status_code=499)
        return JSONResponse(described(received, staging))

    def accept(self, field: str, name: str) -> None:
        self.threads.add(threading.current_thread().name)
        if field != "files":
            raise InvalidValue(f"files come in the field 'files', not in {field!r}")
        if name.endswith(".mp4"):
            raise BadRequest(f"{name!r} is a video")


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def described(received: Upload, staging: Path) -> dict[str, Any]:
    return {
        "files": [
            {
                "name": each.name,
                "place": str(each.path.relative_to(staging)),
                "size": each.size,
                "sha256": hashlib.sha256(each.path.read_bytes()).hexdigest(),
            }
            for each in received.files
        ],
        "fields": received.fields,
    }


@contextmanager
def receiving(folder: Path, limits: UploadLimits) -> Iterator[Receiving]:
    """Serve on a free port until the block is left."""
    running = Receiving(folder, limits)
    app = Starlette(routes=[Route("/", running.upload, methods=["POST"])])
    config = uvicorn.Config(app, http=Connection, ws="none", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running.port = listening.getsockname()[1]
        running.url = f"http://127.0.0.1:{running.port}/"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="loop")
        thread.start()
        try:
            yield running
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with receiving(tmp_path_factory.mktemp("uploads"), LIMITS) as running:
        yield running


def post(server: Receiving, content: Any, content_type: str = MULTIPART) -> httpx.Response:
    """Send a body as it is: with its length if it is bytes, else chunk by chunk.

    The server closes the connection behind its answer: what is still being sent then breaks.
    """
    headers = {"content-type": content_type, "connection": "close"}
    return httpx.post(server.url, content=content, headers=headers, timeout=60, verify=False)


def part(disposition: str, data: bytes = b"", *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"--frontier\r\n" + "\r\n".join([*lines, "", ""]).encode() + data + b"\r\n"


def a_file(name: str, data: bytes = b"data", *headers: str) -> bytes:
    return part(f'name="files"; filename="{name}"', data, *headers)


END = b"--frontier--\r\n"


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["files"]]


def assert_refused(answer: httpx.Response | requests.Response, code: int, words: str) -> None:
    assert answer.status_code == code, answer.text
    assert re.search(words, answer.json()["detail"]), answer.text


# -- what is kept --------------------------------------------------------------------------------------


def test_files_and_fields_are_kept_as_they_were_sent(server: Receiving) -> None:
    contents = {"a.jpg": os.urandom(3_000_000), "b.png": b"", "c.webp": b"\r\n--frontier--"}
    files = [("files", (name, data)) for name, data in contents.items()]
    answer = httpx.post(server.url, data={"operations": "READ", "empty": ""}, files=files, verify=False)
    assert answer.json() == {
        "files": [
            {"name": name, "place": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        ],
        "fields": {"operations": "READ", "empty": ""},
    }


def test_a_form_of_nothing_is_an_upload_of_nothing(server: Receiving) -> None:
    assert post(server, END).json() == {"files": [], "fields": {}}


def test_files_of_one_name_do_not_overwrite_each_other(server: Receiving) -> None:
    answer = post(server, a_file("a.jpg", b"1") + a_file("x/a.jpg", b"2") + a_file("a.jpg", b"3") + END)
    assert [(each["name"], each["place"], each["size"]) for each in answer.json()["files"]] == [
        ("a.jpg", "a.jpg", 1),
        ("a.jpg", "2/a.jpg", 1),
        ("a.jpg", "3/a.jpg", 1),
    ]


ODD_NAMES = ["naïve 猫 🐈.jpg", "two  spaces.jpg", "100%25.jpg", 'say "cheese".jpg', "a;b=c'd.jpg"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_arrive_by_httpx(server: Receiving, name: str) -> None:
    assert names(httpx.post(server.url, files={"files": (name, b"data")}, verify=False)) == [name]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_arrive_by_requests(server: Receiving, name: str) -> None:
    answer = requests.post(server.url, files={"files": (name, b"data")}, timeout=60)
    assert [each["name"] for each in answer.json()["files"]] == [name]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("options", [[], ["--form-escape"]], ids=["percent", "backslash"])
def test_odd_names_arrive_by_curl(server: Receiving, tmp_path: Path, options: list[str]) -> None:
    sent = [name for name in ODD_NAMES if ";" not in name]
    forms = []
    for name in sent:
        (tmp_path / name).write_bytes(b"data")
        quoted = str(tmp_path / name).replace('"', '\\"')
        forms += ["-F", f'files=@"{quoted}"']
    run = subprocess.run(["curl", "-sS", *options, *forms, server.url], capture_output=True, check=True)
    assert [each["name"] for each in httpx.Response(200, content=run.stdout).json()["files"]] == sent


def test_names_lead_nowhere_else(server: Receiving) -> None:
    hostile = [
        "../../etc/passwd",
        r"..\..\boot.ini",
        "/tmp/a.jpg",
        ".hidden.jpg",
        "a\0b.jpg",
        "x" * 300 + ".jpg",
    ]
    answer = post(server, b"".join(map(a_file, hostile)) + END)
    assert names(answer) == ["passwd", "boot.ini", "a.jpg", "hidden.jpg", "ab.jpg", "x" * 251 + ".jpg"]
    assert names(answer) == [each["place"] for each in answer.json()["files"]]


def test_the_event_loop_neither_parses_nor_writes(server: Receiving) -> None:
    server.threads.clear()
    names(post(server, a_file("a.jpg") + END))
    assert server.threads and "loop" not in server.threads


@pytest.mark.parametrize("name", ["", ".", "..", "folder/"])
def test_a_file_without_a_name_is_refused(server: Receiving, name: str) -> None:
    assert_refused(post(server, a_file(name) + END), 400, f"'{re.escape(name)}' is no name of a file")


def test_what_is_not_accepted_is_refused_and_nothing_stays(server: Receiving) -> None:
    server.left.clear()
    assert_refused(post(server, a_file("a.jpg") + a_file("b.mp4") + END), 400, "'b.mp4' is a video")
    wrong = part('name="file"; filename="a.jpg"', b"data")
    assert_refused(post(server, a_file("a.jpg") + wrong + END), 422, "not in 'file'")
    assert server.left == [[], []]


# -- what is no multipart ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("application/json", "files come as multipart/form-data"),
        ("multipart/mixed; boundary=frontier", "files come as multipart/form-data"),
        ("multipart/form-data", "names a boundary"),
        ("multipart/form-data; boundary=" + "x" * 1000, "names a boundary"),
    ],
)
def test_another_content_type_is_refused(server: Receiving, content_type: str, words: str) -> None:
    assert_refused(post(server, a_file("a.jpg") + END, content_type), 422, words)


WHOLE = a_file("a.jpg", b"data" * 10) + part('name="operations"', b"READ") + END
BROKEN = {
    "no body": b"",
    "no multipart": b"hello",
    "another boundary": a_file("a.jpg").replace(b"frontier", b"another") + END,
    "no headers": b"--frontier\r\n\r\ndata\r\n" + END,
    "no field name": part('filename="a.jpg"', b"data") + END,
    "an attachment": a_file("a.jpg").replace(b"form-data", b"attachment") + END,
    "a header without a colon": b"--frontier\r\nContent-Disposition\r\n\r\ndata\r\n" + END,
    "a header with a NUL": a_file("a.jpg", b"data", "X\0Y: Z") + END,
    "lines that end in LF": (a_file("a.jpg") + END).replace(b"\r\n", b"\n"),
    "base64": a_file("a.jpg", b"ZGF0YQ==", "Content-Transfer-Encoding: base64") + END,
    "a large header": a_file("a.jpg", b"data", "X: " + "y" * 2**20) + END,
    "a large header name": a_file("a.jpg", b"data", "X" * 2**20 + ": y") + END,
    "large headers": a_file("a.jpg", b"data", *["X: " + "y" * 4000] * 6) + END,
    "many headers": a_file("a.jpg", b"data", *["X-Header: " + "y" * 100] * 10_000) + END,
    "a thousand empty parts": b"--frontier\r\n\r\n\r\n" * 1000 + END,
    "a field that is no text": part('name="operations"', b"\xff\xfe") + END,
    "a field given twice": part('name="operations"', b"READ") * 2 + END,
    "too large a field": part('name="operations"', b"x" * 65_537) + END,
    "too many fields": b"".join(part(f'name="{number}"') for number in range(11)) + END,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_malformed_bodies_are_refused_with_the_reason(server: Receiving, body: bytes) -> None:
    server.left.clear()
    assert_refused(
        post(server, body), 400, "the body|a part|the field|the request|breaks off|Transfer-Encoding"
    )
    assert server.left == [[]]


def test_a_body_that_breaks_off_anywhere_is_refused(server: Receiving) -> None:
    assert names(post(server, WHOLE)) == ["a.jpg"]
    ends = len(WHOLE) - len("\r\n")
    for end in range(0, ends, 7):
        assert_refused(post(server, WHOLE[:end]), 400, "breaks off")


def test_what_follows_the_last_boundary_is_ignored_but_counts(server: Receiving) -> None:
    assert names(post(server, WHOLE + b"and more" * 100_000)) == ["a.jpg"]
    assert_refused(post(server, WHOLE + b"x" * LIMITS.max_bytes), 400, "more than 60,000,000 bytes")


# -- limits --------------------------------------------------------------------------------------------


def zeros(size: int) -> Iterator[bytes]:
    """A form with a file of zeros, chunk by chunk."""
    chunk = bytes(1 << 20)
    yield a_file("a.jpg").removesuffix(b"data\r\n")
    for _ in range(size >> 20):
        yield chunk
    yield b"\r\n" + END


def test_a_file_at_the_limit_is_taken_and_one_beyond_it_refused(tmp_path: Path) -> None:
    with receiving(tmp_path, replace(LIMITS, max_file_bytes=1000)) as server:
        assert names(post(server, a_file("a.jpg", bytes(1000)) + END)) == ["a.jpg"]
        two = a_file("a.jpg", bytes(1000)) + a_file("b.jpg", bytes(1001)) + END
        assert_refused(
            post(server, two), 400, "'b.jpg' has more than 1,000 bytes.*TWINLENS_MAX_UPLOAD_FILE_BYTES"
        )
    assert server.left == [[]]


def test_as_many_files_as_are_allowed_are_taken_and_one_more_refused(tmp_path: Path) -> None:
    with receiving(tmp_path, replace(LIMITS, max_files=1000)) as server:
        thousand = b"".join(a_file(f"{number}.jpg", b"") for number in range(1000))
        assert len(names(post(server, thousand + END))) == 1000
        words = "more than 1,000 files.*TWINLENS_MAX_UPLOAD_FILES"
        assert_refused(post(server, thousand + a_file("one.jpg") + END), 400, words)
    assert server.left == [[]]


def test_a_body_at_the_limit_is_taken_and_one_beyond_it_refused(tmp_path: Path) -> None:
    body = a_file("a.jpg", bytes(100_000)) + END
    words = "the request has more than .* bytes.*TWINLENS_MAX_UPLOAD_BYTES"
    with receiving(tmp_path, replace(LIMITS, max_bytes=len(body))) as server:
        for content in (body, iter([body])):
            assert names(post(server, content)) == ["a.jpg"]
        for content in (body + b"x", iter([body, b"x"])):
            assert_refused(post(server, content), 400, words)
    assert server.left == [[], []]


def test_a_client_that_sends_far_too_much_still_reads_the_reason(server: Receiving) -> None:
    words = "the request has more than 60,000,000 bytes"
    body = b"".join(zeros(100 << 20))
    headers = {"content-type": MULTIPART, "connection": "close"}
    assert_refused(post(server, body), 400, words)
    assert_refused(post(server, zeros(100 << 20)), 400, "the file 'a.jpg' has more than 50,000,000 bytes")
    assert_refused(requests.post(server.url, body, headers=headers, timeout=60), 400, words)


def test_a_client_that_waits_to_be_told_is_told_before_it_sends(server: Receiving) -> None:
    with connected(server, "Content-Length: 5000000000", "Expect: 100-continue") as client:
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_a_client_that_was_told_to_go_on_is_listened_to(tmp_path: Path) -> None:
    body, limits = b"".join(zeros(50 << 20)), replace(LIMITS, max_file_bytes=1000)
    headers = (f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
    with receiving(tmp_path, limits) as server, connected(server, *headers) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_five_gigabytes_are_cut_off_early(server: Receiving) -> None:
    most, began = 0, time.monotonic()
    with (
        connected(server, "Transfer-Encoding: chunked") as client,
        suppress(BrokenPipeError, ConnectionResetError),
    ):
        for chunk in zeros(5 << 30):
            client.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            most = max(most, bytes_below(server.folder))
        raise AssertionError("all of it was taken")
    assert most < LIMITS.max_file_bytes + 8_000_000
    assert time.monotonic() - began < 60


def test_a_refused_body_that_does_not_end_is_listened_to_for_a_while(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_bytes=1000, seconds_idle=1)
    with receiving(tmp_path, limits) as server, connected(server, "Transfer-Encoding: chunked") as client:
        client.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
        began = time.monotonic()
        while not (answer := received_now(client)) and time.monotonic() < began + 10:
            client.sendall(b"1\r\nx\r\n")
            time.sleep(0.1)
    assert answer.startswith(b"HTTP/1.1 400")
    assert time.monotonic() < began + 5


# -- clients that stop ---------------------------------------------------------------------------------


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    limits = replace(LIMITS, seconds_idle=0.5)
    with receiving(tmp_path, limits) as server, connected(server, "Content-Length: 10000000") as client:
        client.sendall(a_file("a.jpg", bytes(3_000_000)))
        answer = received_all(client)
    assert answer.startswith(b"HTTP/1.1 408") and b"no byte of the body came for 0.5 s" in answer
    assert server.left == [[]]


def test_a_body_that_comes_slowly_is_waited_for(tmp_path: Path) -> None:
    limits, length = replace(LIMITS, seconds_idle=1), f"Content-Length: {len(WHOLE)}"
    with receiving(tmp_path, limits) as server, connected(server, length) as client:
        for start in range(0, len(WHOLE), 40):
            client.sendall(WHOLE[start : start + 40])
            time.sleep(0.3)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
def test_a_client_that_vanishes_leaves_nothing(tmp_path: Path, abruptly: bool) -> None:
    with receiving(tmp_path, LIMITS) as server:
        with connected(server, "Content-Length: 10000000") as client:
            client.sendall(a_file("a.jpg", bytes(3_000_000)) + a_file("b.jpg", bytes(2_000_000)))
            until(lambda: bytes_below(tmp_path) >= 3_000_000)
            if abruptly:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: server.gone == 1)
    assert server.left == [[]]


def test_a_cancelled_upload_leaves_nothing_when_its_thread_goes_on(tmp_path: Path) -> None:
    asked, may_go_on = threading.Event(), threading.Event()

    def accept(field: str, name: str) -> None:
        if name == "b.jpg":
            asked.set()
            assert may_go_on.wait(timeout=30)

    async def cancelled() -> None:
        receive = in_pieces(a_file("a.jpg") + a_file("b.jpg") + END, [10_000])
        task = asyncio.create_task(received_by(receive, tmp_path, LIMITS, accept))
        while not asked.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        asyncio.get_running_loop().call_later(0.2, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not list(tmp_path.iterdir())


def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    async def cancelled() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": next(body), "more_body": True}

        body = zeros(10 << 30)
        limits = replace(LIMITS, max_bytes=1 << 40, max_file_bytes=1 << 40)
        task = asyncio.create_task(received_by(receive, tmp_path, limits))
        while bytes_below(tmp_path) < 20_000_000:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not list(tmp_path.iterdir())


# -- room ----------------------------------------------------------------------------------------------


def test_a_full_disk_is_named_and_has_its_room_back(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk, receiving(disk, LIMITS) as server:
        words = "no room left"
        assert_refused(post(server, a_file("a.jpg", bytes(20_000_000)) + END), 507, words)
        assert server.left == [[]]
        assert names(post(server, a_file("a.jpg", bytes(6_000_000)) + END)) == ["a.jpg"]


def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    body = zeros(300 << 20)

    async def receive() -> dict[str, Any]:
        chunk = next(body, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    limits = replace(LIMITS, max_bytes=1 << 40, max_file_bytes=1 << 40)
    tracemalloc.start()
    try:
        received = asyncio.run(received_by(receive, tmp_path, limits))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received.files[0].size == 300 << 20
    assert peak < 12 << 20


# -- however it is cut -----------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"-",
        b"--",
        b"\r\n--",
        b"\r\n--front",
        b"\r\n--frontierX",
        b"\r\n--frontier-X",
        b"\r\n--frontier\rX",
    ]
)
CONTENTS = st.lists(FRAGMENTS | st.binary(max_size=20), max_size=10).map(b"".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(CONTENTS, min_size=1, max_size=4), st.lists(st.integers(1, 40), min_size=1))
def test_files_are_whole_however_the_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    body = b"".join(a_file(f"{number}.jpg", data) for number, data in enumerate(contents)) + END
    received = asyncio.run(received_by(in_pieces(body, cuts), folder, LIMITS))
    assert [each.path.read_bytes() for each in received.files] == contents


# -- means -----------------------------------------------------------------------------------------------


async def received_by(
    receive: Any, folder: Path, limits: UploadLimits, accept: Accept = lambda field, name: None
) -> Upload:
    """An upload without HTTP around it."""
    headers = [(b"content-type", MULTIPART.encode())]
    scope: MutableMapping[str, Any] = {"type": "http", "method": "POST", "headers": headers}
    return await receive_upload(Request(scope, receive), folder, limits, accept=accept)


def in_pieces(body: bytes, cuts: Iterable[int]) -> Any:
    """An ASGI `receive` that gives a body in pieces of these sizes, over and over."""
    sizes, source = cycle(cuts), BytesIO(body)

    async def receive() -> dict[str, Any]:
        piece = source.read(next(sizes))
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    return receive


@contextmanager
def connected(server: Receiving, *headers: str) -> Iterator[socket.socket]:
    """A bare connection on which the head of an upload was sent."""
    lines = ["POST / HTTP/1.1", "Host: localhost", f"Content-Type: {MULTIPART}", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall("\r\n".join(lines).encode())
        yield client


def received_now(client: socket.socket) -> bytes:
    """What has come so far, without waiting."""
    try:
        return client.recv(1000, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def received_all(client: socket.socket) -> bytes:
    """An answer whose body is a flat JSON object."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(1000)
    return answer


def until(happened: Any) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


def bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total
