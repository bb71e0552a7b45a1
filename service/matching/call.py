"""One call of a method: who asks, what the answer's ids are, how much time is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlens.engine.errors import InvalidValue
from twinlens.service.matching.distances import HashType, distance, radius
from twinlens.service.matching.images import LOADING_ERROR, HashedImage, Loaded, Source, Unloadable
from twinlens.service.matching.records import JsonObject, answered, fresh_id, id_of, source_of
from twinlens.service.matching.status import FAILED, RequestIds
from twinlens.service.services import Services

_LEAST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    """One record of a request, and what became of its image.

    Attributes:
        record: as it was sent, without `_base64`.
        id: its `_id` as text, None where it brought none.
        image: hashed, or why not.
    """

    record: Mapping[str, Any]
    id: str | None
    image: Loaded


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        services: of the app.
        ids: of the status objects.
        owner: whose collections are seen.
        collection: which of them, by the header `collection-id`.
        query: parameters of the URL.
        started: by `time.perf_counter`.
    """

    services: Services
    ids: RequestIds
    owner: str
    collection: str
    query: Mapping[str, str]
    started: float = field(default_factory=time.perf_counter)

    def statistics(self) -> JsonObject:
        """The documented `statistics`."""
        return {"processing time": time.perf_counter() - self.started}

    def distance(self, differing: int, kind: HashType) -> float:
        """A Hamming distance in the unit of the server."""
        return distance(differing, kind, self.services.settings.distance_unit)

    def radius(self, range: float, kind: HashType) -> int:
        """A range as Hamming distance."""
        return radius(range, kind, self.services.settings.distance_unit)

    async def analyse(self, records: Sequence[JsonObject]) -> list[Sent]:
        """Hash the images of records. Takes `_base64` out of them, so that its memory can go.

        Raises:
            InvalidValue: more records than one request may bring.
        """
        self.check_count(records, self.services.settings.max_records)
        sources = [_checked_source(record) for record in records]
        for record in records:
            record.pop("_base64", None)
        used = time.perf_counter() - self.started
        seconds = max(_LEAST_SECONDS, self.services.settings.request_seconds - used)
        images = await self.services.loader.load(sources, seconds)
        return [
            Sent(record, id_or_none(record), image) for record, image in zip(records, images, strict=True)
        ]

    def check_count(self, records: Sequence[JsonObject], limit: int) -> None:
        """Raise InvalidValue if there are more than `limit` records."""
        if len(records) > limit:
            raise InvalidValue(
                f"records: {len(records):,} were sent, at most {limit:,} are taken in a request"
            )

    async def analyse_query(self, record: JsonObject) -> tuple[Sent, HashedImage]:
        """Hash the image of a query.

        Raises:
            InvalidValue: it cannot be analysed; the text is that of a record.
        """
        (sent,) = await self.analyse([record])
        if isinstance(sent.image, Unloadable):
            raise InvalidValue(sent.image.text)
        return sent, sent.image

    def skipped(self, sent: Sent, text: str | None = None) -> JsonObject:
        """A record among `skipped_records`."""
        if text is None and isinstance(sent.image, Unloadable):
            text = sent.image.text
        return answered(sent.record, sent.id or fresh_id(), status=self.ids.record_status(FAILED, text))


def _checked_source(record: Mapping[str, Any]) -> Source | Unloadable:
    try:
        id_of(record)
    except InvalidValue as error:
        return Unloadable(f"{LOADING_ERROR}{error}")
    return source_of(record)


def id_or_none(record: Mapping[str, Any]) -> str | None:
    """The `_id` of a record as text; None where there is none, or none that can be one."""
    try:
        return id_of(record)
    except InvalidValue:
        return None
