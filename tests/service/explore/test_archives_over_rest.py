"""Archives of people who mean harm, sent to a real server: refused, or unpacked without what harms."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.explore import Client, Running, laboratory, refusal
from tests.explore_life import a_tar_gz, a_zip, failures_of, files_below, images_of, jpeg, pictures, received
from tests.servers import RunningServer

MIB = 2**20
MAX_UNPACKED, MAX_MEMBERS = 24 * MIB, 100


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of low limits with the keys ann and bob."""
    folder = tmp_path_factory.mktemp("archives")
    limits = {
        "max_unpacked_bytes": MAX_UNPACKED,
        "max_upload_files": MAX_MEMBERS,
        "max_upload_file_bytes": 8 * MIB,
        "index_processes": 2,
    }
    with laboratory(folder / "a" / "b" / "home", **limits) as running:
        yield running
        assert [line for line in running[0].lines() if line["level"] == "error"] == []


@pytest.fixture(scope="module")
def ready(ann: Client) -> str:
    return ann.make_dataset(pictures(2))


def create(client: Client, name: str, packed: bytes) -> httpx.Response:
    """Call `POST /dataset`."""
    form = [("dataset_name", (None, "packed")), ("archive", (name, packed))]
    return client.post("/dataset", files=form)


def lying(size: int, claimed: int) -> bytes:
    """A zip whose only member has more bytes than it says."""
    packed = bytearray(a_zip_of_zeros(1, size))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", packed, packed.index(mark) + place, claimed)
    return bytes(packed)


def a_zip_of_zeros(count: int, size: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.jpg", bytes(size))
    return target.getvalue()


def sharing(count: int) -> bytes:
    """A small zip of many members that are made of the same bytes."""
    one = a_zip_of_zeros(1, 2_000_000)
    table, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    entries = one[table:end] * count
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), table, 0)
    return one[:table] + entries + tail


def encrypted(packed: bytes) -> bytes:
    """The same zip, marked as encrypted."""
    changed = bytearray(packed)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", changed, changed.index(mark) + place, 1)
    return bytes(changed)


def plain_tar(files: dict[str, bytes]) -> bytes:
    return gzip.decompress(a_tar_gz(files))


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros.zip": (lambda: a_zip_of_zeros(1, 100 * MIB), "unpacks to more than"),
    "many.zip": (lambda: a_zip_of_zeros(50, 2 * MIB), "unpacks to more than"),
    "lying.zip": (lambda: lying(100 * MIB, 1000), "holds no image"),
    "sharing.zip": (lambda: sharing(60), "share bytes"),
    "members.zip": (
        lambda: a_zip({f"{n}.jpg": b"" for n in range(MAX_MEMBERS + 1)}),
        "more than 100 members",
    ),
    "zeros.tar.gz": (
        lambda: gzip.compress(plain_tar({"a.jpg": bytes(100 * MIB)})),
        "8,388,608 bytes",
    ),
    "many.tar.bz2": (
        lambda: bz2.compress(plain_tar({f"{n}.jpg": bytes(2 * MIB) for n in range(50)})),
        "unpacks to more than",
    ),
    "no-tar.gz": (lambda: gzip.compress(b"x" * 100 * MIB), "no tar archive"),
    "nested.zip": (
        lambda: a_zip({"inner.zip": a_zip(pictures(2)), "inner.tar": plain_tar(pictures(1))}),
        "holds no image",
    ),
    "encrypted.zip": (lambda: encrypted(a_zip(pictures(1))), "holds no image"),
    "cut.zip": (lambda: a_zip(pictures(9))[:-200], "cannot be"),
    "empty.zip": (lambda: a_zip({}), "holds no image"),
    "page.zip": (lambda: b"<html>", "no zip or tar"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_what_is_no_archive_are_refused(
    ann: Client, server: RunningServer, ready: str, name: str
) -> None:
    make, words = BOMBS[name]
    packed, before = make(), ann.json("/datasets")
    started = time.monotonic()
    assert words in refusal(create(ann, name, packed), 400)
    sent = ann.post(f"/dataset/{ready}/add_media", files=[("archive", (name, packed))])
    assert words in refusal(sent, 400)
    assert time.monotonic() - started < 10
    assert ann.json("/datasets") == before
    assert not [path for path in files_below(server.home / "datasets") if "staging" in path.split("/")]
    assert received(server, ready) == set(pictures(2))


def test_what_leads_elsewhere_is_kept_below_and_what_is_no_file_is_left_out(
    ann: Client, server: RunningServer
) -> None:
    target = io.BytesIO()
    kinds = {
        "linked": tarfile.SYMTYPE,
        "hard.jpg": tarfile.LNKTYPE,
        "disk.jpg": tarfile.BLKTYPE,
        "null.jpg": tarfile.CHRTYPE,
        "pipe.jpg": tarfile.FIFOTYPE,
    }
    names = {
        "../../../../../escape.jpg": "escape.jpg",
        "/etc/cron.d/evil.jpg": "etc/cron.d/evil.jpg",
        "a/../../b.jpg": "a/b.jpg",
        "linked/inside.jpg": "linked/inside.jpg",
        "n" * 300 + ".jpg": "n" * 251 + ".jpg",
    }
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, kind in kinds.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.devmajor = kind, "/etc/passwd", 8
            archive.addfile(member)
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg(number))
            archive.addfile(member, io.BytesIO(jpeg(number)))
    beside = files_below(server.home.parents[2]) - files_below(server.home)
    sent = create(ann, "links.tar.gz", target.getvalue())
    assert sent.status_code == 200, sent.text
    dataset = sent.json()["id"]
    assert ann.wait_ready(dataset)["n_images"] == len(names)
    assert images_of(ann, dataset) == sorted(names.values())
    failures = failures_of(ann, dataset)
    assert set(failures) == set(kinds)
    assert all("only plain files" in reason for reason in failures.values())
    folder = server.home / "datasets" / dataset
    assert not any((folder / name).is_symlink() for name in files_below(folder))
    here = {name for name in files_below(server.home.parents[2]) if not name.startswith("a/b/home/")}
    assert {name for name in beside if not name.startswith("a/b/home/")} == here
    assert not Path("/etc/cron.d/evil.jpg").exists()


def test_three_broken_files_among_many_are_named_and_hidden_ones_passed_by(ann: Client) -> None:
    hidden = {".hidden.jpg": jpeg(60), ".git/x.jpg": jpeg(61), "__MACOSX/._a.jpg": b"x"}
    broken = {"cut.jpg": jpeg(50)[:300], "page.png": b"<!DOCTYPE html>", "nothing.jpg": b""}
    packed = a_zip({**pictures(20), **hidden, **broken}).replace(jpeg(3)[-40:-20], bytes(20))
    dataset = create(ann, "mostly.zip", packed).json()["id"]
    assert ann.wait_ready(dataset)["n_images"] == 19
    failures = failures_of(ann, dataset)
    assert set(failures) == {"00003.jpg", "cut.jpg", "page.png", "nothing.jpg"}
    assert "CRC" in failures["00003.jpg"]
