"""What the kernel says of this machine and of a process (Linux, proc(5))."""

from __future__ import annotations

import os
import platform
from pathlib import Path

THIS = "self"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def children() -> list[int]:
    """Processes that this one has started and not waited for."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks if task.exists() for pid in task.read_text().split()]


def forget_peak(process: int | str = THIS) -> None:
    """Start the peak of its resident memory anew."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def peak_mib(process: int | str = THIS) -> float:
    return _status_mib(process, "VmHWM")


def resident_mib(process: int | str = THIS) -> float:
    return _status_mib(process, "VmRSS")


def cpu_seconds(process: int | str = THIS) -> float:
    """Time that all its threads have computed, the kernel's for them included."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = after_name[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _status_mib(process: int | str, field: str) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)
