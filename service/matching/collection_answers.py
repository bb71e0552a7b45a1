"""What collection calls answer: records with the fields asked for, codes, and why something was skipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twinlens.engine.hashing import Hashes, to_bits
from twinlens.service.matching.call import Call
from twinlens.service.matching.collections import Insertion, Record
from twinlens.service.matching.distances import HashType
from twinlens.service.matching.records import JsonObject, select
from twinlens.service.matching.rows import document
from twinlens.service.matching.status import (
    DUPLICATE,
    FAILED,
    FULL,
    INSERTED,
    NOT_FOUND,
    SOME_INSERTED,
    SOME_NOT_FOUND,
)


def shown(record: Record, wanted: Sequence[str]) -> JsonObject:
    """The fields asked for of a stored record."""
    return chosen(document(record), record.hashes, wanted)


def chosen(fields: JsonObject, hashes: Hashes, wanted: Sequence[str]) -> JsonObject:
    """The fields asked for; hashes are answered only where they are named."""
    named = {kind.value: to_bits(kind.of(hashes)) for kind in HashType if kind.value in wanted}
    return select(fields, wanted) | named


def shown_if_any(record: Record | None, wanted: Sequence[str]) -> JsonObject | None:
    """The same where there is a record."""
    return None if record is None else shown(record, wanted)


def not_inserted(call: Call, record: Record, outcome: Insertion) -> JsonObject:
    """A record that the collection did not take. The client counts 211 apart from errors."""
    full = outcome is Insertion.FULL
    status = call.ids.record_status(FULL if full else DUPLICATE)
    skipped = {**record.fields, "_status": status, "_id": record.id}
    return with_reason(skipped, FULL if full else SOME_INSERTED)


def with_reason(record: JsonObject, code: int) -> JsonObject:
    """The form in which the client reads why a record was skipped."""
    return record | {"_reason": {"status": {"code": code, "text": record["_status"]["text"]}}}


def insert_code(outcomes: Iterable[Insertion], skipped: int) -> int:
    """The code of an insert: all, some, or why none."""
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


def lookup_answer(
    call: Call, code: int, ids: Sequence[str], answers: Sequence[JsonObject | None]
) -> JsonObject:
    """Some, all or none of the ids were found."""
    found = [answer for answer in answers if answer is not None]
    missing = call.ids.record_status(NOT_FOUND)
    skipped = [
        with_reason({"_status": missing, "_id": id}, NOT_FOUND)
        for id, answer in zip(ids, answers, strict=True)
        if answer is None
    ]
    if skipped:
        code = SOME_NOT_FOUND if found else NOT_FOUND
    return answer(call, code, found, skipped)


def answer(
    call: Call, code: int, records: Sequence[JsonObject], skipped: Sequence[JsonObject] = ()
) -> JsonObject:
    """The form of every collection call."""
    return {
        "answer_records": records,
        "answer_count": len(records),
        **({"skipped_records": skipped} if skipped else {}),
        "status": call.ids.status(code),
        "statistics": call.statistics(),
    }
