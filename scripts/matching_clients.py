"""Clients of image matching that know every answer: each sends its own images and keeps its own model.

They are the load of the long test and of the benchmark. A client compares whole answers, so that a field,
an id, a hash or a record of another client is found at once.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from scripts.cuts import small_files
from scripts.load import Connection
from twinlens.engine.decode import decode
from twinlens.engine.hashing import Hashes, image_hashes, to_bits
from twinlens.service.matching.distances import HashType, distance
from twinlens.service.settings import DistanceUnit

JsonObject = dict[str, Any]

IMAGES_EACH = 16
LARGEST_COLLECTION = 40
_NEAR_BY_DEFAULT = 5.0
_DETAILS = ["_id", "mark", "number"]
_NO_IMAGE = base64.b64encode(b"no image").decode()


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """An image, and what a server must know of it."""

    text: str
    size: JsonObject
    hashes: Hashes


@dataclass(frozen=True, slots=True)
class Stored:
    """One record of a collection as its client remembers it."""

    photo: Photo
    fields: JsonObject


def photo(data: bytes) -> Photo:
    """What the engine says of a file."""
    image = decode(data)
    size = {"_width": image.width, "_height": image.height}
    return Photo(base64.b64encode(data).decode(), size, image_hashes(image.rgb))


def clients(url: str, tokens: Sequence[str], count: int = 64, seed: int = 0) -> list[Client]:
    """Many clients, each with its own images and its own collection.

    Args:
        url: of the server's methods.
        tokens: of several keys; clients of one key have a collection each, of different keys the same names.
        count: how many.
        seed: of what they do.
    """
    photos = [photo(data) for data in small_files(count * IMAGES_EACH, 96, 256, seed + 1)]
    return [
        Client(
            Connection(url, headers(tokens[number % len(tokens)], f"shelf-{number // len(tokens)}")),
            f"client-{number}",
            photos[number::count],
            seed * count + number,
        )
        for number in range(count)
    ]


def headers(token: str, collection: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}", "collection-id": collection}


class Client:
    """Calls methods at random and compares every answer with what it must be."""

    def __init__(self, connection: Connection, name: str, photos: Sequence[Photo], seed: int) -> None:
        self.connection = connection
        self.images = 0
        self._name = name
        self._photos = photos
        self._chance = random.Random(seed)
        self._calls = 0
        self._stored: dict[str, Stored] = {}
        self._request_id = ""

    def call(self) -> None:
        """Call one method."""
        self._calls += 1
        self._request_id = str(UUID(int=self._chance.getrandbits(128)))
        methods, weights = zip(*METHODS, strict=True)
        (method,) = self._chance.choices(methods, weights)
        method(self)

    # -- the four methods on images ---------------------------------------------------------------

    def _ping(self) -> None:
        answer = self._answer("ping", {})
        assert answer["status"] == {"code": 200, "text": "OK"}, answer

    def _visual_hash(self) -> None:
        records, photos = self._records(1, 10)
        answer = self._post("visual_hash", 200, records=records)
        expected = [
            shown(record, **one.size, bmh1=to_bits(one.hashes.bmh1), phash=to_bits(one.hashes.phash))
            for record, one in zip(records, photos, strict=True)
        ]
        same(answer["records"], expected)

    def _remove_duplicates(self) -> None:
        records, photos = self._records(2, 24)
        range_ = self._chance.choice((0, 10))
        answer = self._post("remove_duplicates", 200, records=records, range=range_)
        status = {"code": 200, "text": "OK", "request_id": self._request_id}
        kept: list[tuple[Photo, JsonObject]] = []
        for record, one in zip(records, photos, strict=True):
            answered = shown(record, _status=status, **one.size)
            near = (first for other, first in kept if percent(other, one) <= range_)
            if (first := next(near, None)) is None:
                kept.append((one, answered))
            else:
                first.setdefault("removed_records", []).append(answered)
        same(answer["records"], [record for _, record in kept])

    def _rank_images(self) -> None:
        records, photos = self._records(1, 24)
        (query,), (wanted,) = self._records(1, 1)
        broken = {"_id": "broken", "_base64": _NO_IMAGE, "mark": self._mark(0)}
        code = self._chance.choice((200, 300))
        sent = [*records, broken] if code == 300 else records
        answer = self._post("rank_images", code, query_record=query, records=sent)
        order = sorted(range(len(records)), key=lambda index: bits(wanted, photos[index]))
        same(answer["query_records"], [shown(query, **wanted.size)])
        same(answer["answer_distances"], [percent(wanted, photos[index]) for index in order])
        same(answer["answer_records"], [shown(records[index], **photos[index].size) for index in order])
        same(
            [record["mark"] for record in answer.get("skipped_records", [])], [broken["mark"]] * (code == 300)
        )

    # -- the collection -------------------------------------------------------------------------

    def _insert(self) -> None:
        """New records, and now and then one that is there."""
        if len(self._stored) > LARGEST_COLLECTION:
            return self._delete()
        records, photos = self._records(1, 6)
        known = self._some(self._chance.choice((0, 0, 1)))
        again = [{"_id": id, "_base64": self._photos[0].text, "mark": "changed"} for id in known]
        self.images += len(again)
        answer = self._post("insert", 211 if again else 210, records=[*again, *records])
        for record, one in zip(records, photos, strict=True):
            self._stored[record["_id"]] = Stored(one, echo(record))
        same(answer["answer_records"], [{"_id": record["_id"]} for record in records])
        same([record["_id"] for record in answer.get("skipped_records", [])], known)
        return None

    def _get(self) -> None:
        ids = self._some(3)
        answer = self._post(
            "get", 205 if ids else 404, records=named(ids) or named(["?"]), fields_to_return=["*"]
        )
        same(answer["answer_records"], [self._whole(id) for id in ids])

    def _update(self) -> None:
        ids = self._some(2)
        changes = [{"_id": id, "number": self._chance.randrange(100)} for id in ids]
        answer = self._post("update", 200, records=changes, fields_to_return=["*"])
        for id, change in zip(ids, changes, strict=True):
            self._stored[id].fields["number"] = change["number"]
        same(answer["answer_records"], [self._whole(id) for id in ids])

    def _delete(self) -> None:
        ids = self._some(self._chance.choice((1, 1, len(self._stored) // 2)))
        code = 206 if ids else 404
        answer = self._post("delete", code, records=named([*ids, "never there"]))
        for id in ids:
            del self._stored[id]
        same(answer["answer_records"], named(ids))

    def _visual_knn(self) -> None:
        query, wanted = self._query()
        k, above = self._chance.randint(1, 12), self._chance.choice((None, 50))
        filter_ = {} if above is None else {"filter": {"number": {"$gte": above}}}
        answer = self._post("visualKNN", 200, query_record=query, k=k, fields_to_return=_DETAILS, **filter_)
        self._check_near(answer, wanted, [id for id in self._stored if self._passes(id, above)], k)

    def _near_duplicates(self) -> None:
        query, wanted = self._query()
        range_ = self._chance.choice((None, 0, 20))
        answer = self._post(
            "nearDuplicates", 200, query_record=query, range=range_, fields_to_return=_DETAILS
        )
        limit = _NEAR_BY_DEFAULT if range_ is None else range_
        near = [
            id
            for id, stored in self._stored.items()
            if id != query.get("_id") and percent(wanted, stored.photo) <= limit
        ]
        self._check_near(answer, wanted, near)

    def _visual_rank_records(self) -> None:
        query, wanted = self._query()
        ids = self._some(8)
        answer = self._post(
            "visualRankRecords", 200, query_record=query, records=named(ids), fields_to_return=_DETAILS
        )
        self._check_near(answer, wanted, ids)

    def _random(self) -> None:
        count = self._chance.randint(0, 20)
        answer = self._post("random", 200, count=count, fields_to_return=["*"])
        ids = [record["_id"] for record in answer["answer_records"]]
        assert len(ids) == len(set(ids)) == min(count, len(self._stored)), answer
        same(answer["answer_records"], [self._whole(id) for id in ids])

    def _all_records(self) -> None:
        whole = [self._whole(id) for id in self._stored]
        size, page = self._chance.choice((0, 7)), self._chance.randint(1, 4)
        place = f"?size={size}&page={page}" if size else ""
        answer = self._post(f"allRecords{place}", 200, fields_to_return=["*"])
        last = page * size or len(whole)
        same(answer["answer_records"], whole[last - size : last] if size else whole)
        same("next" in answer, last < len(whole))

    # -- what they share --------------------------------------------------------------------------

    def _post(self, method: str, code: int, **body: Any) -> JsonObject:
        """An answer, its ids and its code checked."""
        answer = self._answer(method, body)
        assert answer["status"]["code"] == code, (method, code, answer)
        assert answer["status"]["request_id"] == self._request_id, (self._request_id, answer)
        return answer

    def _answer(self, method: str, body: JsonObject) -> JsonObject:
        answer: JsonObject = json.loads(
            self.connection.post(method, json.dumps(body).encode(), self._request_id)
        )
        return answer

    def _records(self, fewest: int, most: int) -> tuple[list[JsonObject], list[Photo]]:
        """Records that nobody else sends, of own images, which come again."""
        photos = self._chance.choices(self._photos, k=self._chance.randint(fewest, most))
        self.images += len(photos)
        records = [
            {
                "_id": self._mark(index),
                "_base64": one.text,
                "mark": self._mark(index),
                "number": self._chance.randrange(100),
            }
            for index, one in enumerate(photos)
        ]
        return records, photos

    def _mark(self, index: int) -> str:
        return f"{self._name} {self._calls}.{index}.{self._chance.getrandbits(32)}"

    def _query(self) -> tuple[JsonObject, Photo]:
        """A query by image, or by the id of a stored record."""
        if self._stored and self._chance.random() < 0.5:
            (id,) = self._some(1)
            return {"_id": id}, self._stored[id].photo
        (record,), (one,) = self._records(1, 1)
        return {"_base64": record["_base64"], "mark": record["mark"]}, one

    def _some(self, count: int) -> list[str]:
        """Stored ids, at most so many."""
        return self._chance.sample(list(self._stored), min(count, len(self._stored)))

    def _passes(self, id: str, above: int | None) -> bool:
        return above is None or self._stored[id].fields["number"] >= above

    def _whole(self, id: str) -> JsonObject:
        stored = self._stored[id]
        return {"_id": id, **stored.fields, **stored.photo.size}

    def _check_near(self, answer: JsonObject, wanted: Photo, ids: list[str], k: int | None = None) -> None:
        """Records of these ids are answered by their distance, and no others."""
        order = sorted(ids, key=lambda id: bits(wanted, self._stored[id].photo))[:k]
        same(answer["answer_distances"], [percent(wanted, self._stored[id].photo) for id in order])
        expected = [{"_id": id} | self._stored[id].fields for id in order]
        same(answer["answer_records"], expected)


METHODS: tuple[tuple[Callable[[Client], None], int], ...] = (
    (Client._ping, 1),
    (Client._visual_hash, 4),
    (Client._remove_duplicates, 2),
    (Client._rank_images, 2),
    (Client._insert, 4),
    (Client._get, 2),
    (Client._update, 2),
    (Client._delete, 1),
    (Client._visual_knn, 4),
    (Client._near_duplicates, 2),
    (Client._visual_rank_records, 2),
    (Client._random, 1),
    (Client._all_records, 1),
)
"""What clients call, and how often."""


def bits(one: Photo, other: Photo) -> int:
    """Hamming distance of bmh1."""
    return int(np.bitwise_count(one.hashes.bmh1 ^ other.hashes.bmh1).sum())


def percent(one: Photo, other: Photo) -> float:
    """The same as it is answered."""
    return distance(bits(one, other), HashType.BMH1, DistanceUnit.PERCENT)


def echo(record: JsonObject) -> JsonObject:
    """The fields of a record that nobody but its sender understands."""
    return {key: value for key, value in record.items() if key not in ("_id", "_base64")}


def shown(record: JsonObject, **more: Any) -> JsonObject:
    """A record as it is answered."""
    return {key: value for key, value in record.items() if key != "_base64"} | more


def named(ids: Sequence[str]) -> list[JsonObject]:
    """Records of ids alone."""
    return [{"_id": id} for id in ids]


def same(answered: object, expected: object) -> None:
    """Fail if an answer is not what it must be."""
    assert answered == expected, f"answered {answered!r}, expected {expected!r}"
