"""The most similar pairs of different images equal those of a full table, and others are only counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.kinship import most_similar, near_equal, without
from twinlens.engine.precision import Tail
from twinlens.engine.similarity import similarities, unit_rows
from twinlens.engine.strangers import BINS, Nearest, compare


def rows(n: int, seed: int = 0) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float16)


def found(tail: Tail) -> dict[tuple[int, int], float]:
    return {(a, b): s for a, b, s in zip(tail.a.tolist(), tail.b.tolist(), tail.similarity, strict=True)}


def test_one_set_with_itself_meets_every_pair_once() -> None:
    images, owner = rows(300), np.arange(300)
    nearest = Nearest(300 * 299 // 2)
    compare(nearest, images, owner, images, owner, twice=True)
    tail = nearest.tail(1.0)
    every = similarities(unit_rows(images), unit_rows(images))
    upper = np.sort(every[np.triu_indices(300, 1)])[::-1]
    assert nearest.total == 300 * 299 // 2 == nearest.histogram.sum()
    assert np.array_equal(tail.similarity, upper[: len(tail.similarity)])
    assert len(tail.similarity) >= 0.01 * nearest.total and tail.start == tail.similarity[-1]
    assert all(every[a, b] == s for (a, b), s in found(tail).items())
    assert len(nearest.histogram) == BINS


def test_a_part_with_the_whole_meets_every_pair_once() -> None:
    images, part = rows(60), np.array([3, 10, 11])
    nearest = Nearest(1000)
    compare(nearest, images[part], part, images, np.arange(60), twice=True)
    assert nearest.total == 3 + 3 * 57


def test_edits_never_meet_their_own_image() -> None:
    images, owner = rows(50), np.repeat(np.arange(50), 2)
    edits = images[owner]
    nearest = Nearest(10_000)
    compare(nearest, edits, owner, images, np.arange(50), twice=False)
    tail = nearest.tail(1.0)
    assert nearest.total == 100 * 49 and (tail.a != tail.b).all()


def test_pairs_tied_with_the_last_one_stay() -> None:
    nearest = Nearest(100)
    nearest.add(np.zeros(1, np.int64), np.arange(1, 1001), np.full((1, 1000), 0.5))
    nearest.add(np.zeros(1, np.int64), np.arange(1001, 1101), np.full((1, 100), 0.9))
    assert len(nearest.tail(1.0).similarity) == 1100


def pair_tail(a: list[int], b: list[int], similarity: list[float]) -> Tail:
    return Tail(np.array(a), np.array(b), np.array(similarity), 100, min(similarity), 1.0)


def test_pairs_of_all_kinds_are_looked_at_once_each_by_their_nearest() -> None:
    first, second = pair_tail([1, 2], [5, 3], [0.9, 0.8]), pair_tail([5, 4], [1, 4], [0.95, 0.7])
    assert [(pair.a, pair.b, pair.similarity) for pair in most_similar([first, second])] == [
        (1, 5, 0.95),
        (2, 3, 0.8),
        (4, 4, 0.7),
    ]


def test_what_is_left_out_was_never_compared() -> None:
    left = without(pair_tail([1, 5, 2], [5, 1, 3], [0.9, 0.8, 0.7]), [(1, 5)])
    assert (left.a.tolist(), left.total, left.start) == ([2], 98, 0.7)
    assert without(left, []) is left


def test_hashes_of_mirror_images_are_near() -> None:
    blank = np.zeros((2, 121), np.uint8)
    mirrored = blank.copy()
    mirrored[0] = 255
    assert near_equal(blank, mirrored) and near_equal(blank, blank)
    mirrored[1] = 255
    assert not near_equal(blank, mirrored)
