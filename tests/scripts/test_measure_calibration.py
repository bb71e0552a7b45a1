"""The figures of docs/calibration.md: trials of small collections, and what a row says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.measure_calibration import (
    PROTOCOLS,
    SEED,
    Tried,
    chosen_files,
    otherwise_edited,
    precise,
    section,
    specimens_of,
    spread,
    table,
    trials,
)
from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset


def test_precision_is_counted_and_nothing_found_has_none() -> None:
    assert precise(0.9, 0.1) == pytest.approx(0.9)
    assert precise(0.0, 0.0) is None


def test_figures_are_rounded_down_least_first() -> None:
    assert spread([0.99999, 0.9876, None]) == "98.7 / 99.3"
    assert spread([None]) == "nothing found"


def test_a_choice_of_files_is_the_same_every_time(tmp_path: Path) -> None:
    fill(tmp_path, 12)
    first = chosen_files([tmp_path], 5)
    assert first == chosen_files([tmp_path], 5) == sorted(first) and len(set(first)) == 5


def test_runs_without_a_threshold_count_only_as_not_reached() -> None:
    reached = [Tried(0.9, (0.98, 0.97), (0.5, 0.25)), Tried(None), Tried(0.7, (0.95, None), (0.75, 0.5))]
    rows = list(table("few", 60, [(PROTOCOLS[0], reached), (PROTOCOLS[0], [Tried(None)] * 3)]))
    assert rows[0] == (
        "| few, 60 | same images | 99% | 1 of 2 | 0.900 to 0.900 | 98.0 / 98.0 | 97.0 / 97.0 | 50% | 25% |"
    )
    assert rows[1].startswith("| few, 60 | same images | 95% | 0 of 2 |  |")
    assert {row.count("|") for row in rows} == {10}
    assert all(row in section("command", "some-model", rows, 2) for row in rows) and "    command" in section(
        "command", "some-model", rows, 2
    )


def test_thresholds_hold_on_edits_and_images_that_they_have_not_seen(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 60)
    with Dataset.create(tmp_path / "data", ColourGridEmbedder(), namespace="photos") as data:
        data.add(tmp_path / "photos")
        first, second = (specimens_of(data, seed) for seed in (SEED, SEED + 1))
        results = list(trials(data.snapshot(), first, second, otherwise_edited(data, second), 2))
    assert [protocol for protocol, _ in results] == list(PROTOCOLS) * 2
    for _, levels in results:
        assert levels[0].threshold is not None
        assert all(value is not None and value >= 0.97 for value in levels[0].precision)
        assert levels[0].recall[0] > 0.5
