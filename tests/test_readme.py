"""The README's examples of the server, run as they are printed there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.explore import Client, jwt_of
from tests.servers import RunningServer, running_server
from twinlens.service.keys import KeyStore

ROOT = Path(__file__).parent.parent
MATCHING, DATASETS = "## Image matching over REST", "## Datasets over REST"
LEFT_OUT = {"_status", "status", "statistics"}


@dataclass(frozen=True)
class Example:
    """A program in the README, and the block below it, which is what it answers."""

    language: str
    program: str
    answer: str


def examples(section: str) -> list[Example]:
    section = (ROOT / "README.md").read_text().split(section)[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [
        Example(language, program, answer)
        for (language, program), (_, answer) in pairwise(blocks)
        if language in ("sh", "python")
    ]


def without_status(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_status(inner) for key, inner in value.items() if key not in LEFT_OUT}
    return [without_status(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo collection lies as the README says."""
    folder = tmp_path_factory.mktemp("readme")
    make_demo = [sys.executable, str(ROOT / "scripts" / "make_demo.py"), str(folder / "demo" / "photos")]
    subprocess.run(make_demo, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.mark.parametrize("example", examples(MATCHING), ids=lambda example: example.language)
def test_an_example_prints_what_the_readme_says(
    example: Example, folder: Path, server: RunningServer
) -> None:
    if example.language == "sh" and shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    program = example.program.replace("http://localhost:8000", server.url)
    command = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[example.language]
    run = subprocess.run([*command, program], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    if example.language == "sh":
        assert without_status(json.loads(run.stdout)) == json.loads(example.answer)
    else:
        assert run.stdout == example.answer


def test_there_are_examples_for_the_shell_and_for_python() -> None:
    assert [example.language for example in examples(MATCHING)] == ["sh", "python"]
    assert [example.language for example in examples(DATASETS)] == ["python", "sh"]


def test_a_dataset_is_made_and_asked_as_the_readme_says(folder: Path, tmp_path: Path) -> None:
    """The program first, then the commands of the shell on the dataset that it made."""
    by_language = {example.language: example for example in examples(DATASETS)}
    with closing(KeyStore(tmp_path)) as keys:
        key = keys.create("curation")
    given = {"API_KEY": key.api_key, "API_SECRET": key.api_secret, "JWT": jwt_of(key)}
    commands = {"python": [sys.executable, "-c"], "sh": ["bash", "-euo", "pipefail", "-c"]}
    with (
        running_server(tmp_path, "--model", "efficientnet_lite0") as server,
        Client(server.url, key) as client,
    ):
        for language, command in commands.items():
            example = by_language[language]
            if language == "sh":
                if shutil.which("curl") is None:
                    pytest.skip("no curl on this machine")
                (made,) = client.json("/datasets")
                given["DATASET"] = made["id"]
            run = subprocess.run(
                [*command, example.program.replace("http://localhost:8000", server.url)],
                cwd=folder,
                env=os.environ | given,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert run.returncode == 0, run.stderr
            assert run.stdout == example.answer
