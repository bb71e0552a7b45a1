"""Runs of schemathesis: requests made up from `/openapi.json`, right and wrong ones, sent to a server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.fuzzing_world import World
from tests.servers import RunningServer

REPOSITORY = Path(__file__).parents[1]

# All checks are made, but for one on four methods: that what the document allows is not refused. They refuse
# a query as a whole whose image cannot be read, and no schema tells a readable image from another text.
# At `/api/v1` single requests are exempt from that check: see tests/fuzzing_explore_hooks.py.
CONFIGURATION = """
[[operations]]
include-path-regex = "/(rank_images|visualKNN|nearDuplicates|visualRankRecords)$"
checks.positive_data_acceptance.enabled = false
"""


def fuzz(
    server: RunningServer,
    folder: Path,
    *options: str,
    token: str = "",
    world: World | None = None,
    configuration: str = "",
) -> str:
    """Run schemathesis; what it prints.

    Args:
        server: what is tested.
        folder: for files of the run.
        options: of `schemathesis run`.
        token: key that is shown to image matching.
        world: what there is at `/api/v1`, and the key that is shown to it.
        configuration: more tables of `schemathesis.toml`.

    Raises:
        AssertionError: it found something; the message is what it prints, with commands that show it again.
    """
    file = folder / "schemathesis.toml"
    keys = _shown("token.api_key", token and f"Token {token}")
    keys += _shown("jwt.bearer", world.bearer if world else "")
    # Keys of the whole run come before the table of some operations.
    file.write_text(keys + CONFIGURATION + configuration)
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzzing_hooks", "PYTHONPATH": str(REPOSITORY)}
    if world is not None:
        world.save(folder / "world.json")
        hooks |= {"FUZZ_WORLD": str(folder / "world.json")}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(file)),
            *("run", f"{server.url}/openapi.json", "--no-color", "--continue-on-failure"),
            *("--warnings", "off", "--request-timeout", "60"),
            *options,
        ],
        cwd=folder,
        env=os.environ | hooks,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def _shown(field: str, key: str) -> str:
    """The part of the configuration that shows a key."""
    return f"auth.openapi.{field} = {json.dumps(key)}\n" if key else ""


def answered(server: RunningServer) -> dict[str, Counter[int]]:
    """How often each operation of the document was answered with which code, by its access log."""
    document: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()
    patterns = [
        (f"{verb.upper()} {path}", verb.upper(), re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))))
        for path, operations in document["paths"].items()
        for verb in operations
    ]
    # What has a name before what has a parameter in that place.
    patterns.sort(key=lambda each: each[0].count("{"))
    counts: dict[str, Counter[int]] = {label: Counter() for label, _, _ in patterns}
    for line in server.lines():
        if line["message"] == "request":
            for label, verb, pattern in patterns:
                if verb == line["method"] and pattern.fullmatch(line["path"]):
                    counts[label][line["status"]] += 1
                    break
    return counts
