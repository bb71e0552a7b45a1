"""Names that strangers give to files, and the folder that such files stay in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.staging import MAX_NAME_BYTES, Staging, safe_name, safe_parts

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("/\\.: \0"), max_size=300)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Ferien am Meer.JPG", "Ferien am Meer.JPG"),
        ("naïve 猫 🐈.jpg", "naïve 猫 🐈.jpg"),
        ("/etc/passwd", "passwd"),
        ("../../etc/passwd", "passwd"),
        (r"..\..\boot.ini", "boot.ini"),
        (r"C:\Users\me\photo.jpg", "photo.jpg"),
        ("a/b\\c/photo.jpg", "photo.jpg"),
        (".hidden.jpg", "hidden.jpg"),
        (".twinlens", "twinlens"),
        ("...photo.jpg", "photo.jpg"),
        (" photo.jpg ", "photo.jpg"),
        ("a\0b\r\n\x7f\x9b.jpg", "ab.jpg"),
        ("a\udce9\ud83db.jpg", "ab.jpg"),
        ("a\u2028b\u2029.jpg", "ab.jpg"),
    ],
)
def test_the_last_part_of_a_name_is_kept(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@pytest.mark.parametrize("name", ["", ".", "..", "...", "dir/", "a/..", "\\", " ", "\0", ". ."])
def test_what_names_no_file_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        safe_name(name)
    assert repr(name) in str(refused.value)


def test_a_name_is_not_repeated_at_length() -> None:
    with pytest.raises(BadRequest) as refused:
        safe_name("x" * 10_000 + "/")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 255),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("猫" * 100 + ".jpg", "猫" * 83 + ".jpg"),
        ("a." + "x" * 300, "a." + "x" * 253),
    ],
    ids=["fits", "one too many", "with an extension", "of wide letters", "all extension"],
)
def test_long_names_are_shortened_before_the_extension(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photos/2024/a.jpg", "photos/2024/a.jpg"),
        ("./photos//a.jpg", "photos/a.jpg"),
        ("/photos/a.jpg", "photos/a.jpg"),
        ("../../photos/../a.jpg", "photos/a.jpg"),
        (r"C:\photos\a.jpg", "photos/a.jpg"),
        ("C:/photos/a.jpg", "photos/a.jpg"),
        (r"\\server\share\a.jpg", "server/share/a.jpg"),
        ("pho\0tos/a\n.jpg", "photos/a.jpg"),
        ("..\0/a.jpg", "a.jpg"),
        (".hidden/a.jpg", ".hidden/a.jpg"),
        ("a/" + "x" * 300 + ".jpg", "a/" + "x" * 251 + ".jpg"),
        ("..", ""),
        ("", ""),
    ],
)
def test_paths_keep_their_folders_and_lead_nowhere_else(given: str, kept: str) -> None:
    assert "/".join(safe_parts(given)) == kept


@given(ANY_TEXT)
def test_no_name_leads_anywhere_else(name: str) -> None:
    try:
        kept = [safe_name(name)]
    except BadRequest:
        kept = []
    for part in (*kept, *safe_parts(name)):
        assert part not in ("", ".", "..")
        assert not {"/", "\\", "\0"} & set(part)
        assert len(part.encode()) <= MAX_NAME_BYTES
    assert not any(part.startswith(".") for part in kept)


def put(staging: Staging, place: str, data: bytes) -> Path:
    path, file = staging.create(place.split("/"))
    with file:
        file.write(data)
    return path


def test_files_of_one_name_lie_side_by_side(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    paths = [put(staging, "a.jpg", data) for data in (b"1", b"2", b"3")]
    paths.append(put(staging, "2/a.jpg", b"4"))
    paths.append(put(staging, "x/a.jpg", b"5"))
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "a.jpg",
        "2/a.jpg",
        "3/a.jpg",
        "2/2/a.jpg",
        "x/a.jpg",
    ]
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3", b"4", b"5"]


def test_a_file_and_a_folder_of_one_name_lie_side_by_side(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    places = [put(staging, place, b"") for place in ("a", "a/b.jpg", "c/d.jpg", "c", "2", "c")]
    assert [str(path.relative_to(tmp_path)) for path in places] == [
        "a",
        "2/a/b.jpg",
        "c/d.jpg",
        "2/c",
        "2/2",
        "3/c",
    ]


def test_thousands_of_files_of_one_name_are_not_searched_for_again_and_again(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    began = time.monotonic()
    paths = [put(staging, "a", b"") for _ in range(3_000)]
    assert time.monotonic() - began < 20
    assert paths[-1] == tmp_path / "3000" / "a"
    assert staging.folders == 2_999


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    assert put(Staging(folder), "link/a.jpg", b"") == folder / "2" / "link" / "a.jpg"
    assert not list(outside.iterdir())


def test_what_is_thrown_away_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.jpg").write_bytes(b"before")
    staging = Staging(tmp_path)
    for place in ("kept/a.jpg", "kept/b.jpg", "b.jpg", "deep/er/c.jpg"):
        put(staging, place, b"after")
    staging.discard()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "kept" / "a.jpg"]
    assert (tmp_path / "kept" / "a.jpg").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["kept"]


def test_one_file_thrown_away_is_not_waited_for(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    put(staging, "a.jpg", b"")
    staging.remove(put(staging, "b.jpg", b""))
    staging.sync()
    assert os.listdir(tmp_path) == ["a.jpg"]
