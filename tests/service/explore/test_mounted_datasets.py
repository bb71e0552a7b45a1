"""Datasets made on the command line and served: `twinlens serve --dataset DIR`; owners of what had none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.archives import save_tar
from tests.disks import read_only
from tests.explore import Client, all_names, duplicates, laboratory, refusal, two_keys
from tests.explore_life import files_below, folder_of, jpeg
from tests.fakes import ColourGridEmbedder
from tests.servers import running_server
from twinlens.engine.dataset import Dataset
from twinlens.service.keys import KeyStore, NewKey

TWINLENS = Path(sys.executable).with_name("twinlens")
ROWS = np.array([[1.0, 0.0, 0.0], [1.0, 0.01, 0.0], [0.0, 1.0, 0.0]])
A, B, C = (f"{number:08}-0000-4000-8000-000000000000" for number in range(3))


def make(folder: Path, count: int = 3) -> Path:
    """A dataset of the vectors A, B and C, of which the first two are twins."""
    ids = [A, B, C][:count]
    Dataset.from_vectors(ids, ROWS[:count], name="vectors", folder=folder, device="cpu").close()
    return folder


def twinlens(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command line; a server that starts against expectation is ended."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
    return subprocess.run(
        [TWINLENS, *arguments], env=kept | settings, capture_output=True, text=True, timeout=60
    )


def refused(*arguments: str | Path, code: int, **settings: str) -> str:
    """The line that a server prints which does not start."""
    run = twinlens("serve", "--port", "0", *arguments, **settings)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    (line,) = run.stderr.splitlines()
    return line


# -- serving ---------------------------------------------------------------------------------------


def test_it_has_the_same_id_at_each_start_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "photos" / ".twinlens")
    monkeypatch.chdir(tmp_path)
    seen = []
    ways = [(str(folder), {}), ("photos/../photos/.twinlens", {}), (None, {"datasets": f"{folder}/"})]
    for path, settings in ways:
        options = ("--dataset", path) if path else ()
        with running_server(tmp_path / "home", *options, **settings) as server, Client(server.url) as client:
            (dataset,) = client.json("/datasets")
            seen.append(dataset)
            assert all_names(client.explore(dataset["id"], [duplicates(0.95)])) == [{A, B}]
    assert seen[0] == seen[1] == seen[2]
    assert (seen[0]["display_name"], seen[0]["status_new"], seen[0]["n_images"]) == ("photos", "READY", 3)
    assert (seen[0]["source_type"], seen[0]["owned_by"]) == ("LOCAL", "anonymous")


def test_several_are_served_and_none_that_was_not_named(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second", 2)
    home = tmp_path / "home"
    options = ("--dataset", str(first), "--dataset", str(second), "--owner", "ann")
    with laboratory(home, *options) as (_, ann, bob):
        listed = {each["display_name"]: each["id"] for each in ann.json("/datasets")}
        assert set(listed) == {"first", "second"}
        assert bob.json("/datasets") == []
        refusal(bob.ask(listed["first"]), 404)
        key = ann.key
    with running_server(home, *options[2:]) as server, Client(server.url, key) as ann:
        assert [each["id"] for each in ann.json("/datasets")] == [listed["second"]]
        refusal(ann.get(f"/dataset/{listed['first']}"), 404)
        refusal(ann.ask(listed["first"]), 404)
    with running_server(home) as server, Client(server.url, key) as ann:
        assert ann.json("/datasets") == []


def test_it_is_looked_at_and_not_added_to(tmp_path: Path) -> None:
    folder = make(tmp_path / "vectors")
    options = ("--dataset", str(folder), "--owner", "ann")
    with laboratory(tmp_path / "home", *options, allowed_roots=tmp_path) as (server, ann, _):
        (dataset,) = [each["id"] for each in ann.json("/datasets")]
        form = [("files", ("a.jpg", jpeg(1)))]
        assert "command line" in refusal(ann.post(f"/dataset/{dataset}/add_media", files=form), 403)
        refusal(ann.get(f"/ingestion/{dataset}/data_files"), 403)
        refusal(ann.get("/process/add_media", dataset_id=dataset, path=str(folder)), 403)
        refusal(ann.post(f"/dataset/{dataset}/reindex"), 409)
        assert ann.post(f"/dataset/{dataset}/rejections", json={"pairs": [[A, B]]}).status_code == 200
        assert ann.explore(dataset, [duplicates(0.95)])["clusters"] == []
        before = files_below(folder)
        assert ann.delete(f"/dataset/{dataset}").status_code == 200
        assert before - files_below(folder) <= {"catalog.sqlite-wal", "catalog.sqlite-shm", "writer.lock"}
        refusal(ann.get(f"/dataset/{dataset}"), 404)
        assert not folder_of(server, dataset).exists()
        key = ann.key
    with running_server(tmp_path / "home", *options) as server, Client(server.url, key) as ann:
        (again,) = ann.json("/datasets")
        assert again["id"] == dataset, "deleting it forgets it until it is served again"
        assert ann.explore(dataset, [duplicates(0.95)])["clusters"] == []


def test_a_folder_that_cannot_be_written_is_served(tmp_path: Path) -> None:
    make(tmp_path / "vectors")
    with (
        read_only(tmp_path / "mounted", tmp_path / "vectors") as folder,
        running_server(tmp_path / "home", "--dataset", str(folder)) as server,
        Client(server.url) as client,
    ):
        (dataset,) = [each["id"] for each in client.json("/datasets")]
        assert all_names(client.explore(dataset, [duplicates(0.95)])) == [{A, B}]
        said = refusal(client.post(f"/dataset/{dataset}/rejections", json={"pairs": [[A, B]]}), 409)
        assert "read-only" in said


# -- refusals --------------------------------------------------------------------------------------


def test_images_in_an_archive_are_served_from_there(tmp_path: Path) -> None:
    shard = save_tar(tmp_path / "a.tar", [("x/1.jpg", jpeg(1)), ("x/2.jpg", jpeg(1))])
    with Dataset.create(tmp_path / "data", ColourGridEmbedder()) as dataset:
        dataset.add(shard)
    options = ("--dataset", str(tmp_path / "data"))
    with running_server(tmp_path / "home", *options) as server, Client(server.url) as client:
        (dataset_id,) = [each["id"] for each in client.json("/datasets")]
        (cluster,) = client.explore(dataset_id, [duplicates(0.95)])["clusters"]
        uri = cluster["previews"][0]["media_uri"]
        answer = client.get(uri)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content == jpeg(1)
        shard.unlink()
        assert client.get(uri).status_code == 404


def test_a_server_with_keys_must_know_whose_it_is(tmp_path: Path) -> None:
    folder = make(tmp_path / "vectors")
    with two_keys(tmp_path / "home"):
        pass
    options = ("--home", tmp_path / "home", "--dataset", folder)
    line = refused(*options, code=2)
    assert "--owner" in line and "ann" in line and "bob" in line
    assert "eve" in refused(*options, "--owner", "eve", code=2)
    assert twinlens("keys", "revoke", "ann", "--home", tmp_path / "home").returncode == 0
    assert "ann" in refused(*options, "--owner", "ann", code=2)
    line = refused(*options, code=2)
    assert "bob" in line and "ann" not in line


def test_what_is_no_dataset_keeps_the_server_from_starting(tmp_path: Path) -> None:
    folder = make(tmp_path / "vectors")
    (folder / "vectors.f16").unlink()
    options = ("--home", tmp_path / "home")
    assert "vectors.f16" in refused(*options, "--dataset", folder, code=5)
    assert "nothing" in refused(*options, "--dataset", tmp_path / "nothing", code=5)
    (tmp_path / "photos").mkdir()
    assert "photos" in refused(*options, "--dataset", tmp_path / "photos", code=5)


def test_a_dataset_that_is_gone_when_it_is_asked_is_a_503_and_not_a_crash(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    options = ("--dataset", str(first), "--dataset", str(second))
    with running_server(tmp_path / "home", *options) as server, Client(server.url) as client:
        listed = {each["display_name"]: each["id"] for each in client.json("/datasets")}
        shutil.rmtree(first)
        assert "cannot be used now" in refusal(client.ask(listed["first"]), 503)
        assert all_names(client.explore(listed["second"], [duplicates(0.95)])) == [{A, B}]


# -- owners ----------------------------------------------------------------------------------------


def test_a_new_key_adopts_what_was_made_without_one(tmp_path: Path) -> None:
    folder, home = make(tmp_path / "vectors"), tmp_path / "home"
    with running_server(home, "--dataset", str(folder)) as server:
        with Client(server.url) as anybody:
            draft = anybody.new_dataset("made by anybody")
            (mount,) = [each["id"] for each in anybody.json("/datasets") if each["id"] != draft]
        with closing(KeyStore(home)) as store:
            first = store.create("first")
        with Client(server.url, first) as client, Client(server.url) as anybody:
            assert client.json("/datasets") == [], "a key does not own what nobody owns"
            refusal(anybody.get("/datasets"), 401)
        adopter = adopting_key(home)
        with Client(server.url, adopter) as client:
            assert {each["id"] for each in client.json("/datasets")} == {draft, mount}
            assert client.status(draft)["owned_by"] == "adopter"
            assert all_names(client.explore(mount, [duplicates(0.95)])) == [{A, B}]
            assert client.begin(draft)
        with Client(server.url, first) as client:
            refusal(client.get(f"/dataset/{draft}"), 404)


def adopting_key(home: Path) -> NewKey:
    """Made on the command line while the server runs."""
    run = twinlens("keys", "create", "--name", "adopter", "--adopt", "--json", "--home", home)
    assert run.returncode == 0, run.stderr
    return NewKey(**json.loads(run.stdout), name="adopter")
