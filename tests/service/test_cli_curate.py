"""`twinlens curate`, driven as a user drives it: real photographs, the embedded model, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.brute_force import read_stored
from tests.copies import photograph, save, scaled, turned
from tests.trees import Tree, tree_of
from twinlens.engine.dataset import Dataset

MODEL = "efficientnet_lite0"
STEMS = ("astronaut", "camera", "chelsea", "coffee", "coins", "motorcycle_left", "retina", "rocket")
PROGRAM = [sys.executable, "-c", "from twinlens.service.cli import main; main()"]


def run(*arguments: str | Path, code: int = 0, home: Path | None = None) -> tuple[str, str]:
    command = [*PROGRAM, *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"} | ({"XDG_DATA_HOME": str(home)} if home else {})
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def curate(*arguments: str | Path, home: Path | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run("curate", *arguments, "--json", home=home)[0])
    return answer


def fill(photos: Path) -> None:
    """Eight photographs, four edits of each, copies, two flat pictures and a file that is none."""
    photos.mkdir()
    for stem in STEMS:
        original = photograph(stem)
        original.thumbnail((640, 640))
        save(original, photos / f"{stem}.jpg", quality=92)
        save(scaled(original, 0.5), photos / "small" / f"{stem}.png")
        save(original, photos / "sent" / f"{stem}.jpg", quality=60)
        save(scaled(original, 1.6), photos / "printed" / f"{stem}.jpg", quality=90)
        save(turned(original, 2), photos / f"{stem} 2.jpg", quality=90)
    shutil.copy2(photos / "coffee.jpg", photos / "sent/coffee copy.jpg")
    shutil.copy2(photos / "coffee.jpg", photos / "a copy of coffee.jpg")
    (photos / "broken.jpg").write_bytes(b"")
    for name in ("white 1.png", "white 2.png"):
        save(Image.new("RGB", (64, 48), "white"), photos / name)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs with its dataset inside, as `twinlens index` leaves it; never changed."""
    photos = tmp_path_factory.mktemp("original") / "photos"
    fill(photos)
    run("index", photos, "--dataset", photos / ".twinlens", "--model", MODEL)
    return photos


@pytest.fixture
def photos(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(original, tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def data(photos: Path) -> Path:
    return photos / ".twinlens"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the trash of one's own is."""
    return tmp_path / "home"


def names(paths: list[str], photos: Path) -> set[str]:
    return {os.path.relpath(path, photos) for path in paths}


def pictures(photos: Path) -> Tree:
    """The tree without the dataset in it."""
    return {name: facts for name, facts in tree_of(photos).items() if not name.startswith(b".twinlens")}


# -- the plan ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(original: Path) -> dict[str, Any]:
    return curate("--dataset", original / ".twinlens", "--threshold", "0.86")


def test_the_plan_has_the_keys_that_programs_read(plan: dict[str, Any]) -> None:
    assert list(plan)[:3] == ["keep", "remove", "conflicts"]
    assert {tuple(removal) for removal in plan["remove"]} == {("path", "twin", "similarity", "rule")}
    assert (plan["kept_images"], plan["removed_images"]) == (len(plan["keep"]), len(plan["remove"]))
    assert plan["freed_bytes"] == sum(os.path.getsize(removal["path"]) for removal in plan["remove"])
    assert (plan["threshold"], plan["model"], plan["applied"], plan["unseen"]) == (0.86, MODEL, None, [])
    assert plan["rules"] == ["pixels", "sharpness", "bytes", "exif", "path"]
    assert plan["keep"] == sorted(plan["keep"])


def test_originals_stay_and_their_copies_go(plan: dict[str, Any], original: Path) -> None:
    kept = names(plan["keep"], original)
    coffee = {"coffee.jpg", "a copy of coffee.jpg", "sent/coffee copy.jpg"}
    assert kept - coffee == {*(f"{stem}.jpg" for stem in STEMS if stem != "coffee"), "white 1.png"}
    assert len(kept & coffee) == 1
    said = {os.path.relpath(removal["path"], original): removal["rule"] for removal in plan["remove"]}
    for stem in STEMS:
        assert (said[f"printed/{stem}.jpg"], said[f"small/{stem}.png"]) == ("upscaled", "pixels")
    assert {"sharpness", "framed", "path"} < set(said.values())


@pytest.mark.parametrize("threshold", [0.7, 1.0])
def test_both_promises_hold_by_brute_force(original: Path, threshold: float) -> None:
    data = original / ".twinlens"
    plan = curate("--dataset", data, "--threshold", str(threshold), "--quick")
    stored = read_stored(data)
    with Dataset.open(data) as dataset:
        ids = {image.path: image.id for image in dataset.images()}
    place = {id_: number for number, id_ in enumerate(stored.ids)}
    kept = [place[ids[path]] for path in plan["keep"]]
    assert len(kept) + len(plan["remove"]) == len(stored.ids)
    for removal in plan["remove"]:
        a, b = place[ids[removal["path"]]], place[ids[removal["twin"]]]
        assert b in kept and a not in kept
        assert (
            removal["similarity"] == stored.similarity[a, b] == stored.similarity[a, kept].max() >= threshold
        )
    between = stored.similarity[kept][:, kept]
    assert ((between >= threshold).sum(axis=1) == 1).all(), "only with itself"


def test_the_plan_as_a_table(original: Path, plan: dict[str, Any], tmp_path: Path) -> None:
    run("curate", "--dataset", original / ".twinlens", "--csv", "--out", tmp_path / "plan.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "plan.csv").read_text())))
    assert [row["path"] for row in rows if row["action"] == "keep"] == plan["keep"]
    removed = [row for row in rows if row["action"] == "remove"]
    assert [(r["path"], r["twin"], float(r["similarity"]), r["rule"]) for r in removed] == [
        (r["path"], r["twin"], r["similarity"], r["rule"]) for r in plan["remove"]
    ]
    assert list(rows[0]) == [
        "action",
        "path",
        "twin",
        "similarity",
        "rule",
        "bytes",
        "id",
        "twin_id",
        "winner",
    ]


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(original: Path) -> None:
    before = pictures(original)
    out, _ = run("curate", "--dataset", original / ".twinlens", "--quick")
    assert "goes for" in out and "images stay" in out and "nothing was touched: --apply trash does it" in out
    assert pictures(original) == before and not list((original / ".twinlens").glob("curate*"))


def test_rules_from_a_file(original: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("# PNG first\nset=photos, format=png>jpeg\n\npath~/sent/\npath\n")
    plan = curate("--dataset", original / ".twinlens", "--rules", f"@{tmp_path / 'rules.txt'}")
    assert plan["rules"] == ["set=photos", "format=png>jpeg", "path~/sent/", "path"]
    assert {f"small/{stem}.png" for stem in STEMS} <= names(plan["keep"], original)


def test_protected_folders_stay_whole(original: Path, tmp_path: Path) -> None:
    """Also one that is named by a link to it."""
    (tmp_path / "link").symlink_to(original / "sent")
    protect = ("--protect", tmp_path / "link", "--protect", original / "small")
    plan = curate("--dataset", original / ".twinlens", *protect)
    kept = names(plan["keep"], original)
    assert {f"sent/{stem}.jpg" for stem in STEMS} | {f"small/{stem}.png" for stem in STEMS} <= kept
    assert "coffee.jpg" not in kept
    assert len(plan["conflicts"]) >= len(STEMS) - 2
    assert any(removal["rule"] == "protected" for removal in plan["remove"])
    assert any("protected images" in notice for notice in plan["notices"])


def test_decisions_are_respected(photos: Path, data: Path) -> None:
    with Dataset.open(data) as dataset:
        id_ = {os.path.relpath(image.path, photos): image.id for image in dataset.images()}
        dataset.keep([id_["small/rocket.png"]])
        others = [name for name in id_ if "coins" in name and name != "small/coins.png"]
        dataset.reject_pairs([(id_["small/coins.png"], id_[name]) for name in others])
    kept = names(curate("--dataset", data, "--quick")["keep"], photos)
    assert "small/rocket.png" in kept and "rocket.jpg" not in kept
    assert "small/coins.png" in kept and len({name for name in kept if "coins" in name}) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rules", "pixels,size"], "no keeper rule 'size'"),
        (
            ["--rules", "set=nobody"],
            "no set is named 'nobody', as keeper rule 'set=nobody' says: there are photos",
        ),
        (["--protect", "nowhere"], "--protect nowhere does not exist"),
        (["--apply", "move"], "--apply move and --to FOLDER belong together"),
        (["--apply", "delete"], "--yes-delete-for-good"),
        (["--undo", "nothing.jsonl", "--apply", "trash"], "give one of"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(original: Path, arguments: list[str], words: str) -> None:
    _, said = run("curate", "--dataset", original / ".twinlens", *arguments, code=2)
    assert said.startswith("error: ") and words in said and "Traceback" not in said


def test_a_dataset_that_is_none_and_no_dataset(tmp_path: Path) -> None:
    assert "--dataset is missing" in run("curate", code=2)[1]
    assert "holds no dataset" in run("curate", "--dataset", tmp_path, code=5)[1]
    assert "cannot be opened as a journal" in run("curate", "--undo", tmp_path / "no", code=2)[1]


# -- the files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["move", "hardlink"])
def test_apply_then_undo_leaves_the_tree_as_it_was(
    photos: Path, data: Path, action: str, tmp_path: Path, home: Path
) -> None:
    before = pictures(photos)
    options = ("--to", tmp_path / "gone") if action == "move" else ()
    plan = curate("--dataset", data, "--rules", "path", "--apply", action, *options, home=home)
    applied = plan["applied"]
    assert applied["action"] == action and Path(applied["journal"]).parent == data
    if action == "move":
        assert applied["done"] == len(plan["remove"]) and applied["refused"] == []
        assert not any(os.path.lexists(removal["path"]) for removal in plan["remove"])
    else:
        assert applied["done"] == 3
        assert len(applied["refused"]) == len(plan["remove"]) - 3
    assert all(os.path.isfile(path) for path in plan["keep"])
    if action == "move":
        assert (tmp_path / "gone/small/rocket.png").is_file()
    back = curate("--undo", applied["journal"], home=home)
    assert (back["undone"], back["refused"]) == (applied["done"], [])
    assert pictures(photos) == before
    assert not (tmp_path / "gone").exists() and not (tmp_path / "home").exists()


def test_the_dataset_answers_for_what_is_there(photos: Path, data: Path, home: Path) -> None:
    before = pictures(photos)
    plan = curate("--dataset", data, "--quick", "--apply", "trash", home=home)
    assert pictures(photos) != before
    with Dataset.open(data) as dataset:
        assert {image.path for image in dataset.images()} == set(plan["keep"])
    curate("--undo", plan["applied"]["journal"], home=home)
    assert pictures(photos) == before and not home.exists()
    again = curate("--dataset", data, "--quick")
    assert {key: again[key] for key in ("keep", "remove")} == {key: plan[key] for key in ("keep", "remove")}


def test_files_that_changed_are_named_and_the_others_go(photos: Path, data: Path, home: Path) -> None:
    changed, twin = photos / "small/rocket.png", photos / "astronaut.jpg"
    save(photograph("brick"), changed)
    twin.unlink()
    rules = ("--rules", r"path~photos/astronaut\.jpg,pixels,path", "--protect", photos / "rocket.jpg")
    applied = curate("--dataset", data, "--quick", *rules, "--apply", "trash", home=home)["applied"]
    reasons = {refusal["path"]: refusal["reason"] for refusal in applied["refused"]}
    assert "changed since it was indexed" in reasons[str(changed)] and changed.exists()
    small = photos / "small/astronaut.png"
    assert "stays, since its twin" in reasons[str(small)] and small.exists() and applied["done"] > 10


def test_delete_is_final(data: Path) -> None:
    said, notices = run(
        "curate", "--dataset", data, "--quick", "--apply", "delete", "--yes-delete-for-good", "--json"
    )
    plan = json.loads(said)
    assert plan["applied"]["final"] and "nothing takes back what is deleted" in notices
    assert plan["remove"] and not any(os.path.lexists(removal["path"]) for removal in plan["remove"])
    _, said = run("curate", "--undo", plan["applied"]["journal"], code=2)
    assert "deleted files for good" in said


def test_moving_into_the_collection_itself_is_warned_of(photos: Path, data: Path) -> None:
    to, journal = photos / "duplicates", photos.parent / "j.jsonl"
    apply = ("--apply", "move", "--to", to, "--journal", journal)
    _, said = run("curate", "--dataset", data, "--quick", *apply)
    assert "the next index of it takes the moved files in again" in said and str(journal) in said
    assert (photos / "duplicates/small/rocket.png").is_file()
    out, _ = run("curate", "--undo", journal)
    assert "files restored" in out


# -- kills ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["continue", "undo"])
def test_a_killed_apply_is_continued_or_undone(photos: Path, data: Path, home: Path, ending: str) -> None:
    before = pictures(photos)
    command = [*PROGRAM, "curate", "--dataset", str(data), "--quick", "--apply", "trash"]
    env = {**os.environ, "XDG_DATA_HOME": str(home)}
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list((home / "Trash/files").glob("*"))) < 3:
            assert time.monotonic() < deadline and process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and pictures(photos) != before
    (journal,) = data.glob("curate-*.jsonl")
    planned = curate("--dataset", data, "--quick")
    assert any(f"{journal} was cut off: --continue goes on" in notice for notice in planned["notices"])
    if ending == "continue":
        continued = curate("--continue", journal, home=home)
        assert (continued["done"], continued["refused"]) == (len(planned["remove"]), [])
        assert not any(os.path.lexists(removal["path"]) for removal in planned["remove"])
    curate("--undo", journal, home=home)
    assert pictures(photos) == before and not home.exists()
    with Dataset.open(data) as dataset:
        assert len(dataset) == len(planned["keep"]) + len(planned["remove"])
