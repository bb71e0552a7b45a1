"""The report in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browsers import chromium
from tests.service.reports import cluster, identifier, picture, report, unique
from twinlens.engine.catalog import Failure
from twinlens.engine.results import Cluster, Evidence
from twinlens.service.report import MEMBERS_SHOWN, Report, write_report

HOSTILE = ("<img src=x onerror=alert(1)>.jpg", "</script><script>alert(2)")
PICTURES = [picture(seed) for seed in range(20)]


@dataclass
class Opened:
    """A report in a browser, and what went wrong or left the machine."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def card(self, name: str) -> str:
        return self.page.locator(".card", has_text=name).inner_text()

    def heads(self) -> list[str]:
        return self.page.locator(".card .tile.keeper .name").all_inner_texts()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def opened(browser: Browser, folder: Path, content: Report, *, width: int = 1280) -> Opened:
    write_report(folder / "report.html", content)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(20_000)
    seen = Opened(page)
    page.on("console", seen.console)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", lambda dialog: seen.errors.append(dialog.message))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto((folder / "report.html").as_uri())
    return seen


def preview(id: str) -> bytes | None:
    return None if id == identifier("missing.jpg") else PICTURES[int(id[:4], 16) % len(PICTURES)]


def pairs(count: int) -> list[Cluster]:
    return [
        cluster(f"p{n:04d}.jpg", f"p{n:04d} copy.jpg", similarity=0.93 + n * 1e-4, size=1000 * (n + 1))
        for n in range(count)
    ]


def test_clusters_scores_and_failures_are_seen(browser: Browser, tmp_path: Path) -> None:
    content = report(
        [
            cluster("best.jpg", "copy.jpg", similarity=0.9496, links_out=2),
            cluster("x.jpg", "missing.jpg", similarity=0.93),
        ],
        unique=[unique("lonely.jpg")],
        failures=[Failure("/photos/broken.jpg", "decode", "it is cut off", False)],
        nearest=[0.4, 0.5, 0.9496, 0.9496],
        preview=preview,
    )
    seen = opened(browser, tmp_path, content)
    first = seen.page.locator(".card").first
    assert first.locator(".tile").first.inner_text().split()[:2] == ["keep", "best.jpg"]
    for part in ("2 images", "lowest", "0.949", "links out", "look-alike", "copy.jpg", "1.0 MB to reclaim"):
        assert part in first.inner_text()
    for part in ("lonely.jpg", "0.800", "broken.jpg", "it is cut off", "threshold 0.92"):
        assert part in seen.page.locator("main").inner_text()
    images = seen.page.locator(".card img")
    assert images.count() == 3
    widths = "all => Promise.all(all.map(image => image.decode().then(() => image.naturalWidth)))"
    assert images.evaluate_all(widths) == [96, 96, 96]
    assert seen.page.locator(".card .placeholder").count() == 1
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [
        (tmp_path / "report.html").as_uri()
    ]


def test_the_threshold_stands_where_it_belongs(browser: Browser, tmp_path: Path) -> None:
    seen = opened(browser, tmp_path, report(nearest=[0.0, 0.5, 1.0], threshold=0.8))
    plot = seen.page.locator(".plot").bounding_box()
    line = seen.page.locator("line.threshold").bounding_box()
    assert plot is not None and line is not None
    assert line["x"] - plot["x"] == pytest.approx(0.8 * plot["width"], abs=1.5)
    assert seen.errors == []


def test_pages_turn(browser: Browser, tmp_path: Path) -> None:
    seen = opened(browser, tmp_path, report(pairs(120), preview=preview))
    status = seen.page.locator("#status")
    expect(status).to_have_text("Clusters 1 to 50 of 120")
    next_button = seen.page.locator(".next").first
    next_button.click()
    expect(status).to_have_text("Clusters 51 to 100 of 120")
    next_button.focus()
    seen.page.keyboard.press("Enter")
    expect(status).to_have_text("Clusters 101 to 120 of 120")
    expect(next_button).to_be_disabled()
    assert seen.page.locator(".card img").count() == 40
    seen.page.locator(".page").last.fill("1")
    seen.page.locator(".page").last.press("Enter")
    expect(status).to_have_text("Clusters 1 to 50 of 120")
    assert seen.errors == []


def test_clusters_are_sorted_and_filtered(browser: Browser, tmp_path: Path) -> None:
    clusters = [
        cluster("three.jpg", "3b.jpg", "3c.jpg", similarity=0.95, size=4),
        cluster("alike.jpg", "alike copy.jpg", similarity=1.0, size=20, evidence=Evidence.BYTES),
        cluster("large.jpg", "Größe.jpg", similarity=0.93, size=5000),
    ]
    seen = opened(browser, tmp_path, report(clusters))
    page = seen.page
    orders = {
        "size": ["three.jpg", "alike.jpg", "large.jpg"],
        "bytes": ["large.jpg", "alike.jpg", "three.jpg"],
        "similar": ["alike.jpg", "three.jpg", "large.jpg"],
        "dissimilar": ["large.jpg", "three.jpg", "alike.jpg"],
    }
    for order, names in orders.items():
        page.select_option("#sort", order)
        assert seen.heads() == names
    page.fill("#filter", "GRÖßE")
    assert seen.heads() == ["large.jpg"]
    page.fill("#filter", "nothing like it")
    expect(page.locator("#nothing")).to_be_visible()
    page.click("#reset")
    page.select_option("#evidence", "bytes")
    assert seen.heads() == ["alike.jpg"]
    page.select_option("#evidence", "")
    page.fill("#least", "3")
    assert seen.heads() == ["three.jpg"]
    assert seen.errors == []


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    content = report(
        [cluster(*HOSTILE)],
        title=HOSTILE[0],
        unique=[unique(HOSTILE[1], nearest=HOSTILE[0])],
        failures=[Failure(HOSTILE[1], "decode", HOSTILE[0], False)],
        notices=list(HOSTILE),
    )
    seen = opened(browser, tmp_path, content)
    expect(seen.page.locator("h1")).to_have_text(HOSTILE[0])
    assert HOSTILE[0] in seen.page.locator(".card").inner_text()
    assert seen.page.locator("img").count() == 0
    assert seen.errors == []


def test_a_script_that_got_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    seen = opened(browser, tmp_path, report([cluster("a.jpg", "b.jpg")]))
    seen.page.evaluate(
        "document.querySelector('h1').innerHTML = '<img src=x onerror=\"document.title = 1\">'"
    )
    seen.page.wait_for_timeout(100)
    assert seen.page.title() == "photos · TwinLens"
    assert any("Content Security Policy" in error for error in seen.errors)


def test_a_big_cluster_lists_the_rest_by_name(browser: Browser, tmp_path: Path) -> None:
    names = [f"{number:03d}.jpg" for number in range(MEMBERS_SHOWN + 76)]
    seen = opened(browser, tmp_path, report([cluster(*names)], preview=preview))
    assert seen.page.locator(".card .tile").count() == MEMBERS_SHOWN
    expect(seen.page.locator(".more summary")).to_have_text("and 76 more")
    seen.page.fill("#filter", "099")
    assert seen.page.locator(".more pre").inner_text().splitlines()[0] == "099.jpg"
    assert seen.errors == []


def test_a_path_can_be_copied(browser: Browser, tmp_path: Path) -> None:
    seen = opened(browser, tmp_path, report([cluster("a.jpg", "b.jpg")]))
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.get_by_role("button", name="Copy the path of b.jpg").click()
    expect(seen.page.locator("#status")).to_have_text("Copied /photos/b.jpg")
    assert seen.page.evaluate("navigator.clipboard.readText()") == "/photos/b.jpg"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    long = "a-very-long-name-without-any-space-" * 6
    content = report(
        [cluster(f"{long}/{long}.jpg", *[f"{n}.jpg" for n in range(9)]), *pairs(60)],
        title=long,
        unique=[unique(f"{long}.jpg")],
        failures=[Failure(f"/photos/{long}.jpg", "decode", "it is cut off", False)],
        nearest=[0.2, 0.9],
        notices=[long],
    )
    seen = opened(browser, tmp_path, content, width=width)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_five_thousand_clusters_stay_usable(browser: Browser, tmp_path: Path) -> None:
    clusters = [cluster(f"{n}.jpg", f"{n} b.jpg", f"{n} c.jpg") for n in range(5000)]
    started = time.perf_counter()
    seen = opened(browser, tmp_path, report(clusters, preview=preview))
    expect(seen.page.locator("#status")).to_have_text("Clusters 1 to 50 of 5,000")
    loaded = time.perf_counter()
    seen.page.locator(".next").first.click()
    expect(seen.page.locator("#status")).to_have_text("Clusters 51 to 100 of 5,000")
    turned = time.perf_counter()
    seen.page.fill("#filter", "4999 c")
    assert seen.heads() == ["4999.jpg"]
    filtered = time.perf_counter()
    size = (tmp_path / "report.html").stat().st_size
    print(
        f"{size / 1e6:.0f} MB; written and loaded in {loaded - started:.1f} s, "
        f"page turned in {turned - loaded:.2f} s, filtered in {filtered - turned:.2f} s"
    )
    assert turned - loaded < 5
    assert seen.page.locator("img").count() == 3
    assert seen.errors == []
