"""Clusters of twins: a partition of the images that have any neighbour, by one of three methods.

All work on units (an image, or identical copies of one, with a weight), numbered in id order, so that
"ties by id" are ties by number. Results do not depend on the order of the input.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from twinlens.engine.contraction import CONTRACTED_ABOVE, link_contracted
from twinlens.engine.covering import greedy_cover
from twinlens.engine.errors import InvalidValue
from twinlens.engine.linkage import complete_linkage
from twinlens.engine.neighbourhood import Neighbourhood, split_by_label
from twinlens.engine.similarity import Mask, Numbers, Similarities, check_threshold, spans

Method: TypeAlias = Literal["complete", "star", "single"]

MAX_PAIRS = 20_000_000
"""How many pairs of one component are held at most: about 1 GB."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "twinlens:cluster")
_UNITS_AT_ONCE = 1024
_KEEPERS_AT_ONCE = 4096


def cluster(
    oracle: Similarities,
    hood: Neighbourhood,
    *,
    threshold: float,
    method: Method = "complete",
    weights: Numbers,
    order: Numbers,
    max_pairs: int = MAX_PAIRS,
    device: str = "cpu",
) -> list[Numbers]:
    """Group twins.

    - complete: textbook complete linkage inside each connected component, cut at the threshold: every
      two members of a cluster are at least that similar. Components of more than 2,000 units are
      contracted first (`contraction`).
    - star: in keeper order, every unit that no earlier keeper is similar to becomes a keeper; then
      every other joins its most similar keeper, ties to the earlier one. So every member is similar to
      its keeper, and no two keepers are similar.
    - single: the connected components.

    Args:
        oracle: similarities of n units.
        hood: their neighbourhood at the same threshold.
        threshold: similarity in (0, 1].
        method: one of the three.
        weights: int64 [n], how many images each unit stands for.
        order: int64 [n], keeper rank of each unit, lowest first; only `star` asks for it.
        max_pairs: how many pairs of one large component are held at most.
        device: where units of large components are joined.

    Returns:
        Clusters of at least two images each, as units int64 [k], by their lowest unit. Units ascend,
        except that a star's keeper comes first: it need not be the best of its members, since one that
        an earlier keeper excluded may be most similar to a later one.

    Raises:
        InvalidValue: a threshold outside (0, 1] or an unknown method.
        TooManyPairs: a component has more pairs than `max_pairs`, even contracted.
    """
    check_threshold(threshold)

    def complete(units: Numbers) -> list[Numbers]:
        if is_clique(hood, weights, units):
            return [units]
        if len(units) > CONTRACTED_ABOVE:
            return link_contracted(oracle, hood, units, threshold, limit=max_pairs, device=device)
        return split_by_label(units, complete_linkage(oracle.strengths(units, units, threshold), threshold))

    def star(units: Numbers) -> list[Numbers]:
        return _star(oracle, units[np.argsort(order[units], kind="stable")], threshold)

    methods: dict[str, Callable[[Numbers], list[Numbers]]] = {
        "complete": complete,
        "star": star,
        "single": lambda units: [units],
    }
    if method not in methods:
        raise InvalidValue(f"no cluster method {method!r}: choose from {', '.join(methods)}")
    parts = (part for units in twin_components(hood, weights) for part in methods[method](units))
    clusters = [part for part in parts if weights[part].sum() >= 2]
    return sorted(clusters, key=lambda units: int(units.min()))


def cluster_id(member_ids: Sequence[str]) -> str:
    """The id of a cluster: a UUIDv5 of its members' ids, whatever their order."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(sorted(member_ids))))


def twin_components(hood: Neighbourhood, weights: Numbers) -> list[Numbers]:
    """The units of each component that holds at least two images."""
    units = np.flatnonzero((hood.degree > 0) | (weights >= 2))
    return split_by_label(units, hood.labels[units])


def is_clique(hood: Neighbourhood, weights: Numbers, units: Numbers) -> bool:
    """True if all pairs of a component are edges, as in most: from two units to a burst of thousands."""
    return bool((hood.degree[units] + weights[units] == weights[units].sum()).all())


def _star(oracle: Similarities, ranked: Numbers, threshold: float) -> list[Numbers]:
    """Stars of one component, given its units in keeper order."""

    def covers(units: Numbers, keepers: Numbers) -> Mask:
        return oracle.edges(units, keepers, threshold)

    keepers = greedy_cover(ranked, covers).centres
    nearest = most_similar(oracle, ranked, keepers, threshold)
    stars = split_by_label(ranked, nearest)
    return [
        np.append(keeper, np.sort(star[star != keeper]))
        for keeper, star in zip(keepers.tolist(), stars, strict=True)
    ]


def most_similar(oracle: Similarities, units: Numbers, keepers: Numbers, threshold: float) -> Numbers:
    """Position of each unit's most similar keeper, the earlier one of equals: int64 [k].

    Args:
        oracle: similarities of all units.
        units: int64 [k].
        keepers: int64 [m], at least one.
        threshold: linked pairs are at least that similar.
    """
    parts = (
        _most_similar(oracle, units[span], keepers, threshold)
        for span in spans(0, len(units), _UNITS_AT_ONCE)
    )
    return np.concatenate([np.empty(0, np.int64), *parts])


def _most_similar(oracle: Similarities, units: Numbers, keepers: Numbers, threshold: float) -> Numbers:
    best, position = np.full(len(units), -np.inf), np.zeros(len(units), dtype=np.int64)
    for span in spans(0, len(keepers), _KEEPERS_AT_ONCE):
        strengths = oracle.strengths(units, keepers[span], threshold)
        columns = strengths.argmax(axis=1)
        highest = strengths[np.arange(len(units)), columns]
        better = highest > best
        best[better], position[better] = highest[better], span.start + columns[better]
    return position
