"""Large components: near-copies are contracted before linkage, so that they do not cost their square.

In a component of more than `CONTRACTED_ABOVE` units, units at cosine >= c = max(0.999, sqrt((1 + t) / 2)
+ 10^-6) to a leader (leaders in id order) are contracted to the first such leader. Two units contracted
to one leader are within t of each other: with angles of at most arccos(c) to the leader, theirs is at
most twice that, and cos(2 arccos(c)) = 2 c^2 - 1 >= t. (The 10^-6 pays for the rounding of c.)
Groups are then linked by the lowest similarity over the pairs of their members, so every pair of a
cluster is at or above t, across groups as well.

Leaders of two groups that may merge are themselves at or above t. So only the leaders are joined; the
members are compared where their leaders are similar.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.covering import greedy_cover
from twinlens.engine.edges import stream_edges
from twinlens.engine.errors import TooManyPairs
from twinlens.engine.linkage import sparse_complete_linkage
from twinlens.engine.neighbourhood import Neighbourhood, split_by_label
from twinlens.engine.pairset import expand
from twinlens.engine.similarity import MICRO, Mask, Numbers, Similarities, micro, spans

CONTRACTED_ABOVE = 2000
_NEAR_COPY = 0.999
_MARGIN = 1e-6
_STEPS = 1000
_MEMBERS_AT_ONCE = 1024
_OTHERS_AT_ONCE = 4096


class Groups(NamedTuple):
    """The units of a component, contracted.

    Attributes:
        leaders: int64 [g], ascending.
        members: int64 [m], the units, group after group, in the order of the leaders.
        starts: int64 [g + 1], where each group begins in `members`.
    """

    leaders: Numbers
    members: Numbers
    starts: Numbers


class GroupPairs(NamedTuple):
    """Pairs of groups at or above the threshold, by their positions.

    Attributes:
        a: int32 [k].
        b: int32 [k].
        similarity: int32 [k], millionths.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    similarity: NDArray[np.int32]


def link_contracted(
    oracle: Similarities, hood: Neighbourhood, units: Numbers, threshold: float, *, limit: int, device: str
) -> list[Numbers]:
    """Complete linkage of a large component: its clusters, units ascending.

    Args:
        oracle: similarities of all units.
        hood: their neighbourhood at the threshold.
        units: int64 [m], the component, ascending.
        threshold: similarity in (0, 1].
        limit: how many pairs of leaders are held at most, 40 bytes each at the peak.
        device: where the leaders are joined.

    Raises:
        TooManyPairs: there are more.
    """
    groups = contract(oracle, units, hood.closest, threshold)
    pairs = _leader_pairs(oracle, groups, threshold, limit, device)
    pairs = _lowered_to_members(oracle, groups, pairs, threshold)
    labels = sparse_complete_linkage(len(groups.leaders), *pairs)
    clusters = split_by_label(groups.members, np.repeat(labels, np.diff(groups.starts)))
    return [np.sort(cluster) for cluster in clusters]


def contract(oracle: Similarities, units: Numbers, closest: NDArray[np.float64], threshold: float) -> Groups:
    """Contract near-copies to leaders.

    Args:
        oracle: similarities of all units.
        units: int64 [m], ascending.
        closest: float64 [n], for every unit, the similarity of its most similar neighbour.
        threshold: similarity in (0, 1].
    """
    radius = max(_NEAR_COPY, math.sqrt((1.0 + threshold) / 2.0) + _MARGIN)
    # What was rejected stays out of groups: what holds for a leader's angles does not hold for it.
    joining = ~(oracle.rejected.members() | oracle.low_information)

    def covers(items: Numbers, leaders: Numbers) -> Mask:
        near: Mask = oracle.cosines(items, leaders) >= radius
        return near & joining[items, None]

    near_copies = np.flatnonzero((closest[units] >= radius) & ~oracle.low_information[units])
    cover = greedy_cover(units[near_copies], covers)
    leader = units.copy()
    leader[near_copies] = cover.centres[cover.first]
    order = np.argsort(leader, kind="stable")
    leaders, starts = np.unique(leader[order], return_index=True)
    return Groups(leaders, units[order], np.append(starts, len(units)))


def _leader_pairs(
    oracle: Similarities, groups: Groups, threshold: float, limit: int, device: str
) -> GroupPairs:
    """Pairs of groups whose leaders are at or above the threshold."""
    among = np.zeros(len(oracle), dtype=bool)
    among[groups.leaders] = True
    found: list[GroupPairs] = []
    by_step = np.zeros(_STEPS + 1, dtype=np.int64)
    for block in stream_edges(oracle, threshold, among=among, device=device):
        a, b, similarity = _positions(groups, block.a), _positions(groups, block.b), micro(block.similarity)
        by_step += np.bincount(similarity * _STEPS // MICRO, minlength=_STEPS + 1)
        if by_step.sum() <= limit:
            found.append(GroupPairs(a, b, similarity.astype(np.int32)))
        else:
            found.clear()
    _refuse_too_many(threshold, by_step, limit)
    found.append(GroupPairs(*np.empty((3, 0), dtype=np.int32)))
    return GroupPairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _positions(groups: Groups, leaders: Numbers) -> NDArray[np.int32]:
    return np.searchsorted(groups.leaders, leaders).astype(np.int32)


def _refuse_too_many(threshold: float, by_step: Numbers, limit: int) -> None:
    """Raise if there are more pairs than the limit, given how many there are from each 0.001 to the next."""
    at_or_above = by_step[::-1].cumsum()[::-1]
    if at_or_above[0] > limit:
        served = np.flatnonzero(at_or_above <= limit)
        lowest = float(served[0]) / _STEPS if served.size else 1.0
        pairs = int(at_or_above[0])
        raise TooManyPairs(threshold=threshold, pairs=pairs, limit=limit, lowest_served=lowest)


def _lowered_to_members(
    oracle: Similarities, groups: Groups, pairs: GroupPairs, threshold: float
) -> GroupPairs:
    """Lower each pair to the lowest similarity over its members; drop what falls below the threshold."""
    sizes = np.diff(groups.starts)
    larger = np.where(sizes[pairs.a] > 1, pairs.a, pairs.b)
    grown = np.flatnonzero(sizes[larger] > 1)
    lowest = pairs.similarity / MICRO
    for places in split_by_label(grown, larger[grown]):
        group = larger[places[0]]
        others = pairs.a[places] + pairs.b[places] - group
        lowest[places] = _lowest_to_others(oracle, groups, group, others, threshold)
    held = lowest >= threshold
    return GroupPairs(pairs.a[held], pairs.b[held], micro(lowest[held]).astype(np.int32))


def _lowest_to_others(
    oracle: Similarities, groups: Groups, group: int, others: Numbers, threshold: float
) -> NDArray[np.float64]:
    """The lowest strength between the members of one group and of each of some others: float64 [k]."""
    own = groups.members[groups.starts[group] : groups.starts[group + 1]]
    owner, places = expand(groups.starts[others], groups.starts[others + 1])
    lowest = np.full(len(others), np.inf)
    for columns in spans(0, len(places), _OTHERS_AT_ONCE):
        for rows in spans(0, len(own), _MEMBERS_AT_ONCE):
            strengths = oracle.strengths(own[rows], groups.members[places[columns]], threshold)
            np.minimum.at(lowest, owner[columns], strengths.min(axis=0))
    return lowest
