"""Embedding in batches of one fixed shape, so that the same image gives the same row in every run."""

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
