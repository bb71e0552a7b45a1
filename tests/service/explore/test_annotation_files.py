"""Labels and captions in CSV and Parquet, as people and programs write them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.annotation_files import (
    Annotation,
    is_annotation_file,
    read_annotations,
    unsupported_annotation,
)

CSV, PARQUET = "image_annotations.csv", "image_annotations.parquet"


def read(path: Path, max_rows: int = 1000) -> list[tuple[str, str | None, str | None]]:
    rows = read_annotations(path, path.name, max_rows=max_rows)
    return [(row.filename, row.label, row.caption) for row in rows]


def csv_file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / CSV
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def parquet_file(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = tmp_path / PARQUET
    pq.write_table(pa.table(columns), path, **options)
    return path


def assert_refused(path: Path, words: str, max_rows: int = 1000) -> None:
    with pytest.raises(InvalidValue, match=words) as refused:
        read(path, max_rows)
    assert str(refused.value).startswith(repr(path.name))


@pytest.mark.parametrize("name", [CSV, PARQUET, "Image_Annotations.CSV"])
def test_annotation_files_are_known_by_name(name: str) -> None:
    assert is_annotation_file(name)
    assert unsupported_annotation(name) is None


@pytest.mark.parametrize("name", ["annotations.json", "object_annotations.csv", "Object_Annotations.PARQUET"])
def test_annotations_of_objects_are_not_supported(name: str) -> None:
    assert not is_annotation_file(name)
    assert "objects in images, which this server does not support" in (unsupported_annotation(name) or "")


@pytest.mark.parametrize("name", ["image_annotations.txt", "my_image_annotations.csv", "a.jpg", ""])
def test_other_files_are_none(name: str) -> None:
    assert not is_annotation_file(name)
    assert unsupported_annotation(name) is None


# -- what is read ----------------------------------------------------------------------------------------

ROWS = [("a.jpg", "cat", "A cat, sitting"), ("trip/b.jpg", "dog", None), ("trip/b.jpg", "猫", "Two\nlines")]


def test_csv_is_read(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        'filename,label,caption\na.jpg,cat,"A cat, sitting"\ntrip/b.jpg,dog,\ntrip/b.jpg,猫,"Two\nlines"\n',
    )
    assert read(path) == ROWS
    assert next(read_annotations(path, CSV, max_rows=3)) == Annotation(*ROWS[0])


def test_parquet_is_read(tmp_path: Path) -> None:
    filenames, labels, captions = map(list, zip(*ROWS, strict=True))
    columns = {"filename": filenames, "label": labels, "caption": captions}
    assert read(parquet_file(tmp_path, columns)) == ROWS
    assert read(parquet_file(tmp_path, columns, row_group_size=1, use_dictionary=False)) == ROWS


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffilename,label\r\na.jpg,cat\r\n",
        "filename;label\na.jpg;cat",
        "filename\tlabel\na.jpg\tcat",
        "filename,label\ra.jpg,cat\r",
        '"filename","label"\n"a.jpg","cat"\n',
        " FileName , Label\na.jpg, cat \n",
        "id,label,x,filename\n1,cat,2,a.jpg\n",
        "filename,label,caption\na.jpg,cat\n",
        "filename,label\n\na.jpg,cat,,\n\n\n",
    ],
    ids=range(9),
)
def test_csv_is_read_as_programs_write_it(tmp_path: Path, text: str) -> None:
    assert read(csv_file(tmp_path, text)) == [("a.jpg", "cat", None)]


@pytest.mark.parametrize(
    "columns",
    [
        {"filename": ["a.jpg"], "label": pa.array([7], pa.int64())},
        {"filename": [b"a.jpg"], "label": [b"7"]},
        {"FILENAME": pa.array(["a.jpg"], pa.large_string()), "Label": pa.array(["7"]).dictionary_encode()},
        {"filename": ["a.jpg"], "label": ["7"], "caption": pa.nulls(1), "box": [[1.5]]},
    ],
    ids=["numbers", "binary", "large and dictionary", "others"],
)
def test_parquet_is_read_as_programs_write_it(tmp_path: Path, columns: dict[str, Any]) -> None:
    assert read(parquet_file(tmp_path, columns)) == [("a.jpg", "7", None)]


def test_a_file_may_hold_captions_only_or_nothing(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, "caption,filename\nA cat,a.jpg")) == [("a.jpg", None, "A cat")]
    assert read(csv_file(tmp_path, "filename,label")) == []
    assert read(parquet_file(tmp_path, {"filename": pa.array([], pa.string()), "label": pa.nulls(0)})) == []


@pytest.mark.parametrize(
    ("written", "filename"),
    [
        ("trip\\b.jpg", "trip/b.jpg"),
        ("./a.jpg", "a.jpg"),
        (".\\././a.jpg", "a.jpg"),
        (" a.jpg", " a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("../a.jpg", "../a.jpg"),
        ("A.JPG", "A.JPG"),
    ],
)
def test_file_names_are_kept_as_they_are_written(tmp_path: Path, written: str, filename: str) -> None:
    assert read(csv_file(tmp_path, f"filename,label\n{written},cat")) == [(filename, "cat", None)]
    assert read(parquet_file(tmp_path, {"filename": [written], "label": ["cat"]})) == [
        (filename, "cat", None)
    ]


@pytest.mark.parametrize("blank", ["", "  ", '""'])
def test_blank_cells_are_none(tmp_path: Path, blank: str) -> None:
    path = csv_file(tmp_path, f"filename,label,caption\na.jpg,{blank},{blank}")
    assert read(path) == [("a.jpg", None, None)]


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("label,caption", "`filename` and `label` or `caption`, and it has 'label', 'caption'"),
        ("filename", "and it has 'filename'"),
        ("file,label", "and it has 'file', 'label'"),
        ("filename,label,LABEL", "two columns 'label'"),
    ],
)
def test_missing_and_doubled_columns_are_named(tmp_path: Path, names: str, words: str) -> None:
    assert_refused(csv_file(tmp_path, f"{names}\na.jpg,b,c"), words)
    assert_refused(parquet_file(tmp_path, {name: ["a.jpg"] for name in names.split(",")}), words)


def test_an_empty_csv_has_no_columns(tmp_path: Path) -> None:
    assert_refused(csv_file(tmp_path, ""), "and it has none")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["", "cat", "x"], "it has no filename"),
        (["  ", "cat", "x"], "it has no filename"),
        (["./", "cat", "x"], "it has no filename"),
        (["a" * 4097, "cat", "x"], "its filename has more than 4,096 characters"),
        (["a.jpg", "c" * 201, "x"], "its label has more than 200 characters"),
        (["a.jpg", "cat", "x" * 10_001], "its caption has more than 10,000 characters"),
        (["a\0.jpg", "cat", "x"], "its filename holds a NUL"),
        (["a.jpg", "c\0at", "x"], "its label holds a NUL"),
    ],
    ids=range(8),
)
def test_bad_cells_are_named_by_row(tmp_path: Path, cells: list[str], words: str) -> None:
    good = ["猫" * 4096, "猫" * 200, "猫" * 10_000]
    names = ["filename", "label", "caption"]
    text = "\n".join(map(",".join, [names, good, good, cells, good]))
    assert_refused(csv_file(tmp_path, text), f"row 4: {words}")
    columns = dict(zip(names, zip(good, good, cells, good, strict=True), strict=True))
    for options in ({"row_group_size": 2}, {}):
        assert_refused(parquet_file(tmp_path, columns, **options), f"row 3: {words}")


def test_rows_are_counted(tmp_path: Path) -> None:
    assert len(read(csv_file(tmp_path, "filename,label\n" + "a.jpg,cat\n" * 150_000), 150_000)) == 150_000
    path = csv_file(tmp_path, "filename,label\n" + "a.jpg,cat\n" * 10)
    assert len(read(path, max_rows=10)) == 10
    assert_refused(path, "row 11: there are more than 9 rows: raise TWINLENS_MAX_ANNOTATION_ROWS", max_rows=9)
    path = parquet_file(tmp_path, {"filename": ["a.jpg"] * 10_000, "label": ["cat"] * 10_000})
    assert len(read(path, max_rows=10_000)) == 10_000
    assert_refused(path, "row 9000: there are more than 8,999 rows", max_rows=8_999)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            b"filename,label\na.jpg,A cat, sitting\n",
            "row 2: it has 3 cells for 2 columns: put texts with commas",
        ),
        (b'filename,label\na.jpg,cat\na.jpg,"cat\n', "row 3: it is no CSV: unexpected end of data"),
        (b'filename,label\na.jpg,"cat"x\n', "row 2: it is no CSV"),
        (b"filename,label\na.jpg,na\xefve\n", "it is not UTF-8 text"),
        ("filename,label\na.jpg,cat".encode("utf-16"), "it is UTF-16 text"),
        (b"filename,label,x\na.jpg,cat," + b"x" * 200_000, "row 2: it is no CSV: field larger"),
    ],
    ids=range(6),
)
def test_what_is_no_csv_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    assert_refused(csv_file(tmp_path, text), words)


@pytest.mark.parametrize("endless", ["x,", '"\n",', '"x",'])
def test_a_row_without_an_end_is_not_read_into_memory(tmp_path: Path, endless: str) -> None:
    path = csv_file(tmp_path, "filename,label\na.jpg,cat\na.jpg," + endless * 1_000_000)
    assert_refused(path, "row 3: it has more than 1,048,576 characters")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"hello" * 1000, b"PAR1" + b"\xff" * 1000 + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / PARQUET
    path.write_bytes(data)
    assert_refused(path, "it is no Parquet that can be read|it cannot be read")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = parquet_file(
        tmp_path, {"filename": [f"{number}.jpg" for number in range(999)], "label": ["cat"] * 999}
    )
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:cut])
        assert_refused(path, "it is no Parquet that can be read|it cannot be read")


def test_damage_ends_in_a_refusal_and_not_the_process(tmp_path: Path) -> None:
    code = (
        "import random, sys; from pathlib import Path; from twinlens.engine.errors import InvalidValue;"
        "from twinlens.service.explore.annotation_files import read_annotations\n"
        "path, dice, refused = Path(sys.argv[1]), random.Random(1), 0\n"
        "whole = path.read_bytes()\n"
        "for _ in range(1500):\n"
        "    damaged = bytearray(whole)\n"
        "    damaged[dice.randrange(len(whole))] = dice.randrange(256)\n"
        "    path.write_bytes(damaged)\n"
        "    try: list(read_annotations(path, path.name, max_rows=10**6))\n"
        "    except InvalidValue: refused += 1\n"
        "print(refused)"
    )
    path = parquet_file(tmp_path, {"filename": ["a.jpg", "b.jpg"] * 50, "label": ["cat", None] * 50})
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 500


@pytest.mark.parametrize("values", [[1.5], [True], [["cat"]], [{"a": 1}]], ids=str)
def test_columns_that_hold_no_texts_are_refused(tmp_path: Path, values: list[Any]) -> None:
    assert_refused(
        parquet_file(tmp_path, {"filename": ["a.jpg"], "label": values}), "'label' holds .*, not texts"
    )


def test_texts_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    assert_refused(parquet_file(tmp_path, {"filename": [b"a\xff.jpg"], "label": ["cat"]}), "not UTF-8 text")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in (CSV, PARQUET):
        assert_refused(tmp_path / name, "cannot be read")


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Path]:
    """A small file in which 100,000 rows share a caption of 10 MB."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 10_000_000]))
    path = parquet_file(tmp_path, {"filename": ["a.jpg"] * 100_000, "caption": shared}, store_schema=False)
    assert path.stat().st_size < 1_000_000
    yield path


def test_a_text_that_rows_share_is_in_memory_once(bomb: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from twinlens.service.explore.annotation_files import read_annotations;"
        "import pyarrow.parquet;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "path = Path(sys.argv[1]);"
        "error = None\n"
        "try: list(read_annotations(path, path.name, max_rows=10**6))\n"
        "except Exception as caught: error = caught\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    kilobytes, _, words = run.stdout.partition(" ")
    assert "row 1: a caption from here on has more than 10,000 characters" in words
    assert int(kilobytes) < 200_000
