"""Processes that look at files: decoding and measuring on every core at once.

What a look calls takes fractions of a millisecond and holds the interpreter's lock in between, so that
two threads do the work of one and a half, and sixteen wait for each other. A viewer is a Python of its own
without torch (40 MB): one thread of ours names it some files and takes their pixels back through memory
that the two share. And where a decoder crashes on hostile bytes, the viewer ends and not the run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, Pipe

import numpy as np

from twinlens.engine.archive_reading import is_in_archive
from twinlens.engine.decode import DecodeLimits, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.memory import keep_freed_memory
from twinlens.engine.sight import File, Known, See, Seen, see, seeing_here
from twinlens.engine.view import View, Wanted, answered

_COMMAND = (
    # Its products are small: a pool of BLAS threads would only take memory.
    "import json, os, sys; os.putenv('OPENBLAS_NUM_THREADS', '1'); sys.path[:] = json.loads(sys.argv[1]); "
    "from twinlens.engine.viewers import serve; serve(int(sys.argv[2]), int(sys.argv[3]))"
)
_MOST_CRASHES = 2
_KEPT_BYTES = 1 << 24
"""Of pixels in one answer, and of memory that stays shared until the next; one picture may be larger."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """An answer: the pixels, uint8 of this shape, are at this place in the shared memory."""

    digest: bytes
    view: View
    place: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer: a DecodeError, field by field."""

    reason: str
    stage: str
    retryable: bool


_Asked = File | _Refused
_Answer = _Shown | Known | _Refused


@contextmanager
def viewing(count: int) -> Iterator[Callable[[Wanted], See]]:
    """How the files of a run are looked at, once it is known what is wanted of them.

    Processes start at once, so that they are there when the model is loaded.

    Args:
        count: processes, one for each thread that will ask. With none, and where none can be started, threads
            do the work.
    """
    viewers = _Viewers(count if _can_start() else 0)
    try:
        yield viewers.seeing
    finally:
        viewers.close()


def _can_start() -> bool:
    """Whether this Python can start another one that shares files with it."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)


class _Viewers:
    """Viewers, of which each thread that asks takes one."""

    def __init__(self, count: int) -> None:
        self._mine = threading.local()
        self._all: list[Viewer] = []
        with suppress(OSError):
            # No process or no memory to be had: slower, and no reason to fail.
            for _ in range(count):
                self._all.append(Viewer())
        self._free = list(self._all)
        self._given_up = False

    def seeing(self, wanted: Wanted) -> See:
        return partial(self._see, wanted) if self._all else seeing_here(wanted)

    def _see(self, wanted: Wanted, files: Sequence[File]) -> Iterator[Seen | Known | DecodeError]:
        left = deque(files)
        try:
            viewer = None if self._given_up else self._own(wanted)
            for answer in () if viewer is None else viewer.see(files):
                left.popleft()
                yield answer
        except OSError:
            self._given_up = True
        for file in left:
            yield see(file, wanted)

    def _own(self, wanted: Wanted) -> Viewer | None:
        """The viewer of this thread, None where there are more threads than viewers."""
        if not hasattr(self._mine, "viewer"):
            self._mine.viewer = None
            with suppress(IndexError):
                self._mine.viewer = self._free.pop()
                self._mine.viewer.wanted = wanted
        viewer: Viewer | None = self._mine.viewer
        return viewer

    def close(self) -> None:
        for viewer in self._all:
            viewer.close()


class Viewer:
    """A process that looks at files for one thread at a time.

    Attributes:
        wanted: of every file; to be known before the first look.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, wanted: Wanted | None = None) -> None:
        self.wanted = wanted
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

    def see(self, files: Sequence[File]) -> Iterator[Seen | Known | DecodeError]:
        """What `sight.see` gives for each of them, in their order.

        A file on which the decoder crashes costs the viewer, and is a DecodeError when it did so twice.

        Raises:
            OSError: the process ended and no other can be started.
        """
        assert self.wanted is not None
        limits = self.wanted.limits
        left = deque(_asked(file, limits) for file in files)
        together, crashes = len(left), 0
        while left:
            try:
                answers = self._answers(list(islice(left, together)))
            except (EOFError, ConnectionError):
                ended = self._restart()
                # One by one from here on, so that the file is found on which the decoder crashes.
                together, crashes = 1, crashes + 1
                if crashes < _MOST_CRASHES:
                    continue
                answers = [_crashed(ended)]
            crashes = 0
            try:
                for answer in answers:
                    left.popleft()
                    yield self._received(answer)
            finally:
                # A large picture must not stay in memory for the rest of a run.
                if os.fstat(self._shared).st_size > _KEPT_BYTES:
                    os.ftruncate(self._shared, 0)

    def close(self) -> None:
        """End the process, which has nothing to leave: a Python that ends by itself takes 50 ms."""
        self._process.kill()
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
        self._ready = False

    def _answers(self, asked: list[_Asked]) -> list[_Answer]:
        if not self._ready:
            self._tell()
        self._connection.send(asked)
        answers: list[_Answer] = self._connection.recv()
        return answers

    def _tell(self) -> None:
        """Say what is wanted, and wait until it has begun: what ends before that is no matter of any file."""
        try:
            self._connection.send(self.wanted)
            self._ready = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise OSError("a viewer ended before it looked at anything") from error

    def _received(self, answer: _Answer) -> Seen | Known | DecodeError:
        if isinstance(answer, _Refused):
            return DecodeError(answer.reason, stage=answer.stage, retryable=answer.retryable)
        if isinstance(answer, Known):
            return answer
        rgb = np.empty(answer.shape, np.uint8)
        _read(self._shared, rgb.data, answer.place)
        return Seen(answer.digest, answer.view, rgb)

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


def _asked(file: File, limits: DecodeLimits) -> _Asked:
    """What a viewer is asked for: archives are indexed and read once, by us, and not by every viewer."""
    if isinstance(file, bytes) or not is_in_archive(file):
        return file
    try:
        return read_bytes(file, limits)
    except DecodeError as error:
        return _refused(error)


def _crashed(ended: int) -> _Refused:
    cause = f"signal {-ended}" if ended < 0 else f"status {ended}"
    if ended == -signal.SIGKILL:
        reason = (
            f"the process that decodes it was killed ({cause}), perhaps for want of memory: scale it down"
        )
        return _Refused(reason, "decode", retryable=True)
    return _Refused(f"it crashes the decoder ({cause}): export it again", "decode", retryable=False)


def _refused(error: DecodeError) -> _Refused:
    return _Refused(error.reason, error.stage, error.retryable)


def serve(connection_descriptor: int, shared: int) -> None:
    """What a viewer does: answer until the other side hangs up.

    Args:
        connection_descriptor: gets what is wanted, and a sign that it begins; then files, some at a
            time, of which it answers the first at least: as many as have room.
        shared: of the memory for their pixels.
    """
    # Ctrl-C reaches every process of a terminal; ours ends when the connection does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    with Connection(connection_descriptor) as connection, suppress(EOFError, ConnectionError):
        wanted: Wanted = connection.recv()
        connection.send(True)
        while True:
            answers: list[_Answer] = []
            place = 0
            for asked in connection.recv():
                answer, place = _answer(asked, wanted, shared, place)
                answers.append(answer)
                if place >= _KEPT_BYTES:
                    break
            connection.send(answers)


def _answer(asked: _Asked, wanted: Wanted, shared: int, place: int) -> tuple[_Answer, int]:
    """An answer, whose pixels are written to this place, and the next free place."""
    if isinstance(asked, _Refused):
        return asked, place
    seen = see(asked, wanted)
    shown = answered(partial(_show, seen, shared, place)) if isinstance(seen, Seen) else seen
    if isinstance(shown, DecodeError):
        return _refused(shown), place
    return shown, place + seen.pixels.nbytes if isinstance(seen, Seen) else place


def _show(seen: Seen, shared: int, place: int) -> _Shown:
    _write(shared, np.ascontiguousarray(seen.pixels).data, place)
    return _Shown(seen.digest, seen.view, place, seen.pixels.shape)


def _shared_memory() -> int:
    """A descriptor of an unnamed file in memory, or of one on disk where the system knows no such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("twinlens-viewer")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(shared: int, values: memoryview, place: int) -> None:
    left = values.cast("B")
    while left:
        written = os.pwrite(shared, left, place)
        left, place = left[written:], place + written


def _read(shared: int, values: memoryview, place: int) -> None:
    left = values.cast("B")
    while left:
        count = os.preadv(shared, [left], place)
        if not count:
            raise EOFError("the shared memory was cut")
        left, place = left[count:], place + count
