"""What a cluster of duplicates promises, over HTTP and by brute force: 5,000 images, 20 thresholds.

Every two members of a cluster are at least as similar as asked, and of no two images that are, both are
missing. Totals over the pages are right, and ids are the same after a restart.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.rows import brute_similarity, clustered_rows
from tests.servers import RunningServer, running_server
from twinlens.engine.dataset import Dataset

IMAGES = 5000
THRESHOLDS = [0.3, 0.5, 0.6, 0.7, 0.75, 0.79, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97]
THRESHOLDS += [0.98, 0.995, 1.0]
NAMES = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"promise/{number}")) for number in range(IMAGES)]
REJECTED = 40


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float16]:
    """Every similarity occurs, some rows are copies, most of 600 scenes are strangers to each other."""
    made = clustered_rows(11, IMAGES, 48, groups=600, noise=0.8)
    made[100:140] = made[60:100]
    made[200:260] = made[200]
    return made


@pytest.fixture(scope="module")
def folder(rows: NDArray[np.float16], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("promise") / "data"
    with Dataset.from_vectors(NAMES, rows, name="planted", folder=place) as data:
        near = [cluster.members for cluster in data.duplicates(0.9) if cluster.size > 1]
        data.reject_pairs([(members[0].id, members[1].id) for members in near[:REJECTED]])
    return place


@pytest.fixture(scope="module")
def similarity(rows: NDArray[np.float16], folder: Path) -> NDArray[np.float64]:
    """By brute force, rejected pairs at -1."""
    found = brute_similarity(rows)
    place = {name: number for number, name in enumerate(NAMES)}
    with Dataset.open(folder) as data:
        for a, b in data.snapshot().rejections:
            found[place[a], place[b]] = found[place[b], place[a]] = -1.0
    return found


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home"), "--dataset", str(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=120, verify=False) as client:
        yield client


def dataset_id(client: httpx.Client) -> str:
    (dataset,) = client.get("/datasets").json()
    return str(dataset["id"])


def all_pages(client: httpx.Client, threshold: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All clusters, and the metadata that every page repeats."""
    path, page = f"/explore/{dataset_id(client)}", 0
    clusters: list[dict[str, Any]] = []
    vql = json.dumps([{"duplicates": {"op": "duplicates", "value": threshold}}])
    while True:
        answer = client.get(path, params={"vql": vql, "page_number": page}).raise_for_status().json()
        if not answer["clusters"]:
            return clusters, answer["metadata"]
        clusters += answer["clusters"]
        page += 1


def members_of(client: httpx.Client, cluster: dict[str, Any]) -> list[str]:
    """All members of a cluster; few fit into its previews."""
    previews = [preview["media_id"] for preview in cluster["previews"]]
    if len(previews) == cluster["n_images"]:
        return previews
    found: list[str] = []
    path = f"/explore/{dataset_id(client)}/clusters/{cluster['cluster_id']}"
    while len(found) < cluster["n_images"]:
        page = client.get(path, params={"page_number": len(found) // 100}).raise_for_status().json()
        assert page["media"], "the pages end before all members were shown"
        found += [media["media_id"] for media in page["media"]]
    assert found[: len(previews)] == previews
    return found


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_clusters_keep_their_promise(
    client: httpx.Client, similarity: NDArray[np.float64], threshold: float
) -> None:
    place = {name: number for number, name in enumerate(NAMES)}
    clusters, metadata = all_pages(client, threshold)
    shown = np.zeros(IMAGES, np.bool_)
    lowest = []
    for cluster in clusters:
        members = np.array([place[id_] for id_ in members_of(client, cluster)])
        assert len(members) == len(set(members.tolist())) == cluster["n_images"] >= 2
        pairs = similarity[np.ix_(members, members)]
        assert pairs.min() >= threshold
        lowest.append(float(pairs.min()))
        assert not shown[members].any(), "an image is in one cluster"
        shown[members] = True
    a, b = np.nonzero(np.triu(similarity >= threshold, 1))
    assert (shown[a] | shown[b]).all(), "both images of a qualifying pair are missing"
    assert metadata["total_clusters"] == len(clusters)
    assert metadata["total_media"] == shown.sum() == sum(cluster["n_images"] for cluster in clusters)
    order = [(-c["n_images"], -low, c["cluster_id"]) for c, low in zip(clusters, lowest, strict=True)]
    assert order == sorted(order)


def test_ids_are_the_same_after_a_restart(client: httpx.Client, folder: Path, tmp_path: Path) -> None:
    before = all_pages(client, 0.9)[0]
    with (
        running_server(tmp_path, "--dataset", str(folder)) as again,
        httpx.Client(base_url=f"{again.url}/api/v1", timeout=120, verify=False) as other,
    ):
        assert dataset_id(other) == dataset_id(client)
        after = all_pages(other, 0.9)[0]
    assert [cluster["cluster_id"] for cluster in after] == [cluster["cluster_id"] for cluster in before]
    assert [p["media_id"] for c in after for p in c["previews"]] == [
        p["media_id"] for c in before for p in c["previews"]
    ]
