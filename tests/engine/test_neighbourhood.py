"""Components and degrees of a graph whose pairs stream by."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.join import PairBlock
from twinlens.engine.neighbourhood import Neighbourhood, neighbourhood, split_by_label

N = 15
pair = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda ends: ends[0] < ends[1])
edges = st.lists(st.tuples(pair, st.integers(1, 1000)), unique_by=lambda edge: edge[0], max_size=25)
weights = st.lists(st.integers(1, 4), min_size=N, max_size=N).map(lambda drawn: np.array(drawn, np.int64))
Edge = tuple[tuple[int, int], int]


def blocks(drawn: list[Edge], size: int) -> list[PairBlock]:
    cut = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    return [
        PairBlock(
            np.array([ends[0] for ends, _ in part], np.int64),
            np.array([ends[1] for ends, _ in part], np.int64),
            np.array([similarity for _, similarity in part]) / 1000,
        )
        for part in [*cut, []]
    ]


def reached(drawn: list[Edge], start: int) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        unit = waiting.pop()
        for ends, _ in drawn:
            if unit in ends:
                waiting += set(ends) - seen
                seen |= set(ends)
    return seen


def same(a: Neighbourhood, b: Neighbourhood) -> bool:
    arrays = ("labels", "degree", "closest")
    return a.pairs == b.pairs and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


@given(edges, weights, st.integers(1, 30))
def test_counts_neighbours_and_finds_components(drawn: list[Edge], weight: np.ndarray, size: int) -> None:
    hood = neighbourhood(N, blocks(drawn, size), weight)
    assert hood.pairs == len(drawn)
    for unit in range(N):
        neighbours = {other: s for ends, s in drawn if unit in ends for other in set(ends) - {unit}}
        assert hood.labels[unit] == min(reached(drawn, unit))
        assert hood.degree[unit] == sum(weight[other] for other in neighbours)
        assert hood.closest[unit] == max(neighbours.values(), default=0) / 1000


@given(edges, weights, st.randoms(use_true_random=False), st.integers(1, 30))
def test_the_order_of_pairs_does_not_matter(
    drawn: list[Edge], weight: np.ndarray, random: object, size: int
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert same(neighbourhood(N, blocks(drawn, 7), weight), neighbourhood(N, blocks(shuffled, size), weight))


def test_a_long_chain_in_the_worst_order_is_one_component() -> None:
    ends = np.arange(20_000)[::-1]
    chain = [PairBlock(ends[[k + 1]], ends[[k]], np.ones(1)) for k in range(0, 19_999, 40)]
    chain += [PairBlock(ends[1:], ends[:-1], np.ones(19_999))]
    assert not neighbourhood(20_000, chain, np.ones(20_000, np.int64)).labels.any()


def test_items_are_split_by_label() -> None:
    parts = split_by_label(np.array([5, 3, 9, 1]), np.array([2, 0, 2, 0]))
    assert [part.tolist() for part in parts] == [[3, 1], [5, 9]]
    assert split_by_label(np.empty(0, np.int64), np.empty(0, np.int64)) == []
