"""Runs of schemathesis: requests made up from `/openapi.json`, right and wrong ones, sent to a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import RunningServer

REPOSITORY = Path(__file__).parents[1]

# All checks are made, but for one on four methods: that what the document allows is not refused. They refuse
# a query as a whole whose image cannot be read, and no schema tells a readable image from another text.
CONFIGURATION = """
[[operations]]
include-path-regex = "/(rank_images|visualKNN|nearDuplicates|visualRankRecords)$"
checks.positive_data_acceptance.enabled = false
"""


def fuzz(server: RunningServer, folder: Path, *options: str, token: str | None = None) -> str:
    """Run schemathesis; what it prints.

    Args:
        server: what is tested.
        folder: for files of the run.
        options: of `schemathesis run`.
        token: sent with each request.

    Raises:
        AssertionError: it found something; the message is what it prints, with commands that show it again.
    """
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    headers = ["--header", f"Authorization: Token {token}"] if token else []
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
            *("run", f"{server.url}/openapi.json", "--no-color", "--continue-on-failure"),
            *("--warnings", "off", "--request-timeout", "60"),
            *headers,
            *options,
        ],
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzzing_hooks", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout
