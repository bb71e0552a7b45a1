"""JSON Schema of VQL for `/openapi.json`: it allows what `vql` takes.

Two rules are beyond a schema and are said in words: `confidence_min` is at most `confidence_max`, and a query
compares with one image.
"""

from __future__ import annotations

from typing import Any

from twinlens.service.explore.values import MAX_CHARACTERS, MAX_VALUES
from twinlens.service.explore.vql import ISSUES, MAX_FILTERS, IssueMode, LabelOp, TextOp

UUID: dict[str, Any] = {"type": "string", "format": "uuid"}
FRACTION: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
TEXT: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_CHARACTERS,
    # Anything but NUL, and not only what Python strips as blanks.
    "pattern": r"^[^\x00]*[^\x00\s\x1c-\x1f\x85][^\x00]*$",
}


def _filter(name: str, *bodies: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, name: bodies[0] if len(bodies) == 1 else {"oneOf": bodies}},
        "required": [name],
        "additionalProperties": False,
    }


def _body(ops: list[str], value: dict[str, Any], **extras: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"op": {"type": "string", "enum": ops}, "value": value, **extras},
        "required": ["op", "value"],
        "additionalProperties": False,
    }


def _several(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_VALUES}


VQL: dict[str, Any] = {
    "type": "array",
    "maxItems": MAX_FILTERS,
    "items": {
        "oneOf": [
            _filter("duplicates", _body(["duplicates"], FRACTION)),
            _filter("uniqueness", _body(["uniqueness"], FRACTION)),
            _filter("text", _body([TextOp.SEMANTIC], TEXT, threshold=FRACTION), _body([TextOp.FTS], TEXT)),
            _filter("labels", _body([*LabelOp], _several(TEXT))),
            _filter("tags", _body(["is"], _several(UUID))),
            _filter(
                "issues",
                _body(
                    ["issue"],
                    {"type": "string", "enum": [*ISSUES]},
                    mode={"type": "string", "enum": [*IssueMode]},
                    confidence_min=FRACTION,
                    confidence_max={**FRACTION, "description": "Not below confidence_min."},
                ),
            ),
            _filter("similarity", _body(["upload"], UUID, threshold=FRACTION)),
        ]
    },
}
