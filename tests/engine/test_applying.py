"""Files go, come back as they were, and survive whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.disks import mounted, read_only, small_disk
from tests.snapshots import image
from tests.trees import tree_of
from twinlens.engine.applying import Outcome, apply, undo
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.curation import Plan, Removal
from twinlens.engine.errors import InvalidValue
from twinlens.engine.filing import IndexedFile
from twinlens.engine.journal import Action, Heading, Journal, Step
from twinlens.engine.steps import steps_of

ROOT = Path(__file__).parent.parent.parent
DRIVER = ROOT / "tests" / "drivers" / "work_on_journals.py"
RESTORABLE = [Action.TRASH, Action.MOVE, Action.HARDLINK, Action.SYMLINK]
ODD = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\xb1 100%.jpg")
LINE_BREAK = "two\nlines.jpg"
NAMES = ("keep/a.jpg", "a copy.jpg", f"deep/er/{ODD}", "deep/b.jpg", "deep/read-only.jpg", LINE_BREAK)
"""The first one stays, the others are copies of it."""
PICTURE = b"picture" * 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where everything of one test lies, on one disk."""
    return tmp_path


@pytest.fixture
def photos(place: Path) -> Path:
    return grow(place / "photos")


def grow(photos: Path) -> Path:
    """A folder with copies of one picture, with modes, times and attributes of their own, and a bystander."""
    for number, name in enumerate((*NAMES, "bystander.txt")):
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE if name in NAMES else b"text")
        if os.getuid() == 0:
            os.chown(path, 1000 + number, 2000 + number)
        path.chmod(0o600 + number)
        # Not every file system has attributes.
        with suppress(OSError):
            os.setxattr(path, "user.origin", b"camera")
        os.utime(path, ns=(10**18 + number, 10**18 + 1_000_000_007 * number))
    (photos / "deep/read-only.jpg").chmod(0o400)
    for number, folder in enumerate([*(each for each in photos.rglob("*") if each.is_dir()), photos]):
        os.utime(folder, ns=(10**18 + 5, 10**18 + 3 + number))
    return photos


def indexed(path: Path) -> IndexedFile:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return IndexedFile(str(path), status.st_size, status.st_mtime_ns, digest)


def steps(photos: Path, names: Sequence[str] = NAMES[1:], twin: str = NAMES[0]) -> list[Step]:
    kept = indexed(photos / twin)
    return [
        Step(n, f"id-{n}", str(photos), indexed(photos / name), kept, name) for n, name in enumerate(names)
    ]


def heading(place: Path, action: Action) -> Heading:
    return Heading(action, str(place / "data"), str(place / "gone"), str(place / "home/Trash"), "0123abcd")


def ignore(done: int, total: int) -> None:
    """Nobody watches."""


def applied(place: Path, action: Action, planned: list[Step]) -> Outcome:
    with Journal.create(place / "journal", heading(place, action), planned) as journal:
        return apply(journal, ignore)


def undone(place: Path) -> Outcome:
    with Journal.open(place / "journal") as journal:
        return undo(journal, ignore)


def reasons(outcome: Outcome) -> dict[str, str]:
    return {os.path.basename(step.file.path): reason for step, reason in outcome.refused}


# -- there and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", RESTORABLE)
def test_undo_restores_the_tree(place: Path, photos: Path, action: Action) -> None:
    before = tree_of(photos)
    outcome = applied(place, action, steps(photos))
    assert (len(outcome.done), outcome.refused) == (5, [])
    assert tree_of(photos) != before
    assert (photos / NAMES[0]).read_bytes() == PICTURE
    assert len(undone(place).done) == 5
    assert tree_of(photos) == before
    assert sorted(each.name for each in place.iterdir()) == ["journal", "photos"], "nothing is left elsewhere"


@pytest.mark.parametrize("action", [Action.HARDLINK, Action.SYMLINK])
def test_attributes_come_back_too(place: Path, photos: Path, action: Action) -> None:
    try:
        os.setxattr(photos / "a copy.jpg", "user.tag", b"holiday")
    except OSError as error:
        pytest.skip(f"no attributes here: {error}")
    applied(place, action, steps(photos))
    undone(place)
    assert os.getxattr(photos / "a copy.jpg", "user.tag") == b"holiday"


@pytest.mark.parametrize("action", RESTORABLE)
def test_apply_and_undo_twice_are_apply_and_undo(place: Path, photos: Path, action: Action) -> None:
    before = tree_of(photos)
    applied(place, action, steps(photos))
    after = tree_of(photos)
    with Journal.open(place / "journal") as journal:
        assert len(apply(journal, ignore).done) == 5
    assert tree_of(photos) == after
    assert len(undone(place).done) == len(undone(place).done) == 5
    assert tree_of(photos) == before


def test_moved_files_lie_in_the_folder_as_they_lay_in_their_source(place: Path, photos: Path) -> None:
    before = tree_of(photos)
    applied(place, Action.MOVE, steps(photos))
    moved = tree_of(place / "gone")
    for name in map(os.fsencode, NAMES[1:]):
        assert not os.path.lexists(os.path.join(os.fsencode(photos), name))
        assert moved[name] == before[name]


@pytest.mark.parametrize("is_there", [False, True])
def test_undo_restores_a_tree_that_files_were_moved_inside_of(
    place: Path, photos: Path, is_there: bool
) -> None:
    if is_there:
        (photos / "moved").mkdir()
        os.utime(photos / "moved", ns=(10**18, 10**18))
    before = tree_of(photos)
    head = replace(heading(place, Action.MOVE), to=str(photos / "moved/far"))
    with Journal.create(place / "journal", head, steps(photos)) as journal:
        assert len(apply(journal, ignore).done) == 5
        undo(journal, ignore)
    assert tree_of(photos) == before


def test_links_share_the_bytes_of_the_twin(place: Path, photos: Path) -> None:
    applied(place, Action.HARDLINK, steps(photos))
    assert {(photos / name).stat().st_ino for name in NAMES} == {(photos / NAMES[0]).stat().st_ino}
    assert not any((photos / name).is_symlink() for name in NAMES)


def test_symbolic_links_can_move_with_the_tree(place: Path, photos: Path) -> None:
    applied(place, Action.SYMLINK, steps(photos))
    assert os.readlink(photos / "deep/er" / ODD) == "../../keep/a.jpg"
    photos.rename(place / "elsewhere")
    assert all((place / "elsewhere" / name).read_bytes() == PICTURE for name in NAMES)


def test_deleting_is_final(place: Path, photos: Path) -> None:
    outcome = applied(place, Action.DELETE, steps(photos))
    assert len(outcome.done) == 5 and not any((photos / name).exists() for name in NAMES[1:])
    with pytest.raises(InvalidValue, match="deleted files for good"):
        undone(place)


def test_what_was_not_applied_is_not_undone(place: Path, photos: Path) -> None:
    before = tree_of(photos)
    Journal.create(place / "journal", heading(place, Action.TRASH), steps(photos)).close()
    assert undone(place) == Outcome()
    assert tree_of(photos) == before


def test_an_undone_journal_is_not_applied_again(place: Path, photos: Path) -> None:
    applied(place, Action.TRASH, steps(photos))
    undone(place)
    with Journal.open(place / "journal") as journal, pytest.raises(InvalidValue, match="plan again"):
        apply(journal, ignore)


def test_steps_are_counted(place: Path, photos: Path) -> None:
    told: list[tuple[int, int]] = []
    with Journal.create(place / "journal", heading(place, Action.TRASH), steps(photos)) as journal:
        apply(journal, lambda done, total: told.append((done, total)))
        undo(journal, lambda done, total: told.append((done, total)))
    assert told == [*((n, 5) for n in range(6)), *((n, 5) for n in range(6))]


# -- the trash -----------------------------------------------------------------------------------------


def test_the_trash_is_that_of_the_specification(place: Path, photos: Path) -> None:
    applied(place, Action.TRASH, steps(photos))
    trash = place / "home/Trash"
    assert stat.S_IMODE(trash.stat().st_mode) == 0o700
    files = {os.fsencode(each.name) for each in (trash / "files").iterdir()}
    assert files == {os.fsencode(os.path.basename(name)) for name in NAMES[1:]}
    first, path, date = (trash / "info" / f"{ODD}.trashinfo").read_text().splitlines()
    assert first == "[Trash Info]"
    assert path == f"Path={quote(os.fsencode(photos / 'deep/er' / ODD))}" and "%E9" in path and "%25" in path
    assert date.startswith("DeletionDate=20") and len(date) == len("DeletionDate=2024-06-07T08:09:10")


def test_equal_names_do_not_meet_in_the_trash(place: Path, photos: Path) -> None:
    for folder in ("x", "y"):
        (photos / folder).mkdir()
        (photos / folder / "same.jpg").write_bytes(PICTURE)
    (place / "home/Trash/files").mkdir(parents=True)
    (place / "home/Trash/files/same.jpg").write_text("of somebody else")
    before = tree_of(photos)
    applied(place, Action.TRASH, steps(photos, ["x/same.jpg", "y/same.jpg"]))
    names = {each.name for each in (place / "home/Trash/files").iterdir()}
    assert names == {"same.jpg", "same.2.jpg", "same.3.jpg"}
    assert (place / "home/Trash/files/same.jpg").read_text() == "of somebody else"
    undone(place)
    assert tree_of(photos) == before
    assert (place / "home/Trash/files/same.jpg").read_text() == "of somebody else"


def test_a_very_long_name_has_a_place_in_the_trash(place: Path, photos: Path) -> None:
    long = f"{'n' * 250}.jpg"
    (photos / long).write_bytes(PICTURE)
    assert len(applied(place, Action.TRASH, steps(photos, [long])).done) == 1
    undone(place)
    assert (photos / long).is_file()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Another disk than that of `tmp_path`."""
    with small_disk(tmp_path / "disk", "2m") as mounted:
        yield mounted


def test_files_of_another_disk_go_to_its_own_trash(place: Path, disk: Path) -> None:
    photos = grow(disk / "photos")
    before = tree_of(photos)
    assert len(applied(place, Action.TRASH, steps(photos)).done) == 5
    trash = disk / f".Trash-{os.getuid()}"
    assert len(list((trash / "files").iterdir())) == 5 and not (place / "home").exists()
    note = (trash / "info/b.jpg.trashinfo").read_text()
    assert "\nPath=photos/deep/b.jpg\n" in note, "relative to the top of the disk"
    undone(place)
    assert tree_of(photos) == before and not trash.exists()


@pytest.mark.parametrize(("mode", "is_used"), [(0o1777, True), (0o777, False)])
def test_a_shared_trash_of_the_disk_is_used_if_it_is_safe(
    place: Path, disk: Path, mode: int, is_used: bool
) -> None:
    photos = grow(disk / "photos")
    (disk / ".Trash").mkdir()
    (disk / ".Trash").chmod(mode)
    applied(place, Action.TRASH, steps(photos, ["deep/b.jpg"]))
    assert (disk / ".Trash" / str(os.getuid()) / "files/b.jpg").is_file() == is_used
    assert (disk / f".Trash-{os.getuid()}" / "files/b.jpg").is_file() != is_used


# -- other disks ---------------------------------------------------------------------------------------


def test_a_move_to_another_disk_is_a_checked_copy(place: Path, photos: Path, disk: Path) -> None:
    before = tree_of(photos)
    far = replace(heading(place, Action.MOVE), to=str(disk / "gone"))
    with Journal.create(place / "journal", far, steps(photos)) as journal:
        assert len(apply(journal, ignore).done) == 5
        copies = tree_of(disk / "gone")
        assert all(copies[name][:5] == before[name][:5] for name in map(os.fsencode, NAMES[1:]))
        undo(journal, ignore)
    assert tree_of(photos) == before and not (disk / "gone").exists()


def test_what_does_not_fit_stays(place: Path, photos: Path, disk: Path) -> None:
    (photos / "deep/b.jpg").write_bytes(os.urandom(3 << 20))
    before = tree_of(photos)
    far = replace(heading(place, Action.MOVE), to=str(disk / "gone"))
    with Journal.create(place / "journal", far, steps(photos, ["deep/b.jpg", "a copy.jpg"])) as journal:
        outcome = apply(journal, ignore)
        assert reasons(outcome) == {"b.jpg": "is left alone: No space left on device"}
        assert [each.name for each in (disk / "gone").iterdir()] == ["a copy.jpg"]
        undo(journal, ignore)
    assert tree_of(photos) == before


def test_what_was_refused_is_tried_again(place: Path, photos: Path, disk: Path) -> None:
    """When there is room, say."""
    (photos / "deep/b.jpg").write_bytes(os.urandom(1 << 20))
    before = tree_of(photos)
    (disk / "in the way").write_bytes(bytes(3 << 19))
    far = replace(heading(place, Action.MOVE), to=str(disk / "gone"))
    with Journal.create(place / "journal", far, steps(photos)) as journal:
        assert list(reasons(apply(journal, ignore))) == ["b.jpg"]
        (disk / "in the way").unlink()
        assert len(apply(journal, ignore).done) == 5
        assert undo(journal, ignore).refused == []
    assert tree_of(photos) == before


def test_links_do_not_reach_other_disks(place: Path, photos: Path, disk: Path) -> None:
    (disk / "twin.jpg").write_bytes(PICTURE)
    planned = [replace(step, twin=indexed(disk / "twin.jpg")) for step in steps(photos, ["deep/b.jpg"])]
    before = tree_of(photos)
    assert "Invalid cross-device link" in reasons(applied(place, Action.HARDLINK, planned))["b.jpg"]
    assert tree_of(photos) == before


def test_a_folder_that_cannot_be_written_keeps_its_files(place: Path) -> None:
    grow(place / "original")
    with read_only(place / "photos", place / "original") as photos:
        outcome = applied(place, Action.MOVE, steps(photos, ["deep/b.jpg"]))
        assert "is left alone: Read-only file system" in reasons(outcome)["b.jpg"]
        assert (photos / "deep/b.jpg").is_file() and not (place / "gone").exists()


# -- what must stay ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", Action)
def test_a_file_that_changed_since_it_was_indexed_stays(place: Path, photos: Path, action: Action) -> None:
    planned = steps(photos, ["deep/b.jpg", "a copy.jpg", LINE_BREAK, "deep/read-only.jpg"])
    (photos / "deep/b.jpg").write_bytes(PICTURE[:-1])
    os.utime(photos / "a copy.jpg")
    times = (photos / LINE_BREAK).stat().st_mtime_ns
    (photos / LINE_BREAK).write_bytes(b"Picture" * 1000)
    os.utime(photos / LINE_BREAK, ns=(times, times))
    outcome = applied(place, action, planned)
    changed = "changed since it was indexed: index it again and plan anew"
    assert reasons(outcome) == dict.fromkeys(("b.jpg", "a copy.jpg", LINE_BREAK), changed)
    assert [step.number for step in outcome.done] == [3]


def test_a_file_that_is_gone_is_named(place: Path, photos: Path) -> None:
    planned = steps(photos, ["deep/b.jpg", "a copy.jpg"])
    (photos / "deep/b.jpg").unlink()
    outcome = applied(place, Action.TRASH, planned)
    assert reasons(outcome) == {"b.jpg": "is gone: index it again and plan anew"} and len(outcome.done) == 1


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("fate", ["gone", "changed", "edited", "folder"])
def test_a_file_whose_twin_is_not_there_stays(place: Path, photos: Path, action: Action, fate: str) -> None:
    planned = steps(photos)
    twin = photos / NAMES[0]
    before = tree_of(photos)
    if fate == "changed":
        twin.write_bytes(PICTURE + b"!")
    elif fate == "edited":
        times = twin.stat().st_mtime_ns
        twin.write_bytes(b"Picture" * 1000)
        os.utime(twin, ns=(times, times))
    else:
        twin.unlink()
        if fate == "folder":
            twin.mkdir()
    outcome = applied(place, action, planned)
    assert len(outcome.refused) == 5 and not outcome.done
    words = {"gone": "is gone", "folder": "is no file any more"}.get(fate, "changed since it was indexed")
    assert set(reasons(outcome).values()) == {f"stays, since its twin {twin} {words}"}
    after = tree_of(photos)
    assert all(after[name][:5] == before[name][:5] for name in map(os.fsencode, NAMES[1:]))


def test_a_twin_that_changes_on_the_way_stops_what_depends_on_it(place: Path, photos: Path) -> None:
    def meddle(done: int, total: int) -> None:
        if done == 2:
            (photos / NAMES[0]).write_bytes(b"other")

    with Journal.create(place / "journal", heading(place, Action.DELETE), steps(photos)) as journal:
        outcome = apply(journal, meddle)
    assert ([s.number for s in outcome.done], [s.number for s, _ in outcome.refused]) == ([0, 1], [2, 3, 4])


@pytest.mark.parametrize("action", [Action.HARDLINK, Action.SYMLINK])
def test_only_identical_files_become_links(place: Path, photos: Path, action: Action) -> None:
    (photos / "deep/b.jpg").write_bytes(b"a smaller one")
    outcome = applied(place, action, steps(photos, ["deep/b.jpg"]))
    assert "only copies become links" in reasons(outcome)["b.jpg"]


def test_links_are_not_made_twice(place: Path, photos: Path) -> None:
    os.unlink(photos / "deep/b.jpg")
    os.link(photos / NAMES[0], photos / "deep/b.jpg")
    os.symlink("../keep/a.jpg", photos / "deep/c.jpg")
    outcome = applied(place, Action.HARDLINK, steps(photos, ["deep/b.jpg", "deep/c.jpg"]))
    assert "shares its bytes" in reasons(outcome)["b.jpg"]
    assert "symbolic link already" in reasons(outcome)["c.jpg"]


def test_nothing_in_the_folder_is_overwritten(place: Path, photos: Path) -> None:
    (place / "gone/deep").mkdir(parents=True)
    (place / "gone/deep/b.jpg").write_text("mine")
    outcome = applied(place, Action.MOVE, steps(photos))
    assert "is there already" in reasons(outcome)["b.jpg"] and len(outcome.done) == 4
    assert (place / "gone/deep/b.jpg").read_text() == "mine" and (photos / "deep/b.jpg").exists()


def test_nothing_in_the_tree_is_overwritten_by_undo(place: Path, photos: Path) -> None:
    applied(place, Action.TRASH, steps(photos))
    (photos / "deep/b.jpg").write_text("new")
    outcome = undone(place)
    assert "is there again, as another file" in reasons(outcome)["b.jpg"] and len(outcome.done) == 4
    assert (photos / "deep/b.jpg").read_text() == "new"
    assert (place / "home/Trash/files/b.jpg").read_bytes() == PICTURE
    (photos / "deep/b.jpg").unlink()
    assert undone(place).refused == [] and (photos / "deep/b.jpg").read_bytes() == PICTURE


def test_links_whose_bytes_changed_are_left_as_they_are(place: Path, photos: Path) -> None:
    applied(place, Action.HARDLINK, steps(photos, ["deep/b.jpg", "a copy.jpg"]))
    with open(photos / NAMES[0], "r+b") as twin:
        twin.write(b"edited")
    outcome = undone(place)
    assert len(outcome.refused) == 2
    assert all("the bytes that it shares" in reason for reason in reasons(outcome).values())
    assert (photos / "deep/b.jpg").read_bytes().startswith(b"edited")


def test_a_link_that_somebody_replaced_is_left_as_it_is(place: Path, photos: Path) -> None:
    applied(place, Action.SYMLINK, steps(photos, ["deep/b.jpg"]))
    (photos / "deep/b.jpg").unlink()
    (photos / "deep/b.jpg").write_text("new")
    assert "is another file now" in reasons(undone(place))["b.jpg"]
    assert (photos / "deep/b.jpg").read_text() == "new"


def test_a_trash_that_was_emptied_is_named(place: Path, photos: Path) -> None:
    applied(place, Action.TRASH, steps(photos))
    (place / "home/Trash/files/b.jpg").unlink()
    outcome = undone(place)
    assert list(reasons(outcome)) == ["b.jpg"] and "cannot be restored" in reasons(outcome)["b.jpg"]
    assert len(outcome.done) == 4


def test_a_folder_that_was_removed_meanwhile_comes_back(place: Path, photos: Path) -> None:
    applied(place, Action.TRASH, steps(photos, [f"deep/er/{ODD}"]))
    (photos / "deep/er").rmdir()
    assert undone(place).refused == [] and (photos / "deep/er" / ODD).is_file()


def test_the_time_of_a_folder_that_somebody_used_meanwhile_stays(place: Path, photos: Path) -> None:
    before = photos.stat().st_mtime_ns
    applied(place, Action.TRASH, steps(photos, ["deep/b.jpg", "a copy.jpg"]))
    (photos / "deep/new.txt").write_text("new")
    undone(place)
    assert (photos / "deep").stat().st_mtime_ns > 10**18 + 10**9
    assert photos.stat().st_mtime_ns == before


def test_an_image_without_a_file_is_said_to_have_none(place: Path, photos: Path) -> None:
    (step,) = steps(photos, ["deep/b.jpg"])
    vector = replace(step, file=IndexedFile("some id", 0, 0, ""))
    assert "has no file" in applied(place, Action.TRASH, [vector]).refused[0][1]


# -- names that lead to one file -----------------------------------------------------------------------


def test_a_file_that_a_kept_link_leads_to_stays(place: Path, photos: Path) -> None:
    """One picture by two names: removing the file would break the link that is to stand for it."""
    (photos / "links").mkdir()
    os.symlink("../deep/b.jpg", photos / "links/first.jpg")
    os.symlink("first.jpg", photos / "links/second.jpg")
    os.symlink("deep", photos / "shallow")
    names = ["deep/b.jpg", "links/first.jpg", "a copy.jpg"]
    kept = str(photos / "links/second.jpg")
    planned = steps_of(plan(photos, "links/second.jpg", names))
    assert [kept in step.stays for step in planned] == [True, True, False]
    outcome = applied(place, Action.DELETE, planned)
    assert [step.number for step in outcome.done] == [2]
    assert Path(kept).read_bytes() == PICTURE
    through = steps_of(plan(photos, "shallow/b.jpg", names[:2]))
    assert [bool(step.stays) for step in through] == [True, False]
    assert not any(step.stays for step in steps_of(plan(photos, NAMES[0], names[:2])))


def plan(photos: Path, keep: str, remove: Sequence[str]) -> Plan:
    """One file stays for all others."""
    kept = record(photos / keep)
    removals = tuple(Removal(record(photos / name), kept, 1.0, "path", kept) for name in remove)
    return Plan(0.9, ("path",), (kept,), removals, ())


def record(path: Path) -> ImageRecord:
    facts = indexed(path)
    digest = bytes.fromhex(facts.digest)
    return image(
        path.name, path=facts.path, size=facts.size, mtime_ns=facts.mtime_ns, digest=digest, source="/"
    )


@pytest.mark.parametrize("action", [Action.TRASH, Action.DELETE])
def test_a_file_seen_through_two_mounts_is_not_its_own_twin(
    place: Path, photos: Path, action: Action
) -> None:
    with mounted(place / "again", "--bind", str(photos)) as again:
        planned = [replace(step, twin=indexed(again / step.inside)) for step in steps(photos)]
        outcome = applied(place, action, planned)
    assert not outcome.done and all("the very file" in reason for _, reason in outcome.refused)
    assert all((photos / name).read_bytes() == PICTURE for name in NAMES)


@pytest.mark.parametrize("action", [Action.TRASH, Action.DELETE])
def test_of_two_names_of_one_inode_one_may_go(place: Path, photos: Path, action: Action) -> None:
    os.link(photos / NAMES[0], photos / "second name.jpg")
    before = tree_of(photos)
    assert len(applied(place, action, steps(photos, ["second name.jpg"])).done) == 1
    assert (photos / NAMES[0]).read_bytes() == PICTURE and not (photos / "second name.jpg").exists()
    if action is Action.TRASH:
        undone(place)
        assert tree_of(photos) == before, "also that both are one inode"


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("action", [Action.TRASH, Action.MOVE])
def test_a_link_to_the_twin_goes_and_comes_back(
    place: Path, photos: Path, disk: Path, action: Action, far: bool
) -> None:
    os.symlink("../keep/a.jpg", photos / "deep/link.jpg")
    before = tree_of(photos)
    to = disk / "gone" if far else place / "gone"
    head = replace(heading(place, action), to=str(to))
    with Journal.create(place / "journal", head, steps(photos, ["deep/link.jpg"])) as journal:
        assert len(apply(journal, ignore).done) == 1
        assert not os.path.lexists(photos / "deep/link.jpg")
        undo(journal, ignore)
    assert tree_of(photos) == before


# -- kills ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver() -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(DRIVER)]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        yield run
        assert run.stdin is not None
        run.stdin.close()
        assert run.wait(timeout=30) == 0


def work(driver: subprocess.Popen[str], journal: Path, verb: str, after: int) -> bool:
    """True if it was killed before it was done."""
    assert driver.stdin is not None and driver.stdout is not None
    driver.stdin.write(json.dumps({"journal": str(journal), "verb": verb, "after": after}) + "\n")
    driver.stdin.flush()
    said = driver.stdout.readline().strip()
    assert said in ("killed", "done"), said
    return said == "killed"


def check_nothing_is_lost(photos: Path, planned: list[Step], elsewhere: list[Path]) -> None:
    """The bytes of each file are somewhere in full, by their own name: in its place, or where it goes."""
    there = [path for folder in (photos, *elsewhere) for path in folder.rglob("*") if path.is_file()]
    whole = {path.name for path in there if path.read_bytes() == PICTURE}
    assert {os.path.basename(step.file.path) for step in planned} <= whole
    assert (photos / NAMES[0]).read_bytes() == PICTURE


WAYS = [*((action, False) for action in RESTORABLE), (Action.MOVE, True)]


@pytest.mark.parametrize("ending", ["continue", "undo", "undo, killed as well"])
@pytest.mark.parametrize(("action", "far"), WAYS)
def test_a_kill_at_any_instant(
    place: Path, disk: Path, driver: subprocess.Popen[str], action: Action, far: bool, ending: str
) -> None:
    """Killed before each change of a file that there is; then gone on with, or taken back."""
    gone = disk / "gone" if far else place / "gone"
    head = replace(heading(place, action), to=str(gone))
    kills, killed = 0, True
    while killed:
        case = place / str(kills)
        photos = grow(case / "photos")
        planned = steps(photos, [f"deep/er/{ODD}", "a copy.jpg"])
        before = tree_of(photos)
        journal = case / "journal"
        Journal.create(journal, head, planned).close()
        killed = work(driver, journal, "apply", kills)
        check_nothing_is_lost(photos, planned, [gone, place / "home"])
        if ending == "continue":
            with Journal.open(journal) as opened:
                assert len(apply(opened, ignore).done) == 2
            assert not any(is_whole(photos / step.inside) for step in planned)
        elif ending != "undo":
            for after in range(kills + 3):
                if not work(driver, journal, "undo", after):
                    break
                check_nothing_is_lost(photos, planned, [gone, place / "home"])
        with Journal.open(journal) as opened:
            assert undo(opened, ignore).refused == []
        assert tree_of(photos) == before
        assert not gone.exists() and not (place / "home").exists()
        kills += 1
    assert kills > 5


def is_whole(path: Path) -> bool:
    """True if a file is there that shares its bytes with no other."""
    return path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1
