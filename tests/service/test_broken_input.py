"""A folder of everything that goes wrong, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broken import INDEXED, SKIPPED, make_broken
from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset
from twinlens.engine.ingest import IngestOptions

CLI = [sys.executable, "-c", "from twinlens.service.cli import main; main()"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, str]]:
    photos = tmp_path_factory.mktemp("broken") / "photos"
    expected = make_broken(photos)
    fill(photos / "sound", 20)
    return photos, expected


def test_every_broken_file_is_named_with_its_reason(
    folder: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    photos, expected = folder
    report = tmp_path / "report.html"
    done = run(
        "run",
        photos,
        "--dataset",
        tmp_path / "d",
        "--model",
        "efficientnet_lite0",
        "--report",
        report,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    reasons = {os.fsencode(os.path.relpath(f["path"], photos)): f["reason"] for f in answer["failures"]}
    broken = {name: words for name, words in expected.items() if words not in (INDEXED, SKIPPED)}
    assert len(broken) >= 30
    # Root reads what nobody may read: that one file is no failure to it.
    unreadable = (
        {name for name, words in broken.items() if "permission" in words} if os.geteuid() == 0 else set()
    )
    assert set(broken) - set(reasons) <= unreadable
    assert not set(reasons) - set(broken)
    assert all(words in reasons[name] for name, words in broken.items() if name in reasons)
    members = {m["path"] for cluster in answer["clusters"] for m in cluster["members"]}
    assert not members & {f["path"] for f in answer["failures"]}
    html = report.read_text()
    assert all(
        json.dumps(reason)[1:-1].split("'")[0][:40] in html
        for reason in set(reasons.values())
        if reason.isascii()
    )


def test_running_again_reads_nothing_and_says_the_same(
    folder: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    photos, _ = folder
    with Dataset.create(tmp_path / "d", ColourGridEmbedder(), namespace="photos") as dataset:
        first = dataset.add(photos)
        failures = dataset.failures()
        again = dataset.add(photos)
        assert (again.added, again.changed, again.failed) == (0, 0, first.failed)
        assert dataset.failures() == failures
        retried = dataset.add(photos, IngestOptions(retry_failed=True))
        assert (retried.added, retried.failed) == (0, first.failed)


def test_a_failure_that_was_mended_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "00001.jpg").write_bytes(b"")
    with Dataset.create(tmp_path / "d", ColourGridEmbedder(), namespace="photos") as dataset:
        assert dataset.add(tmp_path / "photos").failed == 1
        fill(tmp_path / "photos", 3)
        report = dataset.add(tmp_path / "photos")
        assert (report.added, report.failed, dataset.failures()) == (3, 0, [])


def test_an_image_that_breaks_leaves_the_dataset(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 3)
    with Dataset.create(tmp_path / "d", ColourGridEmbedder(), namespace="photos") as dataset:
        dataset.add(tmp_path / "photos")
        (tmp_path / "photos" / "00001.jpg").write_bytes(b"gone bad")
        report = dataset.add(tmp_path / "photos")
        assert (len(dataset), report.failed) == (2, 1)
