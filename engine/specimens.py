"""Images of a dataset that are edited and embedded again, on the way that stored images take."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.cores import usable_cores
from twinlens.engine.decode import DecodeLimits, decode, read_bytes
from twinlens.engine.edits import LARGEST_SIDE, Grade, draw_edits
from twinlens.engine.embedding import embed_padded
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import PackedHash, bmh1, byte_digest
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.sight import Looker, Sight, seeing_here, wanted_for
from twinlens.engine.types import DecodePolicy, Embedder, Embeddings, Prepared, Rgb

_PICTURE = DecodePolicy(min_side=LARGEST_SIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """One image and its edited copies.

    Attributes:
        image: as the catalog knows it.
        hashes: bmh1 of it and of its mirror image, uint8 [2, 121].
        names, grades: of the edits, k each.
        rows: float16 [k, dim] of the edits; zero where an edit left nothing to see.
    """

    image: ImageRecord
    hashes: PackedHash
    names: tuple[str, ...]
    grades: tuple[Grade, ...]
    rows: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that cannot be used.

    Attributes:
        path: of its file.
        kind: "gone", "changed" or "unreadable".
        reason: one sentence.
    """

    path: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class _Edited:
    image: ImageRecord
    hashes: PackedHash
    names: tuple[str, ...]
    grades: tuple[Grade, ...]
    prepared: tuple[Prepared | None, ...]


def collect_specimens(
    images: Iterable[ImageRecord],
    embedder: Embedder,
    *,
    each: int,
    seed: int,
    shape: int,
    limits: DecodeLimits,
) -> Generator[Specimen | LeftOut]:
    """Edit and embed images one after the other, in their order, on all cores.

    Reading goes a few images ahead of whoever takes the results; leaving early stops it.

    Args:
        images: with files.
        embedder: the model of the dataset.
        each: edits of every grade.
        seed: of the edits, together with the id of the image.
        shape: images embedded in one call.
        limits: what is refused before decoding.
    """
    workers = usable_cores()
    looker = Looker(embedder, seeing_here(wanted_for(embedder, limits, hashes=False)))
    with ThreadPoolExecutor(workers, initializer=embedder.use_one_core) as pool:
        waiting: deque[tuple[list[_Edited | LeftOut], Future[Embeddings]]] = deque()
        batch: list[_Edited | LeftOut] = []
        edit = partial(_edited, looker, limits, each, seed)
        try:
            for _, found in ordered_map(pool, edit, images, ahead=2 * workers):
                batch.append(found)
                prepared = _prepared(batch)
                if len(prepared) >= shape:
                    waiting.append((batch, pool.submit(embed_padded, embedder, prepared, shape)))
                    batch = []
                if len(waiting) > workers:
                    yield from _finished(*waiting.popleft())
            waiting.append((batch, pool.submit(embed_padded, embedder, _prepared(batch), shape)))
            while waiting:
                yield from _finished(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def picture_hashes(rgb: Rgb) -> PackedHash:
    """bmh1 of a picture and of its mirror image, uint8 [2, 121]."""
    return np.stack([bmh1(rgb), bmh1(np.ascontiguousarray(rgb[:, ::-1]))])


def read_picture(image: ImageRecord, limits: DecodeLimits) -> Rgb | LeftOut:
    """The picture of an image, of moderate size; why it cannot be used is an answer, not an exception."""
    try:
        data = read_bytes(image.file, limits)
        if byte_digest(data) != image.digest:
            reason = "it is another file than the one that was indexed: index again"
            return LeftOut(image.path, "changed", reason)
        return decode(data, policy=_PICTURE, limits=limits).rgb
    except DecodeError as error:
        kind = "gone" if error.stage == "open" and not os.path.exists(image.path) else "unreadable"
        return LeftOut(image.path, kind, error.reason)


def _edited(
    looker: Looker, limits: DecodeLimits, each: int, seed: int, image: ImageRecord
) -> _Edited | LeftOut:
    picture = read_picture(image, limits)
    if isinstance(picture, LeftOut):
        return picture
    try:
        edits = list(draw_edits(picture, each, Random(f"{seed} {image.id}")))
    except MemoryError:
        return LeftOut(image.path, "unreadable", "it does not fit into memory: scale it down")
    return _Edited(
        image,
        picture_hashes(picture),
        tuple(edit.name for edit in edits),
        tuple(edit.grade for edit in edits),
        tuple(_look(looker, edit.data) for edit in edits),
    )


def _look(looker: Looker, data: bytes) -> Prepared | None:
    """What the model takes; None where the edit is flat or beyond what is read."""
    (seen,) = looker.look([data])
    return seen.prepared if isinstance(seen, Sight) and not seen.view.low_information else None


def _prepared(batch: Sequence[_Edited | LeftOut]) -> list[Prepared]:
    edited = (found for found in batch if isinstance(found, _Edited))
    return [each for found in edited for each in found.prepared if each is not None]


def _finished(batch: Sequence[_Edited | LeftOut], future: Future[Embeddings]) -> Iterator[Specimen | LeftOut]:
    vectors = future.result().astype(np.float16)
    vectors[~np.isfinite(vectors).all(axis=1)] = 0
    at = 0
    for found in batch:
        if isinstance(found, LeftOut):
            yield found
            continue
        rows = np.zeros((len(found.prepared), vectors.shape[1]), np.float16)
        for place, prepared in enumerate(found.prepared):
            if prepared is not None:
                rows[place] = vectors[at]
                at += 1
        yield Specimen(found.image, found.hashes, found.names, found.grades, rows)
