"""One unit for distances and ranges: percent of differing bits with one decimal, or bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.matching.distances import HashType, distance, radius
from twinlens.service.settings import DistanceUnit

KINDS = st.sampled_from(HashType)
UNITS = st.sampled_from(DistanceUnit)
RANGES = st.one_of(
    st.floats(0, 1e6), st.integers(0, 1000).map(float), st.integers(0, 1000).map(lambda tenths: tenths / 10)
)


def test_the_documented_example_is_0_1_and_252_bits_of_968() -> None:
    answered = [distance(bits, HashType.BMH1, DistanceUnit.PERCENT) for bits in (0, 1, 252)]
    assert answered == [0.0, 0.1, 26.0]
    assert all(isinstance(value, float) for value in answered)


@pytest.mark.parametrize(("differing", "answered"), [(0, 0.0), (1, 1.6), (2, 3.1), (32, 50.0), (64, 100.0)])
def test_phash_counts_shares_of_64_bits(differing: int, answered: float) -> None:
    assert distance(differing, HashType.PHASH, DistanceUnit.PERCENT) == answered


def test_bits_are_answered_as_they_are() -> None:
    assert distance(252, HashType.BMH1, DistanceUnit.BITS) == 252.0
    assert radius(252, HashType.BMH1, DistanceUnit.BITS) == 252
    assert radius(252.9, HashType.BMH1, DistanceUnit.BITS) == 252


@given(KINDS, UNITS, RANGES)
def test_a_range_takes_exactly_the_distances_up_to_it(
    kind: HashType, unit: DistanceUnit, range_: float
) -> None:
    largest = radius(range_, kind, unit)
    within = [bits for bits in range(kind.bits + 1) if distance(bits, kind, unit) <= range_]
    assert within == list(range(largest + 1))


@given(KINDS, UNITS, st.integers(0, 967))
def test_an_answered_distance_can_be_used_as_a_range(kind: HashType, unit: DistanceUnit, bits: int) -> None:
    differing = min(bits, kind.bits)
    assert radius(distance(differing, kind, unit), kind, unit) >= differing
