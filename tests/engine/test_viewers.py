"""Viewers see what a thread sees, outlive a decoder that crashes, and end with whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.broken import make_broken
from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from tests.photographs import photographs
from twinlens.engine import ingest, viewers
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.errors import DecodeError
from twinlens.engine.ingest import IngestOptions
from twinlens.engine.types import DecodePolicy
from twinlens.engine.view import Wanted, view_of
from twinlens.engine.viewers import Viewer, viewing

WANTED = Wanted(DecodePolicy(min_side=64), DecodeLimits(), hashes=True)


def same(answer: object, expected: object) -> bool:
    """Whether two answers of `view_of` are alike, pixels and hashes included."""
    return repr(answer) == repr(expected)


@pytest.mark.parametrize("name", ["chelsea.jpg", "blank-1.png", "camera.jpg"])
def test_a_viewer_answers_as_a_thread_does(name: str) -> None:
    data = photographs()[name]
    with closing(Viewer(WANTED)) as viewer:
        (seen, rgb), (expected, pixels) = viewer.view_of(data), view_of(data, WANTED)
    assert np.array_equal(rgb, pixels) and rgb.flags.writeable
    assert same(seen, expected)


def test_a_large_picture_passes_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "_KEPT_BYTES", 1000)
    data = photographs()["chelsea.jpg"]
    with closing(Viewer(WANTED)) as viewer:
        for _ in range(2):
            assert same(viewer.view_of(data)[0], view_of(data, WANTED)[0])
            assert os.fstat(viewer._shared).st_size == 0
        with pytest.raises(DecodeError):
            viewer.view_of(b"no picture" * 1000)
        assert os.fstat(viewer._shared).st_size == 0


def test_a_file_on_disk_serves_where_none_in_memory_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    data = photographs()["chelsea.jpg"]
    with closing(Viewer(WANTED)) as viewer:
        assert same(viewer.view_of(data)[0], view_of(data, WANTED)[0])


def test_what_is_wrong_with_a_file_is_said_in_the_same_words(tmp_path: Path) -> None:
    make_broken(tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and os.access(path, os.R_OK)]
    said = 0
    with closing(Viewer(WANTED)) as viewer:
        for path in files:
            data = path.read_bytes()
            try:
                expected: object = view_of(data, WANTED)[0]
            except DecodeError as error:
                with pytest.raises(DecodeError) as caught:
                    viewer.view_of(data)
                assert (caught.value.reason, caught.value.stage) == (error.reason, error.stage)
                said += 1
            else:
                assert same(viewer.view_of(data)[0], expected)
    assert said > 10


def test_a_killed_viewer_is_replaced_and_the_file_is_seen() -> None:
    data = photographs()["chelsea.jpg"]
    with closing(Viewer(WANTED)) as viewer:
        viewer.view_of(data)
        for number in (signal.SIGKILL, signal.SIGSEGV):
            killed = viewer.pid
            os.kill(killed, number)
            assert same(viewer.view_of(data)[0], view_of(data, WANTED)[0])
            assert viewer.pid != killed


@pytest.mark.parametrize(
    ("number", "reason", "retryable"),
    [
        (signal.SIGSEGV, "it crashes the decoder (signal 11)", False),
        (signal.SIGKILL, "was killed (signal 9)", True),
    ],
)
def test_bytes_that_crash_the_decoder_twice_are_named(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str, retryable: bool
) -> None:
    """A viewer that kills itself as soon as a file is asked for, as a crashing decoder would."""
    crash = f"serve = lambda fd, shared: (Connection(fd).recv(), os.kill(os.getpid(), {int(number)}))"
    command = viewers._COMMAND.replace(
        "serve(int", f"from multiprocessing.connection import Connection; import os; {crash}; serve(int"
    )
    monkeypatch.setattr(viewers, "_COMMAND", command)
    with closing(Viewer(WANTED)) as viewer, pytest.raises(DecodeError) as caught:
        viewer.view_of(photographs()["chelsea.jpg"])
    assert reason in caught.value.reason
    assert (caught.value.stage, caught.value.retryable) == ("decode", retryable)


def test_each_thread_has_its_own_and_all_end() -> None:
    data = photographs()["chelsea.jpg"]
    expected = view_of(data, WANTED)[0]
    before = children()
    with viewing(WANTED, apart=True) as seen_apart, ThreadPoolExecutor(3) as pool:
        together = threading.Barrier(3)

        def look(_: int) -> bool:
            together.wait()
            return all(same(seen_apart(data)[0], expected) for _ in range(5))

        assert all(pool.map(look, range(3)))
        own = children() - before
        assert len(own) == 3
    assert not own & children()


def test_where_none_can_be_started_threads_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    data = photographs()["chelsea.jpg"]
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with viewing(WANTED, apart=True) as seen:
        assert same(seen(data)[0], view_of(data, WANTED)[0])
    monkeypatch.setattr(sys, "executable", "")
    with viewing(WANTED, apart=True) as seen:
        assert same(seen(data)[0], view_of(data, WANTED)[0])


def test_a_viewer_ends_with_the_process_that_asks() -> None:
    asking = (
        "import sys, time\n"
        "from tests.engine.test_viewers import WANTED, photographs\n"
        "from twinlens.engine.viewers import Viewer\n"
        "viewer = Viewer(WANTED)\n"
        "viewer.view_of(photographs()['chelsea.jpg'])\n"
        "print(viewer.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert is_running(pid), "Ctrl-C in a terminal reaches viewers too, and is not theirs to answer"
        run.kill()
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


@pytest.mark.parametrize("hashes", [False, True])
def test_a_dataset_is_the_same_with_viewers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashes: bool
) -> None:
    photos = tmp_path / "photos"
    fill(photos, 60)
    make_broken(photos / "broken")
    made = []
    for name, worth in (("threads", 10**9), ("viewers", 1)):
        monkeypatch.setattr(ingest, "_WORTH_PROCESSES", worth)
        with Dataset.create(tmp_path / name, ColourGridEmbedder(), namespace="same") as dataset:
            dataset.add(photos, IngestOptions(workers=4, hashes=hashes))
            images = dataset.images()
            rows = dataset.snapshot().rows.tobytes()
            made.append(
                (images, rows, list(dataset.failures()), [dataset.preview(each.id) for each in images])
            )
    assert made[0] == made[1]


def children() -> set[int]:
    """Processes that this one has started and that run."""
    tasks = [Path("/proc/self/task", task, "children") for task in os.listdir("/proc/self/task")]
    started = {int(pid) for task in tasks if task.exists() for pid in task.read_text().split()}
    return {pid for pid in started if is_running(pid)}


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
