"""Top-k search that looks only where the query is: rows in lists by their nearest centre (an inverted file).

Jégou, Douze and Schmid, Product quantization for nearest neighbor search, PAMI 2011, section 4. Of each row
the index keeps a short code, its first principal components in 8 bits. A search probes the lists nearest to
the query, ranks their codes and lets the rows themselves, mapped in vectors.f16, decide among the best. The
codes, 64 bytes for a row, are mapped as well. How many lists and rows are compared is chosen by the recall on
rows of the dataset itself, which is kept with the index.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from twinlens.engine.index import Index
from twinlens.engine.similarity import Mask, Numbers, Rows, Units, spans, unit_rows

WANTED_RECALL = 0.985
RECALL_AT = 10
_LISTS_RECALL = 0.995
_ONE_LIST = 4096
"""Up to so many rows, all are in one list and a search is exact."""

_ROWS_PER_LIST = 512
_SAMPLES_PER_LIST = 40
_ROUNDS = 8
_CODE_VALUES = 64
_LEAST_SHORTLIST = 256
_QUERIES = 200
_ROWS_AT_ONCE = 4096
_RETRAIN_AT = 4
_SEED = 0

Floats: TypeAlias = NDArray[np.float32]
ShortCodes: TypeAlias = NDArray[np.int8]


class InvertedIndex(Index):
    """Search among the rows of the lists nearest to the query.

    Attributes:
        probes: lists that are searched.
        shortlist: rows of those that are compared in full.
        recall: of the 10 most similar rows, the share that was found on a sample.
        trained_on: rows that there were when all this was chosen.
    """

    kind = "inverted"

    def __init__(self, dim: int, fingerprint: str) -> None:
        super().__init__(dim, fingerprint)
        self.probes, self.shortlist, self.trained_on = 1, _LEAST_SHORTLIST, 0
        self._centres: Floats = np.empty((0, dim), np.float32)
        self._axes: Floats = np.empty((dim, 0), np.float32)
        self._hold(np.empty(0, np.int32), np.empty((0, 0), np.int8))

    def __len__(self) -> int:
        return len(self._list_of)

    def extend(self, rows: Rows) -> None:
        """Take the rows behind those that it holds; choose all anew once they are four times as many."""
        if len(rows) == len(self):
            return
        train = not self.trained_on or len(rows) >= _RETRAIN_AT * self.trained_on
        if train:
            self.trained_on = len(rows)
            self._centres, self._axes = _centres_and_axes(rows)
            self._hold(self._list_of[:0], np.empty((0, self._axes.shape[1]), np.int8))
        lists, codes = [self._list_of], [self._codes_by_row()]
        for span in spans(len(self), len(rows), _ROWS_AT_ONCE):
            units = unit_rows(rows[span], np.arange(span.start, span.stop)).astype(np.float32)
            lists.append((units @ self._centres.T).argmax(axis=1).astype(np.int32))
            codes.append(np.clip(np.rint(units @ self._axes), -127, 127).astype(np.int8))
        self._hold(np.concatenate(lists), np.concatenate(codes))
        if train:
            self._tune(rows)

    def _hold(self, list_of: NDArray[np.int32], codes: ShortCodes) -> None:
        """Set the list and the code of each row; what is in one list lies side by side."""
        self._sort(list_of)
        self._codes = codes[self._order]

    def _sort(self, list_of: NDArray[np.int32]) -> None:
        self._list_of = list_of
        self._order = np.argsort(list_of, kind="stable")
        self._start = np.zeros(len(self._centres) + 1, np.int64)
        np.cumsum(np.bincount(list_of, minlength=len(self._centres)), out=self._start[1:])

    def _codes_by_row(self) -> ShortCodes:
        codes = np.empty_like(self._codes)
        codes[self._order] = self._codes
        return codes

    def _tune(self, rows: Rows) -> None:
        """Probe as few lists, and compare as few rows in full, as the wanted recall allows."""
        if len(self._centres) == 1:
            self.probes, self.recall = 1, 1.0
            return
        rng = np.random.default_rng(_SEED)
        queries = np.sort(rng.choice(len(rows), _QUERIES, replace=False))
        units = unit_rows(rows[queries], queries)
        best = _most_similar(rows, queries, units.astype(np.float32))
        nearness = units.astype(np.float32) @ self._centres.T
        rank = np.argsort(np.argsort(-nearness, axis=1, kind="stable"), axis=1)
        needed = np.sort(np.take_along_axis(rank, self._list_of[best], axis=1).ravel()) + 1
        self.probes = int(needed[int(np.ceil(_LISTS_RECALL * len(needed))) - 1])
        self.shortlist = _LEAST_SHORTLIST // 2
        self.recall = 0.0
        while self.recall < WANTED_RECALL and self.shortlist < len(rows):
            self.shortlist *= 2
            self.recall = self._recall(rows, queries, units, best)

    def _recall(self, rows: Rows, queries: Numbers, units: Units, best: Numbers) -> float:
        everyone = np.ones(len(rows), np.bool_)
        found = 0
        for query, unit, wanted in zip(queries, units, best, strict=True):
            numbers, _ = self.search(rows, unit, RECALL_AT + 1, everyone)
            found += len(np.intersect1d(numbers[numbers != query][:RECALL_AT], wanted))
        return found / best.size

    def _fetch(self, rows: Rows, query: Units, count: int, among: Mask) -> tuple[Numbers, Floats]:
        unit = query.astype(np.float32)
        numbers, codes = self._probed(unit, count, among)
        most = max(self.shortlist, 4 * count)
        if codes.shape[1] and len(numbers) > most:
            roughly = codes.astype(np.float32) @ (unit @ self._axes)
            numbers = numbers[np.argpartition(-roughly, most)[:most]]
        numbers = np.sort(numbers)
        scores = _products(rows, numbers, unit)
        order = np.argsort(-scores, kind="stable")[:count]
        return numbers[order], scores[order]

    def _probed(self, unit: Floats, count: int, among: Mask) -> tuple[Numbers, ShortCodes]:
        """Rows that may be answered, and their codes, of the lists nearest to a query.

        Where few rows may be answered, more lists are probed until there are enough of them.
        """
        lists = np.argsort(-(self._centres @ unit), kind="stable")
        numbers, codes = [np.empty(0, np.int64)], [self._codes[:0]]
        probed, living = 0, 0
        while probed < len(lists) and (probed < self.probes or living < count):
            more = lists[probed : max(self.probes, 2 * probed)].tolist()
            probed += len(more)
            for each in more:
                span = slice(self._start[each], self._start[each + 1])
                allowed = among[self._order[span]]
                # Most often all are allowed: what is sliced is not copied.
                chosen = slice(None) if allowed.all() else allowed
                numbers.append(self._order[span][chosen])
                codes.append(self._codes[span][chosen])
                living += len(numbers[-1])
        return np.concatenate(numbers), np.concatenate(codes)

    def _write(self, file: BinaryIO) -> int:
        """Codes come last: they are mapped, and damage to them costs recall, never a wrong similarity."""
        facts = np.array([self.probes, self.shortlist, self.trained_on, self.recall], np.float64)
        for array in (facts, self._centres, self._axes, self._list_of):
            np.save(file, array, allow_pickle=False)
        checked = file.tell()
        file.write(np.ascontiguousarray(self._codes).data)
        return checked

    def _read(self, path: Path) -> None:
        with open(path, "rb") as file:
            facts, self._centres, self._axes, lists = (np.load(file, allow_pickle=False) for _ in range(4))
            codes_at = file.tell()
        self.probes, self.shortlist, self.trained_on = (int(fact) for fact in facts[:3])
        self.recall = float(facts[3])
        self._sort(lists)
        shape = (len(lists), self._axes.shape[1])
        # Nothing can be mapped of a file without codes.
        empty = 0 in shape
        self._codes = np.empty(shape, np.int8) if empty else np.memmap(path, np.int8, "r", codes_at, shape)


def _centres_and_axes(rows: Rows) -> tuple[Floats, Floats]:
    """Where rows gather, float32 [lists, dim] of unit length, and the axes of their codes, [dim, values].

    Centres are those of k-means by cosine; axes the first principal ones, scaled so that values fill 8 bits.
    Both come from a sample. A single list needs neither.
    """
    dim = rows.shape[1]
    if len(rows) <= _ONE_LIST:
        return np.zeros((1, dim), np.float32), np.empty((dim, 0), np.float32)
    lists = len(rows) // _ROWS_PER_LIST
    rng = np.random.default_rng(_SEED)
    chosen = np.sort(rng.choice(len(rows), min(len(rows), _SAMPLES_PER_LIST * lists), replace=False))
    sample = np.empty((len(chosen), dim), np.float32)
    for span in spans(0, len(chosen), _ROWS_AT_ONCE):
        sample[span] = unit_rows(rows[chosen[span]], chosen[span])
    kmeans = faiss.Kmeans(dim, lists, niter=_ROUNDS, spherical=True, seed=_SEED)
    kmeans.train(sample)
    _, vectors = np.linalg.eigh(sample.T @ sample)
    axes = vectors[:, ::-1][:, :_CODE_VALUES]
    # One scale for all, so that codes of two rows multiply as the rows do.
    axes = axes * (127.0 / np.abs(sample @ axes).max())
    return np.asarray(kmeans.centroids, np.float32).reshape(lists, dim), axes.astype(np.float32)


def _products(rows: Rows, numbers: Numbers, unit: Floats) -> Floats:
    """Float32 products of some rows with a query, all of unit length."""
    products = np.empty(len(numbers), np.float32)
    for span in spans(0, len(numbers), _ROWS_AT_ONCE):
        products[span] = unit_rows(rows[numbers[span]], numbers[span]).astype(np.float32) @ unit
    return products


def _most_similar(rows: Rows, queries: Numbers, units: Floats) -> Numbers:
    """The rows most similar to each of some rows, itself left out: int64 [queries, at most RECALL_AT]."""
    most = min(RECALL_AT, len(rows) - 1)
    numbers = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for span in spans(0, len(rows), _ROWS_AT_ONCE):
        products = units @ unit_rows(rows[span]).astype(np.float32).T
        places = np.arange(span.start, span.stop)
        products[queries[:, None] == places] = -np.inf
        scores = np.concatenate([scores, products], axis=1)
        numbers = np.concatenate([numbers, np.broadcast_to(places, products.shape)], axis=1)
        best = np.argpartition(-scores, min(most, scores.shape[1] - 1), axis=1)[:, :most]
        scores = np.take_along_axis(scores, best, axis=1)
        numbers = np.take_along_axis(numbers, best, axis=1)
    return numbers
