"""How the dialect describes itself in `/openapi.json`: parameters, bodies and failures that routes share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

EXTENSION = "Extension of TwinLens: "
"""Begins the summary of what the documented service does not have."""


class Detail(BaseModel):
    """What a failed request is answered with."""

    detail: str


_FAILURES = {
    400: "A part of the request is missing, too large, or of a kind that is not served.",
    401: "No valid JWT: `Authorization: Bearer <jwt>`, signed with HS256 by the secret of an API key.",
    403: "The dataset is shared to be seen, not changed; or the signature of the URL is wrong.",
    404: "There is no such dataset or thing, or the caller may not know of it.",
    409: "The state of the dataset does not allow it now.",
    422: "A parameter has a wrong form or value; `detail` is one sentence that names it.",
    429: "More requests than the server takes at a time: try again in a second.",
    503: "The server cannot use its data folder, a dataset or a model.",
}


def failures(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The failures of an operation, beside 401 and 503, which all have."""
    return {code: {"model": Detail, "description": _FAILURES[code]} for code in sorted({401, 503, *codes})}


def query(name: str, schema: dict[str, Any], text: str, *, required: bool = False) -> dict[str, Any]:
    """One parameter of the URL."""
    return {"name": name, "in": "query", "required": required, "description": text, "schema": schema}


def multipart(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """A form as a request body."""
    schema = {"type": "object", "properties": properties, "required": required or []}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def json_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """JSON as a request body."""
    content = {"application/json": {"schema": schema, "examples": {"example": {"value": example}}}}
    return {"requestBody": {"required": True, "content": content}}


FILE: dict[str, Any] = {"type": "string", "format": "binary"}
FILES: dict[str, Any] = {"type": "array", "items": FILE, "minItems": 1}
UUID: dict[str, Any] = {"type": "string", "format": "uuid"}
FRACTION: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
LEVEL: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 4, "default": 0}
PAGE: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0}
ENTITY: dict[str, Any] = {"type": "string", "enum": ["IMAGES"], "default": "IMAGES"}

ENTITY_TYPE = query("entity_type", ENTITY, "IMAGES; objects and videos are not supported by this server.")
PAGE_NUMBER = query("page_number", PAGE, "From 0; 100 on a page. A page past the end is empty.")


def _filter(name: str, op: list[str], value: dict[str, Any], **extras: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {"op": {"type": "string", "enum": op}, "value": value, **extras},
        "required": ["op", "value"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"id": {"type": "string", "maxLength": 100}, name: body},
        "required": [name],
        "additionalProperties": False,
    }


_WORD: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "pattern": "^[A-Za-z0-9 ._-]*[A-Za-z0-9]$",
}
_WORDS: dict[str, Any] = {"type": "array", "items": _WORD, "minItems": 1, "maxItems": 100}
_UUIDS: dict[str, Any] = {"type": "array", "items": UUID, "minItems": 1, "maxItems": 100}
_ISSUES = ["blur", "dark", "bright", "duplicates", "outliers"]

VQL_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": 100,
    "items": {
        "oneOf": [
            _filter("duplicates", ["duplicates"], FRACTION),
            _filter("uniqueness", ["uniqueness"], FRACTION),
            _filter("text", ["semantic", "fts"], _WORD, threshold=FRACTION),
            _filter("labels", ["is", "one_of", "is_not", "not_one_of"], _WORDS),
            _filter("tags", ["is"], _UUIDS),
            _filter(
                "issues",
                ["issue"],
                {"type": "string", "enum": _ISSUES},
                mode={"type": "string", "enum": ["in", "out"]},
                confidence_min=FRACTION,
                confidence_max=FRACTION,
            ),
            _filter("similarity", ["upload"], UUID, threshold=FRACTION),
        ]
    },
}
VQL: dict[str, Any] = {
    "name": "vql",
    "in": "query",
    "required": False,
    "description": "Filters as a JSON array; all of them hold.",
    "content": {
        "application/json": {
            "schema": VQL_SCHEMA,
            "example": [{"duplicates": {"op": "duplicates", "value": 0.95}}],
        }
    },
}

EXPLORE_PARAMETERS: list[dict[str, Any]] = [
    VQL,
    query("duplicate_threshold", FRACTION, "As the duplicates filter; of both, the stricter holds."),
    ENTITY_TYPE,
    query("threshold", LEVEL, "Granularity of similarity clusters: 0 is the finest."),
    PAGE_NUMBER,
    query("anchor_media_id", UUID, "What to search for: an uploaded image, or one of the dataset."),
    query("anchor_type", {"type": "string", "enum": ["UPLOAD", "MEDIA"]}, "Goes with anchor_media_id."),
    query("caption", _WORD, "Text to search for; needs a model that takes texts."),
    query("image_caption", _WORD, "Deprecated: caption."),
    query("textual_similarity_threshold", FRACTION, "Largest cosine distance between text and image."),
    query("labels", {"type": "string"}, 'Images with one of these labels: `["cat","dog"]`.'),
    query("tags", {"type": "string"}, 'Images with one of these tags: `["<uuid>"]`, or `untagged`.'),
    query(
        "linkage",
        {"type": "string", "enum": ["complete", "star", "single"], "default": "complete"},
        EXTENSION + "how pairs become clusters. In `complete` ones every pair is similar enough.",
    ),
]


def complete(document: dict[str, Any], *, keys: bool) -> None:
    """Say of the operations of the dialect how a key is shown.

    Args:
        document: is changed.
        keys: True if the server asks for one.
    """
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["jwt"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Signed by the client: HS256 with the secret of an API key; `kid` in the header "
        "and `sub` name the key, `exp` is required. Not needed on a server for which no key was ever made.",
    }
    for path, operations in document["paths"].items():
        if path.startswith("/api/v1/"):
            for operation in operations.values():
                operation.setdefault("security", [{"jwt": []}] if keys else [{"jwt": []}, {}])
