"""Lists of URLs, indexed from a real web server that misbehaves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.archives import jpeg
from tests.fakes import ColourGridEmbedder, load_fake
from tests.service.test_cli import MODEL, twinlens
from tests.web_server import answer, in_turn, redirect, serve
from twinlens.engine.dataset import Dataset
from twinlens.engine.downloads import Downloads
from twinlens.engine.ingest import IngestReport
from twinlens.engine.sources import SourceFailure, scan
from twinlens.service.downloading import download_listed


def add(dataset: Dataset, source: Path, **options: Any) -> IngestReport:
    """Download and index a list, as `twinlens index` does."""
    download_listed([source], dataset.folder, lambda _: None, **options)
    return dataset.add(source)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="urls"):
        return tmp_path / "data"


def test_index_downloads_a_list_names_what_failed_and_loads_nothing_twice(tmp_path: Path) -> None:
    pages = {
        "/a.jpg": answer(jpeg(1)),
        "/b.jpg": in_turn(answer(status=503, headers={"Retry-After": "0"}), answer(jpeg(2))),
        "/moved.jpg": redirect("/c.jpg"),
        "/c.jpg": answer(jpeg(3)),
        "/page.jpg": answer(b"<html>not an image</html>"),
        "/busy.jpg": answer(status=429),
    }
    with serve(pages) as server:
        names = ["a.jpg", "b.jpg", "moved.jpg", "page.jpg", "busy.jpg", "gone.jpg", "a.jpg"]
        (tmp_path / "list.txt").write_text("\n".join(f"{server.url}/{name}" for name in names) + "\n")
        command = ("index", tmp_path / "list.txt", "--dataset", tmp_path / "data", "--model", MODEL, "--json")
        report = json.loads(twinlens(*command, "--allow-private-urls"))
        first = list(server.hits)
        again = json.loads(twinlens(*command, "--allow-private-urls"))
        second = server.hits[len(first) :]
    said = {each["path"].rpartition("/")[2]: each for each in report["failures"]}
    assert report["images"] == 3 and set(said) == {"page.jpg", "busy.jpg", "gone.jpg"}
    assert all(each["path"].startswith(server.url) for each in report["failures"])
    assert (said["busy.jpg"]["stage"], said["busy.jpg"]["retryable"]) == ("fetch", True)
    assert (said["gone.jpg"]["stage"], said["gone.jpg"]["retryable"]) == ("fetch", False)
    assert "404" in said["gone.jpg"]["reason"] and "HTML" in said["page.jpg"]["reason"]
    assert again["sources"][0]["unchanged"] == 3 and again["failures"] == report["failures"]
    assert first.count("/b.jpg") == 2 and first.count("/a.jpg") == 1
    assert set(second) == {"/busy.jpg"}
    with Dataset.open(tmp_path / "data") as dataset:
        assert {image.path for image in dataset.images()} == {
            f"{server.url}/{name}" for name in ("a.jpg", "b.jpg", "moved.jpg")
        }
        assert {Path(image.file).read_bytes() for image in dataset.images()} == {jpeg(n) for n in (1, 2, 3)}
        (distances,) = {
            dataset.explain(dataset.resolve(f"{server.url}/a.jpg"), other.id).phash_distance is None
            for other in dataset.images()
            if not other.path.endswith("/a.jpg")
        }
        assert distances is False


def test_private_addresses_are_refused_until_they_are_allowed(tmp_path: Path, folder: Path) -> None:
    with serve({"/a.jpg": answer(jpeg(1))}) as server, Dataset.open(folder, models=load_fake) as dataset:
        (tmp_path / "list.csv").write_text(f"caption,url\nhello,{server.url}/a.jpg\n")
        assert add(dataset, tmp_path / "list.csv").failed == 1
        (failure,) = dataset.failures()
        assert failure.path == f"{server.url}/a.jpg" and "loopback" in failure.reason and not server.hits
        assert add(dataset, tmp_path / "list.csv", allow_private=True).added == 1
        assert dataset.failures() == []


def test_urls_in_parquet_beside_paths_and_other_schemes(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(jpeg(9))
    with serve({"/a.jpg": answer(jpeg(1))}) as server, Dataset.open(folder, models=load_fake) as dataset:
        entries = [f"{server.url}/a.jpg", "here.jpg", "s3://bucket/a.jpg", "HTTP://[nonsense/a.jpg"]
        pq.write_table(pa.table({"image_url": entries}), tmp_path / "list.parquet")
        report = add(dataset, tmp_path / "list.parquet", allow_private=True)
        assert (report.added, report.failed) == (2, 2)
        reasons = {os.path.basename(os.path.dirname(f.path)): f.reason for f in dataset.failures()}
        assert "only http and https" in reasons["bucket"] and "not a usable URL" in reasons["[nonsense"]


def test_what_failed_for_good_is_tried_again_when_asked(tmp_path: Path, folder: Path) -> None:
    pages = {"/a.jpg": in_turn(answer(status=404), answer(jpeg(1)))}
    with serve(pages) as server, Dataset.open(folder, models=load_fake) as dataset:
        (tmp_path / "list.txt").write_text(f"{server.url}/a.jpg\n")
        assert add(dataset, tmp_path / "list.txt", allow_private=True).failed == 1
        assert add(dataset, tmp_path / "list.txt", allow_private=True).failed == 1
        assert len(server.hits) == 1
        assert add(dataset, tmp_path / "list.txt", allow_private=True, retry_failed=True).added == 1


def test_a_dataset_takes_its_downloads_along(tmp_path: Path, folder: Path) -> None:
    with serve({"/a.jpg": answer(jpeg(1))}) as server, Dataset.open(folder, models=load_fake) as dataset:
        (tmp_path / "list.txt").write_text(f"{server.url}/a.jpg\n")
        add(dataset, tmp_path / "list.txt", allow_private=True)
    shutil.move(folder, tmp_path / "elsewhere")
    with Dataset.open(tmp_path / "elsewhere") as moved:
        (image,) = moved.images()
        assert Path(image.file).read_bytes() == jpeg(1)


def test_urls_that_were_not_downloaded_say_so(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://example.com/a.jpg\n")
    (entry,) = scan(tmp_path / "list.txt", downloads=Downloads(tmp_path / "data"))
    assert isinstance(entry, SourceFailure) and entry.retryable and "not downloaded yet" in entry.reason
    assert entry.path == "https://example.com/a.jpg"
