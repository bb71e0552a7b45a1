"""The four documented methods: ping, visual_hash, remove_duplicates, rank_images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.hamming import hamming
from twinlens.engine.hashing import PackedHash, to_bits
from twinlens.engine.leaders import leaders
from twinlens.service.matching.call import Call, Sent
from twinlens.service.matching.distances import HashType
from twinlens.service.matching.images import HashedImage, Unloadable
from twinlens.service.matching.records import JsonObject, answered, fresh_id
from twinlens.service.matching.schema import RankImages, RemoveDuplicates, VisualHash
from twinlens.service.matching.status import FAILED, OK, TEXTS, overall

PONG: JsonObject = {
    "status": {"code": OK, "text": TEXTS[OK]},
    "_service_info": {
        "_name": "Image matching service",
        "_info": "Get visual hashes, find (near-)duplicate images and rank them",
    },
}
"""The documented answer, to the letter."""


async def visual_hash(call: Call, asked: VisualHash) -> JsonObject:
    """Hashes of each image. A record that fails stays in its place, with a `_status` and no hashes."""
    call.check_count(asked.records, call.services.settings.max_hash_records)
    kinds = [HashType(name) for name in dict.fromkeys(asked.hash_type or HashType)]
    sent = await call.analyse(asked.records)
    good = sum(isinstance(each.image, HashedImage) for each in sent)
    return {
        "records": [_hashed(call, each, kinds) for each in sent],
        "statistics": call.statistics(),
        "status": call.ids.status(overall(good, len(sent) - good)),
    }


async def remove_duplicates(call: Call, asked: RemoveDuplicates) -> JsonObject:
    """Records whose image is within `range` of an earlier kept one move into its `removed_records`."""
    kind = HashType(asked.hash_type)
    sent = await call.analyse(asked.records)
    good, skipped = _split(call, sent)
    codes = _codes((image for _, image in good), kind)
    leader = await asyncio.to_thread(leaders, codes, call.radius(asked.range, kind))
    status = call.ids.record_status(OK)
    answers = [answered(each.record, each.id or fresh_id(), image, status) for each, image in good]
    kept = []
    for row, first in enumerate(leader.tolist()):
        if first == row:
            kept.append(answers[row])
        else:
            answers[first].setdefault("removed_records", []).append(answers[row])
    return {
        "records": kept,
        **_if_any(skipped),
        "status": call.ids.status(overall(len(good), len(skipped))),
        "statistics": call.statistics(),
    }


async def rank_images(call: Call, asked: RankImages) -> JsonObject:
    """All records, the ones that match the query best first, equally near ones in the order sent."""
    kind = HashType(asked.hash_type)
    query, query_image = await call.analyse_query(asked.query_record)
    good, skipped = _split(call, await call.analyse(asked.records))
    order, distances = ranked(kind.of(query_image.hashes), _codes((image for _, image in good), kind))
    ordered = [good[index] for index in order]
    return {
        "query_records": [answered(query.record, query.id, query_image)],
        "answer_distances": [call.distance(differing, kind) for differing in distances],
        "answer_records": [answered(each.record, each.id or fresh_id(), image) for each, image in ordered],
        **_if_any(skipped),
        "status": call.ids.status(overall(len(good), len(skipped))),
        "statistics": call.statistics(),
    }


def ranked(query: PackedHash, codes: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Row numbers by their Hamming distance to a query, equally near ones by row, and the distances."""
    differing = hamming(query[np.newaxis], codes)[0]
    order = np.argsort(differing, kind="stable")
    return order.tolist(), differing[order].tolist()


def _hashed(call: Call, sent: Sent, kinds: Sequence[HashType]) -> JsonObject:
    if isinstance(sent.image, Unloadable):
        status = call.ids.record_status(FAILED, sent.image.text)
        return answered(sent.record, sent.id, status=status)
    bits = {kind.value: to_bits(kind.of(sent.image.hashes)) for kind in kinds}
    return answered(sent.record, sent.id, sent.image) | bits


def _split(call: Call, sent: Iterable[Sent]) -> tuple[list[tuple[Sent, HashedImage]], list[JsonObject]]:
    """What was analysed, and what is skipped, each in the order sent."""
    good, skipped = [], []
    for each in sent:
        if isinstance(each.image, HashedImage):
            good.append((each, each.image))
        else:
            skipped.append(call.skipped(each))
    return good, skipped


def _codes(images: Iterable[HashedImage], kind: HashType) -> NDArray[np.uint8]:
    """uint8 [n, bytes], also where there are none."""
    rows = [kind.of(image.hashes) for image in images]
    return np.array(rows, np.uint8).reshape(len(rows), kind.bits // 8)


def _if_any(skipped: list[JsonObject]) -> JsonObject:
    return {"skipped_records": skipped} if skipped else {}
