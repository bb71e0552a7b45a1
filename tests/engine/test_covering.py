"""Greedy covering equals the loop that defines it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine import covering
from twinlens.engine.covering import greedy_cover


@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(0.0, 1.0), st.integers(1, 9), st.integers(1, 9))
def test_equals_the_loop(seed: int, n: int, density: float, items: int, centres: int) -> None:
    rng = np.random.default_rng(seed)
    relation = rng.random((n, n)) < density
    order = rng.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covering, "_ITEMS_AT_ONCE", items)
        patch.setattr(covering, "_CENTRES_AT_ONCE", centres)
        cover = greedy_cover(order, lambda items, centres: relation[np.ix_(items, centres)])
    chosen: list[int] = []
    first = []
    for item in order.tolist():
        covering_it = [place for place, centre in enumerate(chosen) if relation[item, centre]]
        if not covering_it:
            chosen.append(item)
        first.append(covering_it[0] if covering_it else len(chosen) - 1)
    assert cover.centres.tolist() == chosen
    assert cover.first.tolist() == first
