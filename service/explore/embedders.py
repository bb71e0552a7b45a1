"""Models that queries need: loaded when first asked for, one call for what many requests ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from twinlens.engine.decode import DecodeLimits
from twinlens.engine.errors import DecodeError, ModelMismatch, TextNotSupported, UnknownModel
from twinlens.engine.search import probe_parts, probe_texts
from twinlens.engine.sight import Box
from twinlens.engine.types import Embedder, ModelDescription, Probe
from twinlens.service.explore.batching import MicroBatcher
from twinlens.service.explore.failures import Conflict

_BATCH = 32
_GATHER_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A text to search for."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """An image file to search for, or a part of it; `shape` is that of the dataset."""

    data: bytes
    box: Box | None
    shape: int


EmbeddingQuery: TypeAlias = TextQuery | ImageQuery
_Batcher: TypeAlias = MicroBatcher[EmbeddingQuery, Probe]


class Embedders:
    """The models of the datasets that are searched.

    Args:
        device: where they run.
        limits: of images.
        waiting: queries that wait for one model at a time; more are told to come again.
    """

    def __init__(self, *, device: str, limits: DecodeLimits, waiting: int) -> None:
        self._device = device
        self.limits = limits
        self._waiting = waiting
        self._models: dict[str, asyncio.Task[_Batcher]] = {}

    async def aclose(self) -> None:
        """End what waits."""
        for task in self._models.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                await task.result().aclose()
            else:
                task.cancel()

    async def probe(self, description: ModelDescription, query: EmbeddingQuery) -> Probe:
        """What a query searches for in the datasets of a model.

        Raises:
            DecodeError: the image cannot be read.
            Conflict: the model takes no texts, or is none that this server has.
            ModelError: it cannot be loaded, or is another one now.
            Busy: too many queries wait for it.
        """
        if isinstance(query, TextQuery) and not description.text_capable:
            raise Conflict(
                f"the model of this dataset, {description.name}, takes images only: search by an image, "
                "or index the images with a CLIP model (TWINLENS_MODEL=clip) to search them by text"
            )
        return await (await self._batcher(description)).ask(query)

    async def _batcher(self, description: ModelDescription) -> _Batcher:
        key = description.fingerprint
        if (task := self._models.get(key)) is None:
            task = self._models[key] = asyncio.create_task(self._load(description))
        try:
            return await asyncio.shield(task)
        except Exception:
            # What failed once may work the next time: who is told first makes room for another try.
            if self._models.get(key) is task:
                del self._models[key]
            raise

    async def _load(self, description: ModelDescription) -> _Batcher:
        embedder = await asyncio.to_thread(_load, description, self._device)
        return MicroBatcher(
            partial(_work, embedder, self.limits), most=_BATCH, waiting=self._waiting, seconds=_GATHER_SECONDS
        )


def _load(description: ModelDescription, device: str) -> Embedder:
    # Imported late: a server that never searches never loads torch.
    from twinlens.models import load_model

    try:
        embedder = load_model(description.name, device=device)
    except UnknownModel:
        raise Conflict(
            f"this dataset holds vectors of {description.name}, which is no model that this server has: "
            "search by one of its own images (anchor_type MEDIA)"
        ) from None
    if embedder.description.fingerprint != description.fingerprint:
        raise ModelMismatch(
            f"the dataset holds vectors of {description.name} ({description.fingerprint[:12]}), "
            f"what loads now is {embedder.description.name} ({embedder.description.fingerprint[:12]}): "
            "they cannot be compared"
        )
    return embedder


def _work(
    embedder: Embedder, limits: DecodeLimits, queries: Sequence[EmbeddingQuery]
) -> list[Probe | Exception]:
    answers: dict[int, Probe | Exception] = {}
    texts = {place: query.text for place, query in enumerate(queries) if isinstance(query, TextQuery)}
    if texts:
        try:
            answers.update(zip(texts, probe_texts(embedder, list(texts.values())), strict=True))
        except TextNotSupported as error:
            answers.update(dict.fromkeys(texts, error))
    images = {place: query for place, query in enumerate(queries) if isinstance(query, ImageQuery)}
    for shape in {query.shape for query in images.values()}:
        alike = {place: query for place, query in images.items() if query.shape == shape}
        parts = [(query.data, query.box) for query in alike.values()]
        found: list[Probe | DecodeError] = probe_parts(embedder, parts, shape, limits)
        answers.update(zip(alike, found, strict=True))
    return [answers[place] for place in range(len(queries))]
