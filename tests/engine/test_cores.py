"""The processors that count are those that we may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinlens.engine.cores import quotas, usable_cores


def groups(folder: Path, files: dict[str, str], own: str) -> list[int]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "own").write_text(own)
    return sorted(quotas(folder, folder / "own"))


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "200000 100000\n"}, "0::/\n", [2]),
        ({"cpu.max": "max 100000\n"}, "0::/\n", []),
        ({"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "400000 100000\n"}, "0::/a/b\n", [2, 4]),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", [3]),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n0::/\n", []),
        ({"cpu.max": "nonsense\n"}, "0::/\n", []),
        ({}, "", []),
    ],
)
def test_quotas_of_containers_count(
    tmp_path: Path, files: dict[str, str], own: str, expected: list[int]
) -> None:
    assert groups(tmp_path, files, own) == expected


def test_without_control_groups_there_are_no_quotas(tmp_path: Path) -> None:
    assert list(quotas(tmp_path / "none", tmp_path / "neither")) == []


def test_there_is_at_least_one_and_no_more_than_the_machine_has() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to bind a process")
def test_a_process_that_is_bound_to_one_has_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from twinlens.engine.cores import usable_cores; print(usable_cores())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"
