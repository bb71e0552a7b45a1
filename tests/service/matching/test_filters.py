"""The filter language: what matches, as MongoDB would have it, and what is refused."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.service.matching.filters import compile_filter
from twinlens.service.nesting import nests_deeper

Json = dict[str, Any]


def matches(filter_: Json, record: Json) -> bool:
    return compile_filter(filter_)(record)


MATCHING: list[tuple[Json, Json]] = [
    # Nothing is asked for.
    ({}, {"a": 1}),
    # Equality: the value, an element, the array itself.
    ({"a": 1}, {"a": 1}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": {"$eq": "x"}}, {"a": "x"}),
    ({"a": "red"}, {"a": ["red", "blue"]}),
    ({"a": ["red", "blue"]}, {"a": ["red", "blue"]}),
    ({"a": ["red"]}, {"a": [["red"], "blue"]}),
    ({"a": []}, {"a": []}),
    ({"a": {}}, {"a": {}}),
    ({"a": {"x": 1, "y": [2]}}, {"a": {"y": [2], "x": 1}}),
    ({"a": 10**40}, {"a": 10**40}),
    ({"a": "\ud800"}, {"a": "\ud800"}),
    # An absent field counts as null.
    ({"a": None}, {}),
    ({"a": None}, {"a": None}),
    ({"a": {"$in": [None, 5]}}, {}),
    ({"a": {"$ne": 1}}, {}),
    ({"a": {"$nin": [1, 2]}}, {}),
    # Negations: no element may be it.
    ({"a": {"$ne": 1}}, {"a": [2, 3]}),
    ({"a": {"$ne": None}}, {"a": 0}),
    ({"a": {"$nin": [1, "x"]}}, {"a": "y"}),
    # Sets.
    ({"a": {"$in": [3, "x"]}}, {"a": "x"}),
    ({"a": {"$in": [3, "x"]}}, {"a": [1, 3]}),
    ({"a": {"$in": [[1, 2]]}}, {"a": [1, 2]}),
    ({"a": {"$nin": []}}, {"a": 1}),
    # Comparisons, several of which are all to hold; elements may meet them one each.
    ({"a": {"$gt": 1}}, {"a": 1.5}),
    ({"a": {"$gte": 1, "$lt": 2}}, {"a": 1}),
    ({"a": {"$lte": "b"}}, {"a": "a"}),
    ({"a": {"$lte": "b", "$gte": "b"}}, {"a": "b"}),
    ({"a": {"$gt": False}}, {"a": True}),
    ({"a": {"$gt": 8, "$lt": 3}}, {"a": [2, 9]}),
    ({"a": {"$gt": 1e300}}, {"a": 10**400}),
    # Presence.
    ({"a": {"$exists": True}}, {"a": None}),
    ({"a": {"$exists": True}}, {"a": []}),
    ({"a": {"$exists": False}}, {"b": 1}),
    ({"a.b": {"$exists": False}}, {"a": 1}),
    # Logic.
    ({"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ({"$or": [{"a": 1}, {"b": 2}]}, {"b": 2}),
    ({"$and": [{"a": 1}, {"$or": [{"b": 1}, {}]}], "c": None}, {"a": 1}),
    # Paths: into objects, into each object of an array, to one place of an array.
    ({"a.b": 1}, {"a": {"b": 1}}),
    ({"a.b": 1}, {"a": [{"b": 5}, 3, {"b": [1]}]}),
    ({"a.1": 7}, {"a": [5, 7, 3]}),
    ({"a.1": [2, 4]}, {"a": [5, [2, 4], 3]}),
    ({"a.1.b": 4}, {"a": [5, {"b": 4}]}),
    ({"a.1.b": 4}, {"a": [5, [{"b": 4}]]}),
    ({"a.1": 4}, {"a": [5, {"1": 4}]}),
    ({"a.1": {"1": 4}}, {"a": [5, {"1": 4}]}),
    ({"a.0.0": 1}, {"a": [[1]]}),
    ({"a.b": None}, {"a": 4}),
    ({"a.b": None}, {"a": [{"b": 1}, {}]}),
    ({"a.b": {"$ne": None}}, {"a": [4]}),
    ({"a.b": {"$exists": False}}, {"a": []}),
    ({"a.b": []}, {"a": {"b": []}}),
    ({"": 1}, {"": 1}),
    ({"a.": 1}, {"a": {"": 1}}),
    # Ids are text.
    ({"_id": 1}, {"_id": "1"}),
    ({"_id": "1"}, {"_id": "1"}),
    ({"_id": {"$in": [1, "2"]}}, {"_id": "1"}),
    ({"_id": {"$gte": 2}}, {"_id": "2"}),
    ({"_id": {"$lt": "2"}}, {"_id": "10"}),
    ({"_id": {"$exists": True}}, {"_id": "1"}),
]

NOT_MATCHING: list[tuple[Json, Json]] = [
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {}),
    ({"a": 1}, {"a": True}),
    ({"a": True}, {"a": 1}),
    ({"a": [1]}, {"a": [True]}),
    ({"a": {"x": 1}}, {"a": {"x": True}}),
    ({"a": 1}, {"a": "1"}),
    ({"a": None}, {"a": 0}),
    ({"a": None}, {"a": []}),
    ({"a": None}, {"a": False}),
    ({"a": ["red", "blue"]}, {"a": ["blue", "red"]}),
    ({"a": ["red"]}, {"a": "red"}),
    ({"a": {}}, {"a": []}),
    ({"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}),
    ({"a": 2**53}, {"a": 2**53 + 1}),
    ({"a": {"$ne": 1}}, {"a": [1, 2]}),
    ({"a": {"$ne": None}}, {}),
    ({"a": {"$nin": [None]}}, {}),
    ({"a": {"$in": []}}, {"a": 1}),
    ({"a": {"$in": [[1, 2]]}}, {"a": [2, 1]}),
    ({"a": {"$gt": 1}}, {}),
    ({"a": {"$gte": 0}}, {"a": "5"}),
    ({"a": {"$gte": 0}}, {"a": True}),
    ({"a": {"$gte": False}}, {"a": 1}),
    ({"a": {"$gte": ""}}, {"a": 5}),
    ({"a": {"$lt": 5}}, {"a": None}),
    ({"a": {"$gt": 1}}, {"a": 1}),
    ({"a": {"$lt": 1}}, {"a": 1}),
    ({"a": {"$gte": 2}}, {"a": 1}),
    ({"a": {"$lte": 1}}, {"a": 2}),
    ({"a": {"$gt": 1, "$lt": 3}}, {"a": 3}),
    ({"a": {"$exists": True}}, {}),
    ({"a": {"$exists": False}}, {"a": None}),
    ({"a": 1, "b": 2}, {"a": 1}),
    ({"$or": [{"a": 1}, {"b": 2}]}, {"a": 2, "b": 1}),
    ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1}),
    ({"a.b": 1}, {"a.b": 1}),
    ({"a.b": 1}, {"a": [[{"b": 1}]]}),
    ({"a.b": None}, {"a": [4]}),
    ({"a.b": None}, {"a": []}),
    ({"a.1": 2}, {"a": [5, [2, 4]]}),
    ({"a.01": 7}, {"a": [5, 7]}),
    ({"a.-1": 7}, {"a": [5, 7]}),
    ({"a.²": 7}, {"a": [5, 6, 7]}),
    ({"a.9": None}, {"a": [5]}),
    ({"a.0.b": None}, {"a": [5]}),
    ({"_id": True}, {"_id": "True"}),
    ({"b": 1}, {"_id": "1", "b": "1"}),
]


@pytest.mark.parametrize(("filter_", "record"), MATCHING)
def test_matches(filter_: Json, record: Json) -> None:
    assert matches(filter_, record)


@pytest.mark.parametrize(("filter_", "record"), NOT_MATCHING)
def test_does_not_match(filter_: Json, record: Json) -> None:
    assert not matches(filter_, record)


# -- refusals --------------------------------------------------------------------------------------


REFUSED: list[tuple[object, str]] = [
    (None, "a filter is an object, not null"),
    ([], "a filter is an object, not an empty array"),
    ("a", "a filter is an object, not a string"),
    ({"a": {"$regex": "x"}}, r"unknown operator '\$regex'.*known are \$eq, .*\$in.*\$exists, \$and, \$or"),
    ({"$where": "1"}, r"unknown operator '\$where'"),
    ({"$in": [1]}, r"\$in stands below a field"),
    ({"a": {"$or": [{}]}}, r"\$or stands beside fields, not below 'a'"),
    ({"a": {"$gt": 1, "b": 2}}, "mixed below 'a': 'b' is no operator"),
    ({"a": {"b": 2, "$gt": 1}}, "mixed below 'a': 'b' is no operator"),
    ({"a": {"b": {"$gt": 1}}}, r"'\$gt' stands in a value"),
    ({"a": [{"$gt": 1}]}, r"'\$gt' stands in a value"),
    ({"a": {"$in": [{"$gt": 1}]}}, r"'\$gt' stands in a value"),
    ({"a": {"$ne": {"$gt": 1}}}, r"'\$gt' stands in a value"),
    ({"a": {"$in": 1}}, r"\$in takes an array, not a number"),
    ({"a": {"$nin": {"x": 1}}}, r"\$nin takes an array, not an object"),
    ({"a": {"$gt": None}}, r"\$gt takes a number, a string or a boolean, not null"),
    ({"a": {"$lte": [1]}}, r"\$lte takes a number, a string or a boolean, not an array"),
    ({"a": {"$exists": 1}}, r"\$exists takes true or false, not a number"),
    ({"$and": []}, r"\$and takes an array of one or more objects, not an empty array"),
    ({"$or": {"a": 1}}, r"\$or takes an array of one or more objects, not an object"),
    ({"$or": [{"a": 1}, 3]}, "a filter is an object, not a number"),
    ({".".join("a" * 33): 1}, "at most 32 parts, not 33"),
]


@pytest.mark.parametrize(("filter_", "message"), REFUSED)
def test_what_is_no_filter_is_refused_by_name(filter_: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        compile_filter(filter_)


def nested(levels: int) -> Any:
    """An array in an array ..., so many levels in all."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_filters_nest_32_levels_deep() -> None:
    assert matches({"a": nested(31)}, {"a": nested(31)})
    assert not matches({"a": nested(31)}, {"a": nested(31)[0][0]})
    for deep in ({"a": nested(32)}, {"$or": [{"a": nested(40)}]}, {"a": nested(100_000)}):
        with pytest.raises(InvalidValue, match="at most 32 levels"):
            compile_filter(deep)


def test_records_may_nest_deeper_than_filters() -> None:
    assert not matches({"a": [[]]}, {"a": nested(100_000)})
    assert matches({"a": {"$ne": 1}}, {"a": nested(100_000)})


@given(st.integers(1, 20), st.integers(0, 25))
def test_levels_are_counted(levels: int, limit: int) -> None:
    assert nests_deeper(nested(levels), limit) == (levels > limit)
    assert nests_deeper({"x": 1, "y": nested(levels)}, limit) == (levels + 1 > limit)
    assert not nests_deeper("text", limit)


class Counting(dict[str, Any]):
    """An object that counts how often it is asked."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counting.asked += 1
        return super().get(key, default)


def test_many_ways_to_one_value_are_walked_once() -> None:
    record: Any = [1]
    for _ in range(24):
        record = [Counting({"0": record})]
    matches({".".join(["a", *"0" * 31]): 1}, {"a": record})
    assert 24 <= Counting.asked <= 24 * 31


# -- algebra: equal to a plain recursive reading of the manual ---------------------------------------


SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 2, "", "0", "1", "x"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab01"), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from("ab0"), VALUES, max_size=3)
PATHS = st.lists(st.sampled_from("ab01"), min_size=1, max_size=4).map(".".join)
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
CONDITIONS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3), min_size=1),
    st.dictionaries(st.sampled_from(list(ORDER)), SCALARS.filter(lambda x: x is not None), min_size=1),
    st.fixed_dictionaries({"$exists": st.booleans()}),
)
FILTERS = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
    ),
    max_leaves=5,
)
ABSENT = object()


def plain_walk(value: object, parts: list[str]) -> list[object]:
    """All that a path reaches, as ElementPath of MongoDB does it; ways count as often as there are."""
    if not parts:
        return [*value, value] if isinstance(value, list) else [value]
    first, *rest = parts
    if isinstance(value, dict):
        return plain_walk(value[first], rest) if first in value else [ABSENT]
    if not isinstance(value, list):
        return [ABSENT]
    found: list[object] = []
    for place, element in enumerate(value):
        if isinstance(element, dict):
            found += plain_walk(element, parts)
        if str(place) == first:
            if not rest:
                found.append(element)
            elif isinstance(element, dict | list):
                found += plain_walk(element, rest)
    return found


def same(a: object, b: object) -> bool:
    a, b = (None if x is ABSENT else x for x in (a, b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def comparable(a: object, b: object) -> bool:
    families: list[Any] = [bool, str, int | float]
    return next((isinstance(b, f) for f in families if isinstance(a, f)), False) and not (
        isinstance(a, bool) ^ isinstance(b, bool)
    )


def plain_operator(name: str, operand: Any, reached: list[Any]) -> bool:
    match name:
        case "$eq" | "$ne":
            return any(same(value, operand) for value in reached) is (name == "$eq")
        case "$in" | "$nin":
            return any(same(v, wanted) for v in reached for wanted in operand) is (name == "$in")
        case "$exists":
            return any(value is not ABSENT for value in reached) is operand
    return any(comparable(value, operand) and ORDER[name](value, operand) for value in reached)


def plain_match(filter_: Json, record: Json) -> bool:
    for key, operand in filter_.items():
        if key in ("$and", "$or"):
            met = (all if key == "$and" else any)(plain_match(inner, record) for inner in operand)
        else:
            operators = isinstance(operand, dict) and any(name[0] == "$" for name in operand)
            conditions = operand if operators else {"$eq": operand}
            reached = plain_walk(record, key.split("."))
            met = all(plain_operator(name, value, reached) for name, value in conditions.items())
        if not met:
            return False
    return True


@given(FILTERS, RECORDS)
def test_equals_the_plain_reading(filter_: Json, record: Json) -> None:
    assert matches(filter_, record) == plain_match(filter_, record)


@given(PATHS, CONDITIONS, RECORDS)
@settings(max_examples=300)
def test_one_condition_equals_the_plain_reading(path: str, condition: Any, record: Json) -> None:
    assert matches({path: condition}, record) == plain_match({path: condition}, record)


@given(PATHS, VALUES, st.lists(VALUES, max_size=3), RECORDS)
def test_negations_are_exact_opposites(path: str, value: Any, values: list[Any], record: Json) -> None:
    assert matches({path: {"$ne": value}}, record) != matches({path: value}, record)
    assert matches({path: {"$nin": values}}, record) != matches({path: {"$in": values}}, record)
    assert matches({path: {"$exists": True}}, record) != matches({path: {"$exists": False}}, record)


@given(st.lists(FILTERS, min_size=1, max_size=3), RECORDS)
def test_and_and_or_are_those_of_logic(filters: list[Json], record: Json) -> None:
    each = [matches(filter_, record) for filter_ in filters]
    assert matches({"$and": filters}, record) == all(each)
    assert matches({"$or": filters}, record) == any(each)


@given(FILTERS, RECORDS)
def test_neither_filter_nor_record_is_changed(filter_: Json, record: Json) -> None:
    before = repr((filter_, record))
    compiled = compile_filter(filter_)
    first = compiled(record)
    assert (repr((filter_, record)), compiled(record)) == (before, first)
