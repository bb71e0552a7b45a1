"""Labels for classes: which files are read, and which image a filename means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.service.labels import labels_of, labels_of_dataset


def images(*paths: str) -> list[ImageRecord]:
    """Images whose ids are their paths."""
    with Dataset.from_vectors(list(paths), np.eye(len(paths)) + 0.1, name="own", device="cpu") as dataset:
        return dataset.images()


def csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["filename,label", *rows]))
    return path


def test_the_longest_labelled_end_of_a_path_decides(tmp_path: Path) -> None:
    file = csv(tmp_path / "labels.csv", "a.jpg,any", "cats/a.jpg,cat", "/data/dogs/a.jpg,dog", "b.jpg,bird")
    labels = labels_of(images("/data/cats/a.jpg", "/data/dogs/a.jpg", "/x/a.jpg", "/x/c.jpg"), [file])
    assert labels == {"/data/cats/a.jpg": "cat", "/data/dogs/a.jpg": "dog", "/x/a.jpg": "any"}


def test_an_end_is_whole_folders(tmp_path: Path) -> None:
    file = csv(tmp_path / "labels.csv", "a.jpg,cat")
    with pytest.raises(InvalidValue, match=r"labels\.csv: no filename with a label is the end of a path"):
        labels_of(images("/data/aa.jpg"), [file])


def test_the_first_label_of_several_counts_and_captions_are_none(tmp_path: Path) -> None:
    file = tmp_path / "image_annotations.csv"
    file.write_text("filename;label;caption\na.jpg;;a cat\na.jpg;cat;\na.jpg;animal;\n")
    assert labels_of(images("/a.jpg", "/b.jpg"), [file]) == {"/a.jpg": "cat"}


def test_parquet_is_read_as_well(tmp_path: Path) -> None:
    pq.write_table(pa.table({"filename": ["a.jpg"], "label": ["cat"]}), tmp_path / "l.parquet")
    assert labels_of(images("/a.jpg"), [tmp_path / "l.parquet"]) == {"/a.jpg": "cat"}


def put(*paths: Path) -> list[ImageRecord]:
    """Images that lie in folders; what is in them plays no part."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return images(*map(str, paths))


def test_annotations_lie_in_the_indexed_folders_or_beside_the_lists(tmp_path: Path) -> None:
    found = put(tmp_path / "photos" / "a.jpg", tmp_path / "lists" / "b.jpg")
    (tmp_path / "lists" / "list.txt").write_text("b.jpg")
    sources = [tmp_path / "photos", tmp_path / "lists" / "list.txt", tmp_path / "gone" / "list.txt"]
    csv(tmp_path / "photos" / "image_annotations.csv", "a.jpg,cat")
    csv(tmp_path / "lists" / "Image_Annotations.CSV", "b.jpg,dog")
    csv(tmp_path / "photos" / "other.csv", "a.jpg,no")
    assert sorted(labels_of_dataset(found, sources).values()) == ["cat", "dog"]


def test_metadata_of_image_folders_label_as_well_and_else_the_names_of_folders(tmp_path: Path) -> None:
    found = put(tmp_path / "cats" / "a.jpg", tmp_path / "dogs" / "b.jpg")
    by_folder = labels_of_dataset(found, [tmp_path])
    assert by_folder == {found[0].id: "cats", found[1].id: "dogs"}
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "cats/a.jpg", "label": "tiger"}\n')
    assert labels_of_dataset(found, [tmp_path]) == {found[0].id: "tiger"}


def test_folders_without_labels_say_what_to_do(tmp_path: Path) -> None:
    found = put(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with pytest.raises(InvalidValue, match=r"no labels in the indexed folders .* with --labels"):
        labels_of_dataset(found, [tmp_path])


@pytest.mark.parametrize("text", ["filename\na.jpg\n", "name,label\na,b\n", ""])
def test_what_is_no_table_of_labels_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InvalidValue, match="columns are"):
        labels_of(images("/a.jpg"), [tmp_path / "labels.csv"])
    with pytest.raises(InvalidValue, match="is no file"):
        labels_of(images("/a.jpg"), [tmp_path / "missing.csv"])
