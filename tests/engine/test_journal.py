"""A journal says what is to be done and how far that is, whatever happens to the process that writes it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.disks import small_disk
from twinlens.engine.errors import InvalidValue, StorageFull
from twinlens.engine.filing import Facts, IndexedFile
from twinlens.engine.journal import Action, Begun, Heading, Journal, Step, is_unfinished

HEADING = Heading(Action.MOVE, "/data", "/gone", "/home/me/Trash", "abcd")
ODD = os.fsdecode(b"/photos/caf\xe9 \xf0\x9f\x90\xb1\n.jpg")
TWIN = IndexedFile("/photos/b.jpg", 6, 8, "bb")
STEPS = [
    Step(0, "id-0", "/photos", IndexedFile("/photos/a.jpg", 5, 7, "aa"), TWIN, "a.jpg"),
    Step(1, "id-1", "", IndexedFile(ODD, 9, 10, "cc"), TWIN, "deep/c.jpg"),
]
BEGUN = Begun(
    was=Facts(0o640, 1000, 100, 123456789, 987654321, {"user.tag": "00ff"}),
    folders={"/photos": (11, 12), os.path.dirname(ODD): (13, 14)},
    to="/gone/a.jpg",
    made=("/gone", "/gone/deep"),
    inode=(3, 4),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_what_was_written_is_read_again(path: Path) -> None:
    with Journal.create(path, HEADING, STEPS) as journal:
        journal.begin(STEPS[0], BEGUN)
        journal.finish(STEPS[0], {"/photos": 77})
        journal.begin(STEPS[1], Begun())
        journal.refuse(STEPS[1], "is gone")
        journal.begin_undo(STEPS[0], ["/photos"])
        states = journal.states
        assert journal.is_being_undone
    with Journal.open(path) as again:
        assert (again.heading, list(again.steps), again.states) == (HEADING, STEPS, states)
        assert again.states[0].begun == BEGUN and again.states[0].folders == {"/photos": 77}
        assert (again.states[1].refused, again.states[0].undone) == ("is gone", False)
        again.finish_undo(STEPS[0])
        again.begin(STEPS[1], Begun())
    with Journal.open(path) as again:
        assert (again.states[0].undone, again.states[1].refused) == (True, "")


def test_a_journal_is_lines_that_a_person_can_read(path: Path) -> None:
    Journal.create(path, HEADING, STEPS).close()
    first, second, third = path.read_text().splitlines()
    assert first.startswith(
        '{"journal": "twinlens curate", "format": 1, "action": "move", "dataset": "/data"'
    )
    assert second.startswith('{"step": 0, ') and '"path": "/photos/a.jpg"' in second
    assert third.startswith('{"step": 1, ')


def test_each_line_is_there_as_soon_as_the_call_returns(path: Path) -> None:
    with Journal.create(path, HEADING, STEPS) as journal:
        before = len(path.read_bytes())
        journal.begin(STEPS[0], BEGUN)
        assert path.read_bytes()[before:].startswith(b'{"begin": 0, ')


def test_a_line_that_was_cut_off_counts_as_not_written(path: Path) -> None:
    with Journal.create(path, HEADING, STEPS) as journal:
        journal.begin(STEPS[0], BEGUN)
        whole = path.read_bytes()
        journal.finish(STEPS[0], {"/photos": 77})
        longer = path.read_bytes()
    for end in range(len(whole), len(longer)):
        path.write_bytes(longer[:end])
        with Journal.open(path) as journal:
            assert journal.states[0].begun == BEGUN and not journal.states[0].done
            journal.finish(STEPS[0], {"/photos": 78})
        with Journal.open(path) as journal:
            assert journal.states[0].folders == {"/photos": 78}


def test_a_journal_that_was_cut_off_is_known(path: Path) -> None:
    with Journal.create(path, HEADING, STEPS) as journal:
        assert not is_unfinished(path), "somebody is at work"
    assert is_unfinished(path)
    with Journal.open(path) as journal:
        journal.end()
    assert not is_unfinished(path)
    with Journal.open(path) as journal:
        journal.begin_undo(STEPS[0], [])
    assert is_unfinished(path)


def test_two_processes_do_not_work_on_one_journal(path: Path) -> None:
    with Journal.create(path, HEADING, STEPS), pytest.raises(InvalidValue, match="another process works on"):
        Journal.open(path)
    Journal.open(path).close()


def test_another_journal_is_not_overwritten(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InvalidValue, match="is there already"):
        Journal.create(path, HEADING, STEPS)
    assert [each.name for each in path.parent.iterdir()] == ["journal.jsonl"] and path.read_text() == "mine"
    with pytest.raises(InvalidValue, match="there is no folder"):
        Journal.create(path.parent / "nowhere/journal", HEADING, STEPS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no journal of curate"),
        (b'{"some": "json"}\n', "is no journal of curate"),
        (b"\x89PNG\r\n\x1a\n", "is no journal of curate, or damaged in line 1"),
        (b'{"journal": "twinlens curate", "format": 2}\n', "update TwinLens"),
        (b'{"journal": "twinlens curate", "format": 1}\n', "is damaged"),
        (b"[1]\n", "no journal of curate"),
    ],
)
def test_what_is_no_journal_is_said_to_be_none(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=words):
        Journal.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line", [b'{"done": 9, "folders": {}}', b'{"begin": 0}', b'{"what": 0}', b"{}", b"x"]
)
def test_damage_is_found(path: Path, line: bytes) -> None:
    Journal.create(path, HEADING, STEPS).close()
    content = path.read_bytes() + line + b"\n"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match="damaged"):
        Journal.open(path)
    assert path.read_bytes() == content


def test_a_journal_that_is_not_there(path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot be opened as a journal: No such file"):
        Journal.open(path)


def test_a_full_disk_stops_before_anything_is_touched(tmp_path: Path) -> None:
    many = [replace(STEPS[0], number=number) for number in range(3000)]
    with small_disk(tmp_path / "disk", "100k") as disk:
        with pytest.raises(StorageFull, match="free some space"):
            Journal.create(disk / "journal.jsonl", HEADING, many)
        assert not list(disk.iterdir())
