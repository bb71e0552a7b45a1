"""The documentation page of a running server, in a real browser and without the internet."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browsers import chromium
from tests.servers import running_server


def test_the_page_shows_every_method_and_asks_nobody_else(tmp_path: Path) -> None:
    requests: list[str] = []
    with running_server(tmp_path / "home") as server, chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{server.url}/docs")
        expect(page.get_by_text("/image_matching/v2/remove_duplicates", exact=True)).to_be_visible()
        page.get_by_text("/image_matching/v2/rank_images", exact=True).click()
        expect(page.get_by_text("MIXED_RESULT").first).to_be_visible()
        assert [url for url in requests if not url.startswith((server.url, "data:", "blob:"))] == []
