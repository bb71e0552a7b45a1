"""A set of pairs, looked up pair by pair and block by block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.engine.pairset import PairSet, expand

N = 12
number = st.integers(0, N - 1)
pairs = st.lists(st.tuples(number, number).filter(lambda pair: pair[0] != pair[1]), max_size=20)
numbers = st.lists(number, max_size=8).map(lambda drawn: np.array(drawn, dtype=np.int64))


@given(pairs)
def test_pairs_are_unordered_and_held_once(drawn: list[tuple[int, int]]) -> None:
    held = PairSet(drawn, N)
    wanted = sorted({(min(pair), max(pair)) for pair in drawn})
    a, b = held.pairs()
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == wanted
    assert len(held) == len(wanted)
    assert np.flatnonzero(held.members()).tolist() == sorted({end for pair in wanted for end in pair})


@given(pairs, numbers, numbers)
def test_a_block_knows_where_its_pairs_are(
    drawn: list[tuple[int, int]], a: np.ndarray, b: np.ndarray
) -> None:
    held, wanted = PairSet(drawn, N), {frozenset(pair) for pair in drawn}
    block = np.zeros((len(a), len(b)), dtype=bool)
    block[held.positions(a, b)] = True
    assert block.tolist() == [[{p, q} in wanted for q in b.tolist()] for p in a.tolist()]


@given(pairs, st.lists(st.tuples(number, number)))
def test_pairs_are_found_one_by_one(drawn: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    held, wanted = PairSet(drawn, N), {frozenset(pair) for pair in drawn}
    ends = np.array(asked, dtype=np.int64).reshape(-1, 2)
    assert held.contains(ends[:, 0], ends[:, 1]).tolist() == [set(pair) in wanted for pair in asked]


@pytest.mark.parametrize("pair", [(3, 3), (-1, 2), (0, N)])
def test_what_is_no_pair_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(InvalidValue, match=f"\\({pair[0]}, {pair[1]}\\)"):
        PairSet([(0, 1), pair], N)


def test_ranges_are_written_out() -> None:
    owners, elements = expand(np.array([5, 9, 2]), np.array([7, 9, 5]))
    assert owners.tolist() == [0, 0, 2, 2, 2]
    assert elements.tolist() == [5, 6, 2, 3, 4]
