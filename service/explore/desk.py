"""What the dialect holds while the server runs, found at `request.app.state.services.explore`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from starlette.requests import Request

from twinlens.engine.errors import InvalidValue
from twinlens.service.auth import ANONYMOUS, Caller, authenticate_jwt
from twinlens.service.bodies import BodyReader
from twinlens.service.database import Database
from twinlens.service.explore.datasets import DatasetRow, DatasetStore, Kind, Status, canonical_id
from twinlens.service.explore.export_tasks import ExportTasks
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.intake import INCOMING, Intake
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.explore.links import Links, links_for
from twinlens.service.explore.notes import NoteBook
from twinlens.service.explore.remembered import Remembered
from twinlens.service.explore.signing import UrlSigner
from twinlens.service.explore.supervisor import Supervisor
from twinlens.service.explore.work import WorkList
from twinlens.service.keys import KeyStore
from twinlens.service.metrics import Metrics
from twinlens.service.settings import Settings

if TYPE_CHECKING:
    from twinlens.service.explore.machinery import Machinery

log = logging.getLogger("twinlens.service")


class Desk:
    """Datasets and everything that is done with them."""

    def __init__(
        self, settings: Settings, keys: KeyStore, bodies: BodyReader, metrics: Metrics, database: Database
    ) -> None:
        """Opens nothing; `open_desk` starts it."""
        self.settings = settings
        self.keys = keys
        self.bodies = bodies
        self.metrics = metrics
        self.datasets = DatasetStore(database)
        self.intake = Intake(database, settings.datasets_folder)
        self.work = WorkList(database)
        self.notes = NoteBook(database)
        self.remembered = Remembered(database, anchor_seconds=settings.anchor_seconds)
        self.exports = ExportTasks(database)
        self.supervisor = Supervisor(settings, self.datasets, self.intake, self.work)
        self.signer = UrlSigner(self.datasets.secret("urls"), seconds=settings.url_signature_seconds)
        self.mounted: set[str] = set()
        self._machinery: asyncio.Task[Machinery] | None = None

    async def machinery(self) -> Machinery:
        """What answers questions."""
        if self._machinery is None:
            self._machinery = asyncio.create_task(self._build())
        return await asyncio.shield(self._machinery)

    async def _build(self) -> Machinery:
        built = await asyncio.to_thread(self._load)
        await built.exporter.start()
        return built

    def _load(self) -> Machinery:
        from twinlens.service.explore import machinery

        return machinery.build(
            self.settings, self.metrics, self.notes, self.remembered, self.datasets, self.exports, self.signer
        )

    # -- who asks for what --------------------------------------------------------------------

    def caller(self, request: Request) -> Caller:
        """Whose request it is.

        Raises:
            AuthRequired: no valid JWT, and keys exist.
        """
        # Of several, each reader on the way may have believed another one.
        sent = request.headers.getlist("authorization")
        header = sent[0] if len(sent) == 1 else None
        caller = authenticate_jwt(header, self.keys, longest_seconds=self.settings.jwt_max_seconds)
        request.state.key = caller.owner
        return caller

    def dataset(self, request: Request, id_: str, *, change: bool = False) -> DatasetRow:
        """The dataset that a request is about.

        Raises:
            AuthRequired: no valid JWT, and keys exist.
            NotFound: there is none, or the caller may not know of it.
            Forbidden: the caller may see it and wants to change it.
        """
        row = self.datasets.for_caller(id_, self.caller(request).owner, change=change)
        self.check_served(row)
        request.state.dataset = row.id
        return row

    def is_gone(self, request: Request) -> bool:
        """True if the dataset that a request is about was deleted since it was looked up."""
        id_ = getattr(request.state, "dataset", None)
        return id_ is not None and not self.datasets.exists(id_)

    def signed(self, request: Request, id_: str) -> DatasetRow:
        """The dataset that a request with a signed URL is about; who holds the URL needs no key.

        Raises:
            Forbidden: the signature is missing, wrong or too old.
            NotFound: the dataset is gone.
        """
        asked = request.query_params
        path = request.url.path
        self.signer.check(path, asked.get("expires"), asked.get("signature"), time.time())
        row = self.datasets.find(id_)
        self.check_served(row)
        return row

    def check_served(self, row: DatasetRow) -> None:
        """See that a dataset made on the command line is one of those that this server was started with.

        Raises:
            NotFound: it is not.
        """
        if row.kind is Kind.MOUNT and row.id not in self.mounted:
            raise NotFound("Dataset not found")

    def of_caller(self, request: Request) -> list[DatasetRow]:
        """All datasets that the caller may see, the newest first."""
        rows = self.datasets.of_caller(self.caller(request).owner)
        return [row for row in rows if row.kind is not Kind.MOUNT or row.id in self.mounted]

    def name_of(self, owner: str) -> str:
        """What the owner of a dataset calls their key."""
        if owner == ANONYMOUS:
            return "anonymous"
        return next((key.name for key in self.keys.list() if key.api_key == owner), owner)

    def links(self, request: Request) -> Links:
        """URLs for the answer to a request."""
        return links_for(request, self.signer, self.settings.public_url)

    # -- life ---------------------------------------------------------------------------------

    async def delete(self, row: DatasetRow) -> None:
        """Forget a dataset, end its work and remove what the server made of it; never a file of the user."""
        await self.supervisor.abandon(row.id)
        await asyncio.to_thread(self.datasets.delete, row.id)
        await self.supervisor.abandon(row.id)
        if self._machinery is not None:
            (await self.machinery()).library.forget(row.id)
        # Of a dataset made on the command line it holds exports, and nothing else.
        await asyncio.to_thread(shutil.rmtree, self.intake.home(row.id), ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a killed server left."""
        for row in self.datasets.all():
            begun = row.status is Status.INDEXING and not row.ready
            if begun and not self.intake.holds_any(row.id) and not self.datasets.sources(row.id):
                # The kill came while it was made in one call; nobody was told of it.
                self.datasets.delete(row.id)
        known = {row.id for row in self.datasets.all()}
        for id_ in {*known, INCOMING}:
            self.intake.tidy(id_)
        folder = self.settings.datasets_folder
        entries = list(folder.iterdir()) if folder.is_dir() else []
        gone = [entry for entry in entries if entry.name not in known and _is_id(entry.name)]
        # Hundreds of thousands of files on a slow disk must not keep the server from starting, or stopping.
        Thread(target=_remove, args=(gone,), daemon=True).start()

    def mount(self) -> None:
        """Serve the datasets that the server was started with.

        Raises:
            InvalidValue: an owner that is no live key.
        """
        owner = owner_key(self.settings.owner, self.keys)
        for folder in self.settings.datasets:
            from twinlens.engine.dataset import Dataset

            with Dataset.open(folder) as data:
                self.mounted.add(self.datasets.mount(owner, folder, len(data)).id)


def owner_key(name: str | None, keys: KeyStore) -> str:
    """The api_key of a live key, by its name or itself.

    Raises:
        InvalidValue: no live key is called that, or none is named and one is needed.
    """
    live = [key for key in keys.list() if key.revoked is None]
    if name is None:
        if keys.any():
            names = ", ".join(key.name for key in live) or "none"
            raise InvalidValue(f"this server has keys: say with --owner whose the datasets are ({names})")
        return ANONYMOUS
    for key in live:
        if name in (key.name, key.api_key):
            return key.api_key
    raise InvalidValue(
        f"--owner is {name!r}, and no live key is called that: `twinlens keys list` shows them"
    )


@asynccontextmanager
async def open_desk(
    settings: Settings, keys: KeyStore, bodies: BodyReader, metrics: Metrics
) -> AsyncIterator[Desk]:
    """The desk of a running server: what an earlier one left is tidied up and taken up again."""
    database = await asyncio.to_thread(Database, settings.datasets_file, LAYOUT)
    try:
        desk = Desk(settings, keys, bodies, metrics, database)
        await asyncio.to_thread(desk.tidy)
        if settings.datasets:
            await asyncio.to_thread(desk.mount)
        await desk.supervisor.start()
        if desk.mounted or any(row.ready for row in await asyncio.to_thread(desk.datasets.all)):
            # Questions will come; meanwhile the server listens already.
            warm = asyncio.create_task(desk.machinery())
            warm.add_done_callback(_log_failure)
        try:
            yield desk
        finally:
            await desk.supervisor.aclose()
            if desk._machinery is not None:
                with contextlib.suppress(Exception):
                    await (await desk._machinery).aclose()
    finally:
        database.close()


def _log_failure(task: asyncio.Task[Machinery]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the engine cannot be loaded", exc_info=error)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is_id(name: str) -> bool:
    try:
        return canonical_id(name) == name
    except NotFound:
        return False
