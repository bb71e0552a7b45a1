"""Greedy covering: walk through items in an order; what no earlier centre covers becomes a centre."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from twinlens.engine.similarity import Mask, Numbers, spans

Covers: TypeAlias = Callable[[Numbers, Numbers], Mask]
"""Which of some items int64 [k] are covered by which of some centres int64 [m]: bool [k, m]."""

_ITEMS_AT_ONCE = 1024
_CENTRES_AT_ONCE = 4096


class Cover(NamedTuple):
    """Centres, and who is covered by whom.

    Attributes:
        centres: int64 [c], items in the order they became centres.
        first: int64 [n], for the item at each place of the order, the first centre that covers it, as a
            position in `centres`; a centre's is its own.
    """

    centres: Numbers
    first: Numbers


def greedy_cover(order: Numbers, covers: Covers) -> Cover:
    """Cover items by centres so that no centre covers a later one.

    Time and calls grow with items times centres, memory with their number.

    Args:
        order: int64 [n], different items in the order in which they may become centres.
        covers: the relation; every item is taken to cover itself.
    """
    centres, count = np.empty_like(order), 0
    first = np.full(len(order), -1)
    for span in spans(0, len(order), _ITEMS_AT_ONCE):
        first[span] = _first_of(order[span], centres[:count], covers)
        places = span.start + np.flatnonzero(first[span] < 0)
        items = order[places]
        inside = covers(items, items)
        for position, place in enumerate(places.tolist()):
            if first[place] < 0:
                newly = places[position + 1 :][inside[position + 1 :, position]]
                first[newly[first[newly] < 0]] = count
                first[place] = count
                centres[count] = order[place]
                count += 1
    return Cover(centres[:count], first)


def _first_of(items: Numbers, centres: Numbers, covers: Covers) -> Numbers:
    """Position of the first centre that covers each item, -1 where none does: int64 [k]."""
    first = np.full(len(items), -1)
    for span in spans(0, len(centres), _CENTRES_AT_ONCE):
        waiting = np.flatnonzero(first < 0)
        if not len(waiting):
            break
        covered = covers(items[waiting], centres[span])
        some = covered.any(axis=1)
        first[waiting[some]] = span.start + covered[some].argmax(axis=1)
    return first
