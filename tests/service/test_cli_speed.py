"""What the command line imports: help, `keys` and `serve` wait for nothing that they do not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "faiss", "scipy", "pyarrow", "jinja2", "pandas", "open_clip", "timm")


def imported_by(*arguments: str) -> tuple[str, list[str]]:
    """What a command prints, and which heavy modules it has loaded by its end."""
    code = (
        "import sys\n"
        "from twinlens.service.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return run.stdout, run.stderr.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "duplicates"),
        (["run", "--help"], "--threshold"),
        (["pairs", "--help"], "50000000"),
        (["serve", "--help"], "--allow-private-urls"),
        (["keys", "--help"], "revoke"),
        (["models"], "efficientnet_lite0"),
    ],
)
def test_help_is_light(arguments: list[str], words: str) -> None:
    said, heavy = imported_by(*arguments)
    assert words in said and heavy == []


def test_keys_are_light(tmp_path: Path) -> None:
    for arguments in (["create", "--name", "lab"], ["list"], ["revoke", "lab"]):
        said, heavy = imported_by("keys", *arguments, "--home", str(tmp_path))
        assert "lab" in said and heavy == []


def test_the_test_would_notice(tmp_path: Path) -> None:
    _, heavy = imported_by("info", "--dataset", str(tmp_path))
    assert "scipy" in heavy
