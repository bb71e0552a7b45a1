"""Exports made beside the requests, one after the other: what is in them, and how they end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinlens.engine.catalog import ImageRecord
from twinlens.engine.errors import InputError, ModelError, StorageFull, TwinLensError
from twinlens.service.explore.answers import Answer, Group
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, now
from twinlens.service.explore.export_items import (
    ExportInfo,
    IssueEntry,
    ItemsChanged,
    LabelEntry,
    MediaItem,
    TagEntry,
)
from twinlens.service.explore.export_tasks import ExportRequest, ExportTask, ExportTasks, TaskStatus
from twinlens.service.explore.exports import ExportFormat, ExportStopped, write_export
from twinlens.service.explore.links import Links
from twinlens.service.explore.pages import Pages
from twinlens.service.explore.query import ExploreQuery
from twinlens.service.explore.shapes import file_name, shown_path
from twinlens.service.explore.signing import UrlSigner
from twinlens.service.explore.view import View

log = logging.getLogger("twinlens.service")
_DAYS_KEPT = 7
_GROUPS_AT_ONCE = 1000
_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True)
class Contents:
    """What an export holds.

    Attributes:
        row: the dataset.
        view: what it is read from.
        clusters: groups in their order; in an export of chosen images, all groups of the dataset.
        chosen: ids of the images that are exported; None means all of the groups.
        twins: cluster id of the images that have duplicates at the model's default threshold.
    """

    row: DatasetRow
    view: View
    clusters: Answer
    chosen: frozenset[str] | None
    twins: Mapping[str, str]

    def count(self) -> int:
        """How many images there are."""
        return sum(1 for _ in self._images())

    def info(self, base: str, owner_name: str) -> ExportInfo:
        """The head."""
        return ExportInfo(
            dataset=self.row.name,
            description=self.row.description,
            dataset_url=f"{base}/api/v1/dataset/{self.row.id}",
            export_time=now(),
            dataset_creation_time=self.row.created,
            exported_by=owner_name,
            total_media_items=self.count(),
        )

    def items(self, links: Links) -> Iterator[MediaItem]:
        """The images, one at a time."""
        return (self._item(group, place, links) for group, place in self._images())

    def _images(self) -> Iterator[tuple[Group, int]]:
        for start in range(0, self.clusters.total_clusters, _GROUPS_AT_ONCE):
            for group in self.clusters.groups(start, _GROUPS_AT_ONCE):
                for place, image in enumerate(group.members):
                    if self.chosen is None or image.id in self.chosen:
                        yield group, place

    def _item(self, group: Group, place: int, links: Links) -> MediaItem:
        image = group.members[place]
        notes = self.view.notes
        score = float(self.view.generation.scores.values[self.view.snapshot.position[image.id]])
        return MediaItem(
            media_id=image.id,
            file_name=file_name(image),
            file_path=shown_path(self.row, image),
            file_size=image.size,
            uniqueness_score=None if score != score else score,
            width=image.width,
            height=image.height,
            url=links.image(self.row.id, image.id),
            cluster_id=group.id,
            issues=tuple(self._issues(image)),
            tags=tuple(TagEntry(name, assigned) for _, name, assigned in notes.tags.get(image.id, ())),
            labels=tuple(LabelEntry(label, "User") for label in notes.labels_of(image.path)),
            captions=tuple(notes.captions_of(image.path)),
            search_confidence=None if group.distances is None else round(1.0 - group.distances[place], 6),
            source=Path(image.file) if image.digest is not None else None,
        )

    def _issues(self, image: ImageRecord) -> Iterator[IssueEntry]:
        place = self.view.snapshot.position[image.id]
        for name in ("blur", "dark", "bright", "duplicates", "outliers"):
            confidence = float(self.view.generation.confidences(name)[place])
            if confidence > 0 and name == "duplicates":
                threshold = self.view.snapshot.description.points.default
                yield IssueEntry(name, confidence, self.twins.get(image.id), threshold)
            elif confidence > 0:
                yield IssueEntry(name, confidence)


async def contents_of(
    pages: Pages, row: DatasetRow, question: ExploreQuery, media: Sequence[str] | None
) -> Contents:
    """What the answer to a question holds, or images that were chosen by hand.

    Raises:
        Conflict, NotFound, TooManyPairs: the question is not served.
    """
    view, found = await pages.answer(row, question)
    default = view.snapshot.description.points.default
    _, duplicates = await pages.answer(row, ExploreQuery(duplicates=default))
    groups = await asyncio.to_thread(duplicates.groups, 0, duplicates.total_clusters)
    twins = {image.id: group.id for group in groups for image in group.members}
    return Contents(row, view, found, None if media is None else frozenset(media), twins)


class Exporter:
    """Makes exports, one at a time, in a thread.

    Args:
        tasks: where they are remembered.
        datasets: whose they are.
        pages: answers their questions.
        signer: signs the URLs in them.
        folders: where each dataset has a folder.
    """

    def __init__(
        self, tasks: ExportTasks, datasets: DatasetStore, pages: Pages, signer: UrlSigner, folders: Path
    ) -> None:
        self._tasks = tasks
        self._datasets = datasets
        self._pages = pages
        self._signer = signer
        self._folders = folders
        self._queue: asyncio.Queue[ExportTask] = asyncio.Queue()
        self._stopping = threading.Event()
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier server left."""
        for task in await asyncio.to_thread(self._tasks.unfinished):
            self._queue.put_nowait(task)
        self._worker = asyncio.create_task(self._serve())

    async def aclose(self) -> None:
        """Stop; what is unfinished goes on at the next start."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def submit(self, row: DatasetRow, owner: str, request: ExportRequest) -> ExportTask:
        """Ask for an export."""
        task = await asyncio.to_thread(self._tasks.add, row.id, owner, request)
        self._queue.put_nowait(task)
        return task

    def file(self, task: ExportTask) -> Path:
        """Where the ZIP of an export lies, or will."""
        return self._folder(task.dataset, task.id) / "export.zip"

    def _folder(self, dataset: str, task: str) -> Path:
        return self._folders / dataset / "exports" / task

    async def _serve(self) -> None:
        while True:
            task = await self._queue.get()
            try:
                await self._make(task)
            except ExportStopped:
                return
            except Exception as error:
                await self._fail(task, _reason(error))

    async def _fail(self, task: ExportTask, reason: str) -> None:
        try:
            await asyncio.to_thread(self._tasks.end, task, TaskStatus.FAILED, reason, 0)
        except TwinLensError:
            # The others go on, and this one is made at the next start.
            log.exception("how an export ended cannot be written down")

    async def _make(self, task: ExportTask) -> None:
        row = await asyncio.to_thread(self._datasets.find, task.dataset)
        question = ExploreQuery.from_canonical(task.request.question)
        contents = await contents_of(self._pages, row, question, task.request.media)
        writing = asyncio.create_task(asyncio.to_thread(self._write, task, contents))
        try:
            await asyncio.shield(writing)
        finally:
            # Nothing is closed under the thread: it ends soon once it is told to stop.
            await asyncio.gather(writing, return_exceptions=True)

    def _write(self, task: ExportTask, contents: Contents) -> None:
        for old in self._tasks.take_old(task.dataset, _DAYS_KEPT):
            shutil.rmtree(self._folder(task.dataset, old), ignore_errors=True)
        request = task.request
        links = Links(request.base, self._signer, time.time())
        info = contents.info(request.base, request.owner_name)
        if not info.total_media_items:
            self._tasks.end(task, TaskStatus.REJECTED, "no image matches: there is nothing to export", 0)
            return
        target = self.file(task)
        target.parent.mkdir(parents=True, exist_ok=True)
        last = time.monotonic()

        def report(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
                last = time.monotonic()
                share = 100.0 * done / info.total_media_items
                self._tasks.set_progress(task, min(share, 99.0), info.total_media_items)

        outcome = write_export(
            target,
            info,
            contents.items(links),
            ExportFormat(request.fmt),
            include_images=request.include_images,
            stop=self._stopping.is_set,
            on_progress=report,
        )
        self._tasks.end(task, TaskStatus.COMPLETED, _missing(outcome.missing), outcome.entities)


def _reason(error: Exception) -> str:
    """What a client is told; where the server keeps things is told by its log alone."""
    if isinstance(error, InputError | ModelError | ItemsChanged):
        return str(error)
    log.error("an export failed", exc_info=error)
    if isinstance(error, StorageFull):
        return "no room is left on the disk of the server: export again when there is"
    return "the server failed at this export: its log says more"


def _missing(paths: Iterable[str]) -> str | None:
    names = list(paths)
    if not names:
        return None
    return f"{len(names)} originals could not be read, export_errors.json in the archive names them"
