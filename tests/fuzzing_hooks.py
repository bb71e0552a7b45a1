"""Loaded by schemathesis: puts pictures and addresses into records made up without any."""

from __future__ import annotations

import importlib
import json
import os
import zlib
from typing import Any

import schemathesis

from tests.encoders import png_chunk, png_header
from tests.matching import as_base64
from tests.pictures import encode, picture

if "FUZZ_WORLD" in os.environ:
    importlib.import_module("tests.fuzzing_explore_hooks")

READABLE = [as_base64(encode(picture(seed=seed), kind)) for seed, kind in enumerate(("PNG", "JPEG", "GIF"))]
SOURCES: list[dict[str, Any]] = [
    *({"_base64": text} for text in READABLE),
    {"_base64": f"data:image/png;base64,{READABLE[0]}", "_id": 1},
    {"_base64": READABLE[1][:400]},
    {"_base64": as_base64(png_header(60_000, 60_000, 8, 2) + png_chunk(b"IDAT", b""))},
    {"_base64": "not base64!"},
    {"_base64": 5},
    {"_url": "http://127.0.0.1:9/a.jpg"},
    {"_url": "file:///etc/passwd"},
    {"_url": []},
    {"_id": 1},
    {"_id": []},
]


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Change half of the records that were made up, each always in the same way.

    Records stay free objects, so that a body that the document allows or forbids still is one.
    """
    if not isinstance(body, dict) or context.operation is None:
        return body
    query, records = body.get("query_record"), body.get("records")
    if isinstance(query, dict) and isinstance(query.get("_base64"), str):
        query["_base64"] = READABLE[_number(query) % len(READABLE)]
    if isinstance(records, list) and context.operation.label.rpartition("/")[2] not in NAMED:
        for record in records:
            if isinstance(record, dict) and (number := _number(record)) % 2:
                record.update(SOURCES[number // 2 % len(SOURCES)])
    return body


NAMED = ("get", "update", "delete")
"""Methods whose records must have a proper `_id`: theirs are left alone."""


def _number(value: object) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
