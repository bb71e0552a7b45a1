"""Which of the most similar pairs are twins already: not a threshold's mistake, if it finds them.

Nobody has looked at the pairs of a collection. What is taken for twins is certain without the embedding, or
as good as certain: identical bytes, pixels or rows; a bmh1 hash near that of the other image or of its mirror
image; and neighbours of one burst, which are files of one folder
whose names differ in a number by at most two, at least as similar as the model calls strict, and of hashes
that agree in the large. What a person rejected as duplicates is no twin. All other pairs count as different,
so that a twin that goes unrecognised makes thresholds stricter than need be, never looser.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.cores import usable_cores
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.hamming import hamming
from twinlens.engine.hashing import PackedHash
from twinlens.engine.ingest import OnProgress, Progress
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.precision import Tail
from twinlens.engine.similarity import Mask
from twinlens.engine.specimens import LeftOut, picture_hashes, read_picture

CHECKED = 1000
"""Of the pairs of images, the most similar ones, are looked at: what decides about a threshold."""

_EDIT_RANGE = 19
"""Differing bits of 968 up to which two images are one picture edited: 2 % (docs/ranges.md)."""

_BURST_RANGE = 97
"""Differing bits of 968 up to which two pictures agree in the large: 10 %."""
_BURST_STEP = 2


@dataclass(frozen=True, slots=True)
class Relative:
    """Two images, by number, and how similar they or copies of them are at most."""

    a: int
    b: int
    similarity: float


def most_similar(tails: Sequence[Tail]) -> list[Relative]:
    """The pairs of images whose rows or edits are most similar, each once, at most `CHECKED`."""
    a = np.concatenate([np.minimum(tail.a, tail.b) for tail in tails])
    b = np.concatenate([np.maximum(tail.a, tail.b) for tail in tails])
    similarity = np.concatenate([tail.similarity for tail in tails])
    order = np.lexsort((b, a, -similarity))
    ends = np.stack([a[order], b[order]], axis=1)
    first = np.sort(np.unique(ends, axis=0, return_index=True)[1])[:CHECKED] if len(ends) else order
    return [Relative(int(ends[at, 0]), int(ends[at, 1]), float(similarity[order[at]])) for at in first]


def hashes_of(
    images: Mapping[int, ImageRecord],
    known: Mapping[int, PackedHash],
    limits: DecodeLimits,
    on_progress: OnProgress,
) -> dict[int, PackedHash]:
    """Hashes of images by number; those whose file cannot be read are missing."""

    def look(number: int) -> PackedHash | None:
        picture = read_picture(images[number], limits)
        return None if isinstance(picture, LeftOut) else picture_hashes(picture)

    found = {number: known[number] for number in images if number in known}
    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        missing = [number for number in images if number not in known]
        looks = ordered_map(pool, look, missing, ahead=2 * workers)
        for done, (number, hashes) in enumerate(looks, start=1):
            if hashes is not None:
                found[number] = hashes
            on_progress(Progress("check", done, len(missing)))
    return found


def near_equal(a: PackedHash, b: PackedHash) -> bool:
    """True if one hash is near that of the other image, or of its mirror image."""
    return bool(hamming(a[:1], b).min() <= _EDIT_RANGE)


def of_one_burst(a: ImageRecord, b: ImageRecord, hashes_a: PackedHash, hashes_b: PackedHash) -> bool:
    """True if names and pictures are those of neighbours in a burst."""
    (folder_a, name_a), (folder_b, name_b) = os.path.split(a.path), os.path.split(b.path)
    if folder_a != folder_b or not _next_to(name_a, name_b):
        return False
    return bool(hamming(hashes_a[:1], hashes_b[:1]).max() <= _BURST_RANGE)


def _next_to(a: str, b: str) -> bool:
    """True if two names differ in one number only, and that by at most two."""
    parts_a, parts_b = re.split(r"(\d+)", a), re.split(r"(\d+)", b)
    if len(parts_a) != len(parts_b):
        return False
    differ = [(x, y) for x, y in zip(parts_a, parts_b, strict=True) if x != y]
    if len(differ) != 1 or not (differ[0][0].isdigit() and differ[0][1].isdigit()):
        return False
    return abs(int(differ[0][0]) - int(differ[0][1])) <= _BURST_STEP


def without(tail: Tail, twins: Sequence[tuple[int, int]]) -> Tail:
    """The tail without the pairs of some images, and as if these had never been compared."""
    if not twins or not len(tail.a):
        return tail
    left_out = np.array(sorted(twins), np.int64)
    n = int(max(tail.a.max(), tail.b.max(), left_out.max())) + 1
    keys = np.minimum(tail.a, tail.b) * n + np.maximum(tail.a, tail.b)
    stay: Mask = ~np.isin(keys, left_out[:, 0] * n + left_out[:, 1])
    return replace(
        tail,
        a=tail.a[stay],
        b=tail.b[stay],
        similarity=tail.similarity[stay],
        total=tail.total - int((~stay).sum()),
    )
