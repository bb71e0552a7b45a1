"""Programs as the document shows them, against a real server: requests in Python, and curl.

The dataset is made of real photographs by the four documented upload calls, and the server asks for JWTs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brute_force import Stored
from tests.explore import JsonObject, Lab, all_names, jwt_of, names

PROGRAM = Path(__file__).parents[2] / "drivers" / "duplicates_client.py"
THRESHOLD = 0.95
UNIQUE = 0.8
QUERIES = (
    "vql=%5B%7B%22duplicates%22%3A%7B%22op%22%3A%22duplicates%22%2C%22value%22%3A0.95%7D%7D%5D",
    "duplicate_threshold=0.95",
    "vql=%5B%7B%22uniqueness%22%3A%7B%22op%22%3A%22uniqueness%22%2C%22value%22%3A0.8%7D%7D%5D",
)
"""Of the documented calls: duplicates in two ways, unique images."""


def run_program(lab: Lab, token: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), lab.server.url, token, lab.dataset]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def run_curl(lab: Lab, number: int) -> JsonObject:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine: the documented calls of curl are not tested")
    assert lab.ann.key is not None
    url = f"{lab.server.url}/api/v1/explore/{lab.dataset}?{QUERIES[number]}&entity_type=IMAGES&threshold=0"
    command = ["curl", "-s", "-H", f"Authorization: Bearer {jwt_of(lab.ann.key)}", url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    answer: JsonObject = json.loads(run.stdout)
    return answer


# -- the Python program ----------------------------------------------------------------------------


def test_the_program_prints_the_clusters_that_brute_force_finds(lab: Lab, stored: Stored) -> None:
    assert lab.ann.key is not None
    expected = stored.clusters(THRESHOLD)
    run = run_program(lab, jwt_of(lab.ann.key))
    assert (run.returncode, run.stderr) == (0, "")

    found, *lines = run.stdout.splitlines()
    assert found == f"{len(expected)} clusters, {sum(map(len, expected))} images"
    text = "\n".join(lines)
    blocks = re.findall(r"^- ([0-9a-f]{8}) (\d+)((?:\n    .+)+)$", text, re.M)
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
def test_the_program_without_a_token_says_401(lab: Lab, token: str) -> None:
    run = run_program(lab, token)
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
