"""Image folders with metadata: labels, and the rows of kept images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.archives import jpeg
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue, SourceError
from twinlens.engine.image_folders import labels_of, metadata_files, write_kept_rows
from twinlens.service.cli_layouts import Layout
from twinlens.service.layouts import export_choice

ROWS: list[dict[str, Any]] = [
    {"file_name": "train/1.jpg", "label": "cat", "caption": 'a "cat", asleep', "boxes": [1, 2]},
    {"file_name": "train/2.jpg", "label": "dog", "caption": "zwei\nZeilen", "boxes": []},
    {"file_name": "3.jpg", "label": "cat", "caption": "ein Kätzchen", "boxes": [3]},
]


def write_rows(folder: Path, kind: str) -> Path:
    path = folder / f"metadata.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + " \n" for row in ROWS))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["file_name", "label", "caption"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    (tmp_path / "train").mkdir()
    paths = [tmp_path / str(row["file_name"]) for row in ROWS]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number))
    return [str(path) for path in paths]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_labels_and_rows_of_every_kind(kind: str, tmp_path: Path, images: list[str]) -> None:
    metadata = write_rows(tmp_path, kind)
    assert metadata_files(images, [str(tmp_path)]) == [metadata]
    assert labels_of(images, [str(tmp_path)]) == dict(zip(images, ["cat", "dog", "cat"], strict=True))
    target = tmp_path / f"kept.{kind}"
    assert write_kept_rows(metadata, target, {images[1], images[2]}.__contains__) == (2, 1)
    if kind == "jsonl":
        assert target.read_bytes().splitlines(True) == metadata.read_bytes().splitlines(True)[1:]
    elif kind == "parquet":
        assert pq.read_table(target).to_pylist() == ROWS[1:]
        assert pq.read_schema(target).equals(pq.read_schema(metadata))
    else:
        rows = list(csv.DictReader(target.read_text().splitlines(keepends=True)))
        assert [row["caption"] for row in rows] == [row["caption"] for row in ROWS[1:]]


def test_classes_are_folders_where_metadata_say_nothing(tmp_path: Path) -> None:
    root = str(tmp_path)
    images = [f"{root}/cat/1.jpg", f"{root}/dog/2.jpg", f"{root}/3.jpg"]
    assert labels_of(images, [root]) == {images[0]: "cat", images[1]: "dog"}
    assert labels_of(images[:1], [root]) == {}
    assert labels_of([f"{root}/a.tar/1.jpg", f"{root}/b.tar/1.jpg", "https://a.org/1.jpg"], [root]) == {}
    assert labels_of([f"{root}/a.zip/x/1.jpg", f"{root}/a.zip/y/1.jpg"], [root]) == {
        f"{root}/a.zip/x/1.jpg": "x",
        f"{root}/a.zip/y/1.jpg": "y",
    }


def test_a_file_called_metadata_that_names_no_images_is_none(tmp_path: Path, images: list[str]) -> None:
    (tmp_path / "metadata.csv").write_text("camera,iso\nx,100\n")
    assert metadata_files(images, [str(tmp_path)]) == []


def test_broken_metadata_are_named_with_their_line(tmp_path: Path, images: list[str]) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "3.jpg"}\n{"file_name": \n')
    with pytest.raises(SourceError, match="line 2, is no JSON"):
        labels_of(images, [str(tmp_path)])


def test_rows_of_removed_images_are_left_out_of_the_export(tmp_path: Path, images: list[str]) -> None:
    write_rows(tmp_path, "jsonl")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"keep": images[:2], "remove": [{"path": images[2], "twin": images[0]}]}))
    with Dataset.create(tmp_path / ".twinlens", ColourGridEmbedder()) as dataset:
        dataset.add(tmp_path)
        written = export_choice(dataset, plan, Layout.METADATA, tmp_path / "out", coco=None, null=False)
        assert written.counts == {"rows": 2, "left out": 1}
        lines = (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == ROWS[:2]
        with pytest.raises(InvalidValue, match="name another folder"):
            export_choice(dataset, plan, Layout.METADATA, tmp_path, coco=None, null=False)
        assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 3
        (tmp_path / "metadata.jsonl").unlink()
        export_choice(dataset, plan, Layout.METADATA, tmp_path / "new", coco=None, null=False)
        export_choice(dataset, plan, Layout.FIFTYONE, tmp_path / "fiftyone", coco=None, null=False)
    rows = [json.loads(line) for line in (tmp_path / "new" / "metadata.jsonl").read_text().splitlines()]
    assert {row["file_name"] for row in rows} == {"train/1.jpg", "train/2.jpg"}
    assert all((row["width"], row["height"]) == (160, 120) for row in rows)
    labels = json.loads((tmp_path / "fiftyone" / "labels.json").read_text())
    assert set(labels["labels"]) == set(images[:2])
