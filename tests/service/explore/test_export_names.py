from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.explore.export_names import ArchiveNames

FIRST = "300dad2c-1234-41f1-8483-5a879df30de4"
SECOND = "9c1f4b60-1234-41f1-8483-5a879df30de4"

names_on_disk = st.binary(max_size=300).map(os.fsdecode) | st.text(st.characters(exclude_categories=()))


def test_a_name_that_is_free_is_kept() -> None:
    assert ArchiveNames().path("cat.jpg", FIRST) == "images/cat.jpg"


def test_a_second_image_of_that_name_is_told_apart_by_its_id() -> None:
    names = ArchiveNames()
    given = [names.path("cat.jpg", media_id) for media_id in (FIRST, SECOND, SECOND[:8] + FIRST[8:])]
    assert given == [
        "images/cat.jpg",
        "images/cat-9c1f4b60.jpg",
        "images/cat-9c1f4b60-1234-41f1-8483-5a879df30de4.jpg",
    ]
    assert names.path("cat.jpg", SECOND) == f"images/cat-{SECOND}-2.jpg"


def test_an_image_whose_own_name_was_given_away_gets_another() -> None:
    names = ArchiveNames()
    paths = [names.path("a.jpg", FIRST), names.path("a.jpg", SECOND), names.path("a-9c1f4b60.jpg", FIRST)]
    assert paths[1:] == ["images/a-9c1f4b60.jpg", "images/a-9c1f4b60-300dad2c.jpg"]


@pytest.mark.parametrize(
    "name", ["CAT.JPG", unicodedata.normalize("NFD", "CÄT.jpg"), "cÄt.JPG"], ids=["case", "composed", "both"]
)
def test_names_that_some_disk_takes_for_one_are_told_apart(name: str) -> None:
    names = ArchiveNames()
    names.path("cat.jpg", FIRST)
    names.path("cät.jpg", FIRST)
    assert "-9c1f4b60." in names.path(name, SECOND)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../etc/passwd", "images/.._.._etc_passwd"),
        ("/etc/passwd", "images/_etc_passwd"),
        (r"C:\cat.jpg", "images/C__cat.jpg"),
        ("a\0b\n.jpg", "images/a_b_.jpg"),
        ("what?.jpg", "images/what_.jpg"),
        (os.fsdecode(b"\xff.jpg"), "images/_udcff.jpg"),
        (".hidden", "images/.hidden"),
        ("..", f"images/{FIRST}"),
        ("", f"images/{FIRST}"),
    ],
)
def test_a_name_leads_nowhere_and_every_system_takes_it(name: str, path: str) -> None:
    assert ArchiveNames().path(name, FIRST) == path


def test_a_long_name_keeps_its_extension() -> None:
    names = ArchiveNames()
    long = "ä" * 125 + ".jpg"
    first, second = names.path(long, FIRST), names.path(long, SECOND)
    assert first == f"images/{long}"
    assert second == f"images/{'ä' * 121}-9c1f4b60.jpg"


@given(st.lists(st.tuples(names_on_disk, st.sampled_from([FIRST, SECOND]) | st.text()), max_size=8))
def test_any_names_become_different_names_of_files(images: list[tuple[str, str]]) -> None:
    names = ArchiveNames()
    paths = [names.path(name, media_id) for name, media_id in images]
    assert len({unicodedata.normalize("NFD", path).casefold() for path in paths}) == len(images)
    for path in paths:
        name = path.removeprefix("images/")
        assert 0 < len(name.encode()) <= 255
        assert name.isprintable() or not any(ord(letter) < 32 for letter in name)
        assert not {"/", "\\", ":"} & {*name} and name not in (".", "..")
