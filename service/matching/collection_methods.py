"""The collection calls: records stored under the hashes of their images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from twinlens.engine.errors import InvalidValue
from twinlens.service.matching.call import Call, Sent, id_or_none
from twinlens.service.matching.collection_answers import (
    answer,
    chosen,
    insert_code,
    lookup_answer,
    not_inserted,
    shown,
    shown_if_any,
    with_reason,
)
from twinlens.service.matching.collections import Insertion, Record
from twinlens.service.matching.distances import HashType, radius
from twinlens.service.matching.filters import Predicate, compile_filter
from twinlens.service.matching.images import Unloadable
from twinlens.service.matching.known import Known, in_store, known_query, resolve
from twinlens.service.matching.methods import ranked
from twinlens.service.matching.records import JsonObject, echo, fresh_id, id_of
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
    FAILED,
    FOUND,
    NOT_FOUND,
    OK,
    overall,
)
from twinlens.service.settings import DistanceUnit

NEAR = {HashType.BMH1: 5.0, HashType.PHASH: 10.0}
"""Percent of bits that near duplicates may differ by unless a range is given: docs/ranges.md says why."""


async def insert(call: Call, asked: Insert) -> JsonObject:
    """Store records. An `_id` that exists is skipped with code 211 and never overwritten."""
    sent = await call.analyse(asked.records)
    records = [_storable(each) for each in sent]
    outcomes = await in_store(
        call, call.services.collections.insert, [each for each in records if isinstance(each, Record)]
    )
    remaining = iter(outcomes)
    inserted, skipped = [], []
    for each, record in zip(sent, records, strict=True):
        if isinstance(record, Unloadable):
            skipped.append(with_reason(call.skipped(each, text=record.text), FAILED))
        elif (outcome := next(remaining)) is Insertion.INSERTED:
            inserted.append(shown(record, asked.fields_to_return))
        else:
            skipped.append(not_inserted(call, record, outcome))
    return answer(call, insert_code(outcomes, skipped=len(skipped)), inserted, skipped)


async def get(call: Call, asked: Get) -> JsonObject:
    """Read records by their `_id`, in the order asked."""
    ids = _ids(call, asked.records)
    found = await in_store(call, call.services.collections.get, ids)
    return lookup_answer(call, FOUND, ids, [shown_if_any(record, asked.fields_to_return) for record in found])


async def update(call: Call, asked: Update) -> JsonObject:
    """Merge fields into stored records; hashes stay as they are."""
    ids = _ids(call, asked.records)
    changes = [(id, echo(record)) for id, record in zip(ids, asked.records, strict=True)]
    found = await in_store(call, call.services.collections.update, changes)
    return lookup_answer(call, OK, ids, [shown_if_any(record, asked.fields_to_return) for record in found])


async def delete(call: Call, asked: Delete) -> JsonObject:
    """Delete records by their `_id`."""
    ids = _ids(call, asked.records)
    deleted = await in_store(call, call.services.collections.delete, ids)
    answers = [{"_id": id} if gone else None for id, gone in zip(ids, deleted, strict=True)]
    return lookup_answer(call, DELETED, ids, answers)


async def visual_knn(call: Call, asked: VisualKNN) -> JsonObject:
    """The k stored records nearest to a query, itself included where it is one of them."""
    query = await known_query(call, asked.query_record)
    if query is None:
        return _neighbours_answer(call, NOT_FOUND, asked, None, [])
    return _neighbours_answer(call, OK, asked, query, await _nearest(call, asked, query, k=asked.k))


async def near_duplicates(call: Call, asked: NearDuplicates) -> JsonObject:
    """All stored records within a range of a query; a query by `_id` is no duplicate of itself."""
    kind = HashType(asked.hash_type)
    query = await known_query(call, asked.query_record)
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
    query = await known_query(call, asked.query_record)
    if query is None:
        return _neighbours_answer(call, NOT_FOUND, asked, None, [])
    good, skipped = await resolve(call, asked.records)
    codes = np.array([kind.of(each.hashes) for each in good], np.uint8).reshape(-1, kind.bits // 8)
    order, distances = ranked(kind.of(query.hashes), codes)
    ordered = [good[index] for index in order]
    records = [chosen(each.fields, each.hashes, asked.fields_to_return) for each in ordered]
    return {
        "query_records": [query.shown],
        "answer_distances": [call.distance(differing, kind) for differing in distances],
    } | answer(call, overall(len(good), len(skipped)), records, skipped)


async def random(call: Call, asked: Random) -> JsonObject:
    """Some records, each at most once."""
    where = await _predicate(call, asked.filter)
    records = await in_store(call, call.services.collections.sample, asked.count, where)
    return answer(call, OK, [shown(record, asked.fields_to_return) for record in records])


async def all_records(call: Call, asked: AllRecords) -> JsonObject:
    """All records in the order of their insertion; `size` and `page` in the URL ask for one page.

    `next` is there as long as another page follows.
    """
    size, page = _whole(call, "size", default=0), max(1, _whole(call, "page", default=1))
    where, wanted = await _predicate(call, asked.filter), asked.fields_to_return
    store = call.services.collections
    if not size:
        everything = partial(store.all, call.owner, call.collection, where)
        return answer(
            call, OK, await asyncio.to_thread(lambda: [shown(each, wanted) for each in everything()])
        )
    records, more = await in_store(call, store.page, size, page, where)
    following = {"next": f"allRecords?size={size}&page={page + 1}"} if more else {}
    return answer(call, OK, [shown(record, wanted) for record in records]) | following


async def _nearest(
    call: Call,
    asked: VisualKNN | NearDuplicates,
    query: Known,
    *,
    k: int | None = None,
    radius_bits: int | None = None,
) -> list[tuple[Record, int]]:
    kind = HashType(asked.hash_type)
    return await in_store(
        call,
        call.services.collections.nearest,
        kind.of(query.hashes),
        kind,
        k=k,
        radius_bits=radius_bits,
        where=await _predicate(call, asked.filter),
    )


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


def _neighbours_answer(
    call: Call,
    code: int,
    asked: VisualKNN | NearDuplicates | VisualRankRecords,
    query: Known | None,
    found: Sequence[tuple[Record, int]],
) -> JsonObject:
    kind = HashType(asked.hash_type)
    return {
        "query_records": [
            query.shown if query else echo(asked.query_record) | {"_id": id_or_none(asked.query_record)}
        ],
        "answer_distances": [call.distance(differing, kind) for _, differing in found],
    } | answer(call, code, [shown(record, asked.fields_to_return) for record, _ in found])
