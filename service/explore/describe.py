"""How the dialect describes itself in `/openapi.json`: parameters, bodies and failures that routes share.

What a schema says is what the server takes: no more, no less. Where a schema cannot say it (a list within a
text, a file that is an image), the description does.
"""

from __future__ import annotations

from typing import Any

from twinlens.service.explore import vql_schema
from twinlens.service.explore.query import MAX_LEVEL, MAX_PAGE
from twinlens.service.explore.vql_schema import FRACTION as FRACTION
from twinlens.service.explore.vql_schema import TEXT as TEXT
from twinlens.service.explore.vql_schema import UUID as UUID

EXTENSION = "Extension of TwinLens: "
"""Begins the summary, or the description, of what the documented service does not have."""

_DETAIL = {"$ref": "#/components/schemas/Detail"}
_DETAIL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What a failed request is answered with.",
    "properties": {"detail": {"type": "string", "description": "One sentence."}},
    "required": ["detail"],
}
_FAILURES = {
    400: ("A part of the request is missing, too large, or of a kind that is not served.", "path is missing"),
    401: (
        "No valid JWT: `Authorization: Bearer <jwt>`, signed with HS256 by the secret of an API key.",
        "the JWT has expired",
    ),
    403: (
        "The dataset is shared to be seen, not changed; or the signature of the URL is wrong.",
        "this dataset is shared with your key to be seen, not changed",
    ),
    404: ("There is no such thing, or the caller may not know of it.", "Dataset not found"),
    409: (
        "The state of the dataset does not allow it now, or its model does not.",
        "the dataset is not READY: it is INDEXING",
    ),
    422: (
        "A parameter has a wrong form or value; `detail` is one sentence that names it.",
        "duplicate_threshold takes a number from 0 to 1, not '2'",
    ),
    429: ("More than the server takes at a time.", "the server holds as many requests as it can"),
    503: (
        "The server cannot use its data folder, a dataset or a model.",
        "the dataset cannot be used now: its folder is gone",
    ),
}
_SUCCESS = {"200": "Served.", "202": "Accepted; the work goes on."}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
}


def failures(*codes: int, signed: bool = False) -> dict[int | str, dict[str, Any]]:
    """The failures of an operation.

    Args:
        codes: beside 503, which all have.
        signed: True if its URL is signed; all others can answer 401 as well.
    """
    return {code: _failure(code) for code in sorted({503, *codes, *(() if signed else (401,))})}


def _failure(code: int) -> dict[str, Any]:
    text, example = _FAILURES[code]
    described: dict[str, Any] = {
        "description": text,
        "content": {"application/json": {"schema": _DETAIL, "example": {"detail": example}}},
    }
    return described | ({"headers": _HEADERS[code]} if code in _HEADERS else {})


def done(text: str) -> dict[int | str, dict[str, Any]]:
    """The answer `null` of an operation that has nothing to tell."""
    return {200: {"description": text, "content": {"application/json": {"schema": {"type": "null"}}}}}


def query(
    name: str,
    schema: dict[str, Any],
    text: str,
    *,
    required: bool = False,
    example: Any = None,
) -> dict[str, Any]:
    """One parameter of the URL. Sent with an empty value, one that is not required says nothing."""
    described = {"name": name, "in": "query", "required": required, "description": text, "schema": schema}
    if not required:
        described["allowEmptyValue"] = True
    return described if example is None else described | {"example": example}


def multipart(properties: dict[str, Any], *required: str, **rules: Any) -> dict[str, Any]:
    """A form as a request body; `rules` are further keywords of its schema."""
    schema = {"type": "object", "properties": properties, "required": list(required), **rules}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def json_body(properties: dict[str, Any], *required: str, example: Any, **rules: Any) -> dict[str, Any]:
    """A JSON object as a request body; `rules` are further keywords of its schema."""
    schema = {"type": "object", "properties": properties, "required": list(required), **rules}
    content = {"application/json": {"schema": schema, "examples": {"example": {"value": example}}}}
    return {"requestBody": {"required": True, "content": content}}


FILE: dict[str, Any] = {"type": "string", "format": "binary"}
IMAGE: dict[str, Any] = {**FILE, "description": "An image file."}
FILES: dict[str, Any] = {"type": "array", "items": IMAGE, "minItems": 1}
ARCHIVE: dict[str, Any] = {**FILE, "description": "ZIP, tar or compressed tar, with at least one image."}
LEVEL: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_LEVEL, "default": 0}
PAGE: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_PAGE, "default": 0}
ENTITY: dict[str, Any] = {"type": "string", "enum": ["IMAGES"], "default": "IMAGES"}
SIGNATURE = [
    query("expires", {"type": "string"}, "Unix time; part of the signature.", required=True),
    query("signature", {"type": "string"}, "Made by this server.", required=True),
]
"""Parameters of a signed URL."""


def name(longest: int) -> dict[str, Any]:
    """A name of something: characters of any script, no control characters, not only blanks."""
    pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern}


ENTITY_TYPE = query("entity_type", ENTITY, "IMAGES; objects and videos are not supported by this server.")
PAGE_NUMBER = query("page_number", PAGE, "From 0; 100 on a page. A page past the end is empty.")
VQL: dict[str, Any] = {
    "name": "vql",
    "in": "query",
    "required": False,
    "description": "Filters as a JSON array; all of them hold. `confidence_min` is not above "
    "`confidence_max`, and all together compare with one image at most.",
    "content": {
        "application/json": {
            "schema": vql_schema.VQL,
            "example": [{"duplicates": {"op": "duplicates", "value": 0.95}}],
        }
    },
}
_A_UUID = "300dad2c-1234-41f1-8483-5a879df30de4"

EXPLORE_PARAMETERS: list[dict[str, Any]] = [
    VQL,
    query("duplicate_threshold", FRACTION, "As the duplicates filter; of both, the stricter holds."),
    ENTITY_TYPE,
    query("threshold", LEVEL, "Granularity of similarity clusters: 0 is the finest."),
    PAGE_NUMBER,
    query("anchor_media_id", UUID, "What to search for; goes with anchor_type."),
    query(
        "anchor_type",
        {"type": "string", "enum": ["UPLOAD", "MEDIA"]},
        "Whether anchor_media_id is an uploaded image, or one of the dataset; goes with it.",
    ),
    query("caption", TEXT, "Text to search for; needs a model that takes texts."),
    query("image_caption", TEXT, "Older name of caption.") | {"deprecated": True},
    query("textual_similarity_threshold", FRACTION, "Largest cosine distance between text and image."),
    query(
        "labels",
        {"type": "string"},
        "Images with one of these labels, as a JSON array of texts.",
        example='["cat","dog"]',
    ),
    query(
        "tags",
        {"type": "string"},
        "Images with one of these tags, as a JSON array of their ids; or `untagged`.",
        example=f'["{_A_UUID}"]',
    ),
    query(
        "linkage",
        {"type": "string", "enum": ["complete", "star", "single"], "default": "complete"},
        EXTENSION + "how pairs become clusters. In `complete` ones every pair is similar enough.",
    ),
]

_IN_PATHS: dict[str, dict[str, Any]] = {
    "dataset_id": {"description": "The dataset.", "schema": UUID},
    "media_id": {"description": "An image of the dataset.", "schema": UUID},
    "cluster_id": {"description": "A cluster that explore has shown.", "schema": UUID},
    "tag_id": {"description": "A tag of the dataset.", "schema": UUID},
    "export_id": {"description": "An export of the dataset.", "schema": UUID},
    "transaction_id": {
        "description": "A transaction of the dataset.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    },
    "file_name": {"description": "Name of the file.", "schema": {"type": "string"}},
}
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Signed by the client: HS256 with the secret of an API key; `kid` in the header and `sub` "
    "name the key, `exp` is required. Not needed on a server for which no key was ever made.",
}


def complete(document: dict[str, Any], *, keys: bool) -> None:
    """Add to a document what operations of the dialect share: how a key is shown, failures, parts of paths.

    Args:
        document: is changed.
        keys: True if the server asks for one.
    """
    components = document.setdefault("components", {})
    components.setdefault("securitySchemes", {})["jwt"] = _SCHEME
    schemas = components.setdefault("schemas", {})
    schemas["Detail"] = _DETAIL_SCHEMA
    # FastAPI's form of 422, which no operation answers: all values are checked here.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        if path.startswith("/api/v1/"):
            for operation in operations.values():
                _complete(operation, keys=keys)


def _complete(operation: dict[str, Any], *, keys: bool) -> None:
    if operation.get("security") != []:
        operation["security"] = [{"jwt": []}] if keys else [{"jwt": []}, {}]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter.update(_IN_PATHS[parameter["name"]])
    for code, text in _SUCCESS.items():
        if operation["responses"].get(code, {}).get("description") == "Successful Response":
            operation["responses"][code]["description"] = text
    answered = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if "HTTPValidationError" in answered.get("schema", {}).get("$ref", ""):
        del operation["responses"]["422"]
