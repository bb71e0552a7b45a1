"""Embedding what is stored, in calls of one shape so that it can be made again, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinlens.engine.types import Embedder, Embeddings, Prepared


def embed_padded(embedder: Embedder, prepared: Sequence[Prepared], shape: int) -> Embeddings:
    """Vectors of prepared images, float32 [n, dim], computed `shape` at a time.

    A short call is filled up with its last image: kernels are chosen by shape, and another kernel
    may round another way.
    """
    rows = [np.empty((0, embedder.description.dim), np.float32)]
    for start in range(0, len(prepared), shape):
        chunk = list(prepared[start : start + shape])
        padding = [chunk[-1]] * (shape - len(chunk))
        rows.append(embedder.embed_prepared(chunk + padding)[: len(chunk)])
    return np.concatenate(rows)


def largest_call(embedder: Embedder, most: int) -> int:
    """How many images fit into the memory of the device in one call: `most`, or that halved until they do.

    Raises:
        MemoryError: not even one does.
    """
    blank = embedder.prepare(np.zeros((64, 64, 3), np.uint8))
    while True:
        try:
            embedder.embed_prepared([blank] * most)
        except MemoryError:
            if most == 1:
                raise
            most //= 2
        else:
            return most


def embed_few(embedder: Embedder, prepared: Sequence[Prepared], most: int) -> Embeddings:
    """Vectors of prepared images that are not stored, float32 [n, dim], in calls of what there is.

    Nothing is filled up, so that their last bits may depend on how many are embedded together.
    """
    rows = [np.empty((0, embedder.description.dim), np.float32)]
    rows += [
        embedder.embed_prepared(prepared[start : start + most]) for start in range(0, len(prepared), most)
    ]
    return np.concatenate(rows)
