"""Pages of explore, written out once for each generation of a dataset."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from twinlens.engine.errors import TooManyPairs
from twinlens.engine.types import Probe
from twinlens.service.explore.answers import Answer, Group
from twinlens.service.explore.datasets import DatasetRow
from twinlens.service.explore.embedders import Embedders, EmbeddingQuery, TextQuery
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.library import Library
from twinlens.service.explore.links import Links
from twinlens.service.explore.query import AnchorType, ExploreQuery
from twinlens.service.explore.remembered import Remembered
from twinlens.service.explore.shapes import PAGE_SIZE, JsonObject, members_json, page_json
from twinlens.service.explore.view import View
from twinlens.service.explore.vql import TextOp


@dataclass(frozen=True, slots=True)
class Page:
    """An answer as it is sent: JSON, and the ETag that tells it from others."""

    body: bytes
    etag: str


class Pages:
    """Answers of explore for all datasets.

    Args:
        library: computes them.
        embedders: turn texts into what is searched for.
        remembered: anchors, and cluster ids that were given out.
        cache_bytes: memory for pages; those not asked for longest leave first.
    """

    def __init__(
        self, library: Library, embedders: Embedders, remembered: Remembered, *, cache_bytes: int
    ) -> None:
        self._library = library
        self._embedders = embedders
        self._remembered = remembered
        self._cache_bytes = cache_bytes
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()
        self._held = 0

    async def page(self, row: DatasetRow, query: ExploreQuery, links: Links) -> Page:
        """One page of the answer to a question.

        Raises:
            Conflict: the dataset is in no state to answer, or cannot answer this.
            NotFound: an anchor that is not known.
            TooManyPairs: the threshold is so low that its pairs explode.
        """
        view = await self._library.view(row)
        key = (row.id, view.snapshot.generation, view.edition, query.canonical(), query.page, links.period)
        if (page := self._pages.get(key)) is not None:
            self._pages.move_to_end(key)
            return page
        found = await self._answer(row, view, query)
        page = await self._library.run(lambda: self._write(row, view, found, query, links))
        self._keep(key, page)
        return page

    async def answer(self, row: DatasetRow, query: ExploreQuery) -> tuple[View, Answer]:
        """The whole answer to a question, and what it was answered from."""
        view = await self._library.view(row)
        return view, await self._answer(row, view, query)

    async def members(self, row: DatasetRow, cluster: str, page: int, links: Links) -> JsonObject:
        """One page of the members of a cluster that was given out.

        Raises:
            NotFound: it never was, or has other members now.
        """
        view, group = await self._cluster(row, cluster)
        return await self._library.run(lambda: members_json(row, view, group, page, links))

    async def member_ids(self, row: DatasetRow, cluster: str) -> list[str]:
        """Ids of all members of a cluster that was given out.

        Raises:
            NotFound: it never was, or has other members now.
        """
        _, group = await self._cluster(row, cluster)
        return [image.id for image in group.members]

    async def _cluster(self, row: DatasetRow, cluster: str) -> tuple[View, Group]:
        for question, place in await asyncio.to_thread(self._remembered.questions_of, row.id, cluster):
            # What cannot be answered any more is passed over: its anchor was forgotten, its pairs exploded.
            with suppress(NotFound, TooManyPairs):
                view, found = await self.answer(row, ExploreQuery.from_canonical(question))
                if (group := await self._library.run(partial(found.find, cluster, place))) is not None:
                    return view, group
        raise NotFound("Cluster not found: its members have changed since its id was given out")

    async def _answer(self, row: DatasetRow, view: View, query: ExploreQuery) -> Answer:
        probes = await self._probes(row, view, query)
        return await self._library.answer(row, view, query, probes)

    async def _probes(self, row: DatasetRow, view: View, query: ExploreQuery) -> tuple[Probe, ...]:
        snapshot = view.snapshot
        queries: list[EmbeddingQuery] = [
            TextQuery(text.value) for text in query.texts if text.op is TextOp.SEMANTIC
        ]
        asked = [self._embedders.probe(snapshot.description, each) for each in queries]
        probes = list(await asyncio.gather(*asked))
        if query.anchor is not None:
            id_ = query.anchor.media_id
            if query.anchor.kind is AnchorType.MEDIA:
                if id_ not in snapshot.position:
                    raise NotFound(f"anchor_media_id {id_} is no image of this dataset")
                probes.append(view.generation.probe(id_))
            else:
                fingerprint = snapshot.description.fingerprint
                probes.append(await asyncio.to_thread(self._remembered.anchor, row.id, id_, fingerprint))
        return tuple(probes)

    def _write(self, row: DatasetRow, view: View, found: Answer, query: ExploreQuery, links: Links) -> Page:
        content = page_json(row, view, found, query.level, query.page, links)
        if content["clusters"]:
            ids = [cluster["cluster_id"] for cluster in content["clusters"]]
            self._remembered.remember_clusters(row.id, query.canonical(), query.page * PAGE_SIZE, ids)
        body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
        return Page(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def _keep(self, key: Hashable, page: Page) -> None:
        if len(page.body) > self._cache_bytes or key in self._pages:
            return
        self._pages[key] = page
        self._held += len(page.body)
        while self._held > self._cache_bytes:
            _, oldest = self._pages.popitem(last=False)
            self._held -= len(oldest.body)
