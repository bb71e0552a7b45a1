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

ANSWERS: dict[str, dict[str, Any]] = {name: {} for name in REQUESTS}
