"""How the dialect describes itself: requests, answers and failures of each method for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from twinlens.service.matching import schema
from twinlens.service.matching.examples import EXAMPLE_IDS

SECURITY_SCHEMES: dict[str, Any] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token <token>`; the word `JWT` is taken as well. "
        "Not needed on a server for which no key was ever made.",
    }
}
SECURITY: list[dict[str, list[str]]] = [{"token": []}, {}]

_COLLECTION_HEADER = {
    "name": "collection-id",
    "in": "header",
    "required": False,
    "description": "Name of the collection; `default` if not given. Made by the first insert.",
    "schema": {"type": "string", "maxLength": 200, "pattern": "^[!-~]*$"},
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
        "records: Field required",
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
    asked: type[BaseModel], example: dict[str, Any], *, collection: bool, paged: bool
) -> dict[str, Any]:
    """Body and parameters of a method."""
    body = {
        "required": True,
        "content": {
            "application/json": {
                "schema": asked.model_json_schema(),
                "examples": {"example": {"value": example}},
            }
        },
    }
    parameters = [_COLLECTION_HEADER] * collection + _PAGES * paged
    return {"requestBody": body, "security": SECURITY, **({"parameters": parameters} if parameters else {})}


def _content(example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"example": example}}


def _failure(code: int, text: str) -> dict[str, Any]:
    status = {"code": code, "text": text, **EXAMPLE_IDS}
    return {"detail": text, "status": status} if code == 401 else {"status": status}
