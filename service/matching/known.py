"""Records whose hashes are known: from an image that was sent, or from the collection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import Hashes
from twinlens.service.matching.call import Call, Sent, id_or_none
from twinlens.service.matching.collections import Record
from twinlens.service.matching.images import HashedImage
from twinlens.service.matching.records import JsonObject, answered, fresh_id
from twinlens.service.matching.rows import document
from twinlens.service.matching.status import NOT_FOUND

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Known:
    """A record whose hashes are known.

    Attributes:
        fields: as they may be answered, `_id` among them.
        hashes: from the collection, or of the image that was sent.
        stored: its `_id` where the hashes are the collection's.
        shown: the record as a query is answered.
    """

    fields: JsonObject
    hashes: Hashes
    stored: str | None
    shown: JsonObject


async def known_query(call: Call, record: JsonObject) -> Known | None:
    """The query of a search; None where its `_id` is not in the collection.

    Raises:
        InvalidValue: it has neither image nor `_id`, or its image cannot be analysed.
    """
    good, skipped = await resolve(call, [record])
    if good:
        return good[0]
    status = skipped[0]["_status"]
    if status["code"] == NOT_FOUND:
        return None
    raise InvalidValue(status["text"])


async def resolve(call: Call, records: Sequence[JsonObject]) -> tuple[list[Known], list[JsonObject]]:
    """Hashes of records: of the image in `_base64`, else of the stored `_id`, else behind `_url`.

    Returns:
        Those that have them, and those that are skipped, each in the order sent.
    """
    call.check_count(records, call.services.settings.max_records)
    ids = [None if record.get("_base64") else id_or_none(record) for record in records]
    wanted = [id for id in ids if id is not None]
    found = {
        record.id: record
        for record in await in_store(call, call.services.collections.get, wanted)
        if record is not None
    }
    lost = [
        id is not None and id not in found and not record.get("_url")
        for id, record in zip(ids, records, strict=True)
    ]
    with_image = [
        record for id, record, gone in zip(ids, records, lost, strict=True) if id not in found and not gone
    ]
    images = iter(await call.analyse(with_image))
    good, skipped = [], []
    for id, record, gone in zip(ids, records, lost, strict=True):
        if gone:
            status = call.ids.record_status(NOT_FOUND)
            skipped.append(answered(record, id, status=status))
        elif id is not None and id in found:
            good.append(_of_stored(found[id]))
        else:
            sent = next(images)
            if isinstance(sent.image, HashedImage):
                good.append(_of_image(sent, sent.image))
            else:
                skipped.append(call.skipped(sent))
    return good, skipped


def _of_stored(record: Record) -> Known:
    fields = document(record)
    return Known(fields, record.hashes, record.id, fields)


def _of_image(sent: Sent, image: HashedImage) -> Known:
    shown = answered(sent.record, sent.id, image)
    return Known({"_id": sent.id or fresh_id()} | shown, image.hashes, None, shown)


async def in_store(
    call: Call, method: Callable[Concatenate[str, str, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Ask the store about the collection of the call, in a thread."""
    return await asyncio.to_thread(method, call.owner, call.collection, *args, **kwargs)
