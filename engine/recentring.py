"""Centres moved to the middle of what they cover, as long as that lowers the coverage.

Greedy k-centre keeps the odd ones: every centre was once the image farthest from all others, so it lies at
the rim of what it covers. Here each image goes to its nearest centre, and a group that reaches far takes the
member whose farthest other member is nearest as its centre, alternately: Lloyd's scheme (Least squares
quantization in PCM, 1982) with the measure of k-centre. Coverage only falls, so the bound of the greedy
choice holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.neighbourhood import split_by_label
from twinlens.engine.representatives import alike, nearest_chosen
from twinlens.engine.similarity import Mask, Numbers, RowSource, Units, spans, unit_rows

FAR = 0.8
"""Groups that reach less far than this part of the coverage keep their centre: it was the better image."""

CANDIDATES = 1024
"""In larger groups, as many members as this, the most similar to the group's mean, may become its centre."""

_ROWS_AT_ONCE = 2048


def recentre(
    rows: RowSource,
    chosen: Numbers,
    rank: Numbers,
    *,
    fixed: Mask | None = None,
    identity: Numbers | None = None,
    low_information: Mask | None = None,
    candidates: int = CANDIDATES,
) -> Numbers:
    """Move chosen images to the middle of what they cover.

    Args:
        rows: float16 [n, dim], one for each image, may be memory-mapped.
        chosen: int64 [k], places of chosen images, as `representatives` gives them.
        rank: int64 [n], keeper rank of each image; of equally good centres the best is taken.
        fixed: bool [n], images that stay chosen.
        identity: int64 [n]; images with the same label >= 0 are similarity 1, whatever their rows.
        low_information: bool [n]; flat images, which neither cover nor are covered: chosen ones stay.
        candidates: how many members of a group may become its centre; memory and time grow with it.

    Returns:
        int64 [k]: chosen images in the same order, which cover no worse.
    """
    n = len(rank)
    labels = np.full(n, -1, np.int64) if identity is None else identity
    informative = np.flatnonzero(np.ones(n, np.bool_) if low_information is None else ~low_information)
    heads = np.flatnonzero(np.isin(chosen, informative))
    if not len(heads):
        return chosen
    stays = np.zeros(n, np.bool_) if fixed is None else fixed
    best, reach = chosen, -np.inf
    while True:
        owner, similarity = nearest_chosen(rows, chosen[heads], informative, labels)
        if (lowest := float(similarity.min())) <= reach:
            return best
        best, reach = chosen, lowest
        free = np.ones(n, np.bool_)
        free[chosen] = False
        moves: dict[int, int] = {}
        for members in split_by_label(np.arange(len(informative)), owner):
            centre, own = int(owner[members[0]]), float(similarity[members].min())
            if not stays[centre] and 1.0 - own >= FAR * (1.0 - reach):
                places = informative[members]
                places = places[np.argsort(rank[places])]
                middle, widest = _middle(rows, places, places[free[places]], labels, candidates)
                if widest > own:
                    moves[centre] = middle
        if not moves:
            return best
        chosen = np.array([moves.get(place, place) for place in chosen.tolist()], np.int64)


def best_copies(
    rows: RowSource,
    chosen: Numbers,
    rank: Numbers,
    twins_from: float,
    *,
    fixed: Mask,
    identity: Numbers,
    low_information: Mask,
) -> Numbers:
    """In place of each chosen image the best of its twins in keeper order that covers what it covers.

    What a twin covers may lie farther from it, but not farther than the coverage of all chosen images.

    Args:
        rows: float16 [n, dim].
        chosen: int64 [k].
        rank: int64 [n].
        twins_from: images at least that similar are twins.
        fixed: bool [n], images that stay chosen.
        identity: int64 [n], as in `recentre`.
        low_information: bool [n].

    Returns:
        int64 [k], in the same order.
    """
    heads = chosen[~low_information[chosen]]
    informative = np.flatnonzero(~low_information)
    if not len(heads):
        return chosen
    owner, similarity = nearest_chosen(rows, heads, informative, identity)
    reach = float(similarity.min())
    free = np.ones(len(rank), np.bool_)
    free[chosen] = False
    moves: dict[int, int] = {}
    for members in split_by_label(np.arange(len(informative)), owner):
        centre, places = int(owner[members[0]]), informative[members]
        able = (similarity[members] >= twins_from) & free[places] & (rank[places] < rank[centre])
        better = places[able][np.argsort(rank[places[able]])][:CANDIDATES]
        if not fixed[centre] and len(better):
            covers = np.flatnonzero(_lowest(rows, places, better, identity) >= reach)
            if len(covers):
                moves[centre] = int(better[covers[0]])
    return np.array([moves.get(place, place) for place in chosen.tolist()], np.int64)


def _middle(
    rows: RowSource, members: Numbers, candidates: Numbers, identity: Numbers, count: int
) -> tuple[int, float]:
    """The candidate whose least similar member is most similar, and that similarity; of equals the first."""
    if not len(candidates):
        return -1, -np.inf
    few = candidates if len(candidates) <= count else _central(rows, members, candidates, count)
    lowest = _lowest(rows, members, few, identity)
    best = int(lowest.argmax())
    return int(few[best]), float(lowest[best])


def _lowest(rows: RowSource, members: Numbers, few: Numbers, identity: Numbers) -> NDArray[np.float64]:
    """Similarity of each of a few images to the member least similar to it: float64."""
    units = unit_rows(rows[few], few)
    lowest = np.ones(len(few))
    for some, block in _blocks(rows, members):
        np.minimum(lowest, alike(block, units, identity[some], identity[few]).min(axis=0), out=lowest)
    return lowest


def _central(rows: RowSource, members: Numbers, candidates: Numbers, count: int) -> Numbers:
    """The candidates most similar to the mean of all members, in their order."""
    total = np.zeros(rows.shape[1])
    for _, block in _blocks(rows, members):
        total += block.sum(axis=0)
    mean = total / len(members)
    towards: NDArray[np.float64] = np.concatenate([block @ mean for _, block in _blocks(rows, candidates)])
    nearest = np.argsort(-np.round(towards, 9), kind="stable")[:count]
    return candidates[np.sort(nearest)]


def _blocks(rows: RowSource, members: Numbers) -> Iterator[tuple[Numbers, Units]]:
    for span in spans(0, len(members), _ROWS_AT_ONCE):
        some = members[span]
        yield some, unit_rows(rows[some], some)
