"""Embedding in batches of one fixed shape, so that the same image gives the same row in every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinlens.engine.types import Embedder, Embeddings, Prepared


def embed_padded(embedder: Embedder, prepared: Sequence[Prepared], batch: int) -> Embeddings:
    """Vectors of prepared images, float32 [n, dim], computed `batch` at a time.

    A short batch is filled up with its last image: kernels are chosen by shape, and another kernel
    may round another way.
    """
    rows = [np.empty((0, embedder.description.dim), np.float32)]
    for start in range(0, len(prepared), batch):
        chunk = list(prepared[start : start + batch])
        padding = [chunk[-1]] * (batch - len(chunk))
        rows.append(embedder.embed_prepared(chunk + padding)[: len(chunk)])
    return np.concatenate(rows)
