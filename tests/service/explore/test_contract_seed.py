"""The documented programs, unchanged but for base URL, token and dataset id, against a real server.

The dataset is made of real photographs by the four documented upload calls, and the server asks for JWTs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.brute_force import Stored
from tests.explore import JsonObject, Lab, all_names, jwt_of, names

GOLDEN = Path(__file__).parents[2] / "golden" / "explore"
THRESHOLD = 0.95
UNIQUE = 0.8


def filled_in(program: str, replaced: Mapping[str, str]) -> str:
    for placeholder, value in replaced.items():
        assert placeholder in program
        program = program.replace(placeholder, value)
    return program


def run_example(lab: Lab, token: str) -> subprocess.CompletedProcess[str]:
    replaced = {
        "https://app.visual-layer.com": lab.server.url,
        "<your-jwt-token>": token,
        "<your-dataset-id>": lab.dataset,
    }
    program = filled_in((GOLDEN / "find_duplicates.txt").read_text(), replaced)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def run_curl(lab: Lab, number: int) -> JsonObject:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine: the documented calls of curl are not tested")
    assert lab.ann.key is not None
    calls = (GOLDEN / "curls.txt").read_text().split("\n\n")
    replaced = {
        "https://app.visual-layer.com": lab.server.url,
        "<jwt>": jwt_of(lab.ann.key),
        "<dataset_id>": lab.dataset,
    }
    run = subprocess.run(
        ["bash", "-euc", filled_in(calls[number], replaced)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    answer: JsonObject = json.loads(run.stdout)
    return answer


# -- the Python example ----------------------------------------------------------------------------


def test_the_python_example_prints_the_clusters_that_brute_force_finds(lab: Lab, stored: Stored) -> None:
    assert lab.ann.key is not None
    expected = stored.clusters(THRESHOLD)
    run = run_example(lab, jwt_of(lab.ann.key))
    assert (run.returncode, run.stderr) == (0, "")

    found, total, *lines = run.stdout.splitlines()
    assert found == f"Found {len(expected)} duplicate cluster(s)"
    assert total == f"Total duplicate images: {sum(map(len, expected))}"
    text = "\n".join(lines)
    blocks = re.findall(
        r"^  Cluster ([0-9a-f]{8})\.\.\. — (\d+) near-duplicate images((?:\n    .+)+)$", text, re.M
    )
    assert sum(2 + block[2].count("\n") - 1 for block in blocks) == len(lines)

    left = set(expected)
    for _, size, shown in blocks:
        files = shown.split("\n    ")[1:]
        (cluster,) = [each for each in left if set(files) <= each]
        assert (len(cluster), len(files)) == (int(size), min(len(cluster), 3))
        left.remove(cluster)
    assert not left
    assert len({short for short, *_ in blocks}) == len(expected)


def test_the_photographs_have_clusters_worth_finding(stored: Stored) -> None:
    clusters = stored.clusters(THRESHOLD)
    assert sorted(map(len, clusters)) == [2, 3, 4, 4, 12]
    assert frozenset({"coffee.jpg", "coffee-again.jpg", "coffee-smaller.jpg"}) in clusters
    # Edited further than the threshold allows, and flat without being the same file.
    assert not {"coffee-cropped.jpg", "astronaut-cropped.jpg", "blank-grey.png"} & set().union(*clusters)


@pytest.mark.parametrize("token", ["<your-jwt-token>", "a.b.c"])
def test_the_python_example_without_a_token_says_401(lab: Lab, token: str) -> None:
    run = run_example(lab, token)
    assert run.returncode == 1 and run.stdout == ""
    assert "401 Client Error: Unauthorized" in run.stderr


# -- curl ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["vql", "duplicate_threshold"])
def test_curl_finds_duplicates(lab: Lab, stored: Stored, number: int) -> None:
    answer = run_curl(lab, number)
    expected = stored.clusters(THRESHOLD)
    assert sum(cluster["n_images"] for cluster in answer["clusters"]) == sum(map(len, expected))
    for cluster in answer["clusters"]:
        (held,) = [each for each in expected if set(names(cluster)) <= each]
        assert len(held) == cluster["n_images"]
    assert len(answer["clusters"]) == len(expected)


def test_both_ways_to_ask_for_duplicates_are_one(lab: Lab) -> None:
    assert run_curl(lab, 0) == run_curl(lab, 1)


def test_curl_finds_unique_images(lab: Lab, stored: Stored) -> None:
    others = stored.similarity.copy()
    others[range(len(others)), range(len(others))] = 0
    # u = (1 - s) / (1 - b), clipped: s to the nearest other image, b = 0.457 for this model.
    scores = ((1 - others.max(axis=1)) / (1 - 0.457)).clip(0, 1)
    unique = {
        name
        for name, score, flat in zip(stored.names, scores, stored.flat, strict=True)
        if score > UNIQUE and not flat
    }
    shown = all_names(run_curl(lab, 2))
    assert len(unique) == 6
    assert sorted(map(sorted, shown)) == sorted([name] for name in unique)
