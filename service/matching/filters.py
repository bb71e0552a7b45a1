"""The filter language of collections: a part of MongoDB's, with its semantics.

`{"brand": "Acme", "price": {"$gte": 10, "$lt": 20}, "$or": [{"tags": "red"}, {"a.b": {"$exists": false}}]}`

A path such as `a.b` reaches into objects, into every object of an array, and by number into one place of
an array. A condition holds where any value that the path reaches meets it; an array that is reached counts
as itself and as each of its elements. An absent field counts as null. Comparisons hold only between two
numbers, two strings or two booleans, and a boolean is no number. Objects are equal whatever the order of
their keys. `_id` is text: 1 and "1" are the same.

Source: MongoDB manual, "Query Predicates"; paths as its `ElementPath` walks them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeAlias

from twinlens.engine.errors import InvalidValue
from twinlens.service.nesting import containers, elements, nests_deeper

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""True for records that a filter lets through."""

Test: TypeAlias = Callable[[list[Any]], bool]
"""Of all values that a path reaches in one record."""

MAX_DEPTH = 32
"""Levels of objects and arrays in a filter, and parts of a path."""

_ABSENT: Any = object()
_TOO_DEEP = object()
_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    NoneType: "null",
}
_ORDERED = ("number", "string", "boolean")


def compile_filter(document: object) -> Predicate:
    """The predicate that a filter, as parsed from JSON, stands for; `{}` lets everything through.

    Raises:
        InvalidValue: not a filter; the message names the operator or the place.
    """
    if nests_deeper(document, MAX_DEPTH):
        raise InvalidValue(f"a filter nests at most {MAX_DEPTH} levels of objects and arrays")
    return _query(document)


def _query(document: object) -> Predicate:
    if not isinstance(document, dict):
        raise InvalidValue(f"a filter is an object, not {_named(document)}")
    return _all([_clause(key, operand) for key, operand in document.items()])


def _clause(key: str, operand: object) -> Predicate:
    """One entry of an object of conditions: a logical operator, or a path and what it must meet."""
    if key in _LOGICAL:
        if not isinstance(operand, list) or not operand:
            raise InvalidValue(f"{key} takes an array of one or more objects, not {_named(operand)}")
        return _LOGICAL[key]([_query(document) for document in operand])
    if key in _TESTS:
        raise InvalidValue(f'{key} stands below a field: {{"field": {{"{key}": ...}}}}')
    if key.startswith("$"):
        raise _unknown(key)
    return _condition(key, _with_text_ids(operand) if key == "_id" else operand)


def _condition(path: str, operand: object) -> Predicate:
    """What one field must meet: operators, all of them, or equality."""
    reach = _reach(path)
    if not isinstance(operand, dict) or not any(key.startswith("$") for key in operand):
        return _where(reach, _test(path, "$eq", operand))
    return _all([_where(reach, _test(path, key, value)) for key, value in operand.items()])


def _test(path: str, name: str, operand: Any) -> Test:
    if name in _LOGICAL:
        raise InvalidValue(f"{name} stands beside fields, not below {path!r}")
    if not name.startswith("$"):
        raise InvalidValue(f"operators and plain keys are mixed below {path!r}: {name!r} is no operator")
    if name not in _TESTS:
        raise _unknown(name)
    return _TESTS[name](name, operand)


def _unknown(name: str) -> InvalidValue:
    known = ", ".join([*_TESTS, *_LOGICAL])
    return InvalidValue(f"unknown operator {name!r} in a filter: known are {known}")


def _with_text_ids(operand: Any) -> Any:
    """Ids are stored as text, numbers in decimal."""
    if isinstance(operand, dict):
        return {key: _with_text_ids(value) for key, value in operand.items()}
    if isinstance(operand, list):
        return [_with_text_ids(value) for value in operand]
    return str(operand) if type(operand) in (int, float) else operand


def _literal(value: object) -> object:
    """Operators inside a value to be equal to would silently match nothing: refuse them."""
    if isinstance(value, dict):
        for key in value:
            if key.startswith("$"):
                raise InvalidValue(f"{key!r} stands in a value: operators stand directly below a path")
    if isinstance(value, dict | list):
        for inner in elements(value):
            _literal(inner)
    return value


# -- predicates and tests --------------------------------------------------------------------------


def _where(reach: Callable[[Mapping[str, Any]], list[Any]], test: Test) -> Predicate:
    return lambda record: test(reach(record))


def _all(predicates: list[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    return lambda record: all(predicate(record) for predicate in predicates)


def _any(predicates: list[Predicate]) -> Predicate:
    return lambda record: any(predicate(record) for predicate in predicates)


def _not(test: Test) -> Test:
    return lambda reached: not test(reached)


def _one_of(values: list[Any]) -> Test:
    wanted = frozenset(_identity(value) for value in values)
    if containers(values):
        return lambda reached: any(_identity(value) in wanted for value in reached)
    # Not looking into objects and arrays keeps large ones cheap where no such thing is asked for.
    return lambda reached: any(
        _identity(value) in wanted for value in reached if not isinstance(value, dict | list)
    )


def _listed(name: str, operand: object) -> Test:
    if not isinstance(operand, list):
        raise InvalidValue(f"{name} takes an array, not {_named(operand)}")
    return _one_of([_literal(value) for value in operand])


def _compared(name: str, operand: Any) -> Test:
    compare, kind = _COMPARISONS[name], _kind(operand)
    if kind not in _ORDERED:
        raise InvalidValue(f"{name} takes a number, a string or a boolean, not {_named(operand)}")
    return lambda reached: any(_kind(value) == kind and compare(value, operand) for value in reached)


def _exists(name: str, operand: object) -> Test:
    if not isinstance(operand, bool):
        raise InvalidValue(f"{name} takes true or false, not {_named(operand)}")
    return lambda reached: any(value is not _ABSENT for value in reached) is operand


def _identity(value: Any, levels: int = MAX_DEPTH) -> object:
    """A hashable twin, equal for equal JSON values and no others: true is not 1, but 1.0 is."""
    if isinstance(value, dict | list):
        if levels == 0:
            return _TOO_DEEP
        inner = (_identity(element, levels - 1) for element in elements(value))
        return frozenset(zip(value, inner, strict=True)) if isinstance(value, dict) else tuple(inner)
    if isinstance(value, bool):
        return bool, value
    return None if value is _ABSENT else value


def _kind(value: object) -> str | None:
    return _KINDS.get(type(value))


def _named(value: object) -> str:
    """A value's JSON type for a message."""
    if value == []:
        return "an empty array"
    kind = _kind(value) or type(value).__name__
    return kind if kind == "null" else f"{'an' if kind[0] in 'ao' else 'a'} {kind}"


_LOGICAL: dict[str, Callable[[list[Predicate]], Predicate]] = {"$and": _all, "$or": _any}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_TESTS: dict[str, Callable[[str, Any], Test]] = {
    "$eq": lambda name, operand: _one_of([_literal(operand)]),
    "$in": _listed,
    "$ne": lambda name, operand: _not(_one_of([_literal(operand)])),
    "$nin": lambda name, operand: _not(_listed(name, operand)),
    **dict.fromkeys(_COMPARISONS, _compared),
    "$exists": _exists,
}


# -- paths -----------------------------------------------------------------------------------------


def _reach(path: str) -> Callable[[Mapping[str, Any]], list[Any]]:
    """All values that a path reaches in a record."""
    first, *names = path.split(".")
    if len(names) >= MAX_DEPTH:
        raise InvalidValue(f"a path has at most {MAX_DEPTH} parts, not {len(names) + 1}")
    if not names:
        return lambda record: _spread([record.get(first, _ABSENT)])
    parts = [(name, _position(name)) for name in names]

    def reach(record: Mapping[str, Any]) -> list[Any]:
        values = [record.get(first, _ABSENT)]
        placed: list[Any] = []
        for name, position in parts:
            # Distinct objects only: ways to one value multiply where arrays nest. A value placed by
            # number leads on if it is a container, and is not spread at the end of the path.
            onward = {id(value): value for value in [*values, *containers(placed)]}.values()
            values = [inner for value in onward for inner in _step(value, name)]
            placed = [value[position] for value in onward if _has_place(value, position)]
        return _spread(values) + placed

    return reach


def _step(value: Any, name: str) -> list[Any]:
    """One name further: into an object, or into each object of an array."""
    if isinstance(value, dict):
        return [value.get(name, _ABSENT)]
    if isinstance(value, list):
        return [element.get(name, _ABSENT) for element in value if isinstance(element, dict)]
    return [_ABSENT]


def _spread(values: list[Any]) -> list[Any]:
    """Each value, and before an array its elements."""
    if not any(isinstance(value, list) for value in values):
        return values
    return [part for value in values for part in ([*value, value] if isinstance(value, list) else [value])]


def _position(name: str) -> int | None:
    """The place in an array that a name stands for."""
    plain = name.isascii() and name.isdigit() and len(name) < 10 and (name == "0" or name[0] != "0")
    return int(name) if plain else None


def _has_place(value: object, position: int | None) -> bool:
    return position is not None and isinstance(value, list) and position < len(value)
