"""Pages, order, levels and thresholds of explore, against brute force over 420 vectors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.brute_force import Stored, read_stored
from tests.explore import JsonObject, Lab, all_names, duplicates, mounted, refusal, uniqueness
from tests.rows import Rows, near_copies

SIZES = [120, *[3] * 10, *[2] * 105, *[1] * 60]
"""Images that are alike: more clusters than a page holds, one of them larger than a page of members."""

THRESHOLD = 0.9
MOST_PAGES = 10
"""Of any answer here."""

LEVELS = (0.98, 0.965, 0.95, 0.925, 0.90)
"""Similarity of each level for vectors of one's own, whose operating points are 0.98, 0.95 and 0.90."""


def made_rows() -> Rows:
    likeness = np.random.default_rng(5).uniform(0.9, 0.999, len(SIZES))
    groups = [near_copies(seed, size, 64, mutual=likeness[seed]) for seed, size in enumerate(SIZES)]
    return np.concatenate(groups)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"image/{number}")) for number in range(sum(SIZES))]
    with mounted(tmp_path_factory.mktemp("vectors"), ids, made_rows()) as lab:
        yield lab


@pytest.fixture(scope="module")
def truth(vectors: Lab) -> Stored:
    return read_stored(vectors.server.home.parent / "vectors")


def pages(lab: Lab, *vql: JsonObject, **params: Any) -> list[JsonObject]:
    """All pages of an answer, the first empty one included."""
    found = [lab.ann.explore(lab.dataset, vql or None, **params)]
    while found[-1]["clusters"]:
        assert len(found) < MOST_PAGES
        found.append(lab.ann.explore(lab.dataset, vql or None, page_number=len(found), **params))
    return found


def clusters_of(lab: Lab, *vql: JsonObject, **params: Any) -> list[JsonObject]:
    return [cluster for page in pages(lab, *vql, **params) for cluster in page["clusters"]]


def members(lab: Lab, cluster: JsonObject) -> list[str]:
    """Names of all members, page by page."""
    path = f"/explore/{lab.dataset}/clusters/{cluster['cluster_id']}"
    count = range(0, cluster["n_images"], 100)
    found = [lab.ann.json(path, page_number=page)["media"] for page, _ in enumerate(count)]
    return [each["file_name"] for page in found for each in page]


# -- pages -----------------------------------------------------------------------------------------


def test_pages_of_100_hold_every_cluster_once(vectors: Lab, truth: Stored) -> None:
    found = pages(vectors, duplicates(THRESHOLD))
    expected = truth.clusters(THRESHOLD)
    assert [len(page["clusters"]) for page in found] == [100, len(expected) - 100, 0]
    ids = [cluster["cluster_id"] for page in found for cluster in page["clusters"]]
    assert len(set(ids)) == len(ids)
    held = [frozenset(members(vectors, cluster)) for page in found for cluster in page["clusters"]]
    assert set(held) == expected and len(held) == len(expected)


def test_every_page_says_the_totals_and_the_generation(vectors: Lab, truth: Stored) -> None:
    expected = truth.clusters(THRESHOLD)
    found = pages(vectors, duplicates(THRESHOLD))
    assert len({page["metadata"]["generation"] for page in found}) == 1
    for page in found:
        assert page["metadata"]["total_clusters"] == len(expected)
        assert page["metadata"]["total_media"] == sum(map(len, expected))
        assert page["metadata"]["page_size"] == 100


@pytest.mark.parametrize("page", [2, 3, 10**6, 2**31 - 1])
def test_a_page_past_the_end_is_empty(vectors: Lab, page: int) -> None:
    answer = vectors.ann.explore(vectors.dataset, [duplicates(THRESHOLD)], page_number=page)
    first = vectors.ann.explore(vectors.dataset, [duplicates(THRESHOLD)])
    assert answer["clusters"] == [] and answer["metadata"] == first["metadata"]


@pytest.mark.parametrize("page", ["-1", "1.5", "2147483648", "9" * 5000, "NaN", "one", "0x1", "1e2", "٣"])
def test_a_page_that_is_none_is_refused(vectors: Lab, page: str) -> None:
    path = f"/explore/{vectors.dataset}"
    assert refusal(vectors.ann.get(path, page_number=page), 422).startswith("page_number takes")
    assert len(refusal(vectors.ann.get(path, page_number=page), 422)) < 250


def test_members_come_100_a_page(vectors: Lab) -> None:
    (cluster, *_) = clusters_of(vectors, duplicates(0.8))
    assert (cluster["n_images"], len(cluster["previews"])) == (120, 9)
    path = f"/explore/{vectors.dataset}/clusters/{cluster['cluster_id']}"
    found = [vectors.ann.json(path, page_number=page) for page in range(3)]
    assert [len(page["media"]) for page in found] == [100, 20, 0]
    assert all(page["n_images"] == 120 and page["metadata"]["page_size"] == 100 for page in found)
    assert found[0]["media"][:9] == cluster["previews"]
    assert refusal(vectors.ann.get(path, page_number="-1"), 422).startswith("page_number takes")


# -- order -----------------------------------------------------------------------------------------


def test_duplicates_by_falling_size_then_least_similarity_then_id(vectors: Lab, truth: Stored) -> None:
    found = clusters_of(vectors, duplicates(THRESHOLD))
    order = [
        (-cluster["n_images"], -truth.least(set(members(vectors, cluster))), cluster["cluster_id"])
        for cluster in found
    ]
    assert order == sorted(order)
    assert len({size for size, *_ in order}) > 2


def test_uniqueness_by_falling_score_then_id(vectors: Lab) -> None:
    found = [cluster["previews"][0] for cluster in clusters_of(vectors, uniqueness(0))]
    order = [(-preview["uniqueness_score"], preview["media_id"]) for preview in found]
    assert order == sorted(order)
    scores = [score for score, _ in order]
    assert any(a == b for a, b in pairwise(scores)), "equal scores test the second key"


# -- thresholds ------------------------------------------------------------------------------------


def pair_of_two(truth: Stored) -> tuple[set[str], float]:
    """A cluster of two images, and their similarity."""
    pair = min((set(each) for each in truth.clusters(THRESHOLD) if len(each) == 2), key=sorted)
    return pair, truth.least(pair)


@pytest.mark.parametrize("by", ["vql", "duplicate_threshold"])
def test_a_similarity_at_the_threshold_counts(vectors: Lab, truth: Stored, by: str) -> None:
    pair, similarity = pair_of_two(truth)

    def together(threshold: float) -> bool:
        asked = [duplicates(threshold)] if by == "vql" else []
        params = {} if by == "vql" else {"duplicate_threshold": repr(threshold)}
        return pair in [
            set(names) for names in all_names({"clusters": clusters_of(vectors, *asked, **params)})
        ]

    assert together(similarity)
    assert not together(round(similarity + 1e-6, 6))


@pytest.mark.parametrize(("value", "parameter"), [(0.93, 0.96), (0.96, 0.93)])
def test_of_both_ways_to_ask_the_stricter_holds(vectors: Lab, value: float, parameter: float) -> None:
    both = pages(vectors, duplicates(value), duplicate_threshold=parameter)
    assert (
        both == pages(vectors, duplicates(0.96)) == pages(vectors, duplicates(value), duplicates(parameter))
    )
    assert both != pages(vectors, duplicates(0.93))


def test_a_lower_threshold_is_more_permissive(vectors: Lab, truth: Stored) -> None:
    totals = []
    for threshold in (0.5, 0.85, 0.9, 0.95, 0.99, 1):
        answer = vectors.ann.explore(vectors.dataset, [duplicates(threshold)])
        assert answer["metadata"]["total_media"] == sum(map(len, truth.clusters(threshold)))
        totals.append(answer["metadata"]["total_media"])
    assert totals == sorted(totals, reverse=True) and totals[0] > totals[-1] == 0


def test_there_are_no_singletons_among_duplicates(vectors: Lab) -> None:
    for threshold in (0.5, 0.9, 0.99):
        assert all(each["n_images"] > 1 for each in clusters_of(vectors, duplicates(threshold)))


def test_uniqueness_lies_above_the_value(vectors: Lab) -> None:
    everybody = [each["previews"][0] for each in clusters_of(vectors, uniqueness(0))]
    scores = [preview["uniqueness_score"] for preview in everybody]
    middle = scores[len(scores) // 2]
    above = [each["previews"][0]["uniqueness_score"] for each in clusters_of(vectors, uniqueness(middle))]
    assert above == [score for score in scores if score > middle]
    assert clusters_of(vectors, uniqueness(1)) == []


# -- levels ----------------------------------------------------------------------------------------


def partition(lab: Lab, level: int) -> list[frozenset[str]]:
    return [frozenset(members(lab, cluster)) for cluster in clusters_of(lab, threshold=level)]


def test_five_levels_hold_every_image_once_singletons_included(vectors: Lab, truth: Stored) -> None:
    for level, similarity in enumerate(LEVELS):
        groups = partition(vectors, level)
        assert sorted(name for group in groups for name in group) == sorted(truth.names)
        assert {group for group in groups if len(group) > 1} == truth.clusters(similarity)
        assert any(len(group) == 1 for group in groups)


def test_five_levels_are_nested(vectors: Lab) -> None:
    levels = [partition(vectors, level) for level in range(5)]
    assert len({len(level) for level in levels}) == 5
    for finer, coarser in pairwise(levels):
        for group in finer:
            assert sum(group <= each for each in coarser) == 1


@pytest.mark.parametrize("level", ["0", "4", "4.0"])
def test_the_level_is_echoed_as_a_string(vectors: Lab, level: str) -> None:
    answer = vectors.ann.explore(vectors.dataset, threshold=level)
    assert {cluster["similarity_threshold"] for cluster in answer["clusters"]} == {level[0]}


def test_the_finest_level_is_the_default(vectors: Lab) -> None:
    assert vectors.ann.explore(vectors.dataset) == vectors.ann.explore(vectors.dataset, threshold=0)


@pytest.mark.parametrize("level", ["-1", "5", "0.5", "NaN", "inf", "one", "1e400", "[]"])
def test_a_level_that_is_none_is_refused(vectors: Lab, level: str) -> None:
    answer = vectors.ann.ask(vectors.dataset, threshold=level)
    assert refusal(answer, 422).startswith("threshold takes a level, a whole number from 0 to 4, not ")
