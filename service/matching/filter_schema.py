"""The filter language as JSON Schema, for `/openapi.json`: what `filters.compile_filter` takes, no more."""

from __future__ import annotations

from typing import Any

_PLACE = "#/components/schemas/"
_NO_OPERATOR = r"^(?!\$)"
_ORDERED = {"type": ["number", "string", "boolean"]}
_PLAIN = {"$ref": f"{_PLACE}FilterValue"}
_LIST = {"type": "array", "items": _PLAIN}
_ALTERNATIVES = {"type": "array", "minItems": 1, "items": {"$ref": f"{_PLACE}Filter"}}

FILTER: dict[str, Any] = {"$ref": f"{_PLACE}Filter"}

COMPONENTS: dict[str, dict[str, Any]] = {
    "Filter": {
        "description": "What must hold of a record, as in MongoDB: a value or operators for each path, "
        "such as `brand` or `maker.city`.",
        "type": "object",
        "properties": {"$and": _ALTERNATIVES, "$or": _ALTERNATIVES},
        "patternProperties": {
            _NO_OPERATOR: {"anyOf": [_PLAIN, {"$ref": f"{_PLACE}FilterOperators"}]},
        },
        "additionalProperties": False,
    },
    "FilterOperators": {
        "description": "Operators that must all hold.",
        "type": "object",
        "properties": {
            "$eq": _PLAIN,
            "$ne": _PLAIN,
            "$in": _LIST,
            "$nin": _LIST,
            "$gt": _ORDERED,
            "$gte": _ORDERED,
            "$lt": _ORDERED,
            "$lte": _ORDERED,
            "$exists": {"type": "boolean"},
        },
        "minProperties": 1,
        "additionalProperties": False,
    },
    "FilterValue": {
        "description": "A value to be equal to.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            _LIST,
            {
                "type": "object",
                "patternProperties": {_NO_OPERATOR: _PLAIN},
                "additionalProperties": False,
            },
        ],
    },
}
