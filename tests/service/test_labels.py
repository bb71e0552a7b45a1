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
from twinlens.service.labels import label_files, labels_of


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


def test_annotations_lie_in_the_indexed_folders_or_beside_the_lists(tmp_path: Path) -> None:
    for name in ("photos", "lists"):
        (tmp_path / name).mkdir()
    (tmp_path / "lists" / "list.txt").write_text("")
    sources = [tmp_path / "photos", tmp_path / "lists" / "list.txt", tmp_path / "gone" / "list.txt"]
    with pytest.raises(InvalidValue, match="--labels"):
        label_files(sources)
    first = csv(tmp_path / "photos" / "image_annotations.csv", "a.jpg,cat")
    second = csv(tmp_path / "lists" / "Image_Annotations.CSV", "b.jpg,dog")
    csv(tmp_path / "photos" / "other.csv", "a.jpg,no")
    assert label_files(sources) == [first, second]
    assert labels_of(images("/a.jpg", "/b.jpg"), [first, second]) == {"/a.jpg": "cat", "/b.jpg": "dog"}


@pytest.mark.parametrize("text", ["filename\na.jpg\n", "name,label\na,b\n", ""])
def test_what_is_no_table_of_labels_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InvalidValue, match="columns are"):
        labels_of(images("/a.jpg"), [tmp_path / "labels.csv"])
    with pytest.raises(InvalidValue, match="is no file"):
        labels_of(images("/a.jpg"), [tmp_path / "missing.csv"])
