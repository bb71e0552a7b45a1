"""Archives as sources: what is found in them, what is said of broken and hostile ones, and reading later."""

from __future__ import annotations

import gzip
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.archives import jpeg, pictures, save_tar, save_zip
from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from twinlens.engine import archives
from twinlens.engine.brace_patterns import expand, is_pattern
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import DecodeLimits, read_bytes
from twinlens.engine.errors import DecodeError, SourceError
from twinlens.engine.sources import SkippedFile, SourceFailure, SourceFile, scan, source_exists

SAVERS: dict[str, Callable[[Path, list[tuple[str, bytes]]], Path]] = {
    "a.zip": save_zip,
    "stored.zip": lambda path, files: save_zip(path, files, zipfile.ZIP_STORED),
    "a.tar": save_tar,
    "a.tar.gz": lambda path, files: save_tar(path, files, "gz"),
    "a.tgz": lambda path, files: save_tar(path, files, "gz"),
    "a.tar.bz2": lambda path, files: save_tar(path, files, "bz2"),
    "a.tar.xz": lambda path, files: save_tar(path, files, "xz"),
    "a.tar.zst": lambda path, files: save_zstandard(path, files),
}


def save_zstandard(path: Path, files: list[tuple[str, bytes]]) -> Path:
    save_tar(path, files)
    path.write_bytes(pa.compress(path.read_bytes(), "zstd", asbytes=True))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as made:
        yield made


def found(source: Path) -> list[str]:
    return [os.fsdecode(entry.relative) for entry in scan(source) if isinstance(entry, SourceFile)]


def reasons(source: Path) -> dict[str, str]:
    failures = (entry for entry in scan(source) if isinstance(entry, SourceFailure))
    return {os.fsdecode(failure.relative): failure.reason for failure in failures}


# -- whole archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAVERS)
def test_images_of_an_archive_are_those_of_the_folder_it_was_made_of(
    name: str, tmp_path: Path, dataset: Dataset
) -> None:
    files = fill(tmp_path / "folder", 12)
    packed = [(f"trip/{path.name}", path.read_bytes()) for path in reversed(files)]
    archive = SAVERS[name](tmp_path / name, [*packed, ("trip/notes.txt", b"fine weather")])
    report = dataset.add(archive)
    assert (report.added, report.failed, report.skipped) == (12, 0, 1)
    with Dataset.create(tmp_path / "other", ColourGridEmbedder()) as other:
        other.add(tmp_path / "folder")
        expected = {os.path.basename(image.path): image.digest for image in other.images()}
        assert {os.path.basename(image.path): image.digest for image in dataset.images()} == expected
        assert np.array_equal(sorted(dataset.vectors().tolist()), sorted(other.vectors().tolist()))
    assert {os.path.dirname(image.path) for image in dataset.images()} == {f"{archive}/trip"}
    assert sorted(os.listdir(tmp_path)) == sorted(["data", "folder", "other", name])


@pytest.mark.parametrize("name", SAVERS)
def test_members_are_read_in_any_order_by_many_threads(name: str, tmp_path: Path) -> None:
    files = [(f"{number}.jpg", random.Random(number).randbytes(50_000)) for number in range(40)]
    archive = SAVERS[name](tmp_path / name, files)
    wanted = files * 2
    random.Random(0).shuffle(wanted)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda file: read_bytes(archive / file[0]), wanted))
    assert read == [data for _, data in wanted]


def test_what_is_not_in_an_archive_says_so(tmp_path: Path) -> None:
    archive = save_zip(tmp_path / "a.zip", [("a.jpg", jpeg(1))])
    with pytest.raises(DecodeError, match="cannot be read"):
        read_bytes(archive / "b.jpg")
    with pytest.raises(DecodeError, match="at most 10 are read"):
        read_bytes(archive / "a.jpg", DecodeLimits(max_bytes=10))


def test_a_path_into_an_archive_can_stand_in_a_list(tmp_path: Path) -> None:
    save_tar(tmp_path / "a.tar", pictures(3))
    save_zip(tmp_path / "b.zip", pictures(2, first=7))
    (tmp_path / "list.txt").write_text("a.tar/00001.jpg\na.tar/none.jpg\nb.zip\n")
    assert found(tmp_path / "list.txt") == ["a.tar/00001.jpg", "b.zip/00007.jpg", "b.zip/00008.jpg"]
    assert "holds no such file" in reasons(tmp_path / "list.txt")["a.tar/none.jpg"]


# -- shards ---------------------------------------------------------------------------------------------


def test_a_folder_of_shards_is_entered_and_one_of_images_is_not(tmp_path: Path) -> None:
    for number in range(3):
        save_tar(tmp_path / "shards" / f"train-{number}.tar", pictures(2, first=2 * number))
    (tmp_path / "shards" / "stats.json").write_text("{}")
    expected = [f"train-{key // 2}.tar/{key:05}.jpg" for key in range(6)]
    assert found(tmp_path / "shards") == expected
    assert found(tmp_path) == [f"shards/{name}" for name in expected]
    assert not any(isinstance(entry, SourceFile) for entry in scan(tmp_path / "shards", shards=False))
    (tmp_path / "shards" / "cover.jpg").write_bytes(jpeg(9))
    assert found(tmp_path / "shards") == ["cover.jpg"]


def test_shards_beside_which_an_image_appears_are_out_of_sight_and_not_gone(
    tmp_path: Path, dataset: Dataset
) -> None:
    save_tar(tmp_path / "shards" / "a.tar", pictures(3))
    dataset.add(tmp_path / "shards")
    (tmp_path / "shards" / "cover.jpg").write_bytes(jpeg(9))
    report = dataset.add(tmp_path / "shards")
    assert (report.added, report.removed, len(dataset)) == (1, 0, 4)


def test_brace_patterns_name_shards(tmp_path: Path, dataset: Dataset) -> None:
    for number in (0, 1, 10):
        save_tar(tmp_path / f"{number:03}.tar", pictures(1, first=number))
    assert expand("{a,b}-{08..11}.tar")[:5] == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar", "b-08.tar"]
    assert not is_pattern("no {braces}") and not is_pattern("{}")
    pattern = tmp_path / "{000..002}.tar"
    assert source_exists(pattern) and not source_exists(tmp_path / "{4..5}.tar")
    report = dataset.add(pattern)
    assert (report.added, report.failed) == (2, 1)
    assert "missing" in dataset.failures()[0].reason
    with pytest.raises(SourceError, match="more than 100,000 names"):
        expand("{0..999999}.tar")


def test_unchanged_archives_are_not_opened_and_changed_ones_compared(
    tmp_path: Path, dataset: Dataset
) -> None:
    save_zip(tmp_path / "shards" / "nested.zip", [("x", b"")])
    members = [*pictures(3), ("inner.zip", b""), ("bad.jpg", b"bad")]
    shard = save_tar(tmp_path / "shards" / "a.tar", members)
    before = dataset.add(tmp_path / "shards")
    status = shard.stat()
    shard.write_bytes(bytes(status.st_size))
    os.utime(shard, ns=(0, status.st_mtime_ns))
    again = dataset.add(tmp_path / "shards")
    assert (again.unchanged, again.failed, again.skipped) == (before.added, before.failed, before.skipped)
    assert (before.added, before.failed, before.archives, again.archives) == (3, 2, 1, 1)
    save_tar(shard, [*members[:2], ("00001.jpg", jpeg(77)), *members[4:], ("new.jpg", jpeg(5))])
    changed = dataset.add(tmp_path / "shards")
    assert (changed.added, changed.changed, changed.unchanged, changed.failed) == (1, 1, 2, 2)


def test_images_that_were_taken_out_of_a_dataset_come_back(tmp_path: Path, dataset: Dataset) -> None:
    archive = save_tar(tmp_path / "a.tar", pictures(3))
    dataset.add(archive)
    dataset.remove([dataset.images()[0].id])
    assert dataset.add(archive).added == 1


# -- broken archives ------------------------------------------------------------------------------------


def cut(path: Path, keep: float) -> int:
    data = path.read_bytes()
    size = int(len(data) * keep)
    path.write_bytes(data[:size])
    return size


def test_a_cut_tar_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    shard = save_tar(tmp_path / "a.tar", pictures(10))
    size = cut(shard, 0.52)
    names = found(shard)
    assert names == [f"a.tar/{key:05}.jpg" for key in range(len(names))] and 3 < len(names) < 7
    assert all(read_bytes(tmp_path / name) for name in names)
    (reason,) = reasons(shard).values()
    assert f"it ends after {size:,} bytes" in reason and "download it again" in reason


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.tar.gz", "unpacked bytes"), ("a.zip", "it ends after")],
)
def test_a_cut_compressed_archive_too(name: str, words: str, tmp_path: Path) -> None:
    archive = SAVERS[name](tmp_path / name, pictures(10))
    cut(archive, 0.52)
    names = found(archive)
    assert names == [f"{name}/{key:05}.jpg" for key in range(len(names))] and 3 < len(names) < 7
    assert all(read_bytes(tmp_path / each) == jpeg(key) for key, each in enumerate(names))
    assert words in reasons(archive)[name]


def test_a_cut_tar_in_zstandard_gives_what_is_before_the_block_that_is_cut(tmp_path: Path) -> None:
    files = [(f"{key:05}.jpg", random.Random(key).randbytes(50_000)) for key in range(40)]
    archive = save_zstandard(tmp_path / "a.tar.zst", files)
    cut(archive, 0.5)
    names = found(archive)
    assert names == [f"a.tar.zst/{key:05}.jpg" for key in range(len(names))] and 15 < len(names) < 21
    assert all(read_bytes(tmp_path / each) == files[key][1] for key, each in enumerate(names))
    assert "unpacked bytes" in reasons(archive)["a.tar.zst"]


def test_a_tar_that_ends_between_two_members_says_so(tmp_path: Path) -> None:
    shard = save_tar(tmp_path / "a.tar", pictures(2))
    shard.write_bytes(shard.read_bytes().rstrip(b"\0") + bytes(511))
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 512 * 512])
    assert len(found(shard)) == 2
    assert "without its end mark" in reasons(shard)["a.tar"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "no zip or tar archive"),
        (b"PK\x03\x04 and nothing more", "it ends after 21 bytes"),
        (gzip.compress(b"not a tar", mtime=0), "no tar archive"),
    ],
)
def test_what_is_no_archive_is_one_failure(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert found(tmp_path) == []
    assert words in reasons(tmp_path)["a.tar"]


def test_a_damaged_member_of_a_zip_fails_alone(tmp_path: Path, dataset: Dataset) -> None:
    archive = save_zip(tmp_path / "a.zip", pictures(3), zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[data.index(jpeg(1)) + 300] ^= 0xFF
    archive.write_bytes(data)
    assert dataset.add(archive).added == 2
    (failure,) = dataset.failures()
    assert failure.path == f"{archive}/00001.jpg" and "checksum" in failure.reason


def test_a_pipe_that_is_called_like_an_archive_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    (tmp_path / "b.tar").mkdir()
    assert "pipe" in reasons(tmp_path)["a.tar"]
    (tmp_path / "list.txt").write_text("b.tar\n")
    assert "directory" in reasons(tmp_path / "list.txt")["b.tar"]


def test_archives_that_are_not_entered_are_counted(tmp_path: Path, dataset: Dataset) -> None:
    save_zip(tmp_path / "photos" / "a.zip", pictures(1))
    save_tar(tmp_path / "photos" / "b.tar.gz", pictures(1), "gz")
    (tmp_path / "photos" / "c.jpg").write_bytes(jpeg(3))
    report = dataset.add(tmp_path / "photos")
    assert (report.added, report.skipped, report.archives) == (1, 2, 2)


def test_a_kind_is_told_by_content(tmp_path: Path) -> None:
    save_zip(tmp_path / "a.tar", pictures(1))
    save_tar(tmp_path / "b.zip", pictures(1), "gz")
    assert found(tmp_path / "a.tar") == ["a.tar/00000.jpg"]
    assert found(tmp_path / "b.zip") == ["b.zip/00000.jpg"]


# -- hostile archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [save_zip, save_tar])
def test_names_that_lead_out_of_an_archive_are_refused(
    save: Callable[[Path, list[tuple[str, bytes]]], Path], tmp_path: Path
) -> None:
    names = ["../up.jpg", "/etc/root.jpg", "a/../../b.jpg", "C:/c.jpg", "./fine.jpg", "back\\slash.jpg"]
    archive = save(tmp_path / "a.zip", [(name, jpeg(1)) for name in names])
    assert found(archive) == ["a.zip/fine.jpg", "a.zip/back/slash.jpg"]
    assert set(reasons(archive)) == {"a.zip/up.jpg", "a.zip/etc/root.jpg", "a.zip/a/b.jpg", "a.zip/c.jpg"}
    assert all("leads out of the archive" in reason for reason in reasons(archive).values())


def test_links_nested_archives_videos_and_second_names(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        ("a.jpg", jpeg(1)),
        ("a.jpg", jpeg(2)),
        ("inner.tar.gz", b"x"),
        ("inner.rar", b"x"),
        ("clip.mp4", b"x"),
        ("__MACOSX/a.jpg", b"x"),
        (".hidden.jpg", b"x"),
        (link, b""),
    ]
    archive = save_tar(tmp_path / "a.tar", members)
    assert found(archive) == ["a.tar/a.jpg"]
    assert read_bytes(archive / "a.jpg") == jpeg(1)
    said = reasons(archive)
    assert "several times" in said["a.tar/a.jpg (2)"] and "symbolic link" in said["a.tar/link.jpg"]
    assert "archive in an archive" in said["a.tar/inner.tar.gz"] == said["a.tar/inner.rar"]
    assert "videos are not indexed" in said["a.tar/clip.mp4"]
    assert sum(isinstance(entry, SkippedFile) for entry in scan(archive)) == 2


def test_encrypted_members_and_unknown_methods_are_refused_by_name(tmp_path: Path) -> None:
    archive = save_zip(tmp_path / "a.zip", [("a.jpg", jpeg(1)), ("b.jpg", jpeg(2)), ("c.jpg", jpeg(3))])
    data = bytearray(archive.read_bytes())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[first + 8] |= 1
    data[second + 10] = 9
    archive.write_bytes(data)
    assert found(archive) == ["a.zip/c.jpg"]
    said = reasons(archive)
    assert "encrypted" in said["a.zip/a.jpg"] and "method 9" in said["a.zip/b.jpg"]


def test_a_bomb_is_stopped_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    save_tar(bomb, [("a.jpg", jpeg(1)), ("zeros.jpg", bytes(64 << 20))], "gz")
    monkeypatch.setattr(archives, "_BOMB_BYTES", 8 << 20)
    tracemalloc.start()
    (reason,) = reasons(bomb).values()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than" in reason and peak < 16 << 20
    small = save_zip(tmp_path / "small.zip", [("zeros.jpg", bytes(64 << 20))])
    with pytest.raises(DecodeError, match="at most 1,000 are read"):
        read_bytes(small / "zeros.jpg", DecodeLimits(max_bytes=1000))
