"""Snapshots made by hand: images as a catalog would hold them, without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.units import make_units


def image(name: str, row: int = 0, **facts: Any) -> ImageRecord:
    plain = ImageRecord(
        id=name,
        row=row,
        unit=row,
        path=f"/photos/{name}.jpg",
        size=1000,
        mtime_ns=0,
        digest=name.encode(),
        pixel_digest=None,
        width=100,
        height=100,
        format="jpeg",
        exif_tags=0,
        sharpness=1.0,
        contrast=50.0,
        brightness=100.0,
        low_information=False,
        source="/photos",
    )
    return replace(plain, **facts)


def snapshot_of(
    images: Sequence[ImageRecord],
    rows: np.ndarray,
    rejections: Sequence[tuple[str, str]] = (),
    kept: frozenset[str] = frozenset(),
) -> Snapshot:
    """A snapshot of these images, ordered by id; pairs are joined anew at every threshold."""
    ordered = sorted(images, key=lambda each: each.id)
    nothing: Any = None
    return Snapshot(
        generation=1,
        images=ordered,
        rows=rows,
        units=make_units(ordered, rejections),
        kept_from=2.0,
        description=nothing,
        catalog=nothing,
        relations=nothing,
        device="cpu",
        isolation=0.5,
        rejections=tuple(rejections),
        kept=kept,
    )
