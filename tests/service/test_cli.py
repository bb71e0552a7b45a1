"""The command line, driven as a user drives it: another process, real files, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scripts.make_demo import photographs
from tests.collections_of_pictures import fill
from tests.models.checkpoints import save_folder_of

MODEL = "efficientnet_lite0"
EMBEDDED = "twinlens_copy512"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def twinlens(*arguments: str | Path, code: int = 0, **options: Any) -> str:
    command = [sys.executable, "-c", "from twinlens.service.cli import main; main()", *map(str, arguments)]
    env = {**os.environ, **OFFLINE}
    run = subprocess.run(command, capture_output=True, text=True, env=env, **options)
    assert run.returncode == code, run.stderr
    said: str = run.stdout if code == 0 else run.stderr
    return said


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "photos"
    folder.mkdir()
    for path in photographs():
        if path.stem in ("astronaut", "camera", "chelsea", "coffee", "rocket"):
            shutil.copy(path, folder)
    with Image.open(folder / "astronaut.png") as astronaut:
        astronaut.convert("RGB").resize((300, 300)).save(folder / "small.jpg", quality=85)
    shutil.copy(folder / "rocket.jpg", folder / "copy.jpg")
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def data(photos: Path) -> Path:
    folder = photos.parent / "data"
    report = json.loads(twinlens("index", photos, "--dataset", folder, "--model", MODEL, "--json"))
    assert (report["images"], len(report["failures"])) == (7, 1)
    assert report["sources"][0]["skipped"] == 1
    return folder


def named(paths: list[str]) -> set[str]:
    return {os.path.basename(path) for path in paths}


def test_run_does_the_whole_job(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    out = twinlens("run", folder, "--model", MODEL, "--report", tmp_path / "report.html", "--json")
    answer = json.loads(out)
    assert {frozenset(named([m["path"] for m in c["members"]])) for c in answer["clusters"]} == {
        frozenset({"astronaut.png", "small.jpg"}),
        frozenset({"rocket.jpg", "copy.jpg"}),
    }
    assert [(named([f["path"]]), f["reason"]) for f in answer["failures"]] == [
        ({"broken.jpg"}, "the file is empty (0 bytes)")
    ]
    assert answer["images"] == 7 and answer["model"] == MODEL and answer["unique"]
    assert "astronaut.png" in (tmp_path / "report.html").read_text()
    assert (folder / ".twinlens" / "catalog.sqlite").is_file()
    again = json.loads(twinlens("run", folder, "--json"))
    assert again["clusters"] == answer["clusters"]


def test_run_speaks_to_people_too(data: Path, photos: Path) -> None:
    out = twinlens("run", photos, "--dataset", data)
    assert "Cluster 1" in out and "keep" in out and "Most unique" in out
    assert "broken.jpg: the file is empty" in out


def test_duplicates_in_every_format(data: Path, tmp_path: Path) -> None:
    document = json.loads(twinlens("duplicates", "--dataset", data, "--threshold", "0.9", "--format", "json"))
    first = document["clusters"][0]
    keys = {
        "cluster_id",
        "size",
        "min_similarity",
        "mean_similarity",
        "evidence",
        "keeper",
        "members",
        "links_out",
    }
    assert keys <= set(first)
    assert {"id", "path", "similarity_to_keeper"} <= set(first["members"][0])
    assert first["keeper"] in {member["id"] for member in first["members"]}
    rows = list(csv.DictReader(io.StringIO(twinlens("duplicates", "--dataset", data, "--format", "csv"))))
    assert {row["cluster_id"] for row in rows} == {c["cluster_id"] for c in document["clusters"]}
    twinlens("duplicates", "--dataset", data, "--out", tmp_path / "d.parquet")
    assert pq.read_table(tmp_path / "d.parquet").num_rows == len(rows)


@pytest.mark.parametrize("linkage", ["complete", "star", "single"])
def test_linkages(data: Path, linkage: str) -> None:
    out = twinlens("duplicates", "--dataset", data, "--threshold", "0.9", "--linkage", linkage, "--json")
    assert len(json.loads(out)["clusters"]) == 2


def test_hashes_as_evidence(data: Path) -> None:
    out = twinlens("duplicates", "--dataset", data, "--threshold", "1.0", "--evidence", "any", "--json")
    found = {c["evidence"] for c in json.loads(out)["clusters"]}
    assert found == {"bytes", "hash"}


def test_hashes_alone_have_no_threshold(data: Path) -> None:
    document = json.loads(twinlens("duplicates", "--dataset", data, "--evidence", "hash", "--json"))
    assert {c["evidence"] for c in document["clusters"]} == {"bytes", "hash"}
    assert document["threshold_source"] == "hashes"
    rows = csv.DictReader(io.StringIO(twinlens("pairs", "--dataset", data, "--evidence", "hash")))
    assert {row["evidence"] for row in rows} == {"bytes", "hash"}
    refused = twinlens("duplicates", "--dataset", data, "--evidence", "hash", "--threshold", "0.9", code=2)
    assert "hashes have a range of their own" in refused


def test_pairs_have_four_columns_first(data: Path, tmp_path: Path) -> None:
    out = twinlens("pairs", "--dataset", data, "--threshold", "0.9", "--format", "csv")
    header, *rows = list(csv.reader(io.StringIO(out)))
    assert header[:4] == ["path_a", "path_b", "similarity", "evidence"]
    assert {frozenset(named(row[:2])) for row in rows} == {
        frozenset({"astronaut.png", "small.jpg"}),
        frozenset({"rocket.jpg", "copy.jpg"}),
    }
    assert {row[3] for row in rows} == {"bytes", "embedding"}
    twinlens("pairs", "--dataset", data, "--threshold", "0.9", "--format", "parquet", "--out", tmp_path / "p")
    assert pq.read_table(tmp_path / "p").num_rows == 2
    assert "--max-pairs" in twinlens(
        "pairs", "--dataset", data, "--threshold", "0.9", "--max-pairs", "0", code=2
    )


def test_pairs_below_the_kept_ones_are_joined_anew(data: Path) -> None:
    out = twinlens("pairs", "--dataset", data, "--threshold", "0.01", "--format", "csv")
    kept = twinlens("pairs", "--dataset", data, "--threshold", "0.9", "--format", "csv")
    assert set(kept.splitlines()) < set(out.splitlines())


def test_a_second_index_joins_what_is_new_with_what_is_there(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photos / "coffee.png", folder / "a.png")
    index: list[str | Path] = ["index", folder, "--dataset", tmp_path / "d", "--model", MODEL, "--json"]
    assert json.loads(twinlens(*index))["images"] == 1
    with Image.open(folder / "a.png") as coffee:
        coffee.convert("RGB").resize((400, 267)).save(folder / "b.jpg", quality=85)
    assert json.loads(twinlens(*index))["sources"][0]["added"] == 1
    (cluster,) = json.loads(twinlens("duplicates", "--dataset", tmp_path / "d", "--json"))["clusters"]
    assert named([member["path"] for member in cluster["members"]]) == {"a.png", "b.jpg"}


def test_unique(data: Path) -> None:
    images = json.loads(twinlens("unique", "--dataset", data, "--json"))["images"]
    assert len(images) == 7
    assert [image["score"] for image in images] == sorted((i["score"] for i in images), reverse=True)
    above = json.loads(twinlens("unique", "--dataset", data, "--above", "0.3", "--json"))["images"]
    assert above == [image for image in images if image["score"] > 0.3]


def test_search_by_file_and_by_id(data: Path, photos: Path) -> None:
    out = twinlens("search", "--dataset", data, "--image", photos / "coffee.png", "-k", "3", "--json")
    found = json.loads(out)["neighbours"]
    assert named([found[0]["path"]]) == {"coffee.png"} and found[0]["similarity"] == 1.0 and len(found) == 3
    by_id = json.loads(twinlens("search", "--dataset", data, "--id", found[0]["id"], "-k", "2", "--json"))
    assert [n["id"] for n in by_id["neighbours"]] == [n["id"] for n in found[1:]]


def test_text_on_an_image_only_model_is_refused(data: Path) -> None:
    assert "takes images only" in twinlens("search", "--dataset", data, "--text", "a cat", code=4)


def test_explain_takes_paths(data: Path, photos: Path) -> None:
    out = twinlens("explain", photos / "astronaut.png", photos / "small.jpg", "--dataset", data, "--json")
    assert json.loads(out)["together"] is True
    out = twinlens("explain", photos / "astronaut.png", photos / "rocket.jpg", "--dataset", data)
    assert "apart" in out and "below the threshold" in out


def test_hash_in_the_order_of_the_arguments(photos: Path) -> None:
    files = [photos / "small.jpg", photos / "rocket.jpg"]
    images = json.loads(twinlens("hash", *files, "--json"))["images"]
    assert [image["path"] for image in images] == [str(file) for file in files]
    assert [(len(i["bmh1"]), len(i["phash"]), i["width"], i["height"]) for i in images] == [
        (968, 64, 300, 300),
        (968, 64, 640, 427),
    ]


def test_export_with_vectors(data: Path, tmp_path: Path) -> None:
    twinlens("export", "--dataset", data, "--out", tmp_path / "all.csv", "--vectors", tmp_path / "v.npy")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert len(rows) == 7 and {"path", "score", "sharpness", "digest"} <= set(rows[0])
    vectors = np.load(tmp_path / "v.npy").astype(np.float64)
    assert vectors.shape == (7, 1280)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    place = {row["path"]: number for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        similarity = vectors[number] @ vectors[place[row["nearest_path"]]]
        assert similarity == pytest.approx(float(row["nearest_similarity"]), abs=1e-6)


def test_info_and_models(data: Path) -> None:
    info = json.loads(twinlens("info", "--dataset", data, "--json"))
    assert (info["images"], info["model"], info["text"]) == (7, MODEL, False)
    assert MODEL in {model["name"] for model in json.loads(twinlens("models", "--json"))["models"]}
    assert MODEL in twinlens("models")


def test_lists_of_paths(photos: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{photos / 'rocket.jpg'}\n{photos / 'copy.jpg'}\n")
    out = twinlens("index", listing, "--dataset", tmp_path / "data", "--model", MODEL, "--json")
    assert json.loads(out)["images"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nowhere"], 2, "nowhere does not exist"),
        (["duplicates", "--dataset", "nowhere"], 5, "holds no dataset"),
        (["run", ".", "--model", "no-such-model"], 4, "no-such-model"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    said = twinlens(*arguments, code=code, cwd=tmp_path)
    assert said.startswith("error: ") and words in said and "Traceback" not in said


@pytest.mark.parametrize("threshold", ["0", "1.5", "-1", "nan"])
def test_thresholds_outside_their_range(data: Path, threshold: str) -> None:
    said = twinlens("duplicates", "--dataset", data, "--threshold", threshold, code=2)
    assert "threshold" in said and "Traceback" not in said


def test_another_model_for_the_same_dataset_is_refused(data: Path, photos: Path) -> None:
    said = twinlens("index", photos, "--dataset", data, "--model", "clip", code=2)
    assert MODEL in said and "clip" in said


def test_auto_without_the_hub_takes_the_embedded_model_and_says_so(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from twinlens.service.cli import main; main()", "index", str(photos)]
    env = {**os.environ, "HF_HOME": str(tmp_path / "empty"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    run = subprocess.run(
        [*command, "--dataset", str(tmp_path / "d"), "--json"],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )
    assert json.loads(run.stdout)["model"] == EMBEDDED
    assert EMBEDDED in run.stderr and "For CLIP" in run.stderr


def test_a_join_by_cells_is_never_silent_about_its_recall(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 20)
    data = tmp_path / "d"
    twinlens("index", tmp_path / "photos", "--dataset", data, "--model", EMBEDDED, "--join", "cells")
    (said,) = json.loads(twinlens("run", tmp_path / "photos", "--dataset", data, "--json"))["notices"]
    assert said.startswith("Images were compared inside 16 cells, not each with all: ")
    for command in ("duplicates", "info"):
        join = json.loads(twinlens(command, "--dataset", data, "--json"))["join"]
        assert (join["method"], join["recall_measured_on"]["rows"]) == ("cells", 20)


def test_a_clip_checkpoint_of_ones_own_finds_images_by_text(photos: Path, tmp_path: Path) -> None:
    weights = save_folder_of("twinlens-vit", tmp_path / "weights")
    twinlens("index", photos, "--dataset", tmp_path / "d", "--model", f"local-dir:{weights}")
    found = json.loads(
        twinlens("search", "--dataset", tmp_path / "d", "--text", "a cat", "-k", "7", "--json")
    )
    assert len(found["neighbours"]) == 7
    info = json.loads(twinlens("info", "--dataset", tmp_path / "d", "--json"))
    assert info["text"] is True and info["thresholds"]["measured"] is False
    said = json.loads(twinlens("run", photos, "--dataset", tmp_path / "d", "--json"))["notices"]
    assert "uncalibrated" in said[0]
