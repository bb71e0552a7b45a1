"""Processes that look at files: decoding and measuring on every core at once.

What a look calls takes fractions of a millisecond and holds the interpreter's lock in between, so that
two threads do the work of one and a half, and sixteen wait for each other. A viewer is a Python of its own
without torch (40 MB): one thread of ours gives it the bytes of a file and takes pixels back, both through
memory that the two share. And where a decoder crashes on hostile bytes, the viewer ends and not the run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe

import numpy as np

from twinlens.engine.errors import DecodeError
from twinlens.engine.sight import ViewOf, viewing_here
from twinlens.engine.types import Rgb
from twinlens.engine.view import View, Wanted, decode_errors, view_of

_COMMAND = (
    # Its products are small: a pool of BLAS threads would only take memory.
    "import json, os, sys; os.putenv('OPENBLAS_NUM_THREADS', '1'); sys.path[:] = json.loads(sys.argv[1]); "
    "from twinlens.engine.viewers import serve; serve(int(sys.argv[2]), int(sys.argv[3]))"
)
_ATTEMPTS = 2
_KEPT_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer: the pixels, uint8 of this shape, are in the shared memory."""

    view: View
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer: a DecodeError, field by field."""

    reason: str
    stage: str
    retryable: bool


@contextmanager
def viewing(wanted: Wanted, *, apart: bool) -> Iterator[ViewOf]:
    """How the files of a run are looked at: in processes, one for each thread that asks, or here.

    Args:
        wanted: of every file.
        apart: whether it is worth starting processes. Where none can be started, threads do the work.
    """
    if not (apart and _can_start()):
        yield viewing_here(wanted)
        return
    viewers = _Viewers(wanted)
    try:
        yield viewers.view_of
    finally:
        viewers.close()


def _can_start() -> bool:
    """Whether this Python can start another one that shares files with it."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)


class _Viewers:
    """A viewer for each thread that asks."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._mine = threading.local()
        self._all: list[Viewer] = []

    def view_of(self, data: bytes) -> tuple[View, Rgb]:
        try:
            viewer: Viewer | None = getattr(self._mine, "viewer", None)
            if viewer is None:
                viewer = self._mine.viewer = Viewer(self._wanted)
                self._all.append(viewer)
            return viewer.view_of(data)
        except OSError:
            # No process or no memory to be had: slower, and no reason to fail.
            return view_of(data, self._wanted)

    def close(self) -> None:
        for viewer in self._all:
            viewer.close()


class Viewer:
    """A process that looks at one file at a time, for one thread at a time.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._shared = _shared_memory()
        try:
            self._start()
        except OSError:
            os.close(self._shared)
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def view_of(self, data: bytes) -> tuple[View, Rgb]:
        """What `view.view_of` gives.

        Raises:
            DecodeError: as there; or the decoder crashed on these bytes, twice.
            OSError: the process ended and no other can be started.
        """
        ended = 0
        for _ in range(_ATTEMPTS):
            try:
                return self._asked(data)
            except (EOFError, ConnectionError):
                ended = self._restart()
        cause = f"signal {-ended}" if ended < 0 else f"status {ended}"
        if ended == -signal.SIGKILL:
            reason = (
                f"the process that decodes it was killed ({cause}), perhaps for want of memory: scale it down"
            )
            raise DecodeError(reason, stage="decode", retryable=True)
        reason = f"it crashes the decoder ({cause}): export it again"
        raise DecodeError(reason, stage="decode")

    def close(self) -> None:
        """End the process."""
        self._end()
        os.close(self._shared)

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            descriptors = (theirs.fileno(), self._shared)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, json.dumps(sys.path), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
        self._connection = ours
        with suppress(ConnectionError):
            self._connection.send(self._wanted)

    def _asked(self, data: bytes) -> tuple[View, Rgb]:
        try:
            _write(self._shared, data)
            self._connection.send(len(data))
            answer: _Seen | _Refused = self._connection.recv()
            if isinstance(answer, _Refused):
                raise DecodeError(answer.reason, stage=answer.stage, retryable=answer.retryable)
            rgb = np.empty(answer.shape, np.uint8)
            _read(self._shared, rgb.data)
            return answer.view, rgb
        finally:
            # Also of what was refused: a large file must not stay in memory for the rest of a run.
            if os.fstat(self._shared).st_size > _KEPT_BYTES:
                os.ftruncate(self._shared, 0)

    def _restart(self) -> int:
        """A fresh process; gives how the last one ended."""
        status = self._end()
        self._start()
        return status

    def _end(self) -> int:
        self._connection.close()
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def serve(connection_descriptor: int, shared: int) -> None:
    """What a viewer does: answer until the other side hangs up.

    Args:
        connection_descriptor: gets what is wanted, then the length of each file.
        shared: of the memory that holds a file when it is asked for, and then its pixels.
    """
    # Ctrl-C reaches every process of a terminal; ours ends when the connection does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(connection_descriptor) as connection, suppress(EOFError, ConnectionError):
        wanted: Wanted = connection.recv()
        while True:
            data = bytearray(connection.recv())
            _read(shared, data)
            connection.send(_answer(bytes(data), wanted, shared))


def _answer(data: bytes, wanted: Wanted, shared: int) -> _Seen | _Refused:
    try:
        with decode_errors():
            view, rgb = view_of(data, wanted)
            _write(shared, np.ascontiguousarray(rgb).data)
            return _Seen(view, rgb.shape)
    except DecodeError as error:
        return _Refused(error.reason, error.stage, error.retryable)


def _shared_memory() -> int:
    """A descriptor of an unnamed file in memory, or of one on disk where the system knows no such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("twinlens-viewer")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(shared: int, values: bytes | memoryview) -> None:
    left, place = memoryview(values).cast("B"), 0
    while left:
        written = os.pwrite(shared, left, place)
        left, place = left[written:], place + written


def _read(shared: int, values: bytearray | memoryview) -> None:
    left, place = memoryview(values).cast("B"), 0
    while left:
        count = os.preadv(shared, [left], place)
        if not count:
            raise EOFError("the shared memory was cut")
        left, place = left[count:], place + count
