"""Other ways to make a dataset, from a folder of the operator and from an archive: what is answered."""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.explore import Client, JsonObject, Lab, done, laboratory, mounted, refusal
from tests.photographs import photographs

FILES = photographs()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that clients may name, with a folder of photographs in it."""
    root = tmp_path_factory.mktemp("root")
    (root / "desk").mkdir()
    for name in ("camera.jpg", "coffee.jpg"):
        (root / "desk" / name).write_bytes(FILES[name])
    return root


@pytest.fixture(scope="module")
def ann(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("creation")
    with laboratory(home, allowed_roots=root) as (_, ann, _):
        yield ann


def made_of(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(f"photos/{name}", FILES[name])
    return target.getvalue()


def create(client: Client, archive: bytes | None = None, /, **fields: str) -> httpx.Response:
    """POST /dataset, a form of these fields."""
    parts: dict[str, Any] = {name: (None, value) for name, value in fields.items()}
    return client.post("/dataset", files=parts | ({} if archive is None else {"archive": ("a.zip", archive)}))


def test_replies_and_first_states(ann: Client, root: Path) -> None:
    processed = ann.json("/process", path=str(root / "desk"), name="visual_analysis_01")
    assert list(processed) == ["status", "message", "dataset_id", "name"]
    assert processed["status"] == "success" and processed["message"] == "Dataset processing started"
    assert processed["name"] == "visual_analysis_01"

    archived = done(create(ann, made_of("moon.jpg", "brick.jpg", "rocket.jpg"), dataset_name="zipped")).json()
    assert list(archived) == ["dataset_id", "id"] and archived["id"] == archived["dataset_id"]

    for id_, name, kind in (
        (processed["dataset_id"], "visual_analysis_01", "LOCAL"),
        (archived["id"], "zipped", "VL"),
    ):
        state = ann.status(id_)
        assert (state["id"], state["display_name"], state["source_type"]) == (str(uuid.UUID(id_)), name, kind)
        assert (state["status"], state["status_new"]) in (("INDEXING", "INDEXING"), ("READY", "READY"))
        assert done(ann.delete(f"/dataset/{id_}")).json() is None
    assert sorted(path.name for path in (root / "desk").iterdir()) == ["camera.jpg", "coffee.jpg"]


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", [None, "", "desk", "/", "/etc", "/no/such/folder", "\0", "s3://bucket/photos"]
)
def test_paths_that_are_not_allowed(ann: Client, verb: str, path: str | None) -> None:
    answer = ann.request(verb, "/process", params={"name": "x"} | ({} if path is None else {"path": path}))
    body: JsonObject = answer.json()
    assert answer.status_code == 400
    assert (body["status"], body["message"]) == ("error", "Invalid path specified")
    assert isinstance(body["detail"], str)


def test_paths_that_lead_out(ann: Client, root: Path) -> None:
    (root / "link").symlink_to("/etc")
    for path in (f"{root}/desk/../..", f"{root}/link", f"{root}/desk/camera.jpg", f"{root}x"):
        assert ann.get("/process", path=path, name="x").status_code == 400
        assert "the operator allowed" in refusal(create(ann, dataset_name="x", bucket_path=path), 422)


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"name": "x"}, 400, "dataset_name is missing"),
        ({"dataset_name": "x"}, 400, "exactly one of an archive and a bucket_path"),
        (
            {"dataset_name": "x", "bucket_path": "s3://bucket/photos"},
            422,
            "S3 is not supported by this server",
        ),
        (
            {"dataset_name": "x", "bucket_name": "s3://bucket/photos"},
            422,
            "S3 is not supported by this server",
        ),
        ({"dataset_name": "x", "bucket_path": "/etc"}, 422, "the operator allowed"),
    ],
)
def test_forms_that_make_no_dataset(ann: Client, fields: dict[str, str], code: int, said: str) -> None:
    before = ann.json("/datasets")
    assert said in refusal(create(ann, **fields), code)
    assert [each["id"] for each in ann.json("/datasets")] == [each["id"] for each in before]


def test_archives_that_make_no_dataset(ann: Client) -> None:
    before = ann.json("/datasets")
    assert "holds no image" in refusal(create(ann, made_of(), dataset_name="x"), 400)
    refusal(create(ann, b"no archive", dataset_name="x"), 400)
    refusal(create(ann, made_of("moon.jpg"), dataset_name="x", bucket_path="/etc"), 400)
    refusal(ann.post("/dataset", json={"dataset_name": "x"}), 422)
    assert [each["id"] for each in ann.json("/datasets")] == [each["id"] for each in before]


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    with mounted(tmp_path_factory.mktemp("mount"), ids, np.eye(3, dtype=np.float16)) as lab:
        yield lab


def test_a_dataset_of_the_command_line_belongs_to_the_key_that_was_named(mount: Lab) -> None:
    state = mount.ann.status(mount.dataset)
    assert (state["status_new"], state["owned_by"], state["n_images"]) == ("READY", "ann", 3)
    assert (state["display_name"], state["source_type"]) == ("vectors", "LOCAL")
    refusal(mount.bob.get(f"/dataset/{mount.dataset}"), 404)


def test_a_dataset_of_the_command_line_takes_no_uploads(mount: Lab) -> None:
    sent = mount.ann.post(f"/dataset/{mount.dataset}/add_media", files={"files": ("a.jpg", b"a")})
    assert refusal(sent, 403).startswith("Add media feature is not enabled")
    refusal(mount.ann.get(f"/ingestion/{mount.dataset}/data_files"), 403)


def test_to_delete_it_leaves_its_folder(mount: Lab) -> None:
    folder = mount.server.home.parent / "vectors"
    before = {path.name for path in folder.iterdir()}
    done(mount.ann.delete(f"/dataset/{mount.dataset}"))
    refusal(mount.ann.get(f"/dataset/{mount.dataset}"), 404)
    assert {"catalog.sqlite", "vectors.f16"} <= {path.name for path in folder.iterdir()} <= before
