"""How the dialect describes itself: requests, answers and failures of each method for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from twinlens.service.matching import schema
from twinlens.service.matching.examples import EXAMPLE_IDS
from twinlens.service.matching.filter_schema import COMPONENTS, FILTER

SECURITY_SCHEMES: dict[str, Any] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token <token>`; the word `JWT` is taken as well. "
        "Not needed on a server for which no key was ever made.",
    }
}
NEEDED: list[dict[str, list[str]]] = [{"token": []}]
"""What operations need on a server that has keys."""
WELCOME: list[dict[str, list[str]]] = [*NEEDED, {}]
"""What they take on one that has none."""

_COLLECTION_HEADER = {
    "name": "collection-id",
    "in": "header",
    "required": False,
    "description": "Name of the collection; `default` if not given. Made by the first insert.",
    "schema": {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"},
    "example": "products",
}
_PAGES = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    }
    for name, text in (
        ("size", "Records on a page; all records if 0 or not given."),
        ("page", "Number of the page, from 1."),
    )
]
_FAILURES: dict[int, tuple[str, type[BaseModel], str]] = {
    400: (
        "The request as a whole cannot be served; the text says why.",
        schema.Failure,
        "records is missing",
    ),
    401: ("No valid token.", schema.Denied, "Invalid token."),
    429: ("More requests than the server holds at a time.", schema.Failure, "try again in a second"),
    503: (
        "The server cannot use its data folder.",
        schema.Failure,
        "the server cannot use its data folder now",
    ),
}


def responses(
    answer: type[BaseModel], example: dict[str, Any], *, ping: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The answers of a method by HTTP code, each with an example."""
    described: dict[int | str, dict[str, Any]] = {
        200: {"model": answer, "description": "Served; `status.code` says how.", "content": _content(example)}
    }
    for code, (text, model, message) in _FAILURES.items():
        if not ping or code == 401:
            described[code] = {
                "model": model,
                "description": text,
                "content": _content(_failure(code, message)),
            }
    return described


def request(
    asked: type[BaseModel], example: dict[str, Any], *, most: int, collection: bool, paged: bool
) -> dict[str, Any]:
    """Body, of at most so many records, and parameters of a method."""
    body = {
        "required": True,
        "content": {
            "application/json": {
                "schema": _body_schema(asked, most),
                "examples": {"example": {"value": example}},
            }
        },
    }
    parameters = [_COLLECTION_HEADER] * collection + _PAGES * paged
    return {"requestBody": body, **({"parameters": parameters} if parameters else {})}


def complete(document: dict[str, Any], *, keys: bool) -> None:
    """Add to a document what operations share.

    Args:
        document: is changed.
        keys: True if the server asks for one.
    """
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    components.setdefault("schemas", {}).update(COMPONENTS)
    document["security"] = NEEDED if keys else WELCOME


def _body_schema(asked: type[BaseModel], most: int) -> dict[str, Any]:
    body = asked.model_json_schema()
    properties, required = body["properties"], body.get("required", ())
    if "records" in properties:
        properties["records"]["maxItems"] = most
    if "filter" in properties:
        properties["filter"] = FILTER
    body["properties"] = {
        name: rules if name in required else _or_null(rules) for name, rules in properties.items()
    }
    return body


def _or_null(rules: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: rules[key] for key in ("title", "description", "default") if key in rules}
    rest = {key: value for key, value in rules.items() if key not in kept}
    alternatives = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    null = {"type": "null"}
    return {**kept, "anyOf": alternatives if null in alternatives else [*alternatives, null]}


def _content(example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"example": example}}


def _failure(code: int, text: str) -> dict[str, Any]:
    status = {"code": code, "text": text, **EXAMPLE_IDS}
    return {"detail": text, "status": status} if code == 401 else {"status": status}
