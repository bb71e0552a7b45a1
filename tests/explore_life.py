"""Small pictures, and what a server does with them: states as they pass, files on its disk, its processes."""

from __future__ import annotations

import io
import os
import signal
import socket
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.collections_of_pictures import picture
from tests.explore import PREFIX, Client, jwt_of
from tests.pictures import encode
from tests.servers import RunningServer

WORKER = b"twinlens.service.explore.worker"
ENDS = ("READY", "PARTIAL INDEX", "ERROR")
"""States that last until somebody asks for something."""


@cache
def jpeg(seed: int) -> bytes:
    """A small picture that no other seed shares."""
    return encode(picture(seed, 64, 48), "JPEG")


def pictures(count: int, first: int = 0) -> dict[str, bytes]:
    """So many different files by name."""
    return {f"{seed:05}.jpg": jpeg(seed) for seed in range(first, first + count)}


def a_zip(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def a_tar_gz(files: Mapping[str, bytes]) -> bytes:
    """A compressed tar of files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def wait_for(happened: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Return when something has happened.

    Raises:
        AssertionError: it has not.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"after {seconds} s not: {what}"
        time.sleep(0.01)


def states(client: Client, dataset: str, *, until: Iterable[str] = ENDS, seconds: float = 60) -> list[str]:
    """`status_new` of a dataset as it changes, up to one of these; its progress never falls on the way."""
    passed: list[str] = []
    progress = 0
    deadline = time.monotonic() + seconds
    while not passed or passed[-1] not in until:
        assert time.monotonic() < deadline, f"after {seconds} s: {passed}"
        state = client.status(dataset)
        if passed[-1:] != [state["status_new"]]:
            passed.append(state["status_new"])
        elif state["status_new"] not in until:
            assert state["progress"] >= progress, f"{state['progress']} after {progress} in {passed}"
        progress = state["progress"]
        # Its process runs with a low priority.
        time.sleep(0.05)
    return passed


def images_of(client: Client, dataset: str) -> list[str]:
    """File names of all images, sorted."""
    lines = client.get(f"/dataset/{dataset}/export_media_id").text.splitlines()
    return sorted(line.rsplit(",", 1)[0] for line in lines[1:])


def failures_of(client: Client, dataset: str) -> dict[str, str]:
    """Why files are not part of a dataset, by name."""
    return {each["file_name"]: each["reason"] for each in client.json(f"/dataset/{dataset}/failures")}


def files_below(folder: Path) -> set[str]:
    """Files and links below a folder, by relative path."""
    return {str(Path(base, name).relative_to(folder)) for base, _, names in os.walk(folder) for name in names}


def folder_of(server: RunningServer, dataset: str) -> Path:
    """What the server keeps of a dataset."""
    return server.home / "datasets" / dataset


def received(server: RunningServer, dataset: str) -> set[str]:
    """Uploaded files on the disk of the server by base name: acknowledged ones and others."""
    names = files_below(folder_of(server, dataset))
    return {
        os.path.basename(name) for name in names if name.split("/")[0] in ("images", "uploads", "staging")
    }


def workers(server: int | None = None) -> list[int]:
    """Index processes, those of one server or all."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if WORKER in (entry / "cmdline").read_bytes() and server in (None, parent):
                    found.append(int(entry.name))
    return found


def is_running(process: int) -> bool:
    """False for one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process: int) -> None:
    """End a process at once; harmless where it has ended."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


class OpenRequest:
    """A POST to `/api/v1` + path, of which all but its last byte is sent; the form as httpx takes it."""

    def __init__(self, client: Client, path: str, **form: Any) -> None:
        headers = {"Connection": "close"}
        if client.key is not None:
            headers["Authorization"] = f"Bearer {jwt_of(client.key)}"
        request = httpx.Request("POST", f"{client.url}{PREFIX}{path}", headers=headers, **form)
        self._body = request.read()
        place = urlsplit(client.url)
        self._socket = socket.create_connection((place.hostname, place.port), timeout=60)
        head = f"POST {request.url.raw_path.decode()} HTTP/1.1\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        self._socket.sendall(f"{head}{lines}\r\n".encode() + self._body[:-1])

    def finish(self) -> None:
        self._socket.sendall(self._body[-1:])

    def code(self) -> int:
        """Of the answer."""
        with self._socket as connection:
            return int(connection.recv(65536).split()[1])

    def hang_up(self) -> None:
        """Close without waiting for the answer."""
        self._socket.close()
