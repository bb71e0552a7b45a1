"""The collection calls: records stored under the hashes of their images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from twinlens.engine.errors import InvalidValue
from twinlens.engine.hashing import Hashes, to_bits
from twinlens.service.matching.call import Call, Sent, id_or_none
from twinlens.service.matching.collections import Insertion, Record
from twinlens.service.matching.distances import HashType, radius
from twinlens.service.matching.filters import Predicate, compile_filter
from twinlens.service.matching.images import HashedImage, Unloadable
from twinlens.service.matching.methods import ranked
from twinlens.service.matching.records import JsonObject, answered, echo, fresh_id, id_of, select
from twinlens.service.matching.rows import row_of
from twinlens.service.matching.schema import (
    AllRecords,
    Delete,
    Get,
    Insert,
    NearDuplicates,
    Random,
    Update,
    VisualKNN,
    VisualRankRecords,
)
from twinlens.service.matching.status import (
    DELETED,
    DUPLICATE,
    FAILED,
    FOUND,
    FULL,
    INSERTED,
    NOT_FOUND,
    OK,
    SOME_INSERTED,
    SOME_NOT_FOUND,
    overall,
)
from twinlens.service.settings import DistanceUnit

NEAR = {HashType.BMH1: 5.0, HashType.PHASH: 10.0}
"""Percent of bits that near duplicates may differ by unless a range is given: docs/ranges.md says why."""

P = ParamSpec("P")
R = TypeVar("R")


async def insert(call: Call, asked: Insert) -> JsonObject:
    """Store records. An `_id` that exists is skipped with code 211 and never overwritten."""
    sent = await call.analyse(asked.records)
    records = [_storable(each) for each in sent]
    outcomes = await _stored(
        call, call.services.collections.insert, [each for each in records if isinstance(each, Record)]
    )
    remaining = iter(outcomes)
    inserted, skipped = [], []
    for each, record in zip(sent, records, strict=True):
        if isinstance(record, Unloadable):
            skipped.append(_with_reason(call.skipped(each, text=record.text), FAILED))
        elif (outcome := next(remaining)) is Insertion.INSERTED:
            inserted.append(_shown(record, asked.fields_to_return))
        else:
            skipped.append(_not_inserted(call, record, outcome))
    return _answer(call, _insert_code(outcomes, skipped=len(skipped)), inserted, skipped)


async def get(call: Call, asked: Get) -> JsonObject:
    """Read records by their `_id`, in the order asked."""
    ids = _ids(call, asked.records)
    found = await _stored(call, call.services.collections.get, ids)
    return _lookup_answer(
        call, FOUND, ids, [_shown_if_any(record, asked.fields_to_return) for record in found]
    )


async def update(call: Call, asked: Update) -> JsonObject:
    """Merge fields into stored records; hashes stay as they are."""
    ids = _ids(call, asked.records)
    changes = [(id, echo(record)) for id, record in zip(ids, asked.records, strict=True)]
    found = await _stored(call, call.services.collections.update, changes)
    return _lookup_answer(call, OK, ids, [_shown_if_any(record, asked.fields_to_return) for record in found])


async def delete(call: Call, asked: Delete) -> JsonObject:
    """Delete records by their `_id`."""
    ids = _ids(call, asked.records)
    deleted = await _stored(call, call.services.collections.delete, ids)
    answers = [{"_id": id} if gone else None for id, gone in zip(ids, deleted, strict=True)]
    return _lookup_answer(call, DELETED, ids, answers)


async def visual_knn(call: Call, asked: VisualKNN) -> JsonObject:
    """The k stored records nearest to a query, itself included where it is one of them."""
    query = await _query(call, asked.query_record)
    if query is None:
        return _neighbours_answer(call, NOT_FOUND, asked, None, [])
    return _neighbours_answer(call, OK, asked, query, await _nearest(call, asked, query, k=asked.k))


async def near_duplicates(call: Call, asked: NearDuplicates) -> JsonObject:
    """All stored records within a range of a query; a query by `_id` is no duplicate of itself."""
    kind = HashType(asked.hash_type)
    query = await _query(call, asked.query_record)
    if query is None:
        return _neighbours_answer(call, NOT_FOUND, asked, None, [])
    if asked.range is None:
        radius_bits = radius(NEAR[kind], kind, DistanceUnit.PERCENT)
    else:
        radius_bits = call.radius(asked.range, kind)
    found = await _nearest(call, asked, query, radius_bits=radius_bits)
    others = [(record, differing) for record, differing in found if record.id != query.stored]
    return _neighbours_answer(call, OK, asked, query, others)


async def visual_rank_records(call: Call, asked: VisualRankRecords) -> JsonObject:
    """Given records, stored ones or images, by their distance to a query."""
    kind = HashType(asked.hash_type)
    query = await _query(call, asked.query_record)
    if query is None:
        return _neighbours_answer(call, NOT_FOUND, asked, None, [])
    good, skipped = await _resolve(call, asked.records)
    codes = np.array([kind.of(each.hashes) for each in good], np.uint8).reshape(-1, kind.bits // 8)
    order, distances = ranked(kind.of(query.hashes), codes)
    ordered = [good[index] for index in order]
    records = [_chosen(each.fields, each.hashes, asked.fields_to_return) for each in ordered]
    return {
        "query_records": [query.shown],
        "answer_distances": [call.distance(differing, kind) for differing in distances],
    } | _answer(call, overall(len(good), len(skipped)), records, skipped)


async def random(call: Call, asked: Random) -> JsonObject:
    """Some records, each at most once."""
    where = await _predicate(call, asked.filter)
    records = await _stored(call, call.services.collections.sample, asked.count, where)
    return _answer(call, OK, [_shown(record, asked.fields_to_return) for record in records])


async def all_records(call: Call, asked: AllRecords) -> JsonObject:
    """All records in the order of their insertion; `size` and `page` in the URL ask for one page.

    `next` is there as long as another page follows.
    """
    size, page = _whole(call, "size", default=0), max(1, _whole(call, "page", default=1))
    where, wanted = await _predicate(call, asked.filter), asked.fields_to_return
    store = call.services.collections
    if not size:
        everything = partial(store.all, call.owner, call.collection, where)
        return _answer(
            call, OK, await asyncio.to_thread(lambda: [_shown(each, wanted) for each in everything()])
        )
    records, more = await _stored(call, store.page, size, page, where)
    following = {"next": f"allRecords?size={size}&page={page + 1}"} if more else {}
    return _answer(call, OK, [_shown(record, wanted) for record in records]) | following


@dataclass(frozen=True, slots=True)
class _Known:
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


async def _query(call: Call, record: JsonObject) -> _Known | None:
    """The query of a search; None where its `_id` is not in the collection.

    Raises:
        InvalidValue: it has neither image nor `_id`, or its image cannot be analysed.
    """
    good, skipped = await _resolve(call, [record])
    if good:
        return good[0]
    status = skipped[0]["_status"]
    if status["code"] == NOT_FOUND:
        return None
    raise InvalidValue(status["text"])


async def _resolve(call: Call, records: Sequence[JsonObject]) -> tuple[list[_Known], list[JsonObject]]:
    """Hashes of records: of the image in `_base64`, else of the stored `_id`, else behind `_url`.

    Returns:
        Those that have them, and those that are skipped, each in the order sent.
    """
    call.check_count(records, call.services.settings.max_records)
    ids = [None if record.get("_base64") else id_or_none(record) for record in records]
    wanted = [id for id in ids if id is not None]
    found = {
        record.id: record
        for record in await _stored(call, call.services.collections.get, wanted)
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


def _of_stored(record: Record) -> _Known:
    fields = _fields(record)
    return _Known(fields, record.hashes, record.id, fields)


def _of_image(sent: Sent, image: HashedImage) -> _Known:
    fields = {"_id": sent.id or fresh_id()} | answered(sent.record, sent.id, image)
    return _Known(fields, image.hashes, None, answered(sent.record, sent.id, image))


async def _nearest(
    call: Call,
    asked: VisualKNN | NearDuplicates,
    query: _Known,
    *,
    k: int | None = None,
    radius_bits: int | None = None,
) -> list[tuple[Record, int]]:
    kind = HashType(asked.hash_type)
    return await _stored(
        call,
        call.services.collections.nearest,
        kind.of(query.hashes),
        kind,
        k=k,
        radius_bits=radius_bits,
        where=await _predicate(call, asked.filter),
    )


async def _stored(
    call: Call, method: Callable[Concatenate[str, str, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Ask the store about the collection of the call, in a thread."""
    return await asyncio.to_thread(method, call.owner, call.collection, *args, **kwargs)


def _storable(sent: Sent) -> Record | Unloadable:
    """A record to store, or why it cannot be stored."""
    if isinstance(sent.image, Unloadable):
        return sent.image
    image = sent.image
    record = Record(sent.id or fresh_id(), echo(sent.record), image.width, image.height, image.hashes)
    try:
        row_of(record)
    except InvalidValue as error:
        return Unloadable(str(error))
    return record


def _fields(record: Record) -> JsonObject:
    return {"_id": record.id, **record.fields, "_width": record.width, "_height": record.height}


def _shown(record: Record, wanted: Sequence[str]) -> JsonObject:
    return _chosen(_fields(record), record.hashes, wanted)


def _chosen(fields: JsonObject, hashes: Hashes, wanted: Sequence[str]) -> JsonObject:
    """The fields asked for; hashes are answered only where they are named."""
    named = {kind.value: to_bits(kind.of(hashes)) for kind in HashType if kind.value in wanted}
    return select(fields, wanted) | named


def _shown_if_any(record: Record | None, wanted: Sequence[str]) -> JsonObject | None:
    return None if record is None else _shown(record, wanted)


def _ids(call: Call, records: Sequence[JsonObject]) -> list[str]:
    """The `_id` of every record.

    Raises:
        InvalidValue: one has none, or one that cannot be one; the message says which.
    """
    call.check_count(records, call.services.settings.max_records)
    ids = []
    for index, record in enumerate(records):
        try:
            id = id_of(record)
        except InvalidValue as error:
            raise InvalidValue(f"records.{index}: {error}") from None
        if id is None:
            raise InvalidValue(f"records.{index}: _id is missing")
        ids.append(id)
    return ids


async def _predicate(call: Call, filter: JsonObject | None) -> Predicate | None:
    """What a filter lets through, as long as the time of the request lasts: a thread cannot be ended."""
    if not filter:
        return None
    matches = await asyncio.to_thread(compile_filter, filter)
    seconds = call.services.settings.request_seconds

    def in_time(record: Mapping[str, Any]) -> bool:
        if time.perf_counter() > call.started + seconds:
            raise InvalidValue(f"the filter took more than {seconds:g} s: use fewer conditions")
        return matches(record)

    return in_time


def _whole(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidValue(f"{name} must be a whole number from 0, not {text[:40]!r}")
    return int(text)


def _not_inserted(call: Call, record: Record, outcome: Insertion) -> JsonObject:
    """A record that the collection did not take. The client counts 211 apart from errors."""
    full = outcome is Insertion.FULL
    status = call.ids.record_status(FULL if full else DUPLICATE)
    skipped = {**record.fields, "_status": status, "_id": record.id}
    return _with_reason(skipped, FULL if full else SOME_INSERTED)


def _with_reason(record: JsonObject, code: int) -> JsonObject:
    """The form in which the client reads why a record was skipped."""
    return record | {"_reason": {"status": {"code": code, "text": record["_status"]["text"]}}}


def _insert_code(outcomes: Iterable[Insertion], skipped: int) -> int:
    seen = set(outcomes)
    if not skipped:
        return INSERTED
    for outcome, code in (
        (Insertion.INSERTED, SOME_INSERTED),
        (Insertion.FULL, FULL),
        (Insertion.DUPLICATE, DUPLICATE),
    ):
        if outcome in seen:
            return code
    return FAILED


def _lookup_answer(
    call: Call, code: int, ids: Sequence[str], answers: Sequence[JsonObject | None]
) -> JsonObject:
    """Some, all or none of the ids were found."""
    found = [answer for answer in answers if answer is not None]
    missing = call.ids.record_status(NOT_FOUND)
    skipped = [
        _with_reason({"_status": missing, "_id": id}, NOT_FOUND)
        for id, answer in zip(ids, answers, strict=True)
        if answer is None
    ]
    if skipped:
        code = SOME_NOT_FOUND if found else NOT_FOUND
    return _answer(call, code, found, skipped)


def _neighbours_answer(
    call: Call,
    code: int,
    asked: VisualKNN | NearDuplicates | VisualRankRecords,
    query: _Known | None,
    found: Sequence[tuple[Record, int]],
) -> JsonObject:
    kind = HashType(asked.hash_type)
    return {
        "query_records": [
            query.shown if query else echo(asked.query_record) | {"_id": id_or_none(asked.query_record)}
        ],
        "answer_distances": [call.distance(differing, kind) for _, differing in found],
    } | _answer(call, code, [_shown(record, asked.fields_to_return) for record, _ in found])


def _answer(
    call: Call, code: int, records: Sequence[JsonObject], skipped: Sequence[JsonObject] = ()
) -> JsonObject:
    return {
        "answer_records": records,
        "answer_count": len(records),
        **({"skipped_records": skipped} if skipped else {}),
        "status": call.ids.status(code),
        "statistics": call.statistics(),
    }
