"""Uploads that do not end, or end too early: refused soon, in bounded room, and nothing of them stays."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.explore import Client, Running, jwt_of, laboratory
from tests.explore_life import OpenRequest, files_below, pictures, received, wait_for
from tests.servers import RunningServer

MIB = 2**20
MAX_BYTES = 48 * MIB
DRAINED = 1024 * MIB
"""What of a refused body is read and thrown away at most."""

FIVE_GIGABYTES = 5 * 2**30
KIND = "multipart/form-data; boundary=endless"


@dataclass(frozen=True)
class Streamed:
    """How a body that does not end was answered.

    Attributes:
        code: of the answer.
        sent: bytes until it came.
        seconds: until it came.
        kept: most bytes of it on the disk of the server.
    """

    code: int
    sent: int
    seconds: float
    kept: int


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of low limits with the keys ann and bob."""
    folder = tmp_path_factory.mktemp("endless")
    with laboratory(folder, max_upload_bytes=MAX_BYTES, idle_seconds=2) as running:
        yield running
        assert [line for line in running[0].lines() if line["level"] == "error"] == []


@pytest.fixture(scope="module")
def ready(ann: Client) -> str:
    return ann.make_dataset(pictures(2))


@pytest.fixture
def path(ann: Client, server: RunningServer) -> Iterator[str]:
    """Where files are uploaded to; nothing of them is left on the disk."""
    dataset = ann.new_dataset()
    yield f"/ingestion/{dataset}/data_files/{ann.begin(dataset)}"
    wait_for(lambda: not staged(server), "an empty staging folder")
    assert received(server, dataset) == set()


def staged(server: RunningServer) -> int:
    """Bytes in staging folders, at least one if there is a file."""
    folder = server.home / "datasets"
    found = [folder / name for name in files_below(folder) if "staging" in name.split("/")]
    return sum(1 + file.stat().st_size for file in found if file.exists())


def head(client: Client, path: str, *lines: str) -> bytes:
    """The head of a POST of a multipart body."""
    assert client.key is not None
    common = (
        f"POST /api/v1{path} HTTP/1.1",
        f"Host: {urlsplit(client.url).netloc}",
        f"Authorization: Bearer {jwt_of(client.key)}",
        f"Content-Type: {KIND}",
    )
    return "\r\n".join((*common, *lines, "", "")).encode()


def connect(client: Client) -> socket.socket:
    place = urlsplit(client.url)
    return socket.create_connection((place.hostname, place.port), timeout=60)


def stream(client: Client, server: RunningServer, path: str, field: str, *, declared: bool) -> Streamed:
    """Send a file of five gigabytes until an answer comes."""
    begin = f'--endless\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n\r\n'
    pieces = (begin.encode().ljust(MIB, b"x"), bytes(MIB))
    if not declared:
        pieces = (b"%x\r\n%b\r\n" % (MIB, pieces[0]), b"%x\r\n%b\r\n" % (MIB, pieces[1]))
    length = f"Content-Length: {FIVE_GIGABYTES}" if declared else "Transfer-Encoding: chunked"
    started, sent, kept = time.monotonic(), 0, 0
    with connect(client) as connection:
        connection.sendall(head(client, path, length))
        while not select.select([connection], [], [], 0)[0]:
            assert sent < FIVE_GIGABYTES, "nobody says anything"
            try:
                connection.sendall(pieces[sent > 0])
            except ConnectionError:
                break
            sent += MIB
            if sent % (8 * MIB) == 0:
                kept = max(kept, staged(server))
        code = int(connection.recv(65536).split()[1])
    return Streamed(code, sent, time.monotonic() - started, kept)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize(
    ("where", "field"), [("data_files", "files"), ("add_media", "archive"), ("dataset", "archive")]
)
def test_five_gigabytes_are_refused_early(
    ann: Client, server: RunningServer, path: str, ready: str, where: str, field: str, declared: bool
) -> None:
    paths = {"data_files": path, "add_media": f"/dataset/{ready}/add_media", "dataset": "/dataset"}
    streamed = stream(ann, server, paths[where], field, declared=declared)
    assert streamed.code == 400
    assert streamed.sent <= MAX_BYTES + DRAINED + 64 * MIB
    assert streamed.seconds < 30
    assert streamed.kept <= (0 if declared else MAX_BYTES + MIB)
    assert declared or streamed.kept, "it was looked at too late"
    assert ann.status(ready)["status_new"] == "READY"


def test_a_client_that_asks_first_is_told_before_it_sends(ann: Client, path: str) -> None:
    with connect(ann) as connection:
        connection.sendall(head(ann, path, "Expect: 100-continue", f"Content-Length: {FIVE_GIGABYTES}"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_falls_silent_is_given_up(ann: Client, server: RunningServer, path: str) -> None:
    started = time.monotonic()
    silent = OpenRequest(ann, path, files=[("files", ("a.jpg", bytes(2 * MIB)))])
    wait_for(lambda: staged(server), "a file on its way")
    assert silent.code() == 400
    assert 1.5 < time.monotonic() - started < 20


def test_a_client_that_vanishes_leaves_nothing(ann: Client, server: RunningServer, path: str) -> None:
    form = [("files", file) for file in pictures(3).items()]
    vanishing = OpenRequest(ann, path, files=[*form, ("files", ("large.jpg", bytes(3 * MIB)))])
    wait_for(lambda: staged(server), "files on their way")
    vanishing.hang_up()


def test_uploads_to_a_dataset_that_is_deleted_meanwhile_leave_nothing(
    ann: Client, server: RunningServer
) -> None:
    dataset = ann.new_dataset()
    path = f"/ingestion/{dataset}/data_files/{ann.begin(dataset)}"
    late = OpenRequest(ann, path, files=[("files", ("large.jpg", bytes(3 * MIB)))])
    wait_for(lambda: staged(server), "a file on its way")
    assert ann.delete(f"/dataset/{dataset}").status_code == 200
    late.finish()
    assert late.code() == 404
    wait_for(lambda: not (server.home / "datasets" / dataset).exists(), "no folder")
