"""Annotations are read apart from the server where a damaged file may crash their reader."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.annotation_files import Annotation
from twinlens.service.explore.annotation_process import annotations_of

ROWS = [
    Annotation("a.jpg", "cat", None),
    Annotation("b ü.jpg", None, "two\nlines"),
    Annotation("a.jpg", "x", "y"),
]


def written(folder: Path) -> Path:
    path = folder / "image_annotations.parquet"
    columns = {name: [getattr(row, name) for row in ROWS] for name in ("filename", "label", "caption")}
    pq.write_table(pa.table(columns), path)
    return path


def test_rows_come_as_they_are_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert annotations_of(path, path.name, max_rows=3) == ROWS
    csv = tmp_path / "image_annotations.csv"
    csv.write_text("filename,label\na.jpg,cat\n")
    assert annotations_of(csv, csv.name, max_rows=10) == [ROWS[0]]


def test_a_refusal_is_the_one_that_the_reader_gives(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(InvalidValue, match="TWINLENS_MAX_ANNOTATION_ROWS"):
        annotations_of(path, path.name, max_rows=2)
    path.write_bytes(b"PAR1 this is none PAR1")
    with pytest.raises(InvalidValue, match=r"image_annotations\.parquet"):
        annotations_of(path, path.name, max_rows=2)


def test_a_reader_that_crashes_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter in the place of ours ends by a signal, as native code does that aborts."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -ABRT $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crashing))
    path = written(tmp_path)
    with pytest.raises(InvalidValue, match=r"damaged: reading it ended with -6"):
        annotations_of(path, path.name, max_rows=3)
