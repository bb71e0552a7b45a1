"""Clusters, scores and reports to render, and pictures made by Pillow."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from twinlens.engine.catalog import Failure
from twinlens.engine.results import Cluster, Evidence, Member, Uniqueness
from twinlens.service.report import Report

ROOT = "/photos"


def identifier(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text.encode("utf-8", "backslashreplace").decode()))


def picture(seed: int, side: int = 96, *, kind: str = "jpeg") -> bytes:
    """A small JPEG or WebP with content."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(
        out, kind, quality=60
    )
    return out.getvalue()


def cluster(
    *names: str,
    similarity: float = 0.96,
    size: int = 1_000_000,
    evidence: Evidence = Evidence.EMBEDDING,
    links_out: int = 0,
    exact: bool = True,
) -> Cluster:
    """A cluster of files below ROOT, the first of them the keeper."""
    members = tuple(
        Member(
            id=identifier(name),
            path=f"{ROOT}/{name}",
            width=4000,
            height=3000,
            bytes=size,
            format="jpeg",
            sharpness=123.4,
            similarity_to_keeper=similarity if place else 1.0,
            evidence=evidence if place else None,
            keeper=place == 0,
        )
        for place, name in enumerate(names)
    )
    ids = ",".join(sorted(member.id for member in members))
    return Cluster(identifier(ids), members, similarity, (1 + similarity) / 2, exact, evidence, links_out)


def unique(name: str, score: float | None = 0.8, nearest: str | None = "near.jpg") -> Uniqueness:
    return Uniqueness(
        id=identifier(name),
        path=f"{ROOT}/{name}",
        width=640,
        height=480,
        score=score,
        percentile=None if score is None else 97.5,
        nearest_id=None if nearest is None else identifier(nearest),
        nearest_path=None if nearest is None else f"{ROOT}/{nearest}",
        nearest_similarity=None if nearest is None else 0.512345,
    )


def no_preview(_: str) -> bytes | None:
    return None


def report(
    clusters: Sequence[Cluster] = (),
    *,
    unique: Sequence[Uniqueness] = (),
    failures: Sequence[Failure] = (),
    nearest: Sequence[float] = (),
    notices: Sequence[str] = (),
    title: str = "photos",
    threshold: float = 0.92,
    preview: Callable[[str], bytes | None] = no_preview,
) -> Report:
    return Report(
        title=title,
        dataset=f"{ROOT}/.twinlens",
        model="efficientnet_lite0",
        threshold=threshold,
        linkage="complete",
        images=12_345,
        clusters=clusters,
        unique=unique,
        failures=failures,
        skipped=7,
        nearest=np.array(nearest, dtype=np.float64),
        notices=notices,
        preview=preview,
        generated=datetime(2025, 3, 1, 9, 5, tzinfo=UTC),
        version="0.1.0",
    )
