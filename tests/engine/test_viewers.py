"""Viewers see what a thread sees, outlive a decoder that crashes, and end with whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.processes import children
from tests.broken import make_broken
from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from tests.photographs import photographs
from twinlens.engine import ingest, viewers
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import DecodeLimits, read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import byte_digest
from twinlens.engine.ingest import IngestOptions
from twinlens.engine.sight import File, Known, Seen, see
from twinlens.engine.types import DecodePolicy
from twinlens.engine.view import Wanted
from twinlens.engine.viewers import Viewer, viewing
from twinlens.models.fitting import MiddleSquare

WANTED = Wanted(DecodePolicy(min_side=64), DecodeLimits(), hashes=True)


def told(answers: Iterable[Seen | Known | DecodeError]) -> list[object]:
    """What answers say, as values that can be compared, pixels and hashes included."""
    return [
        (answer.reason, answer.stage, answer.retryable)
        if isinstance(answer, DecodeError)
        else (answer.digest, repr(answer.view), answer.pixels.tolist())
        if isinstance(answer, Seen)
        else answer
        for answer in answers
    ]


def seen_here(files: Sequence[File]) -> list[object]:
    return told(see(file, WANTED) for file in files)


def test_a_viewer_answers_as_a_thread_does() -> None:
    files = [photographs()[name] for name in ("chelsea.jpg", "blank-1.png", "camera.jpg")]
    with closing(Viewer(WANTED)) as viewer:
        answers = list(viewer.see(files))
    assert told(answers) == seen_here(files)
    assert all(isinstance(answer, Seen) and answer.pixels.flags.writeable for answer in answers)


def test_a_file_is_named_by_its_path_or_given_and_archives_are_read_by_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []

    def reading(path: str, limits: DecodeLimits) -> bytes:
        read.append(path)
        return read_bytes(path, limits)

    monkeypatch.setattr(viewers, "read_bytes", reading)
    data = photographs()["chelsea.jpg"]
    photo, archive = tmp_path / "photo.jpg", tmp_path / "photos.zip"
    photo.write_bytes(data)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("photo.jpg", data)
    files: list[File] = [str(photo), data, f"{archive}/photo.jpg", f"{archive}/none.jpg", f"{photo}.gone"]
    with closing(Viewer(WANTED)) as viewer:
        answers = told(viewer.see(files))
    assert read == files[2:4]
    assert answers == seen_here(files)
    assert answers[0] == answers[1] == answers[2]


def test_bytes_that_are_known_are_not_decoded() -> None:
    data = photographs()["chelsea.jpg"]
    with closing(Viewer(replace(WANTED, known=frozenset({byte_digest(data)})))) as viewer:
        assert list(viewer.see([data])) == [Known(byte_digest(data))]


def test_what_a_model_takes_is_prepared_by_the_viewer() -> None:
    data = photographs()["chelsea.jpg"]
    plain, preparation = see(data, WANTED), MiddleSquare(48, Image.Resampling.BICUBIC)
    assert isinstance(plain, Seen)
    with closing(Viewer(replace(WANTED, preparation=preparation))) as viewer:
        (answer,) = viewer.see([data])
    assert isinstance(answer, Seen) and answer.view.width == plain.view.width
    assert np.array_equal(answer.pixels, preparation(plain.pixels))


def test_a_preparation_that_fails_is_an_answer_about_the_file() -> None:
    wanted = replace(WANTED, preparation=MiddleSquare(0, Image.Resampling.BICUBIC))
    with closing(Viewer(wanted)) as viewer:
        (answer,) = viewer.see([photographs()["chelsea.jpg"]])
    assert isinstance(answer, DecodeError) and answer.stage == "prepare"


def test_large_pictures_pass_one_at_a_time_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 10_000
    monkeypatch.setattr(viewers, "_KEPT_BYTES", most)
    monkeypatch.setattr(
        viewers,
        "_COMMAND",
        viewers._COMMAND.replace(
            "; serve(", f"; twinlens.engine.viewers._KEPT_BYTES = {most}; serve("
        ).replace("from twinlens", "import twinlens.engine.viewers; from twinlens"),
    )
    files = [photographs()["chelsea.jpg"], b"no picture", photographs()["camera.jpg"]] * 3
    sizes = []
    with closing(Viewer(WANTED)) as viewer:
        answers = []
        for answer in viewer.see(files):
            answers.append(answer)
            sizes.append(os.fstat(viewer._shared).st_size)
        assert os.fstat(viewer._shared).st_size == 0
    assert told(answers) == seen_here(files)
    assert max(sizes) < 2 * max(answer.pixels.nbytes for answer in answers if isinstance(answer, Seen))


def test_a_file_on_disk_serves_where_none_in_memory_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    files = [photographs()["chelsea.jpg"]] * 2
    with closing(Viewer(WANTED)) as viewer:
        assert told(viewer.see(files)) == seen_here(files)


def test_what_is_wrong_with_a_file_is_said_in_the_same_words(tmp_path: Path) -> None:
    make_broken(tmp_path)
    files = [str(path) for path in sorted(tmp_path.rglob("*")) if not path.is_dir()]
    with closing(Viewer(WANTED)) as viewer:
        answers = list(viewer.see(files))
    assert told(answers) == seen_here(files)
    assert sum(isinstance(answer, DecodeError) for answer in answers) > 10


def test_a_killed_viewer_is_replaced_and_the_files_are_seen() -> None:
    files = [photographs()["chelsea.jpg"], photographs()["camera.jpg"]]
    with closing(Viewer(WANTED)) as viewer:
        list(viewer.see(files))
        for number in (signal.SIGKILL, signal.SIGSEGV):
            killed = viewer.pid
            os.kill(killed, number)
            assert told(viewer.see(files)) == seen_here(files)
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
    """A viewer that kills itself when it meets certain bytes, as a crashing decoder would."""
    crash = (
        "import os; from twinlens.engine import viewers; see = viewers.see; "
        f"viewers.see = lambda file, wanted: os.kill(os.getpid(), {int(number)}) if file == b'crash' "
        "else see(file, wanted); serve(int"
    )
    monkeypatch.setattr(viewers, "_COMMAND", viewers._COMMAND.replace("serve(int", crash))
    good = photographs()["chelsea.jpg"]
    with closing(Viewer(WANTED)) as viewer:
        answers = list(viewer.see([good, b"crash", good, b"crash"]))
    expected = seen_here([good])
    assert told(answers)[::2] == expected * 2
    for answer in answers[1::2]:
        assert isinstance(answer, DecodeError) and reason in answer.reason
        assert (answer.stage, answer.retryable) == ("decode", retryable)


def test_each_thread_has_its_own_and_all_end() -> None:
    files = [photographs()["chelsea.jpg"]] * 5
    expected = seen_here(files)
    before = running_children()
    with viewing(3) as seeing, ThreadPoolExecutor(4) as pool:
        own = running_children() - before
        assert len(own) == 3, "they start before it is known what is wanted"
        see_apart, together = seeing(WANTED), threading.Barrier(4)

        def look(_: int) -> bool:
            together.wait()
            return told(see_apart(files)) == expected

        assert all(pool.map(look, range(4))), "a thread without a viewer looks itself"
        assert running_children() - before == own
    assert not own & running_children()


def test_where_none_can_be_started_threads_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [photographs()["chelsea.jpg"]] * 2
    for executable in ("/nowhere/python", ""):
        monkeypatch.setattr(sys, "executable", executable)
        with viewing(1) as seeing:
            assert told(seeing(WANTED)(files)) == seen_here(files)


def test_so_they_do_where_one_ends_before_it_looks_at_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [photographs()["chelsea.jpg"]] * 2
    monkeypatch.setattr(viewers, "_COMMAND", "raise SystemExit('a Python that lacks something')")
    with viewing(1) as seeing:
        see_apart = seeing(WANTED)
        for _ in range(2):
            assert told(see_apart(files)) == seen_here(files)


def test_a_viewer_ends_with_the_process_that_asks() -> None:
    asking = (
        "import sys, time\n"
        "from tests.engine.test_viewers import WANTED, photographs\n"
        "from twinlens.engine.viewers import Viewer\n"
        "viewer = Viewer(WANTED)\n"
        "list(viewer.see([photographs()['chelsea.jpg']]))\n"
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


def running_children() -> set[int]:
    return {pid for pid in children() if is_running(pid)}


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
