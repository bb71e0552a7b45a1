"""Quotas: proportional, at least one each where possible, never more than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.engine.quotas import quotas

SIZES = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(1, 60), min_size=1, max_size=8)


def test_shares_are_proportional_and_the_largest_remainder_gets_what_is_left() -> None:
    assert quotas({"cat": 50, "dog": 30, "owl": 20}, 10) == {"cat": 5, "dog": 3, "owl": 2}
    assert quotas({"cat": 50, "dog": 30, "owl": 20}, 9) == {"cat": 4, "dog": 3, "owl": 2}
    # 3.33 each: ties of remainders go to the larger class, then by name.
    assert quotas({"b": 10, "a": 10, "c": 10}, 10) == {"a": 4, "b": 3, "c": 3}


def test_small_classes_keep_one_image_and_the_others_share_the_rest() -> None:
    assert quotas({"many": 997, "few": 2, "one": 1}, 10) == {"many": 8, "few": 1, "one": 1}
    assert quotas({"many": 997, "few": 2, "one": 1}, 3) == {"many": 1, "few": 1, "one": 1}


def test_fewer_images_than_classes_go_to_the_largest() -> None:
    assert quotas({"many": 97, "few": 2, "one": 1}, 2) == {"many": 2, "few": 0, "one": 0}


def test_what_must_be_kept_is_kept() -> None:
    assert quotas({"cat": 50, "dog": 50}, 10, {"dog": 8}) == {"cat": 2, "dog": 8}
    assert quotas({"cat": 50, "dog": 50, "owl": 9}, 2, {"dog": 2}) == {"cat": 0, "dog": 2, "owl": 0}
    with pytest.raises(InvalidValue, match="8 images must be kept, and 7 are asked for"):
        quotas({"cat": 50, "dog": 50}, 7, {"dog": 8})


@pytest.mark.parametrize("total", [0, -1, 101])
def test_totals_that_cannot_be_shared_out_are_refused(total: int) -> None:
    with pytest.raises(InvalidValue, match="of 100: ask for 1 to 100"):
        quotas({"cat": 50, "dog": 50}, total)


@given(st.data(), SIZES)
def test_they_add_up_and_stay_within_what_there_is(data: st.DataObject, sizes: dict[str, int]) -> None:
    least = {name: data.draw(st.integers(0, size)) for name, size in sizes.items()}
    total = data.draw(st.integers(max(1, sum(least.values())), sum(sizes.values())))
    shares = quotas(sizes, total, least)
    assert sum(shares.values()) == total and list(shares) == list(sizes)
    assert all(least[name] <= shares[name] <= size for name, size in sizes.items())
    if total >= sum(max(1, count) for count in least.values()):
        assert min(shares.values()) >= 1


@given(st.data(), SIZES)
def test_without_floors_each_is_within_one_of_its_share(data: st.DataObject, sizes: dict[str, int]) -> None:
    everything = sum(sizes.values())
    total = data.draw(st.integers(1, everything))
    shares = quotas(sizes, total)
    exact = {name: total * size / everything for name, size in sizes.items()}
    if min(exact.values()) >= 1:
        assert all(abs(shares[name] - exact[name]) < 1 for name in sizes)


@given(st.data(), SIZES)
def test_the_order_of_the_classes_changes_nothing(data: st.DataObject, sizes: dict[str, int]) -> None:
    total = data.draw(st.integers(1, sum(sizes.values())))
    moved = dict(data.draw(st.permutations(list(sizes.items()))))
    assert quotas(moved, total) == quotas(sizes, total)
