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


def embed_few(embedder: Embedder, prepared: Sequence[Prepared], most: int) -> Embeddings:
    """Vectors of prepared images that are not stored, float32 [n, dim], in calls of what there is.

    Nothing is filled up, so that their last bits may depend on how many are embedded together.
    """
    rows = [np.empty((0, embedder.description.dim), np.float32)]
    rows += [
        embedder.embed_prepared(prepared[start : start + most]) for start in range(0, len(prepared), most)
    ]
    return np.concatenate(rows)
