"""Requests and answers as OpenAPI shows them. Tests send each request and compare the form of its answer."""

from __future__ import annotations

from typing import Any

EXAMPLE_IDS = {
    "request_id": "3f0c9c5e-6d0a-4b53-9f0e-0d6a3f0f7b11",
    "proc_id": "b7e0f6a4-2c55-4c8e-8f39-5a5f0a1f4d27",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQAAAADsdIMmAAAAEUlEQVR4nGOYxKDCpMrkCSMBEY4B47dI1dMAAAAASUVORK5CYII="
"""A picture of 8 x 8 pixels, so that every example can be sent as it stands."""

REQUESTS: dict[str, dict[str, Any]] = {
    "visual_hash": {"records": [{"_base64": PNG, "_id": 1}], "hash_type": "phash"},
    "remove_duplicates": {"records": [{"_base64": PNG, "_id": 1}, {"_base64": PNG, "_id": 2}], "range": 5},
    "rank_images": {
        "query_record": {"_base64": PNG},
        "records": [{"_base64": PNG, "_id": 1, "shop": "north"}, {"_base64": "AAAA", "_id": 2}],
    },
    "insert": {"records": [{"_base64": PNG, "_id": 1, "product": "B-17", "tags": ["lamp", "oak"]}]},
    "get": {"records": [{"_id": 1}], "fields_to_return": ["_id", "product"]},
    "update": {"records": [{"_id": 1, "price": 49.5}], "fields_to_return": ["*"]},
    "visualKNN": {"query_record": {"_base64": PNG}, "k": 5, "fields_to_return": ["_id", "product"]},
    "nearDuplicates": {
        "query_record": {"_base64": PNG},
        "range": 5,
        "fields_to_return": ["product", "tags"],
        "filter": {"price": {"$lt": 100}},
    },
    "visualRankRecords": {"query_record": {"_base64": PNG}, "records": [{"_id": 1}]},
    "random": {"count": 1, "filter": {"tags": "lamp"}},
    "allRecords": {"fields_to_return": ["_id"]},
    "delete": {"records": [{"_id": 1}]},
}
"""In an order in which they can be sent one after the other."""

_REQUEST_ID = EXAMPLE_IDS["request_id"]
_RECORD_OK = {"code": 200, "text": "OK", "request_id": _REQUEST_ID}
_IMAGE = {"_width": 8, "_height": 8}
_STATISTICS = {"processing time": 0.0123}
_PHASH = "0110101000110101011010100011010101101010001111110001010100000000"
_UNREADABLE = (
    "Error Loading Image: its bytes are those of no known format (they begin 00 00 00): "
    "export it as one of JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF"
)


def _ended(code: int = 200, text: str = "OK") -> dict[str, Any]:
    return {"status": {"code": code, "text": text, **EXAMPLE_IDS}, "statistics": _STATISTICS}


def _found(record: dict[str, Any], code: int = 200, text: str = "OK") -> dict[str, Any]:
    return {"answer_records": [record], "answer_count": 1, **_ended(code, text)}


def _near(record: dict[str, Any]) -> dict[str, Any]:
    return {"query_records": [_IMAGE], "answer_distances": [0.0], **_found(record)}


ANSWERS: dict[str, dict[str, Any]] = {
    "visual_hash": {"records": [{"_id": "1", **_IMAGE, "phash": _PHASH}], **_ended()},
    "remove_duplicates": {
        "records": [
            {
                "_status": _RECORD_OK,
                "_id": "1",
                **_IMAGE,
                "removed_records": [{"_status": _RECORD_OK, "_id": "2", **_IMAGE}],
            }
        ],
        **_ended(),
    },
    "rank_images": {
        "query_records": [_IMAGE],
        "answer_distances": [0.0],
        "answer_records": [{"shop": "north", "_id": "1", **_IMAGE}],
        "skipped_records": [
            {"_status": {"code": 400, "text": _UNREADABLE, "request_id": _REQUEST_ID}, "_id": "2"}
        ],
        **_ended(300, "MIXED_RESULT"),
    },
    "insert": _found({"_id": "1"}, 210, "records inserted"),
    "get": _found({"_id": "1", "product": "B-17"}, 205, "records found"),
    "update": _found({"_id": "1", "product": "B-17", "tags": ["lamp", "oak"], "price": 49.5, **_IMAGE}),
    "visualKNN": _near({"_id": "1", "product": "B-17"}),
    "nearDuplicates": _near({"product": "B-17", "tags": ["lamp", "oak"]}),
    "visualRankRecords": _near({"_id": "1"}),
    "random": _found({"_id": "1"}),
    "allRecords": _found({"_id": "1"}),
    "delete": _found({"_id": "1"}, 220, "records deleted"),
}
"""What those requests are answered with; ids and times differ each time."""
