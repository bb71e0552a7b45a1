"""Cache first, one short question, then a download; without a network one error within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.models.hub_server import COMMIT, refusing, serve, silent, use_hub
from twinlens.engine.errors import WeightsUnavailable
from twinlens.models import hub

FILES = {"org/model/second.bin": b"weights", "org/model/config.json": b"{}"}


def test_a_file_is_downloaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[str] = []
    with serve(FILES, requests) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        path = hub.fetch("org/model", ("first.bin", "second.bin"))
        assert path.read_bytes() == b"weights"
        assert path.parent.name == COMMIT
        asked = len(requests)
        assert hub.fetch("org/model", ("first.bin", "second.bin")) == path
        assert len(requests) == asked
        assert hub.fetch("org/model", ("config.json",), revision=COMMIT).parent == path.parent


def test_the_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve(FILES, []) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        path = hub.fetch("org/model", ("second.bin",))
    with refusing() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        assert hub.fetch("org/model", ("second.bin",)) == path
        assert hub.find_cached("org/model", ("first.bin",)) is None


def test_a_hub_without_the_file_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve(FILES, []) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        with pytest.raises(WeightsUnavailable, match=r"/org/model has no a\.bin or b\.bin"):
            hub.fetch("org/model", ("a.bin", "b.bin"))


def test_the_login_page_of_a_network_is_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve({"org/model/second.bin": b"please log in"}, [], commit="") as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        with pytest.raises(WeightsUnavailable, match=r"has no second\.bin"):
            hub.fetch("org/model", ("second.bin",))


@pytest.mark.parametrize("no_hub", [refusing, silent])
def test_no_answer_is_one_error_within_seconds(
    no_hub: Callable[[], AbstractContextManager[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with no_hub() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        start = time.monotonic()
        with pytest.raises(WeightsUnavailable, match=endpoint):
            hub.fetch("org/model", ("first.bin", "second.bin"))
        assert time.monotonic() - start < hub.PROBE_SECONDS + 1


def test_the_offline_switch_is_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[str] = []
    with serve(FILES, requests) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsUnavailable, match="offline mode"):
            hub.fetch("org/model", ("second.bin",))
    assert requests == []


def test_a_question_that_hangs_is_given_up() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        hub.within(0.05, lambda: time.sleep(1))
    assert time.monotonic() - start < 0.5
    assert hub.within(1, lambda: "answer") == "answer"
