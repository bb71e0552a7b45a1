"""Models that queries need: loaded when first asked for, one call for what many requests ask at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from threading import Lock
from typing import TypeAlias

from twinlens.engine.decode import DecodeLimits
from twinlens.engine.errors import ModelMismatch, TextNotSupported, UnknownModel
from twinlens.engine.memory import keep_freed_layers
from twinlens.engine.probes import Glimpse, Part, embed, glimpse
from twinlens.engine.search import probe_texts
from twinlens.engine.types import Embedder, ModelDescription, Probe
from twinlens.service.bodies import Busy
from twinlens.service.explore.batching import MicroBatcher
from twinlens.service.explore.failures import Conflict
from twinlens.service.metrics import Metrics

_BATCH = 16
"""A larger one is no faster on a CPU, and keeps its last query waiting."""

_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A text to search for."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """An image file to search for, or a part of it.

    Attributes:
        data: its bytes.
        known: gives what a file searches for that the dataset holds itself.
        part: which part is meant; the whole if None.
    """

    data: bytes
    known: Callable[[bytes], Probe | None]
    part: Part | None


EmbeddingQuery: TypeAlias = TextQuery | ImageQuery


class Embedders:
    """The models of the datasets that are searched.

    Args:
        device: where they run.
        limits: of images.
        waiting: queries that are under way in one model at a time; more are told to come again.
        workers: threads that look at images, and as many that embed where the device is the CPU.
        counts: is told what goes on.
    """

    def __init__(
        self, *, device: str, limits: DecodeLimits, waiting: int, workers: int, counts: Metrics
    ) -> None:
        self._device = device
        self._limits = limits
        self._waiting = waiting
        self._workers = workers
        self._counts = counts
        self._lookers = ThreadPoolExecutor(workers, thread_name_prefix="look")
        self._models: dict[str, asyncio.Task[_Model]] = {}

    async def aclose(self) -> None:
        """End what waits."""
        for task in self._models.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                await task.result().batcher.aclose()
            else:
                task.cancel()
        self._lookers.shutdown(wait=False, cancel_futures=True)

    async def probe(self, description: ModelDescription, query: EmbeddingQuery) -> Probe:
        """What a query searches for in the datasets of a model.

        Raises:
            DecodeError: the image cannot be read.
            InvalidValue: the part of it lies outside.
            Conflict: the model takes no texts, or is none that this server has.
            ModelError: it cannot be loaded, or is another one now.
            Busy: too many queries are under way.
        """
        if isinstance(query, TextQuery) and not description.text_capable:
            raise Conflict(
                f"the model of this dataset, {description.name}, takes images only: search by an image, "
                "or index the images with a CLIP model (TWINLENS_MODEL=clip) to search them by text"
            )
        model = await self._model(description)
        if model.under_way >= self._waiting:
            raise Busy(f"{model.under_way:,} queries are under way already: try again in a second")
        model.under_way += 1
        with self._counts.queries.track_inprogress():
            try:
                seen = await self._seen(model.embedder, query)
                return seen if isinstance(seen, Probe) else await model.batcher.ask(seen)
            finally:
                model.under_way -= 1

    async def _seen(self, embedder: Embedder, query: EmbeddingQuery) -> TextQuery | Glimpse | Probe:
        """What the model takes: images are decoded before they wait for it, on threads of their own."""
        if isinstance(query, TextQuery):
            return query

        def look() -> Glimpse | Probe:
            return query.known(query.data) or glimpse(embedder, query.data, self._limits, query.part)

        return await asyncio.get_running_loop().run_in_executor(self._lookers, look)

    async def _model(self, description: ModelDescription) -> _Model:
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

    async def _load(self, description: ModelDescription) -> _Model:
        embedder = await asyncio.to_thread(_load, description, self._device)
        keep_freed_layers()
        # A network gives up the interpreter at every layer. Taking it back from a thread that runs Python
        # takes this long, 5 ms unless told otherwise: as long as the whole network of a small model.
        sys.setswitchinterval(_SWITCH_SECONDS)
        on_cpu = not embedder.device.startswith("cuda")
        batcher: MicroBatcher[TextQuery | Glimpse, Probe] = MicroBatcher(
            _Work(embedder),
            most=_BATCH,
            threads=self._workers if on_cpu else 1,
            on_batch=self._counts.batch,
        )
        return _Model(embedder, batcher)


@dataclass
class _Model:
    """A model that was loaded, and how many queries are under way in it."""

    embedder: Embedder
    batcher: MicroBatcher[TextQuery | Glimpse, Probe]
    under_way: int = 0


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


class _Work:
    """Answers batches of queries, several at a time.

    One query alone has all cores. Two batches on all cores would wait for each other at every layer, so each
    has one core then.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._under_way = 0
        self._lock = Lock()

    def __call__(self, queries: Sequence[TextQuery | Glimpse]) -> list[Probe | Exception]:
        with self._lock:
            self._under_way += 1
            alone = self._under_way == 1 and len(queries) == 1
        try:
            if alone:
                self._embedder.use_all_cores()
            else:
                self._embedder.use_one_core()
            return self._answers(queries)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answers(self, queries: Sequence[TextQuery | Glimpse]) -> list[Probe | Exception]:
        texts = [query.text for query in queries if isinstance(query, TextQuery)]
        images = [query for query in queries if isinstance(query, Glimpse)]
        of_images = iter(embed(self._embedder, images, most=_BATCH))
        of_texts: Iterator[Probe | Exception] = iter(())
        if texts:
            try:
                of_texts = iter(probe_texts(self._embedder, texts))
            except TextNotSupported as error:
                of_texts = repeat(error)
        return [next(of_texts if isinstance(query, TextQuery) else of_images) for query in queries]
