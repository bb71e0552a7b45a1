"""From the rows of a method and the truth to its figures, block by block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scripts.quality_methods import Described, Rows
from scripts.quality_pictures import examples_of, is_figure
from scripts.quality_scores import (
    Blocks,
    Figure,
    Ranking,
    average_precision,
    best_f1,
    curve,
    figures,
    rank,
    recall_at,
    resamples,
    shares_at,
    threshold_at,
    with_interval,
)
from scripts.quality_truth import GRADES, Item, Truth

BLOCK = 256
WRONG_PAIRS = 100
DRAWS = 500
DRAWS_OF_F1 = 50


@dataclass(frozen=True)
class WrongPair:
    """A copy and a picture that is not its original.

    Attributes:
        copy, other: files.
        source: of the copy.
        family: of its edit.
        similarity: of the pair.
        hard_negative: True if both are of one scene.
    """

    copy: str
    other: str
    source: str
    family: str
    similarity: float
    hard_negative: bool


def measured(truth: Truth, described: Described, seed: int) -> dict[str, object]:
    """All figures of one method, ready for JSON."""
    spans = _spans(truth)
    references = described.rows[spans["references"]]
    results: dict[str, object] = {}
    for name, copies in truth.copies.items():
        draws = resamples(truth.originals, DRAWS, seed)
        rows = described.rows[spans[name]]
        own = _true_pairs(rows, references, copies)
        groups = np.array([_original(item) for item in copies])
        rankings = {
            kind: rank(
                own,
                groups,
                _false_blocks(truth, copies, rows, references, hard_negatives=kind == "with hard negatives"),
                truth.originals,
            )
            for kind in ("others", "with hard negatives")
        }
        point = threshold_at(rankings["others"])
        f1 = _all_pairs(truth, copies, rows, references, seed)
        results[name] = {
            **{key: asdict(value) for key, value in figures(rankings["others"], draws).items()},
            "with hard negatives": {
                key: asdict(value) for key, value in figures(rankings["with hard negatives"], draws).items()
            },
            "best F1": asdict(f1),
            "threshold at 99 % precision": point,
            "points": {
                label: {"threshold": threshold, **_shares(rankings["others"], threshold)}
                for label, threshold in described.points.items()
            },
            "grades": _grades(truth, copies, own, groups, rows, references),
            "families": _families(copies, own, point, truth.originals, draws),
            "wrong pairs": [asdict(pair) for pair in _wrong_pairs(truth, copies, rows, references)],
        }
    results["threshold"] = described.threshold
    results["clusters"] = _clusters(described)
    return results


def _spans(truth: Truth) -> dict[str, slice]:
    start, spans = 0, {}
    for name, items in {"references": truth.references, **truth.copies}.items():
        spans[name] = slice(start, start + len(items))
        start += len(items)
    return spans


def _original(item: Item) -> int:
    if item.original is None:
        raise ValueError(f"{item.file} is no copy")
    return item.original


def _true_pairs(rows: Rows, references: Rows, copies: Sequence[Item]) -> NDArray[np.float32]:
    # As a product of matrices, like those of false pairs: sums in another order round differently.
    values = [
        (rows[start : start + BLOCK] @ references.T)[
            np.arange(len(copies[start : start + BLOCK])),
            [_original(item) for item in copies[start : start + BLOCK]],
        ]
        for start in range(0, len(copies), BLOCK)
    ]
    return np.concatenate(values)


def _false_blocks(
    truth: Truth, copies: Sequence[Item], rows: Rows, references: Rows, *, hard_negatives: bool
) -> Blocks:
    scenes, sources = _scene_numbers(truth.references), Sources.of(truth.references)
    for start in range(0, len(copies), BLOCK):
        items = copies[start : start + BLOCK]
        products = rows[start : start + BLOCK] @ references.T
        owners = np.array([_original(item) for item in items])
        products[sources.undecided(owners)] = -np.inf
        if not hard_negatives:
            same = (scenes[owners][:, None] == scenes[None]) & (scenes[owners] >= 0)[:, None]
            products[same] = -np.inf
        products[np.arange(len(items)), owners] = -np.inf
        yield owners, products


@dataclass(frozen=True)
class Sources:
    """Which pictures manuals may show.

    Attributes:
        packages: number of the package of each picture, of a figure of that of the manual's examples, [n].
        figures: which are figures of manuals, [n].
    """

    packages: NDArray[np.intp]
    figures: NDArray[np.bool_]

    @classmethod
    def of(cls, items: Sequence[Item]) -> Sources:
        """Those of some pictures."""
        names = [examples_of(item.source) for item in items]
        _, packages = np.unique(names, return_inverse=True)
        return cls(packages, np.array([is_figure(item.source) for item in items]))

    def undecided(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Bool [k, n]: a picture and a figure that may show it, edited, are neither right nor wrong."""
        same = self.packages[places][:, None] == self.packages[None]
        undecided: NDArray[np.bool_] = same & (self.figures[places][:, None] != self.figures[None])
        return undecided


def _scene_numbers(items: Sequence[Item]) -> NDArray[np.intp]:
    numbers: dict[str, int] = {}
    return np.array(
        [-1 if item.scene is None else numbers.setdefault(item.scene, len(numbers)) for item in items]
    )


def _shares(ranking: Ranking, threshold: float) -> dict[str, float]:
    precision, recall = shares_at(ranking, threshold)
    return {"precision": precision, "recall": recall}


def _families(
    copies: Sequence[Item],
    own: NDArray[np.float32],
    point: float | None,
    originals: int,
    draws: NDArray[np.float64],
) -> dict[str, dict[str, object]]:
    """Recall at the threshold of 99 % precision, by family and by grade of the edit."""
    found = own >= point if point is not None else np.zeros(len(own), np.bool_)
    table = {}
    for family in sorted({item.family for item in copies}):
        chosen = np.array([item.family == family for item in copies])
        owners = np.array([_original(item) for item in copies])[chosen]
        hits, total = (np.bincount(owners, each, originals) for each in (found[chosen], None))
        shares = (draws @ hits) / np.maximum(1, draws @ total)
        grades = {
            grade: float(np.mean(found[chosen & np.array([item.grade == grade for item in copies])]))
            for grade in GRADES
            if any(item.grade == grade and item.family == family for item in copies)
        }
        table[family] = {
            "recall": asdict(with_interval(float(found[chosen].mean()), shares)),
            "copies": int(chosen.sum()),
            **grades,
        }
    return table


def _grades(
    truth: Truth,
    copies: Sequence[Item],
    own: NDArray[np.float32],
    groups: NDArray[np.intp],
    rows: Rows,
    references: Rows,
) -> dict[str, dict[str, float]]:
    """Average precision and recall at 99 % precision among the copies of one grade alone, without scenes."""
    table = {}
    for grade in GRADES:
        chosen = np.flatnonzero([item.grade == grade for item in copies])
        some = [copies[place] for place in chosen.tolist()]
        false = _false_blocks(truth, some, rows[chosen], references, hard_negatives=False)
        ranked = curve(rank(own[chosen], groups[chosen], false, truth.originals))
        table[grade] = {"copies": len(some), "uAP": average_precision(*ranked), "R@P99": recall_at(*ranked)}
    return table


def _all_pairs(truth: Truth, copies: Sequence[Item], rows: Rows, references: Rows, seed: int) -> Figure:
    """Best F1 over pairs of references and copies; none of one scene, with one filler, or undecided."""
    items = [*copies, *truth.references]
    every = np.concatenate([rows, references])
    owners = np.array([truth.originals if item.original is None else item.original for item in items])
    scenes = _scene_numbers(items)
    true: list[NDArray[np.float32]] = []
    groups: list[NDArray[np.intp]] = []
    sharing, sources = _sharing_fillers(items), Sources.of(items)
    for start in range(0, len(copies), BLOCK):
        products, same, later = _block_of_all(every, owners, start)
        x, y = np.nonzero(same & later)
        true.append(products[x, y])
        groups.append(owners[start + x])

    # References among themselves: an original is the only true one of its kind there.
    def false() -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        for start in range(0, len(items), BLOCK):
            products, same, later = _block_of_all(every, owners, start)
            here = scenes[start : start + BLOCK]
            one_scene = (here[:, None] == scenes[None]) & (here >= 0)[:, None]
            undecided = sources.undecided(np.arange(start, start + len(here)))
            products[same | ~later | one_scene | undecided] = -np.inf
            for a in range(start, min(start + BLOCK, len(items))):
                products[a - start, list(sharing.get(a, ()))] = -np.inf
            yield owners[start : start + BLOCK], products

    ranking = rank(np.concatenate(true), np.concatenate(groups), false(), truth.originals + 1)
    draws = resamples(truth.originals, DRAWS_OF_F1, seed)
    weights = np.concatenate([draws, np.ones((len(draws), 1))], axis=1)
    return with_interval(best_f1(*curve(ranking)), [best_f1(*curve(ranking, each)) for each in weights])


def _block_of_all(
    every: Rows, owners: NDArray[np.intp], start: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Similarities of some rows to all, which are of one original, and which pairs come once."""
    stop = min(start + BLOCK, len(every))
    here = owners[start:stop]
    same = (here[:, None] == owners[None]) & (here != owners.max())[:, None]
    later = np.arange(len(every))[None] > np.arange(start, stop)[:, None]
    return every[start:stop] @ every.T, same, later


def _sharing_fillers(items: Sequence[Item]) -> dict[int, set[int]]:
    holders: dict[int, set[int]] = defaultdict(set)
    for place, item in enumerate(items):
        for filler in item.fillers:
            holders[filler].add(place)
    sharing: dict[int, set[int]] = defaultdict(set)
    for places in holders.values():
        for place in places:
            sharing[place] |= places
    return sharing


def _wrong_pairs(truth: Truth, copies: Sequence[Item], rows: Rows, references: Rows) -> list[WrongPair]:
    """The most similar pairs of a copy and another picture, each two pictures once."""
    found: list[WrongPair] = []
    start = 0
    for owners, products in _false_blocks(truth, copies, rows, references, hard_negatives=True):
        # A row's best three suffice where each original counts once with each other picture.
        best = np.argpartition(-products, 2, axis=1)[:, :3]
        for row, places in enumerate(best):
            item = copies[start + row]
            for place in places:
                other = truth.references[place]
                hard = item.scene is not None and item.scene == other.scene
                similarity = float(products[row, place])
                found.append(WrongPair(item.file, other.file, item.source, item.family, similarity, hard))
        start += len(owners)
    found.sort(key=lambda pair: (-pair.similarity, pair.copy, pair.other))
    once: dict[tuple[str, str], WrongPair] = {}
    for pair in found:
        once.setdefault((pair.source, pair.other), pair)
    return list(once.values())[:WRONG_PAIRS]


def _clusters(described: Described) -> dict[str, object] | None:
    """How many clusters a tool makes at its default threshold, and which share holds a pair below it."""
    if described.threshold is None:
        return None
    rows, threshold = described.rows, described.threshold
    clusters = described.clusters
    kind = "its own"
    if clusters is None:
        clusters, kind = _components(rows, threshold), "connected components"
    below = 0
    for members in clusters:
        chosen = rows[members]
        least = min(
            float((chosen[start : start + BLOCK] @ chosen.T).min()) for start in range(0, len(chosen), BLOCK)
        )
        # Stored rows have their float16 rounding, similarities their six decimals.
        below += least < threshold - 1e-5 * max(1.0, abs(threshold))
    return {
        "kind": kind,
        "count": len(clusters),
        "largest": max((len(members) for members in clusters), default=0),
        "with a pair below": below / len(clusters) if clusters else 0.0,
    }


def _components(rows: Rows, threshold: float) -> list[list[int]]:
    x, y = [], []
    for start in range(0, len(rows), BLOCK):
        a, b = np.nonzero(rows[start : start + BLOCK] @ rows.T >= threshold)
        x.append(a + start)
        y.append(b)
    left, right = np.concatenate(x), np.concatenate(y)
    graph = coo_matrix((np.ones(len(left), np.bool_), (left, right)), (len(rows), len(rows)))
    _, labels = connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for place, label in enumerate(labels.tolist()):
        members[label].append(place)
    return [each for each in members.values() if len(each) > 1]
