"""What answers questions: imported when the first dataset is asked for, since it brings the engine along."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from twinlens.engine.decode import DecodeLimits
from twinlens.engine.search import probe_stored
from twinlens.service.explore.answers import AnswerLimits
from twinlens.service.explore.batching import MicroBatcher
from twinlens.service.explore.boxes import AskedBox
from twinlens.service.explore.datasets import DatasetRow, DatasetStore
from twinlens.service.explore.embedders import Embedders, ImageQuery
from twinlens.service.explore.export_tasks import ExportTasks
from twinlens.service.explore.exporting import Contents, Exporter, contents_of
from twinlens.service.explore.library import Library
from twinlens.service.explore.notes import NoteBook
from twinlens.service.explore.pages import Pages
from twinlens.service.explore.query import ExploreQuery
from twinlens.service.explore.remembered import Anchor, Remembered
from twinlens.service.explore.signing import UrlSigner
from twinlens.service.explore.view import View
from twinlens.service.metrics import Metrics
from twinlens.service.settings import Settings

_ANCHORS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Machinery:
    """Datasets, models, pages, exports, and what uploaded images search for."""

    library: Library
    embedders: Embedders
    pages: Pages
    exporter: Exporter
    anchors: MicroBatcher[Anchor, str]

    async def anchor(self, row: DatasetRow, view: View, data: bytes, box: AskedBox | None) -> str:
        """Remember what an image file, or a part of it, searches for in a dataset; the id of that.

        Raises:
            DecodeError: it cannot be read.
            InvalidValue: the part lies outside.
            Busy, ModelError: the model cannot be asked.
            NotFound: the dataset is gone meanwhile.
        """
        description = view.snapshot.description
        query = (
            ImageQuery(data, partial(probe_stored, view.snapshot), None)
            if box is None
            else ImageQuery(data, _never, box.on)
        )
        probe = await self.embedders.probe(description, query)
        return await self.anchors.ask(Anchor(row.id, description.fingerprint, probe))

    async def contents(self, row: DatasetRow, query: ExploreQuery) -> Contents:
        """What an export of the answer to a question holds."""
        return await contents_of(self.pages, row, query, None)

    async def aclose(self) -> None:
        """End what is under way."""
        await self.exporter.aclose()
        await self.embedders.aclose()
        await self.anchors.aclose()
        await self.library.aclose()


def build(
    settings: Settings,
    metrics: Metrics,
    notes: NoteBook,
    remembered: Remembered,
    datasets: DatasetStore,
    tasks: ExportTasks,
    signer: UrlSigner,
) -> Machinery:
    """Put it together; nothing is opened yet."""
    library = Library(
        notes,
        AnswerLimits(nearest=settings.max_nearest, max_pairs=settings.max_pairs),
        device=settings.device,
        workers=settings.workers + 2,
    )
    embedders = Embedders(
        device=settings.device,
        limits=DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        waiting=settings.queries_waiting,
        workers=settings.workers,
        counts=metrics,
    )
    pages = Pages(library, embedders, remembered, cache_bytes=settings.page_cache_bytes)
    exporter = Exporter(tasks, datasets, pages, signer, settings.datasets_folder)
    # One commit at a time is on its way to the disk; those that wait for it share the next one.
    anchors: MicroBatcher[Anchor, str] = MicroBatcher(
        remembered.add_anchors, most=_ANCHORS_AT_ONCE, threads=1, on_batch=lambda waits: None
    )
    return Machinery(library, embedders, pages, exporter, anchors)


def _never(data: bytes) -> None:
    """A part of a file is no image of the dataset."""
