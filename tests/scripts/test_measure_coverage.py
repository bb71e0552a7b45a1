"""The figures of docs/coverage.md: a small run of the script, and its measure on made-up similarities."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from scripts.cuts import save_cuts
from scripts.measure_coverage import Collection, Compared, Reached, compare, coverage, page, save_edited
from twinlens.models.registry import EMBEDDED

ROOT = Path(__file__).parents[2]


def test_coverage_is_the_distance_of_the_worst_dropped_image() -> None:
    similarity = np.array(
        [[1.0, 0.9, 0.2, 0.0], [0.9, 1.0, 0.4, 0.0], [0.2, 0.4, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    )
    informative = np.array([0, 1, 2])
    expected = {(0,): (0.8, 0.45), (1,): (0.6, 0.35), (1, 2, 3): (0.1, 0.1), (0, 1, 2): (0.0, 0.0)}
    for chosen, (largest, mean) in expected.items():
        reached = coverage(similarity, informative, np.array(chosen))
        assert reached.largest == pytest.approx(largest) and reached.mean == pytest.approx(mean)


@pytest.mark.parametrize(
    ("random", "unique", "best"),
    [((0.4, 0.6), 0.5, True), ((0.2, 0.3), 0.5, False), ((0.4, 0.6), 0.3, False)],
)
def test_the_best_is_better_than_both(random: tuple[float, float], unique: float, best: bool) -> None:
    row = Compared(5, Reached(0.3, 0.1), [Reached(each, 0.1) for each in random], Reached(unique, 0.1))
    assert row.best is best
    text = "\n".join(page([Collection("Some", 10, 1, [row])], [Path("/x/package")], "some-model"))
    assert ("| 5 | **0.300** |" in text) is best
    assert (
        "10 images, 1 of them flat." in text and "measure_coverage package --model some-model --out" in text
    )
    assert ("in 1 of 1 rows." in text) is best and ("0 of 1 rows; not in: Some, N = 5." in text) is not best


def test_a_small_run_measures_what_the_choice_reports(tmp_path: Path) -> None:
    save_cuts(tmp_path / "cuts", 60, (160, 120))
    found = compare("cuts", tmp_path / "cuts", tmp_path, EMBEDDED, seeds=3)
    assert found.images == 60 and [row.count for row in found.compared] == [1, 3, 6, 12, 24]
    assert all(len(row.random) == 3 for row in found.compared)
    reached = [row.plan.largest for row in found.compared]
    assert reached == sorted(reached, reverse=True)


def test_edited_photographs_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_edited(tmp_path / name)
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert len(first) % 7 == 0 and [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_the_page_is_bold_where_keep_is_best_which_is_nearly_everywhere() -> None:
    _, *collections = re.split(r"^## ", (ROOT / "docs" / "coverage.md").read_text(), flags=re.MULTILINE)
    assert len(collections) >= 3
    for text in collections:
        rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d", line)]
        best = 0
        for row in rows:
            plan, random, unique = (float(re.findall(r"\d\.\d+", cell)[0]) for cell in row[1:4])
            assert ("**" in row[1]) is (plan < random and plan < unique)
            best += plan < random and plan < unique
        assert len(rows) == 5 and best >= 4
