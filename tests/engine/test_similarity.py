"""What similar means, and what overrules the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rows import Rows, brute_similarity, lattice_rows, random_rows
from twinlens.engine.errors import InvalidValue
from twinlens.engine.similarity import (
    Similarities,
    check_threshold,
    micro,
    pairwise,
    shown,
    similarities,
    unit_rows,
)

ALL = np.arange(6)


@given(lattice_rows())
def test_similarity_is_the_rounded_dot_product_of_unit_rows(rows: Rows) -> None:
    units = unit_rows(rows)
    similarity = similarities(units, units)
    assert np.array_equal(similarity, brute_similarity(rows))
    assert np.array_equal(similarity, similarity.T)
    assert np.array_equal(np.diag(similarity), pairwise(units, units))


@given(st.integers(0, 2**32 - 1), st.integers(1, 700))
def test_a_row_is_exactly_one_similar_to_itself_and_to_its_multiples(seed: int, dim: int) -> None:
    rows = random_rows(seed, 3, dim)
    units, doubled = unit_rows(rows), unit_rows(2 * rows)
    assert pairwise(units, doubled).tolist() == [1.0, 1.0, 1.0]


def test_what_lies_halfway_between_two_millionths_rounds_the_same_in_every_order() -> None:
    # 127 of 128 in common: 0.9921875, and the norm sqrt(128) is not exact in float64.
    rows = np.zeros((2, 256), dtype=np.float16)
    rows[0, :128], rows[1, 1:129] = 1.0, 1.0
    rng = np.random.default_rng(0)
    for _ in range(50):
        units = unit_rows(rows[:, rng.permutation(256)])
        assert pairwise(units[:1], units[1:]) == similarities(units, units)[0, 1] == 0.992188


@pytest.mark.parametrize("broken", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_refused_by_number(broken: float) -> None:
    rows = random_rows(0, 4, 3)
    rows[2] = broken
    with pytest.raises(InvalidValue, match="row 2 "):
        unit_rows(rows)
    with pytest.raises(InvalidValue, match="row 17 "):
        unit_rows(rows, np.array([11, 12, 17, 19]))


def test_shown_values_are_clipped_and_have_no_negative_zero() -> None:
    assert shown([-0.3, -0.0, 0.4, 1.0]).tolist() == [0.0, 0.0, 0.4, 1.0]
    assert not np.signbit(shown([-0.3, -0.0])).any()


def test_millionths_are_whole() -> None:
    assert micro(np.array([1.0, 0.29, -0.57, 0.000001])).tolist() == [1_000_000, 290_000, -570_000, 1]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.000001, np.nan])
def test_thresholds_outside_are_refused(threshold: float) -> None:
    with pytest.raises(InvalidValue, match="threshold"):
        check_threshold(threshold)


def test_without_overrides_the_rows_decide() -> None:
    rows = random_rows(1, 6, 8)
    oracle = Similarities(rows)
    assert np.array_equal(oracle.block(ALL, ALL), brute_similarity(rows))
    assert np.array_equal(oracle.cosines(ALL[:2], ALL), brute_similarity(rows)[:2])


def test_images_of_one_identity_are_one_similar() -> None:
    oracle = Similarities(random_rows(1, 6, 8), identity=np.array([4, -1, 4, -1, 0, 0]))
    block = oracle.block(ALL, ALL)
    assert block[0, 2] == block[4, 5] == 1.0
    assert block[1, 3] == brute_similarity(random_rows(1, 6, 8))[1, 3], "-1 is no identity"


def test_images_of_low_information_are_similar_to_nothing_but_their_identity() -> None:
    low = np.array([True, True, True, False, False, False])
    oracle = Similarities(
        np.ones((6, 3), np.float16), identity=np.array([7, 7, -1, -1, -1, -1]), low_information=low
    )
    assert oracle.block(ALL, ALL).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]


def test_a_rejection_wins_over_everything() -> None:
    oracle = Similarities(
        np.ones((6, 3), np.float16), identity=np.zeros(6, np.int64), rejected=[(3, 1)], linked=[(1, 3)]
    )
    block = oracle.block(ALL, ALL)
    assert block[1, 3] == block[3, 1] == 0.0
    assert block.sum() == 34
    assert not oracle.edges(ALL, ALL, 0.5)[1, 3]


def test_linked_pairs_are_edges_at_every_threshold_and_keep_their_similarity() -> None:
    rows = random_rows(2, 6, 4)
    oracle = Similarities(rows, linked=[(0, 5), (2, 4)], low_information=ALL == 4)
    similarity = brute_similarity(rows)
    assert oracle.block(ALL, ALL)[0, 5] == similarity[0, 5] < 0.9
    assert oracle.strengths(ALL, ALL, 0.9)[0, 5] == 0.9
    assert oracle.edges(ALL, ALL, 0.9)[[0, 5], [5, 0]].all()
    assert not oracle.edges(ALL, ALL, 0.9)[2, 4], "an image of low information has no links"


overridden = st.builds(
    lambda rows, identity, low, rejected, linked: Similarities(
        rows, identity=np.array(identity), low_information=np.array(low), rejected=rejected, linked=linked
    ),
    st.integers(0, 99).map(
        lambda seed: np.random.default_rng(seed).integers(1, 3, (6, 2)).astype(np.float16)
    ),
    st.lists(st.integers(-1, 1), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sets(st.sampled_from([(0, 1), (1, 2), (0, 5), (3, 4)])),
    st.sets(st.sampled_from([(0, 1), (2, 3), (1, 4)])),
)
some = st.lists(st.integers(0, 5), min_size=1, max_size=7).map(lambda drawn: np.array(drawn))


@given(overridden, some, some)
def test_any_block_says_what_the_whole_says(oracle: Similarities, a: np.ndarray, b: np.ndarray) -> None:
    whole, strong = oracle.block(ALL, ALL), oracle.strengths(ALL, ALL, 0.95)
    assert np.array_equal(whole, whole.T)
    assert np.array_equal(oracle.block(a, b), whole[np.ix_(a, b)])
    assert np.array_equal(oracle.strengths(a, b, 0.95), strong[np.ix_(a, b)])
    shorter = min(len(a), len(b))
    a, b = a[:shorter], b[:shorter]
    assert np.array_equal(oracle.pairs(a, b), whole[a, b])
    assert np.array_equal(oracle.pair_strengths(a, b, 0.95), strong[a, b])


def test_images_may_have_rows_under_other_numbers() -> None:
    rows = random_rows(3, 9, 5)
    index = np.array([8, 8, 0, 4, 2, 1])
    oracle = Similarities(rows, index=index)
    assert len(oracle) == 6
    assert np.array_equal(oracle.block(ALL, ALL), brute_similarity(rows[index]))


def test_a_pair_of_images_that_are_not_there_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"\(0, 9\)"):
        Similarities(random_rows(0, 6, 3), rejected=[(0, 9)])
