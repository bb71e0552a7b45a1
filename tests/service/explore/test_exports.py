from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disks import read_only, small_disk
from tests.service.explore.media import CAT, DOG, export, head, many
from twinlens.engine.errors import DatasetReadOnly, StorageFull
from twinlens.service.explore.export_json import iter_json
from twinlens.service.explore.exports import (
    ExportFormat,
    ExportOutcome,
    ExportStopped,
    ItemsChanged,
    MediaItem,
    write_export,
)
from twinlens.service.table import shown

ROOT = Path(__file__).parents[3]
FORMATS = pytest.mark.parametrize("fmt", ExportFormat)
EITHER = pytest.mark.parametrize("images", [False, True], ids=["metadata", "images"])


def rows(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """The images that the metadata of an export lists."""
    if "metadata.json" in archive.namelist():
        listed: list[dict[str, Any]] = json.loads(archive.read("metadata.json"))["media_items"]
        return listed
    table: list[dict[str, Any]] = pq.read_table(io.BytesIO(archive.read("metadata.parquet"))).to_pylist()
    return table


def with_originals(folder: Path, *names: str) -> list[MediaItem]:
    """An image for each name, each with another id and content."""
    items = []
    for item, name in zip(many(len(names)), names, strict=True):
        source = folder / f"{item.media_id}.bin"
        source.write_bytes(item.media_id.encode())
        items.append(replace(item, file_name=name, source=source))
    return items


def test_the_metadata_as_json(tmp_path: Path) -> None:
    outcome = export(tmp_path / "pets.zip", [CAT, DOG])
    assert outcome == ExportOutcome(entities=2, images=0, missing=())
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert archive.namelist() == ["metadata.json"]
        assert archive.read("metadata.json") == b"".join(iter_json(head(2), [CAT, DOG]))


def test_the_metadata_as_parquet(tmp_path: Path) -> None:
    assert export(tmp_path / "pets.zip", [CAT, DOG], "parquet").entities == 2
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert archive.namelist() == ["metadata.parquet"]
        assert [row["image_filename"] for row in rows(archive)] == ["cat.jpg", "dog.jpg"]


@FORMATS
def test_originals_come_along_and_the_metadata_tells_where(fmt: str, tmp_path: Path) -> None:
    items = with_originals(tmp_path, "a.jpg", "b.jpg", "a.jpg", "../A.jpg")
    assert export(tmp_path / "pets.zip", items, fmt, images=True) == ExportOutcome(4, 4, ())
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert archive.testzip() is None
        listed = [(row["file_name"], row["archive_path"]) for row in rows(archive)]
        assert listed == [
            ("a.jpg", "images/a.jpg"),
            ("b.jpg", "images/b.jpg"),
            ("a.jpg", "images/a-00000002.jpg"),
            ("../A.jpg", "images/.._A.jpg"),
        ]
        for row in rows(archive):
            assert archive.read(row["archive_path"]).decode() == row["media_id"]
        assert {*archive.namelist()} == {path for _, path in listed} | {f"metadata.{fmt}"}


@FORMATS
def test_originals_that_cannot_be_read_are_named_and_the_rest_goes_on(fmt: str, tmp_path: Path) -> None:
    first, second, third = with_originals(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    assert second.source is not None
    second.source.unlink()
    outcome = export(tmp_path / "pets.zip", [first, second, third], fmt, images=True)
    assert outcome == ExportOutcome(entities=3, images=2, missing=("pets/cat_1.jpg",))
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        (failure,) = json.loads(archive.read("export_errors.json"))
        assert [row["archive_path"] for row in rows(archive)] == ["images/a.jpg", None, "images/c.jpg"]
    assert (failure["media_id"], failure["file_path"]) == (second.media_id, "pets/cat_1.jpg")
    assert "restore it" in failure["reason"]


def test_without_images_originals_are_not_looked_at(tmp_path: Path) -> None:
    assert export(tmp_path / "pets.zip", [replace(CAT, source=tmp_path / "gone.jpg")]).missing == ()
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert "archive_path" not in rows(archive)[0]


@FORMATS
@EITHER
def test_an_export_of_nothing_is_an_archive(fmt: str, images: bool, tmp_path: Path) -> None:
    assert export(tmp_path / "none.zip", [], fmt, images=images) == ExportOutcome(0, 0, ())
    with zipfile.ZipFile(tmp_path / "none.zip") as archive:
        assert rows(archive) == []


@FORMATS
@EITHER
def test_the_same_items_give_the_same_bytes(fmt: str, images: bool, tmp_path: Path) -> None:
    items = with_originals(tmp_path, "a.jpg", "a.jpg")
    for name in ("1.zip", "2.zip"):
        export(tmp_path / name, items, fmt, images=images)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


@given(
    st.lists(st.tuples(st.binary(max_size=8).map(os.fsdecode), st.text(max_size=8)), max_size=4),
    st.sampled_from(ExportFormat),
)
@settings(deadline=None)
def test_any_names_and_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]], fmt: ExportFormat
) -> None:
    folder = tmp_path_factory.mktemp("any")
    names = [name for name, _ in texts]
    items = [
        replace(item, file_path=name, captions=(text,))
        for item, (name, text) in zip(with_originals(folder, *names), texts, strict=True)
    ]
    assert export(folder / "any.zip", items, fmt, images=True).images == len(items)
    with zipfile.ZipFile(folder / "any.zip") as archive:
        found = rows(archive)
        assert [row["file_path"] for row in found] == [shown(name) for name in names]
        assert len({row["archive_path"] for row in found}) == len(items)
        for row, item in zip(found, items, strict=True):
            assert archive.read(row["archive_path"]).decode() == item.media_id


@pytest.mark.parametrize(("images", "told"), [(False, [1000, 2000, 2001]), (True, [*range(1, 2002)])])
def test_progress_counts_the_images_that_are_done(images: bool, told: list[int], tmp_path: Path) -> None:
    heard: list[int] = []
    write_export(
        tmp_path / "pets.zip",
        head(2001),
        many(2001),
        ExportFormat.JSON,
        include_images=images,
        stop=lambda: False,
        on_progress=heard.append,
    )
    assert heard == told


@FORMATS
@EITHER
@pytest.mark.parametrize("after", [0, 1, 30, 99])
def test_a_stop_leaves_nothing(fmt: ExportFormat, images: bool, after: int, tmp_path: Path) -> None:
    taken: list[str] = []

    def items() -> Iterator[MediaItem]:
        for item in many(100, source=Path(__file__)):
            taken.append(item.media_id)
            yield item

    with pytest.raises(ExportStopped):
        write_export(
            tmp_path / "pets.zip",
            head(100),
            items(),
            fmt,
            include_images=images,
            stop=lambda: len(taken) > after,
            on_progress=lambda count: None,
        )
    assert len(taken) <= after + 2
    assert list(tmp_path.iterdir()) == []


@FORMATS
@EITHER
@pytest.mark.parametrize("told", [1, 3])
def test_another_number_of_images_than_announced_leaves_the_old_export(
    fmt: ExportFormat, images: bool, told: int, tmp_path: Path
) -> None:
    (tmp_path / "pets.zip").write_bytes(b"old")
    with pytest.raises(ItemsChanged, match=f"announces {told}"):
        write_export(
            tmp_path / "pets.zip",
            head(told),
            [CAT, DOG],
            fmt,
            include_images=images,
            stop=lambda: False,
            on_progress=lambda count: None,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["pets.zip"]
    assert (tmp_path / "pets.zip").read_bytes() == b"old"


@FORMATS
@EITHER
def test_a_full_disk_is_told_and_nothing_is_left(fmt: str, images: bool, tmp_path: Path) -> None:
    noise = tmp_path / "noise.bin"
    noise.write_bytes(os.urandom(300_000))
    items = [replace(item, source=noise, captions=(os.urandom(2000).hex(),)) for item in many(1000)]
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(StorageFull, match="free some space"):
            export(disk / "pets.zip", items, fmt, images=images)
        assert list(disk.iterdir()) == []
        assert export(disk / "pets.zip", items[:2], fmt, images=images).entities == 2


@FORMATS
def test_a_file_that_may_not_grow_is_an_error_and_leaves_nothing(fmt: str, tmp_path: Path) -> None:
    items = [replace(item, captions=(os.urandom(2000).hex(),)) for item in many(500)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError):
            export(tmp_path / "pets.zip", items, fmt)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    with read_only(tmp_path / "mounted", tmp_path / "exports") as mounted, pytest.raises(DatasetReadOnly):
        export(mounted / "pets.zip", [CAT])


@EITHER
def test_a_kill_leaves_no_half_export_and_the_next_one_clears_up(images: bool, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from tests.service.explore.media import head, many
from twinlens.service.explore.exports import ExportFormat, write_export
def told(count):
    if count == 4000:
        os.kill(os.getpid(), signal.SIGKILL)
write_export(Path(sys.argv[1]), head(5000), many(5000, source=Path(sys.argv[2])), ExportFormat.JSON,
             include_images={images}, stop=lambda: False, on_progress=told)
"""
    target = tmp_path / "exports" / "pets.zip"
    target.parent.mkdir()
    killed = subprocess.run([sys.executable, "-c", code, str(target), __file__], cwd=ROOT)
    assert killed.returncode == -9
    assert [path.name for path in target.parent.iterdir()] == ["pets.zip.part"]
    export(target, [CAT])
    assert [path.name for path in target.parent.iterdir()] == ["pets.zip"]


@FORMATS
def test_memory_does_not_grow_with_the_images(fmt: str, tmp_path: Path) -> None:
    code = f"""
import resource, sys
from pathlib import Path
import pyarrow.parquet
from tests.service.explore.media import head, many
from twinlens.service.explore.exports import ExportFormat, write_export
def export(count):
    outcome = write_export(Path(sys.argv[1]), head(count), many(count), ExportFormat("{fmt}"),
                           include_images=False, stop=lambda: False, on_progress=lambda count: None)
    assert outcome.entities == count
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
export(200_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "pets.zip")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 64 * 1024


def test_more_images_than_a_plain_zip_can_count(tmp_path: Path) -> None:
    """65,536 entries need ZIP64, here read by zipfile, which finds the end of the plain directory full."""
    source = tmp_path / "cat.bin"
    source.write_bytes(b"cat")
    outcome = export(tmp_path / "pets.zip", many(65_536, source=source), images=True)
    assert outcome == ExportOutcome(65_536, 65_536, ())
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert len(archive.infolist()) == 65_537
        assert archive.read("images/cat_65535.jpg") == b"cat"
    with open(tmp_path / "pets.zip", "rb") as file:
        file.seek(-22, os.SEEK_END)
        assert file.read(12) == b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff"


def test_metadata_of_any_size_has_room(tmp_path: Path) -> None:
    """Its size is not known when its entry begins: the entry says that its size takes 64 bits."""
    export(tmp_path / "pets.zip", [CAT])
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        assert archive.infolist()[0].extract_version == 45
