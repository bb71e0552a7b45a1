"""Small real embedders for tests that need vectors, not a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from twinlens.engine.errors import UnknownModel
from twinlens.engine.types import (
    DecodePolicy,
    Embedder,
    Embeddings,
    ModelDescription,
    OperatingPoints,
    Prepared,
    Rgb,
)

CELLS = 8
MEAN_WEIGHT = 2.0


class ColourGridEmbedder(Embedder):
    """Mean colours of an 8 x 8 grid, as differences from the picture's mean colour.

    Deterministic and without weights. Re-encoding and resizing keep two vectors above 0.99;
    photographs of different things are below 0.6. No image is the zero vector:
    the mean colour stays in three further dimensions, centred between two grey levels.
    """

    @property
    def description(self) -> ModelDescription:
        return ModelDescription(
            name="colour_grid",
            revision="1",
            dim=3 * CELLS * CELLS + 3,
            preprocess=f'{{"cells": {CELLS}, "mean_weight": {MEAN_WEIGHT}}}',
            decode=DecodePolicy(min_side=64),
            licence="Apache-2.0",
            text_capable=False,
            isolation=0.5,
            points=OperatingPoints(strict=0.99, default=0.95, loose=0.9, measured=False),
            floor=0.8,
            weights_digest="0" * 64,
        )

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def precision(self) -> str:
        return "float32"

    def prepare(self, image: Rgb) -> Prepared:
        """The grid: uint8 [8, 8, 3]."""
        return np.asarray(Image.fromarray(image).resize((CELLS, CELLS), Image.Resampling.BOX))

    def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
        if not batch:
            return np.zeros((0, self.description.dim), np.float32)
        grid = np.stack(batch).reshape(len(batch), CELLS * CELLS, 3).astype(np.float64)
        mean = grid.mean(axis=1)
        parts = [(grid - mean[:, None]).reshape(len(batch), -1), MEAN_WEIGHT * (mean - 127.5)]
        rows = np.concatenate(parts, axis=1)
        unit: Embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit


def load_fake(name: str) -> Embedder:
    """A `ModelLoader` over this module."""
    if name != "colour_grid":
        raise UnknownModel(f"no fake embedder is named {name!r}: there is colour_grid")
    return ColourGridEmbedder()
