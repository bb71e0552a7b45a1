"""Real servers: the command `twinlens serve` in a process of its own, on a free port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MATCHING = "/image_matching/v2"
_SECONDS_TO_START = 30


@dataclass(frozen=True)
class RunningServer:
    """A server under test.

    Attributes:
        url: "http://localhost:PORT".
        process: the server itself.
        log: file of its JSON lines.
        home: its TWINLENS_HOME.
    """

    url: str
    process: subprocess.Popen[str]
    log: Path
    home: Path

    @property
    def matching(self) -> str:
        """Base URL of the image-matching dialect."""
        return self.url + MATCHING

    def post(self, method: str, body: Any = None, **options: Any) -> httpx.Response:
        """Call a method of the image-matching dialect."""
        # Without `verify=False` every call reads the machine's certificates, which takes longer than most.
        return httpx.post(f"{self.matching}/{method}", json=body, timeout=120, verify=False, **options)

    def lines(self) -> list[dict[str, Any]]:
        """What the server has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def memory(self) -> int:
        """Resident memory, bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def running_server(home: Path, *options: str, **settings: object) -> AbstractContextManager[RunningServer]:
    """Start `twinlens serve` with settings such as `max_records=10000`; stop it in the end."""
    return _running([sys.executable], home, options, settings)


def profiled_server(
    profile: Path, home: Path, *options: str, **settings: object
) -> AbstractContextManager[RunningServer]:
    """The same under cProfile, which sees the main thread and writes a file when the server has ended."""
    return _running([sys.executable, "-m", "cProfile", "-o", str(profile)], home, options, settings)


@contextmanager
def _running(
    python: Sequence[str], home: Path, options: Sequence[str], settings: Mapping[str, object]
) -> Iterator[RunningServer]:
    home.mkdir(parents=True, exist_ok=True)
    given = {f"TWINLENS_{name.upper()}": str(value) for name, value in settings.items()}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
    log = home / "server.log"
    command = [
        *python,
        "-m",
        "twinlens.service",
        "serve",
        "--port",
        "0",
        "--home",
        str(home),
        *options,
    ]
    with log.open("a") as output:
        process = subprocess.Popen(
            command, env=ours | given, stdout=output, stderr=subprocess.PIPE, text=True
        )
    try:
        yield RunningServer(_announced(process), process, log, home)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
            assert process.stderr is not None
            process.stderr.close()


def _announced(process: subprocess.Popen[str]) -> str:
    """The address in the line that a server prints when it listens."""
    assert process.stderr is not None
    printed = []
    until = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < until and (line := process.stderr.readline()):
        printed.append(line)
        if found := re.search(r"listens on (http://\S+?),", line):
            return found[1]
    raise AssertionError(f"the server did not start: {''.join(printed)}")
