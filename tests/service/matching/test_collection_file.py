"""The file of collections: who may read it, what survives a kill, and what is said where it is broken."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.disks import read_only, small_disk
from tests.service.matching.stored import hashes, ids, record
from twinlens.engine.errors import NotAStore, ServiceError, StorageFull
from twinlens.service.matching.collections import CollectionStore, Insertion
from twinlens.service.matching.distances import HashType
from twinlens.service.matching.filters import compile_filter

ROOT = Path(__file__).parent.parent.parent.parent
DRIVER = ROOT / "tests" / "drivers" / "insert_records.py"
KILLS = 6


def start(path: Path, prefix: str, output: Path, *count: str) -> subprocess.Popen[str]:
    """The driver, ready to begin; what it prints goes to a file, so that a kill loses nothing of it."""
    command = [sys.executable, str(DRIVER), str(path), prefix, *count]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with output.open("w") as out:
        run = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=out, text=True)
    while not (lines := printed(output)):
        assert run.poll() is None
        time.sleep(0.01)
    assert lines == ["ready"]
    return run


def begin(run: subprocess.Popen[str]) -> None:
    assert run.stdin is not None
    run.stdin.write("go\n")
    run.stdin.close()


def printed(output: Path) -> list[str]:
    """The lines that were printed whole."""
    return [line.strip() for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]


def filled(path: Path, count: int = 300) -> Path:
    with closing(CollectionStore(path, max_records=10_000)) as store:
        store.insert("ann", "c", [record(f"r{i}", i, text="x" * 300) for i in range(count)])
    return path


def use_all(path: Path) -> None:
    """Everything that reads, and a write."""
    with closing(CollectionStore(path, max_records=10_000)) as store:
        store.nearest("ann", "c", hashes(0).bmh1, HashType.BMH1)
        store.count("ann", "c", compile_filter({"text": 1}))
        store.get("ann", "c", [f"r{i}" for i in range(300)])
        list(store.all("ann", "c"))
        store.insert("ann", "c", [record(f"new{i}", i, text="x" * 300) for i in range(300)])


# -- life ------------------------------------------------------------------------------------------


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    path = filled(tmp_path / "c.sqlite")
    with closing(CollectionStore(path, max_records=10_000)) as store:
        assert ids(list(store.all("ann", "c"))) == [f"r{i}" for i in range(300)]
        assert len(store.nearest("ann", "c", hashes(0).phash, HashType.PHASH)) == 300
        assert store.insert("ann", "c", [record("r5")]) == [Insertion.DUPLICATE]
    assert [left.name for left in tmp_path.iterdir()] == ["c.sqlite"]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "deep" / "c.sqlite"
    with closing(CollectionStore(path, max_records=10)) as store:
        store.insert("ann", "c", [record("a")])
        left = list(path.parent.iterdir())
        assert len(left) == 3
        assert {stat.S_IMODE(each.stat().st_mode) for each in left} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path / "c.sqlite", max_records=10)
    store.insert("ann", "c", [record("a")])
    store.count("ann", "c")
    store.close()
    store.close()
    with pytest.raises(ServiceError, match="the server is stopping"):
        store.count("ann", "c")
    with pytest.raises(ServiceError, match="the server is stopping"):
        store.insert("ann", "c", [record("b")])


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = filled(tmp_path / "c.sqlite")
    with closing(CollectionStore(path, max_records=10_000)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM records")
        began = time.monotonic()
        assert store.count("ann", "c", compile_filter({})) == 300
        assert len(store.nearest("ann", "c", hashes(0).bmh1, HashType.BMH1)) == 300
        assert time.monotonic() - began < 5
        other.rollback()


def test_processes_that_begin_together_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    outputs = [tmp_path / f"{number}.txt" for number in range(4)]
    runs = [start(path, "same", output, "50") for output in outputs]
    for run in runs:
        begin(run)
    assert [run.wait(60) for run in runs] == [0] * 4
    lines = [line for output in outputs for line in printed(output)[1:]]
    with closing(CollectionStore(path, max_records=10_000)) as store:
        held = ids(list(store.all("ann", "c")))
    deleted = {line[1:] for line in lines if line[0] == "-"}
    expected = sorted({f"same{number}-{i}" for number in range(50) for i in range(3)} - deleted)
    assert sorted(held) == expected
    assert sorted(id_ for id_ in lines if id_[0] != "-" and id_ not in deleted) == expected


def test_one_that_finds_another_at_work_on_a_new_file_waits_for_it(tmp_path: Path) -> None:
    """SQLite itself would not: it fails at once where a log is to begin and another one writes."""
    path = tmp_path / "c.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
        done.start()
        with closing(CollectionStore(path, max_records=10)) as store:
            assert store.count("ann", "c") == 0
        done.join()


def test_a_kill_loses_no_acknowledged_insert(tmp_path: Path) -> None:
    path, chance = tmp_path / "c.sqlite", random.Random(11)
    lines: list[str] = []
    for kill in range(KILLS):
        output = tmp_path / f"{kill}.txt"
        run = start(path, f"{kill}/", output)
        begin(run)
        while len(printed(output)) < 2:
            assert run.poll() is None
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        run.kill()
        run.wait(60)
        lines += printed(output)[1:]
    deleted = {line[1:] for line in lines if line[0] == "-"}
    acknowledged = {line for line in lines if line[0] != "-"}
    assert len(acknowledged) > 10 * KILLS
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(CollectionStore(path, max_records=10**6)) as store:
        held = set(ids(list(store.all("ann", "c"))))
        found = {each.id for each, _ in store.nearest("ann", "c", hashes(0).bmh1, HashType.BMH1)}
        assert acknowledged - deleted <= held
        assert held == found and len(held) == store.count("ann", "c")


# -- files that are something else -------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with pytest.raises(NotAStore, match=r"c\.sqlite is damaged"):
        CollectionStore(path, max_records=10)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="is not a file of image-matching collections"):
        CollectionStore(path, max_records=10)
    assert path.read_bytes() == before


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "c.sqlite")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 2")
    with pytest.raises(NotAStore, match="has format 2, this TwinLens knows up to 1: update it"):
        CollectionStore(path, max_records=10)


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").touch()
    filled(tmp_path / "c.sqlite")


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise", "no tables"])
def test_damage_is_said(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path / "c.sqlite")
    content = path.read_bytes()
    if damage == "no tables":
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("DROP TABLE records")
    else:
        rest = len(content) - 8192
        filler = {"cut": b"", "zeros": bytes(rest), "noise": random.Random(3).randbytes(rest)}[damage]
        path.write_bytes(content[:8192] + filler)
    with pytest.raises(NotAStore, match=r"c\.sqlite is damaged .*: restore it"):
        use_all(path)


@pytest.mark.parametrize("fields", ["'{\"x\": '", "CAST(X'ff7b' AS TEXT)"])
def test_damaged_fields_are_said(tmp_path: Path, fields: str) -> None:
    path = filled(tmp_path / "c.sqlite")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE records SET fields = {fields} WHERE id = 'r7'")
    with closing(CollectionStore(path, max_records=10_000)) as store:
        assert len(store.get("ann", "c", ["r8"])) == 1
        with pytest.raises(NotAStore, match="is damaged"):
            store.get("ann", "c", ["r7"])
        with pytest.raises(NotAStore, match="is damaged"):
            store.count("ann", "c", compile_filter({"x": 1}))


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be"):
        CollectionStore(tmp_path, max_records=10)
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="cannot be opened: File exists"):
        CollectionStore(tmp_path / "file" / "c.sqlite", max_records=10)


# -- disks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["16k", "200k", "1m"])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, size: str) -> None:
    acknowledged: list[str] = []
    with small_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(StorageFull, match=r"data folder .*disk: free some space"):
            fill_up(disk / "c.sqlite", acknowledged)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with closing(CollectionStore(disk / "c.sqlite", max_records=10**6)) as store:
            assert ids(list(store.all("ann", "c"))) == acknowledged
            assert store.insert("ann", "c", [record("more")]) == [Insertion.INSERTED]


def fill_up(path: Path, acknowledged: list[str]) -> None:
    with closing(CollectionStore(path, max_records=10**6)) as store:
        for number in range(10_000):
            batch = [record(f"{number}-{i}", i, text="x" * 2000) for i in range(10)]
            store.insert("ann", "c", batch)
            acknowledged += ids(batch)


def test_a_read_only_disk_is_said(tmp_path: Path) -> None:
    filled(tmp_path / "home" / "c.sqlite")
    with read_only(tmp_path / "mounted", tmp_path / "home") as mount:
        for name in ("c.sqlite", "other.sqlite"):
            with pytest.raises(ServiceError, match="cannot be"):
                CollectionStore(mount / name, max_records=10)
