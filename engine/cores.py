"""How many processors there are for us."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


@cache
def usable_cores() -> int:
    """Processors that we may use: those that this process is bound to, in a container no more than its quota.

    A container with a quota of two still sees all 64 of its machine; a thread or a process for each of them
    would only take memory.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *quotas(_CONTROL_GROUPS, _OWN_GROUP)]))


def quotas(groups: Path, own: Path) -> Iterator[int]:
    """Processors that control groups allow, rounded up: ours and all above it (version 2), or version 1.

    Args:
        groups: where control groups are mounted.
        own: the file that names ours.
    """
    with suppress(OSError, ValueError):
        for name in (line[3:] for line in own.read_text().splitlines() if line.startswith("0::")):
            group = groups / name.strip("/")
            for place in (group, *group.parents):
                if place.is_relative_to(groups):
                    yield from _version_2(place / "cpu.max")
    with suppress(OSError, ValueError):
        quota, period = (
            int((groups / "cpu" / f"cpu.cfs_{part}_us").read_text()) for part in ("quota", "period")
        )
        if quota > 0:
            yield math.ceil(quota / period)


def _version_2(file: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        quota, period = file.read_text().split()
        if quota != "max":
            yield math.ceil(int(quota) / int(period))
