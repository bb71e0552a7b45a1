from __future__ import annotations

import errno
import io
import os
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.archives import save_tar
from tests.disks import small_disk
from tests.service.explore.media import CAT, DOG
from twinlens.service.explore.export_images import HELD_BYTES, ExportStopped, OriginalCopier, copy
from twinlens.service.explore.export_items import MediaItem


@contextmanager
def copying(tmp_path: Path, *, stops: int = 10**9) -> Iterator[tuple[OriginalCopier, zipfile.ZipFile]]:
    """A copier that is told to stop when it has asked so many times, and the archive it fills."""
    asked = iter(range(stops))
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        yield OriginalCopier(archive, tmp_path, lambda: next(asked, None) is None), archive


def original(path: Path, data: bytes) -> MediaItem:
    path.write_bytes(data)
    return replace(CAT, file_name=path.name, file_path=f"pets/{path.name}", source=path)


def test_an_original_is_copied_as_it_is(tmp_path: Path) -> None:
    with copying(tmp_path) as (copier, archive):
        assert copier.place(original(tmp_path / "cat.jpg", b"cat" * 1000)) == "images/cat.jpg"
        assert (copier.copied, copier.failures) == (1, [])
        entry = archive.getinfo("images/cat.jpg")
        assert archive.read(entry) == b"cat" * 1000
    assert (entry.compress_type, entry.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    assert entry.external_attr >> 16 == 0o100644


@pytest.mark.parametrize("size", [0, HELD_BYTES, HELD_BYTES + 1, 3 * HELD_BYTES])
def test_an_original_may_be_larger_than_what_is_held_in_memory(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with copying(tmp_path) as (copier, archive):
        copier.place(original(tmp_path / "cat.jpg", data))
        assert archive.read("images/cat.jpg") == data
    assert {path.name for path in tmp_path.iterdir()} == {"export.zip", "cat.jpg"}


def test_a_large_original_waits_in_the_folder_it_is_told(tmp_path: Path) -> None:
    item = original(tmp_path / "cat.jpg", bytes(HELD_BYTES + 2**20))
    with small_disk(tmp_path / "disk", "8m") as disk, zipfile.ZipFile(io.BytesIO(), "w") as archive:
        with pytest.raises(OSError) as caught:
            OriginalCopier(archive, disk, lambda: False).place(item)
        assert caught.value.errno == errno.ENOSPC


def test_an_original_in_an_archive_is_copied_from_there(tmp_path: Path) -> None:
    archive_of_cats = save_tar(tmp_path / "cats.tar", [("deep/cat.jpg", b"cat" * 1000)])
    cat = replace(CAT, file_name="cat.jpg", source=archive_of_cats / "deep" / "cat.jpg")
    gone = replace(DOG, file_name="dog.jpg", source=archive_of_cats / "dog.jpg")
    with copying(tmp_path) as (copier, archive):
        assert copier.place(cat) == "images/cat.jpg"
        assert archive.read("images/cat.jpg") == b"cat" * 1000
        assert copier.place(gone) is None
    assert "cannot be read" in copier.failures[0]["reason"]


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    absent = {
        "gone.jpg": (tmp_path / "gone.jpg", "it is missing"),
        "folder.jpg": (tmp_path, "it is a directory"),
        "pipe.jpg": (tmp_path / "pipe.jpg", "only regular files"),
        "loop.jpg": (tmp_path / "loop.jpg", "symbolic links"),
        "nul.jpg": (tmp_path / "a\0b", "null byte"),
        "dog.jpg": (None, "no original"),
    }
    with copying(tmp_path) as (copier, archive):
        for name, (source, _) in absent.items():
            assert copier.place(replace(DOG, file_path=name, source=source)) is None
        assert copier.place(original(tmp_path / "dog.jpg", b"dog")) == "images/dog.jpg"
        assert (copier.copied, archive.namelist()) == (1, ["images/dog.jpg"])
    assert [failure["file_path"] for failure in copier.failures] == [*absent]
    assert {failure["media_id"] for failure in copier.failures} == {DOG.media_id}
    for failure, (_, reason) in zip(copier.failures, absent.values(), strict=True):
        assert reason in failure["reason"]


def test_an_original_that_fails_halfway_leaves_no_half_entry(tmp_path: Path) -> None:
    """The memory of this process is a file without an end, of which the first page cannot be read."""
    with copying(tmp_path) as (copier, archive):
        assert copier.place(replace(CAT, source=Path("/proc/self/mem"))) is None
        assert archive.namelist() == []
    assert "cannot be read" in copier.failures[0]["reason"]


def test_an_original_of_another_size_than_it_says_is_left_out(tmp_path: Path) -> None:
    with copying(tmp_path) as (copier, archive):
        assert copier.place(replace(CAT, source=Path("/proc/self/status"))) is None
        assert archive.namelist() == []
    assert "changed while it was read" in copier.failures[0]["reason"]


def test_too_many_open_files_are_not_the_fault_of_an_original(tmp_path: Path) -> None:
    item = original(tmp_path / "cat.jpg", b"cat")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with copying(tmp_path) as (copier, _):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(OSError) as caught:
                copier.place(item)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize("stops", [0, 3, 20])
def test_a_large_original_is_stopped_on_its_way(tmp_path: Path, stops: int) -> None:
    item = original(tmp_path / "cat.jpg", bytes(16 * 2**20))
    with copying(tmp_path, stops=stops) as (copier, _), pytest.raises(ExportStopped, match="stopped before"):
        copier.place(item)


def test_copying_goes_on_from_where_the_file_is() -> None:
    source, out = io.BytesIO(b"xcat"), io.BytesIO()
    source.seek(1)
    copy(source, out, lambda: False)
    assert out.getvalue() == b"cat"
