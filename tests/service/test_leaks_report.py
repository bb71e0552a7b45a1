"""The report of leaks: one file, two pictures to a leak, and names that stay names."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browsers import chromium
from tests.collections_of_pictures import picture, save
from tests.fakes import ColourGridEmbedder
from twinlens.engine.catalog import Failure
from twinlens.engine.dataset import Dataset
from twinlens.engine.leaks import find_leaks
from twinlens.service.leaks_report import PAIRS_SHOWN, LeakSet, LeaksReport, write_leaks_report

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@contextmanager
def sets(folder: Path) -> Iterator[tuple[Dataset, Dataset]]:
    """Two sets with two leaks, the less similar of them a file with a hostile name."""
    for seed in range(3):
        save(folder / "train", f"{seed}.jpg", picture(seed))
    save(folder / "test", "copy.jpg", picture(0))
    save(folder / "test", HOSTILE, picture(1).resize((80, 60)))
    with (
        Dataset.create(folder / "train" / ".twinlens", ColourGridEmbedder()) as train,
        Dataset.create(folder / "test" / ".twinlens", ColourGridEmbedder()) as test,
    ):
        train.add(folder / "train")
        test.add(folder / "test")
        yield train, test


def shown(title: str, data: Dataset, *failures: Failure) -> LeakSet:
    return LeakSet(title, str(data.folder), len(data), failures, data.snapshot().find, data.preview)


def written(
    out: Path, train: Dataset, test: Dataset, threshold: float = 0.95, *, most: int = PAIRS_SHOWN
) -> str:
    found = find_leaks(train.snapshot(), test.snapshot(), threshold)
    report = LeaksReport(
        leaks=found,
        train=shown("train", train),
        test=shown(
            "<b>test</b>", test, Failure(f"{test.folder.parent}/broken.jpg", "decode", "cut off", False)
        ),
        model="colour_grid",
        notices=["Look twice."],
        generated=datetime(2025, 3, 1, 9, 5, tzinfo=UTC),
        version="0.1.0",
    )
    write_leaks_report(out, report, most=most)
    return out.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaks")
    with sets(folder) as (train, test):
        written(folder / "out" / "leaks.html", train, test)
    return folder / "out" / "leaks.html"


def test_the_page_allows_nothing_but_its_own_style(page: Path) -> None:
    text = page.read_text()
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'; base-uri 'none'" in text and "<script" not in text
    assert "http:" not in text.replace("http-equiv", "") and "https:" not in text


def test_names_stay_names(page: Path) -> None:
    text = page.read_text()
    assert "<img src=x" not in text and "&lt;img src=x" in text
    assert "<b>test" not in text


def test_no_leaks_is_said(tmp_path: Path) -> None:
    with sets(tmp_path) as (train, test):
        (image,) = (image for image in test.images() if image.path.endswith("copy.jpg"))
        test.remove([image.id])
        text = written(tmp_path / "leaks.html", train, test, 1.0)
    assert "None of 1 test images has a twin among 3 training images" in text
    assert "data:image/jpeg" not in text


def test_the_most_similar_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    with sets(tmp_path) as (train, test):
        text = written(tmp_path / "leaks.html", train, test, most=1)
    assert text.count("data:image/jpeg") == 2
    assert "The 1 most similar of 2 leaks are shown" in text


def test_sets_without_pictures_have_placeholders(tmp_path: Path) -> None:
    rows = np.eye(3, dtype=np.float16)
    with (
        Dataset.from_vectors(["a", "b", "c"], rows, name="own") as train,
        Dataset.from_vectors(["x"], rows[:1], name="own") as test,
    ):
        text = written(tmp_path / "leaks.html", train, test)
    assert text.count('class="placeholder"') == 2 and ">x</bdi>" in text


# -- in a browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 420])
def test_pairs_lie_side_by_side(browser: Browser, page: Path, width: int) -> None:
    seen = browser.new_page(viewport={"width": width, "height": 900})
    errors: list[str] = []
    requests: list[str] = []
    seen.on("console", lambda message: errors.append(message.text))
    seen.on("dialog", lambda dialog: errors.append(dialog.message))
    seen.on("request", lambda request: requests.append(request.url))
    seen.goto(page.as_uri())
    pairs = seen.locator(".pair")
    assert pairs.count() == 2
    assert pairs.first.inner_text().split("\n")[:2] == ["1.000", "identical bytes"]
    for pair in pairs.all():
        pair.scroll_into_view_if_needed()
        left, right = (tile.bounding_box() for tile in pair.locator(".picture").all())
        assert left is not None and right is not None
        assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
        assert pair.locator(".badge.set").all_inner_texts() == ["test", "train"]
    assert HOSTILE in pairs.last.inner_text()
    loaded = "all => Promise.all(all.map(image => image.decode().then(() => image.naturalWidth)))"
    assert all(size > 0 for size in seen.locator(".pair img").evaluate_all(loaded))
    assert "cut off" in seen.locator("#failures").inner_text()
    overflow = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert seen.evaluate(overflow)
    assert errors == [] and [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    seen.close()
