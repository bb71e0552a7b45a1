"""VQL: what each filter means, which of several holds, and how wrong ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.vql import (
    ISSUES,
    Anchor,
    AnchorType,
    Filters,
    IssueFilter,
    IssueMode,
    LabelFilter,
    LabelOp,
    TagFilter,
    TextFilter,
    TextOp,
    parse_vql,
)

A = "300dad2c-1234-11f1-8483-5a879df30de4"
B = "f9d612d4-1234-11f1-bfca-fa39f6ed1f22"


def parsed(*filters: object) -> Filters:
    return parse_vql(json.dumps(filters))


def refusal(text: str) -> str:
    with pytest.raises(InvalidValue) as caught:
        parse_vql(text)
    return str(caught.value)


def body(op: str, value: object, **extras: object) -> dict[str, object]:
    return {"op": op, "value": value, **extras}


def semantic(value: str, limit: float | None = None) -> TextFilter:
    return TextFilter(TextOp.SEMANTIC, value, limit)


def test_no_filter_asks_for_nothing() -> None:
    assert parse_vql("[]") == parse_vql(" [ ] ") == Filters()


FILTERS: list[tuple[str, dict[str, Any], Filters]] = [
    ("duplicates", body("duplicates", 0.95), Filters(duplicates=0.95)),
    ("duplicates", body("duplicates", 0), Filters(duplicates=0.0)),
    ("duplicates", body("duplicates", 1), Filters(duplicates=1.0)),
    ("uniqueness", body("uniqueness", 0.8), Filters(uniqueness=0.8)),
    ("text", body("semantic", " a dog "), Filters(texts=(semantic("a dog"),))),
    ("text", body("semantic", "犬", threshold=0.5), Filters(texts=(semantic("犬", 0.5),))),
    ("text", body("fts", "dog"), Filters(texts=(TextFilter(TextOp.FTS, "dog", None),))),
    *(
        ("labels", body(op, ["cat", "dog", "cat"]), Filters(labels=(LabelFilter(op, ("cat", "dog")),)))
        for op in LabelOp
    ),
    ("tags", body("is", [B.upper(), A]), Filters(tags=(TagFilter((B, A)),))),
    *(
        ("issues", body("issue", name), Filters(issues=(IssueFilter(name, IssueMode.IN, 0.0, 1.0),)))
        for name in ISSUES
    ),
    (
        "issues",
        body("issue", "blur", mode="out", confidence_min=0.8, confidence_max=1),
        Filters(issues=(IssueFilter("blur", IssueMode.OUT, 0.8, 1.0),)),
    ),
    ("similarity", body("upload", A), Filters(anchor=Anchor(A, AnchorType.UPLOAD, None))),
    ("similarity", body("upload", A, threshold=0.7), Filters(anchor=Anchor(A, AnchorType.UPLOAD, 0.7))),
]


@pytest.mark.parametrize(("name", "held", "meaning"), FILTERS)
def test_one_filter(name: str, held: dict[str, Any], meaning: Filters) -> None:
    assert (
        parsed({name: held}) == parsed({"id": "x", name: held}) == parsed({name: held, "id": ""}) == meaning
    )


def test_numbers_are_floats_whatever_they_were() -> None:
    assert type(parsed({"duplicates": body("duplicates", 1)}).duplicates) is float


# -- several filters ------------------------------------------------------------------------------


def test_filters_of_different_kinds_all_hold() -> None:
    found = parsed(*({name: held} for name, held, _ in FILTERS[:7]))
    assert found == Filters(
        duplicates=1.0,
        uniqueness=0.8,
        texts=(semantic("a dog"), semantic("犬", 0.5), TextFilter(TextOp.FTS, "dog", None)),
    )


@pytest.mark.parametrize("values", [(0.9, 0.95), (0.95, 0.9), (0.95, 0.95)])
def test_the_strictest_of_several_numbers_holds(values: tuple[float, float]) -> None:
    found = parsed(*({name: body(name, value)} for value in values for name in ("duplicates", "uniqueness")))
    assert found == Filters(duplicates=0.95, uniqueness=0.95)


def test_the_same_text_twice_is_one_text_with_the_stricter_limit() -> None:
    texts = [
        ("dog", {}),
        ("cat", {"threshold": 0.5}),
        ("dog", {"threshold": 0.8}),
        (" dog", {"threshold": 0.6}),
    ]
    found = parsed(*({"text": body("semantic", value, **extra)} for value, extra in texts))
    assert found.texts == (semantic("dog", 0.6), semantic("cat", 0.5))


def test_filters_that_are_repeated_count_once() -> None:
    filters = [{name: held} for name, held, _ in FILTERS]
    assert parsed(*filters, *filters) == parsed(*filters)


def test_lists_of_labels_and_tags_each_hold() -> None:
    found = parsed(*({"labels": body("is", [label])} for label in "abc"), {"tags": body("is", [A])})
    assert [label.values for label in found.labels] == [("a",), ("b",), ("c",)]
    assert found.tags == (TagFilter((A,)),)


def test_there_is_one_anchor_at_most() -> None:
    same = parsed(*({"similarity": body("upload", A, threshold=limit)} for limit in (0.5, 0.3)))
    assert same.anchor == Anchor(A, AnchorType.UPLOAD, 0.3)
    two = json.dumps([{"similarity": body("upload", media_id)} for media_id in (A, B)])
    assert refusal(two) == (
        f"vql and anchor_media_id take one image to compare with, not UPLOAD {A} and UPLOAD {B}"
    )


# -- what is refused ------------------------------------------------------------------------------

WRONG: list[tuple[object, str]] = [
    ({"duplicates": {}}, "vql takes a JSON array of filters, not "),
    (None, "vql takes a JSON array of filters, not null"),
    ([None], "vql[0] takes an object with one filter, not null"),
    ([[]], "vql[0] takes an object with one filter, not []"),
    ([{}], "vql[0] takes exactly one filter, not {}"),
    ([{"id": "x"}], 'vql[0] takes exactly one filter, not {"id": "x"}'),
    ([{"id": 5, "duplicates": body("duplicates", 1)}], "vql[0].id takes a string, not 5"),
    ([{"id": None, "duplicates": body("duplicates", 1)}], "vql[0].id takes a string, not null"),
    (
        [{"duplicates": body("duplicates", 1), "text": body("fts", "x")}],
        'vql[0] takes exactly one filter, not ["duplicates", "text"]',
    ),
    (
        [{"folders": body("is", "x")}],
        "vql[0] takes one of the filters duplicates, uniqueness, text, labels, tags, issues, similarity, "
        "not 'folders'",
    ),
    ([{"duplicates": 0.95}], "vql[0].duplicates takes an object with op and value, not 0.95"),
    ([{"duplicates": {"value": 0.95}}], "vql[0].duplicates takes an object with op and value, not "),
    ([{"duplicates": {"op": "duplicates"}}], "vql[0].duplicates takes an object with op and value, not "),
    ([{"duplicates": body("uniqueness", 1)}], "vql[0].duplicates.op takes duplicates, not 'uniqueness'"),
    ([{"text": body("Semantic", "x")}], "vql[0].text.op takes semantic or fts, not 'Semantic'"),
    ([{"text": {"op": ["fts"], "value": "x"}}], 'vql[0].text.op takes semantic or fts, not ["fts"]'),
    ([{"text": {"op": None, "value": "x"}}], "vql[0].text.op takes semantic or fts, not null"),
    (
        [{"labels": body("in", ["x"])}],
        "vql[0].labels.op takes one_of or is or is_not or not_one_of, not 'in'",
    ),
    ([{"tags": body("one_of", [A])}], "vql[0].tags.op takes is, not 'one_of'"),
    (
        [{"duplicates": body("duplicates", 1, threshold=1)}],
        "vql[0].duplicates with op duplicates takes op, value, not 'threshold'",
    ),
    (
        [{"text": body("fts", "x", threshold=0.5)}],
        "vql[0].text with op fts takes op, value, not 'threshold'",
    ),
    (
        [{"text": body("semantic", "x", limit=0.5)}],
        "vql[0].text with op semantic takes op, value, threshold, not 'limit'",
    ),
    (
        [{"duplicates": body("duplicates", 0.5)}, {"uniqueness": body("uniqueness", "high")}],
        "vql[1].uniqueness.value takes a number from 0 to 1, not 'high'",
    ),
    ([{"duplicates": body("duplicates", 95)}], "vql[0].duplicates.value takes a number from 0 to 1, not 95"),
    (
        [{"duplicates": body("duplicates", "0.95")}],
        "vql[0].duplicates.value takes a number from 0 to 1, not ",
    ),
    (
        [{"duplicates": body("duplicates", True)}],
        "vql[0].duplicates.value takes a number from 0 to 1, not true",
    ),
    (
        [{"duplicates": body("duplicates", None)}],
        "vql[0].duplicates.value takes a number from 0 to 1, not null",
    ),
    (
        [{"uniqueness": body("uniqueness", -0.01)}],
        "vql[0].uniqueness.value takes a number from 0 to 1, not -0.01",
    ),
    ([{"text": body("fts", " ")}], "vql[0].text.value takes a text that is not empty, not ' '"),
    ([{"text": body("fts", "\x00")}], "vql[0].text.value takes a text without NUL"),
    ([{"text": body("fts", "\ud800")}], "vql[0].text.value takes a text without NUL"),
    (
        [{"text": body("semantic", "x", threshold=2)}],
        "vql[0].text.threshold takes a number from 0 to 1, not 2",
    ),
    (
        [{"text": body("semantic", "x", threshold=None)}],
        "vql[0].text.threshold takes a number from 0 to 1, not null",
    ),
    ([{"labels": body("is", [])}], "vql[0].labels.value takes an array of one or more strings, not []"),
    ([{"labels": body("is", "x")}], "vql[0].labels.value takes an array of one or more strings, not 'x'"),
    ([{"labels": body("is", ["x", ["y"]])}], 'vql[0].labels.value[1] takes a text, not ["y"]'),
    ([{"tags": body("is", [])}], "vql[0].tags.value takes an array of one or more strings, not []"),
    ([{"tags": body("is", ["untagged"])}], "vql[0].tags.value[0] takes a UUID, not 'untagged'"),
    (
        [{"issues": body("issue", "mislabels")}],
        "vql[0].issues.value takes blur or dark or bright or duplicates or outliers, not 'mislabels'",
    ),
    ([{"issues": body("issue", "blur", mode="on")}], "vql[0].issues.mode takes in or out, not 'on'"),
    (
        [{"issues": body("issue", "blur", confidence_min="0")}],
        "vql[0].issues.confidence_min takes a number from 0 to 1, not '0'",
    ),
    (
        [{"issues": body("issue", "blur", confidence_min=0.5, confidence_max=0.25)}],
        "vql[0].issues.confidence_max takes a number from confidence_min, 0.5, to 1, not 0.25",
    ),
    ([{"similarity": body("upload", "x")}], "vql[0].similarity.value takes a UUID, not 'x'"),
    ([{"similarity": body("media", A)}], "vql[0].similarity.op takes upload, not 'media'"),
    (
        [{"similarity": body("upload", A, threshold=-1)}],
        "vql[0].similarity.threshold takes a number from 0 to 1, not -1",
    ),
    ([{"text": body("fts", "x")}] * 101, "vql takes at most 100 filters, not 101"),
    (
        [{"labels": body("is", [str(number) for number in range(1001)])}],
        "vql[0].labels.value takes at most 1,000 values, not 1,001",
    ),
    ([[[[[[[[[]]]]]]]]], "vql takes at most 8 levels of objects and arrays"),
]


@pytest.mark.parametrize(("document", "said"), WRONG)
def test_refusals_name_the_place_and_what_is_taken(document: object, said: str) -> None:
    assert refusal(json.dumps(document)).startswith(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("NaN", "vql takes JSON, where NaN is not a number"),
        ("Infinity", "vql takes JSON, where Infinity is not a number"),
        ("-0", "vql takes 0, not -0, for zero"),
        ("1e400", "vql[0].duplicates.value takes a number from 0 to 1, not Infinity"),
        ("9" * 5000, "vql[0].duplicates.value takes a number from 0 to 1, not Infinity"),
        ('1, "value": 1', "vql takes each key of an object once, not 'value' twice"),
        ("", "vql takes JSON, not "),
    ],
)
def test_what_is_no_number_in_json(value: str, said: str) -> None:
    assert refusal(f'[{{"duplicates": {{"op": "duplicates", "value": {value}}}}}]').startswith(said)


@pytest.mark.parametrize(
    "text", ["", " ", "duplicates", "[", "[" * 60_000, '[{"a":' * 10_000, "[]" * 2, "\x00"]
)
def test_what_is_no_json(text: str) -> None:
    assert refusal(text).startswith("vql takes ")


def test_the_most_that_is_taken() -> None:
    assert len(parsed(*({"text": body("fts", str(number))} for number in range(100))).texts) == 100
    assert (
        len(parsed({"labels": body("is", [str(number) for number in range(1000)])}).labels[0].values) == 1000
    )


# -- arbitrary input ------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.just(A)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.text(min_size=1), min_size=1, max_size=3)
WORDS = ("duplicates", "uniqueness", "text", "labels", "tags", "issues", "similarity", "id")
OPS = ("duplicates", "uniqueness", "semantic", "fts", "issue", "upload", *LabelOp)
KEYS = ("op", "value", "threshold", "mode", "confidence_min", "confidence_max", "x")
BODIES = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from([*OPS, *ISSUES, "in", "out"]) | VALUES | st.floats(0, 1),
    max_size=5,
)
NEAR_VQL = st.lists(st.dictionaries(st.sampled_from(WORDS), BODIES | VALUES, max_size=2), max_size=4)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner)
)


def parses_or_is_refused(text: str) -> None:
    try:
        found = parse_vql(text)
    except InvalidValue as error:
        said = str(error)
        assert said.startswith("vql") and len(said) < 400 and said.encode() and len(said.splitlines()) == 1
    else:
        assert hash(found) is not None


@given(st.text() | st.text(alphabet='[]{}",:0-1e.nul \\'))
def test_any_text_is_vql_or_refused(text: str) -> None:
    parses_or_is_refused(text)


@settings(max_examples=400)
@given(NEAR_VQL | JSON)
def test_any_json_is_vql_or_refused(document: object) -> None:
    parses_or_is_refused(json.dumps(document))


@given(st.permutations(FILTERS))
def test_the_order_of_filters_changes_nothing_but_the_order(filters: list[tuple[str, Any, Filters]]) -> None:
    found = parsed(*({name: held} for name, held, _ in filters))
    all_ = parsed(*({name: held} for name, held, _ in FILTERS))
    assert (found.duplicates, found.uniqueness, found.anchor) == (1.0, 0.8, Anchor(A, AnchorType.UPLOAD, 0.7))
    assert set(found.labels) == set(all_.labels) and set(found.issues) == set(all_.issues)
    assert set(found.texts) == set(all_.texts) and found.tags == all_.tags
