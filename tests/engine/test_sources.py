"""Sources: what is found in folders and lists, in which order, and what is said about the rest."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.broken import INDEXED, SKIPPED, Expected, make_broken
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError, SourceError
from twinlens.engine.sources import SkippedFile, SourceEntry, SourceFailure, SourceFile, scan, source_root


def touch(root: Path, *names: str | bytes) -> None:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def files(entries: Iterable[SourceEntry]) -> list[bytes]:
    return [entry.relative for entry in entries if isinstance(entry, SourceFile)]


def failures(entries: Iterable[SourceEntry]) -> dict[bytes, str]:
    return {entry.relative: entry.reason for entry in entries if isinstance(entry, SourceFailure)}


def skipped(entries: Iterable[SourceEntry]) -> list[bytes]:
    return [entry.relative for entry in entries if isinstance(entry, SkippedFile)]


# -- folders ------------------------------------------------------------------------------------


def test_files_come_with_size_time_and_both_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.JPG").write_bytes(b"12345")
    os.utime(tmp_path / "a" / "b.JPG", ns=(1, 1_700_000_000_123_456_789))
    (found,) = scan(tmp_path)
    assert found == SourceFile(tmp_path, b"a/b.JPG", size=5, mtime_ns=1_700_000_000_123_456_789)
    assert found.path == str(tmp_path / "a" / "b.JPG")


def test_the_root_is_absolute_and_a_link_to_the_source_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    (found,) = scan(Path("link"))
    assert found.root == source_root(Path("link")) == tmp_path / "link"


NAMES = st.sampled_from([b"a", b"b", b"a.", b"a-", b"Z", b"\xff", b"\xc3\xa9"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=20))
@settings(max_examples=40, deadline=None)
def test_order_is_that_of_the_bytes_of_the_paths(paths: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        names = [b"/".join(parts) + b".jpg" for parts in paths]
        random.Random(0).shuffle(names)
        touch(root, *names)
        assert files(scan(root)) == sorted(set(names))


def test_other_files_and_hidden_folders_are_counted_not_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "notes.txt", "noext", "x.py", ".hidden.jpg", ".git/a.jpg", "@eaDir/a.jpg")
    touch(tmp_path, ".twinlens/thumbs/a.webp", "below/.twinlens/a.webp")
    entries = list(scan(tmp_path))
    assert files(entries) == [b"a.jpg"]
    assert skipped(entries) == [b".git", b".hidden.jpg", b"@eaDir", b"noext", b"notes.txt", b"x.py"]
    assert failures(entries) == {}


def test_excluded_folders_are_left_out_however_they_are_reached(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "data/thumb.jpg", "data/deep/thumb.jpg")
    (tmp_path / "to_data").symlink_to("data")
    (tmp_path / "to_deep").symlink_to("data/deep")
    excluded = [tmp_path / "data", tmp_path / "not there"]
    assert files(scan(tmp_path, exclude=excluded)) == [b"a.jpg"]


def test_videos_and_other_pictures_are_named_without_being_opened(tmp_path: Path) -> None:
    touch(tmp_path, "clip.MP4", "logo.svg", "layers.psd", "raw.NEF")
    reasons = failures(scan(tmp_path))
    assert reasons[b"clip.MP4"] == "MP4 videos are not indexed: extract frames from it, those are welcome"
    assert "SVG" in reasons[b"logo.svg"]
    assert "Photoshop" in reasons[b"layers.psd"]
    assert "camera raw" in reasons[b"raw.NEF"]
    assert all(isinstance(entry, SourceFailure) and not entry.retryable for entry in scan(tmp_path))


def test_linked_files_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link.jpg").symlink_to("../elsewhere/a.jpg")
    (found,) = scan(tmp_path / "source")
    assert isinstance(found, SourceFile) and found.size == 1


def test_each_real_folder_is_visited_once(tmp_path: Path) -> None:
    touch(tmp_path, "source/b/photo.jpg", "outside/x.jpg", "outside/deep/y.jpg", "source/.h/z.jpg")
    source = tmp_path / "source"
    links = {
        "a": "b",  # its target is reached by its real path, which is the name it keeps
        "b/up": "..",
        "c": "../outside",
        "d": "../outside",
        "e": "../outside/deep",
        "f": ".h",  # its target is hidden, so the link is the only way
        "g": "..",  # everything above is reached already
        "self": ".",
    }
    for name, target in links.items():
        (source / name).symlink_to(target)
    assert files(scan(source)) == [b"b/photo.jpg", b"c/deep/y.jpg", b"c/x.jpg", b"f/z.jpg"]


def test_a_folder_called_like_an_image_is_named_and_walked(tmp_path: Path) -> None:
    touch(tmp_path, "album.jpg/inside.png")
    entries = list(scan(tmp_path))
    assert files(entries) == [b"album.jpg/inside.png"]
    assert failures(entries) == {
        b"album.jpg": "it is a directory, not a file: the files in it are indexed one by one"
    }


@pytest.fixture
def deep_tree(tmp_path: Path) -> Iterator[Path]:
    where = os.open(tmp_path, os.O_RDONLY)
    for _ in range(5_000):
        os.mkdir("d", dir_fd=where)
        deeper = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = deeper
    os.close(where)
    yield tmp_path
    # Python's own removal is recursive.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_trees_deeper_than_the_recursion_limit(deep_tree: Path) -> None:
    touch(deep_tree, b"d/" * 1_500 + b"a.jpg")
    entries = list(scan(deep_tree))
    assert files(entries) == [b"d/" * 1_500 + b"a.jpg"]
    # A path has at most 4,096 bytes on Linux; what lies deeper is named, not forgotten.
    (reason,) = failures(entries).values()
    assert "too long" in reason


def test_a_large_folder_costs_no_more_than_its_names(tmp_path: Path) -> None:
    count = 10_000
    for number in range(count):
        os.symlink("nowhere", tmp_path / f"{number:06}.txt")
    code = (
        "import sys, tracemalloc; from pathlib import Path; from twinlens.engine.sources import scan\n"
        "tracemalloc.start(); n = sum(1 for _ in scan(Path(sys.argv[1])))\n"
        "print(n, tracemalloc.get_traced_memory()[1])"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    found, peak = map(int, run.stdout.split())
    assert found == count
    # Ten bytes of name, an object around it, and its place in a list.
    assert peak / count < 80


def test_what_cannot_be_listed_is_a_failure_and_hides_nothing_else() -> None:
    code = (
        "import os, sys; from pathlib import Path; from twinlens.engine.sources import scan\n"
        "os.geteuid() or os.setuid(65534)\n"
        "for entry in scan(Path(sys.argv[1])):\n"
        "    print(*(getattr(entry, name, 0) for name in ('relative', 'retryable', 'reason')))"
    )
    # Modes mean nothing to root, so root becomes nobody, who cannot enter tmp_path.
    with tempfile.TemporaryDirectory() as name:
        touch(Path(name), "a/a.jpg", "locked/b.jpg", "z/z.jpg")
        os.chmod(name, 0o755)
        os.chmod(f"{name}/locked", 0)
        run = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
        os.chmod(f"{name}/locked", 0o755)
        first, locked, last = run.stdout.splitlines()
    assert (first, last) == ("b'a/a.jpg' 0 0", "b'z/z.jpg' 0 0"), run.stderr
    assert locked.startswith("b'locked' True there is no permission to read it")


def test_a_source_that_is_none_says_what_is_accepted(tmp_path: Path) -> None:
    touch(tmp_path, "music.mp3")
    for name, words in {"gone": "missing", "music.mp3": "name a folder, an image file, an archive"}.items():
        with pytest.raises(SourceError, match=words):
            scan(tmp_path / name)


# -- lists --------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "b.jpg",
        "a.jpg",
        "sub/c.png",
        "no_extension",
        b"caf\xe9.jpg",
        "#1.jpg",
        "clip.mp4",
        "with, comma.jpg",
    )
    return tmp_path


def listing(folder: Path, name: str, content: bytes) -> list[SourceEntry]:
    (folder / name).write_bytes(content)
    return list(scan(folder / name))


def test_a_text_list_keeps_its_order_and_counts_a_path_once(pictures: Path) -> None:
    lines = [
        b"b.jpg",
        b"# a comment",
        b"",
        b"./a.jpg",
        b"sub/../b.jpg",
        os.fsencode(pictures / "sub/c.png"),
        b"a.jpg",
    ]
    entries = listing(pictures, "list.txt", b"\xef\xbb\xbf" + b"\r\n".join(lines))
    assert files(entries) == [b"b.jpg", b"a.jpg", b"sub/c.png"]
    assert failures(entries) == {}
    assert all(entry.root == pictures == source_root(pictures / "list.txt") for entry in entries)


def test_a_list_is_taken_by_its_word(pictures: Path) -> None:
    lines = [b"no_extension", b"caf\xe9.jpg", b"./#1.jpg", b"gone.jpg", b"clip.mp4", b"sub", b"nul\0.jpg"]
    entries = listing(pictures, "list.txt", b"\n".join(lines))
    assert files(entries) == [b"no_extension", b"caf\xe9.jpg", b"#1.jpg"]
    reasons = failures(entries)
    expected = {b"gone.jpg": "missing", b"clip.mp4": "videos", b"sub": "directory", b"nul\0.jpg": "null"}
    assert reasons.keys() == expected.keys()
    assert all(words in reasons[name] for name, words in expected.items())
    retryable = {entry.relative for entry in entries if isinstance(entry, SourceFailure) and entry.retryable}
    assert retryable == {b"gone.jpg"}


def test_paths_outside_the_folder_of_the_list(pictures: Path) -> None:
    (pictures / "lists").mkdir()
    (found,) = listing(pictures / "lists", "list.txt", b"../a.jpg")
    assert found.relative == b"../a.jpg"
    assert Path(found.path).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("header.csv", b"id,Path,label\n1,b.jpg,x\n2,a.jpg,y\n"),
        ("other_header.csv", b"label,filename\nx,b.jpg\ny,a.jpg\n"),
        ("preferred.csv", b"image,path\nwrong.jpg,b.jpg\nwrong.jpg,a.jpg\n"),
        ("bare.csv", b"b.jpg,1\na.jpg,2\n\n"),
        ("semicolon.csv", b"path;label\nb.jpg;1\na.jpg;2\n"),
        ("tabs.tsv", b"label\tpath\r\n1\tb.jpg\r\n2\ta.jpg\r\n"),
        ("quoted.csv", b'"path"\n"b.jpg"\n"a.jpg"\n'),
        ("marked.csv", b"\xef\xbb\xbfpath\nb.jpg\na.jpg\nb.jpg\n"),
    ],
)
def test_csv(pictures: Path, name: str, content: bytes) -> None:
    assert files(listing(pictures, name, content)) == [b"b.jpg", b"a.jpg"]


def test_csv_with_odd_names(pictures: Path) -> None:
    entries = listing(pictures, "odd.csv", b'path,label\n"with, comma.jpg",1\ncaf\xe9.jpg,2\n')
    assert files(entries) == [b"with, comma.jpg", b"caf\xe9.jpg"]


@pytest.mark.parametrize(
    "columns",
    [
        {"id": pa.array([1, 2]), "path": pa.array(["b.jpg", "a.jpg"])},
        {"anything": pa.array(["b.jpg", "a.jpg"]), "id": pa.array([1, 2])},
        {"Filename": pa.array(["b.jpg", "a.jpg"], pa.large_string())},
        {"path": pa.array(["b.jpg", "a.jpg"]).dictionary_encode()},
        {"path": pa.array([b"b.jpg", b"a.jpg"])},
        {"tags": pa.array([["x"], ["y"]]), "anything": pa.array(["b.jpg", "a.jpg"])},
        {"label": pa.array(["x", "y"]), "file": pa.array(["b.jpg", "a.jpg"])},
    ],
)
def test_parquet(pictures: Path, columns: dict[str, pa.Array]) -> None:
    pq.write_table(pa.table(columns), pictures / "list.parquet", row_group_size=1)
    assert files(scan(pictures / "list.parquet")) == [b"b.jpg", b"a.jpg"]


def test_empty_cells_are_no_paths(pictures: Path) -> None:
    pq.write_table(pa.table({"path": ["b.jpg", None, "", "a.jpg"]}), pictures / "list.parquet")
    assert files(scan(pictures / "list.parquet")) == [b"b.jpg", b"a.jpg"]


def test_damaged_lists_say_what_is_wrong(pictures: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), pictures / "numbers.parquet")
    contents = {
        "damaged.parquet": (b"PAR1 not really", "no Parquet file"),
        "numbers.parquet": ((pictures / "numbers.parquet").read_bytes(), "no column of strings, only: id"),
        "utf16.txt": ("b.jpg\n".encode("utf-16"), "save it as UTF-8"),
        "utf16.csv": ("path\n".encode("utf-16"), "save it as UTF-8"),
        "huge_field.csv": (b"path\n" + b"x" * 200_000, "line 2"),
    }
    for name, (content, words) in contents.items():
        with pytest.raises(SourceError, match=words):
            listing(pictures, name, content)


def test_one_image_file_is_a_source(pictures: Path) -> None:
    assert files(scan(pictures / "a.jpg")) == [b"a.jpg"]


# -- all together -------------------------------------------------------------------------------


def verdicts(folder: Path) -> Iterator[tuple[bytes, str]]:
    for entry in scan(folder):
        if isinstance(entry, SkippedFile):
            yield entry.relative, SKIPPED
        elif isinstance(entry, SourceFailure):
            yield entry.relative, entry.reason
        else:
            try:
                decode(entry.path)
                yield entry.relative, INDEXED
            except DecodeError as error:
                yield entry.relative, error.reason


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Expected, dict[bytes, str]]:
    folder = tmp_path_factory.mktemp("broken")
    return make_broken(folder), dict(verdicts(folder))


def test_every_broken_file_is_named_and_nothing_else(broken: tuple[Expected, dict[bytes, str]]) -> None:
    expected, found = broken
    assert found.keys() == expected.keys()
    named = [words for words in expected.values() if words not in (INDEXED, SKIPPED)]
    assert len(named) >= 50


def test_every_reason_is_one_sentence_that_helps(broken: tuple[Expected, dict[bytes, str]]) -> None:
    expected, found = broken
    for name, words in expected.items():
        assert words in found[name], (name, found[name])
        if words not in (INDEXED, SKIPPED, "empty"):
            assert ": " in found[name], f"{found[name]} does not say what to do"
