"""The parameters of explore: the documented requests, every form of a value, and what is refused."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.engine.results import Linkage
from twinlens.service.explore.query import Anchor, AnchorType, ExploreQuery, parse_query
from twinlens.service.explore.vql import (
    ISSUES,
    IssueFilter,
    IssueMode,
    LabelFilter,
    LabelOp,
    TagFilter,
    TextFilter,
    TextOp,
)

A = "300dad2c-1234-11f1-8483-5a879df30de4"
B = "f9d612d4-1234-11f1-bfca-fa39f6ed1f22"


def parsed(query_string: str) -> ExploreQuery:
    return parse_query(parse_qsl(query_string, keep_blank_values=True))


def asked(**params: str) -> ExploreQuery:
    return parse_query(list(params.items()))


def refusal(*params: tuple[str, str]) -> str:
    with pytest.raises(InvalidValue) as caught:
        parse_query(params)
    return str(caught.value)


def semantic(value: str, limit: float | None = None) -> TextFilter:
    return TextFilter(TextOp.SEMANTIC, value, limit)


def one_of(*labels: str) -> tuple[LabelFilter, ...]:
    return (LabelFilter(LabelOp.ONE_OF, labels),)


# -- requests of the documentation ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("query_string", "meaning"),
    [
        (
            "vql=%5B%7B%22duplicates%22%3A%7B%22op%22%3A%22duplicates%22%2C%22value%22%3A0.95%7D%7D%5D"
            "&entity_type=IMAGES&threshold=0",
            ExploreQuery(duplicates=0.95),
        ),
        ("duplicate_threshold=0.95&entity_type=IMAGES&threshold=0", ExploreQuery(duplicates=0.95)),
        (
            "vql=%5B%7B%22uniqueness%22%3A%7B%22op%22%3A%22uniqueness%22%2C%22value%22%3A0.8%7D%7D%5D"
            "&entity_type=IMAGES&threshold=0",
            ExploreQuery(uniqueness=0.8),
        ),
        (
            "vql=%5B%7B%22duplicates%22%3A+%7B%22op%22%3A+%22duplicates%22%2C+%22value%22%3A+0.95%7D%7D%5D"
            "&entity_type=IMAGES&threshold=0&page_number=3",
            ExploreQuery(duplicates=0.95, page=3),
        ),
        (
            f"threshold=0&entity_type=IMAGES&page_number=0&anchor_media_id={A}&anchor_type=UPLOAD",
            ExploreQuery(anchor=Anchor(A, AnchorType.UPLOAD, None)),
        ),
        (
            f"anchor_media_id={A.upper()}&anchor_type=MEDIA",
            ExploreQuery(anchor=Anchor(A, AnchorType.MEDIA, None)),
        ),
        (
            "caption=a+dog&textual_similarity_threshold=0.5&entity_type=IMAGES",
            ExploreQuery(texts=(semantic("a dog", 0.5),)),
        ),
        ("image_caption=dog", ExploreQuery(texts=(semantic("dog"),))),
        ("labels=%5B%22dog%22%2C%22cat%22%5D", ExploreQuery(labels=one_of("dog", "cat"))),
        ("labels=[dog,puppy]", ExploreQuery(labels=one_of("dog", "puppy"))),
        (f"tags=%5B%22{A}%22%2C%22{B}%22%5D", ExploreQuery(tags=(TagFilter((A, B)),))),
        ("tags=untagged", ExploreQuery(tags=(TagFilter((), untagged=True),))),
        ("linkage=star&duplicate_threshold=1", ExploreQuery(duplicates=1.0, linkage=Linkage.STAR)),
        ("", ExploreQuery()),
    ],
)
def test_requests_as_clients_send_them(query_string: str, meaning: ExploreQuery) -> None:
    assert parsed(query_string) == meaning


def test_an_empty_value_is_as_good_as_none() -> None:
    names = (
        "vql duplicate_threshold entity_type threshold page_number caption image_caption labels tags linkage"
    )
    more = "textual_similarity_threshold anchor_media_id anchor_type"
    assert parse_query([(name, "") for name in f"{names} {more}".split()]) == ExploreQuery()
    assert parse_query([("threshold", ""), ("threshold", "2"), ("threshold", "")]).level == 2


def test_names_that_explore_does_not_know_are_ignored() -> None:
    assert parsed("allow_deleted=1&page_size=5&Threshold=9&x=&x=1&duplicate_threshold=0.9") == ExploreQuery(
        duplicates=0.9
    )


# -- each parameter -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "level"), [("0", 0), ("4", 4), ("0.0", 0), ("2.0", 2), ("03", 3), ("4e0", 4), ("-0.0", 0)]
)
def test_threshold_is_a_level(text: str, level: int) -> None:
    found = asked(threshold=text).level
    assert found == level and type(found) is int


@pytest.mark.parametrize(
    "text", ["5", "-1", "-0", "0.5", "0.95", "1e400", "nan", " 1", "1_0", "two", "true", "٣"]
)
def test_levels_that_are_refused(text: str) -> None:
    assert refusal(("threshold", text)) == (
        f"threshold takes a level, a whole number from 0 to 4, not {text!r}"
    )


@pytest.mark.parametrize(
    ("text", "page"), [("0", 0), ("12", 12), ("007", 7), (str(2**31 - 1), 2**31 - 1), ("0" * 5000 + "1", 1)]
)
def test_pages(text: str, page: int) -> None:
    assert asked(page_number=text).page == page


@pytest.mark.parametrize(
    "text", ["-1", "1.0", "1e3", str(2**31), "9" * 5000, " 1", "1 ", "+1", "1_0", "x", "٣", "²", "\x00"]
)
def test_pages_that_are_refused(text: str) -> None:
    said = refusal(("page_number", text))
    assert said.startswith("page_number takes a whole number from 0 to 2147483647, not ") and len(said) < 160


@pytest.mark.parametrize("name", ["duplicate_threshold", "textual_similarity_threshold"])
@pytest.mark.parametrize(
    "text", ["1.01", "-0.1", "nan", "1_0", "0,95", "95%", " 0.9", "\N{FULLWIDTH DIGIT ONE}"]
)
def test_numbers_that_are_refused(name: str, text: str) -> None:
    assert refusal((name, text)) == f"{name} takes a number from 0 to 1, not {text!r}"


@pytest.mark.parametrize("text", ["OBJECTS", "VIDEOS"])
def test_entities_that_are_not_served(text: str) -> None:
    assert refusal(("entity_type", text)) == (
        f"entity_type {text} is not supported by this server, extracted frames are: ask for IMAGES"
    )


@pytest.mark.parametrize("text", ["images", "IMAGE", "IMAGES ", "\x00"])
def test_entities_that_are_none(text: str) -> None:
    assert refusal(("entity_type", text)) == f"entity_type takes IMAGES, not {text!r}"


def test_linkages() -> None:
    assert [asked(linkage=name).linkage for name in Linkage] == list(Linkage)
    assert refusal(("linkage", "ward")) == "linkage takes complete or star or single, not 'ward'"


def test_an_anchor_has_an_id_and_a_type() -> None:
    assert refusal(("anchor_media_id", A)) == (
        f"anchor_media_id '{A}' comes without anchor_type: send UPLOAD or MEDIA with it"
    )
    for params in ([("anchor_type", "MEDIA")], [("anchor_type", "MEDIA"), ("anchor_media_id", "")]):
        assert refusal(*params).startswith("anchor_type 'MEDIA' comes without anchor_media_id")
    both = ("anchor_media_id", "x"), ("anchor_type", "UPLOAD")
    assert refusal(*both) == "anchor_media_id takes a UUID, not 'x'"
    assert refusal(("anchor_media_id", A), ("anchor_type", "upload")) == (
        "anchor_type takes UPLOAD or MEDIA, not 'upload'"
    )


# -- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('["dog"]', ["dog"]),
        (' ["dog", " cat ", "dog"] ', ["dog", "cat"]),
        ('["[a]", "b,c"]', ["[a]", "b,c"]),
        ("[dog]", ["dog"]),
        ("[ dog , big cat,dog]", ["dog", "big cat"]),
        ("[0,1]", ["0", "1"]),
        ("dog", ["dog"]),
        (" big cat ", ["big cat"]),
        ("a,b", ["a,b"]),
        ('6" pipe', ['6" pipe']),
        ("rock'n'roll", ["rock'n'roll"]),
        ("untagged", ["untagged"]),
        ("犬", ["犬"]),
    ],
)
def test_labels_come_in_three_forms(text: str, labels: list[str]) -> None:
    assert asked(labels=text).labels == one_of(*labels)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "labels takes an array of one or more strings, not []"),
        ("[ ]", "labels takes an array of one or more strings, not []"),
        ("[a,,b]", "labels[1] takes a text that is not empty, not ''"),
        ('["a", ""]', "labels[1] takes a text that is not empty, not ''"),
        ('["a", 5]', "labels[1] takes a text, not 5"),
        ('["a"', "labels takes JSON, not "),
        ('["a",]', "labels takes JSON, not "),
        ("[['a']]", "labels takes a JSON array of strings such as "),
        ("['a', 'b']", "labels takes a JSON array of strings such as "),
        ("[a", "labels takes a JSON array of strings such as "),
        ("{a}", "labels takes a JSON array of strings such as "),
        ('"a"', "labels takes a JSON array of strings such as "),
        ("[{}]", "labels takes a JSON array of strings such as "),
        ("[a],[b]", "labels takes a JSON array of strings such as "),
        (" ", "labels[0] takes a text that is not empty, not ''"),
        ("a\x00", "labels[0] takes a text without NUL"),
        ("[" + "a," * 1000 + "b]", "labels takes at most 1,000 values, not 1,001"),
        ("x" * 10_001, "labels[0] takes at most 10,000 characters, not 10,001"),
        ('["' + "[" * 70_000, "labels takes at most 65,536 bytes of JSON, not 70,002"),
        ('[["",' * 10_000, "labels takes at most 8 levels of objects and arrays"),
    ],
)
def test_labels_that_are_refused(text: str, said: str) -> None:
    assert refusal(("labels", text)).startswith(said)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f'["{A}", "{B}"]', (A, B)),
        (f"[{A},{B}]", (A, B)),
        (f"[ {B} ]", (B,)),
        (A.upper(), (A,)),
        (A.replace("-", ""), (A,)),
    ],
)
def test_tags_come_in_three_forms(text: str, ids: tuple[str, ...]) -> None:
    assert asked(tags=text).tags == (TagFilter(ids),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "tags takes an array of one or more strings, not []"),
        ("red", "tags[0] takes a UUID, not 'red'"),
        ("Untagged", "tags[0] takes a UUID, not 'Untagged'"),
        ("[untagged]", "tags[0] takes a UUID, not 'untagged'"),
        (f"{A},{B}", "tags[0] takes a UUID, not "),
        (f'["{A}", null]', "tags[1] takes a UUID, not null"),
    ],
)
def test_tags_that_are_refused(text: str, said: str) -> None:
    assert refusal(("tags", text)).startswith(said)


# -- several parameters ---------------------------------------------------------------------------


def vql(*filters: object) -> tuple[str, str]:
    return "vql", json.dumps(filters)


def test_one_name_has_one_value() -> None:
    assert parse_query([("threshold", "1"), ("x", "1"), ("threshold", "1")]).level == 1
    for name, values in (("threshold", ("1", "1.0")), ("caption", ("a", "b")), ("vql", ("[]", "[ ]"))):
        both = [(name, value) for value in values]
        assert refusal(*both) == f"{name} takes one value, not both {values[0]!r} and {values[1]!r}"


@pytest.mark.parametrize(("in_vql", "beside"), [(0.9, "0.95"), (0.95, "0.9")])
def test_the_stricter_duplicates_threshold_holds(in_vql: float, beside: str) -> None:
    filters = vql({"duplicates": {"op": "duplicates", "value": in_vql}})
    assert parse_query([filters, ("duplicate_threshold", beside)]).duplicates == 0.95


def test_the_limit_on_texts_holds_for_all_that_are_compared_by_meaning() -> None:
    filters = vql(
        {"text": {"op": "semantic", "value": "a", "threshold": 0.7}},
        {"text": {"op": "semantic", "value": "b", "threshold": 0.3}},
        {"text": {"op": "fts", "value": "c"}},
    )
    found = parse_query([("textual_similarity_threshold", "0.5"), ("caption", "d"), filters])
    keywords = TextFilter(TextOp.FTS, "c", None)
    assert found.texts == (semantic("a", 0.5), semantic("b", 0.3), keywords, semantic("d", 0.5))


def test_a_text_that_is_asked_for_twice_is_one() -> None:
    filters = vql({"text": {"op": "semantic", "value": "dog", "threshold": 0.7}})
    found = parse_query([filters, ("caption", "dog "), ("image_caption", "cat")])
    assert found.texts == (semantic("dog", 0.7), semantic("cat"))


def test_labels_and_tags_of_both_places_all_hold() -> None:
    filters = vql({"labels": {"op": "is_not", "value": ["cat"]}}, {"tags": {"op": "is", "value": [A]}})
    found = parse_query([filters, ("labels", "dog"), ("tags", f"[{A}]")])
    assert found.labels == (LabelFilter(LabelOp.IS_NOT, ("cat",)), *one_of("dog"))
    assert found.tags == (TagFilter((A,)),)


def test_an_anchor_in_both_places_is_the_same_or_refused() -> None:
    filters = vql({"similarity": {"op": "upload", "value": A, "threshold": 0.4}})
    same = parse_query([filters, ("anchor_media_id", A), ("anchor_type", "UPLOAD")])
    assert same.anchor == Anchor(A, AnchorType.UPLOAD, 0.4)
    for media_id, kind in ((B, "UPLOAD"), (A, "MEDIA")):
        assert refusal(filters, ("anchor_media_id", media_id), ("anchor_type", kind)) == (
            f"vql and anchor_media_id take one image to compare with, not UPLOAD {A} and {kind} {media_id}"
        )


# -- the canonical text ---------------------------------------------------------------------------

FRACTIONS = st.floats(0, 1).map(abs)
LIMITS = st.none() | FRACTIONS
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).map(
    str.strip
)
FULL_TEXTS = TEXTS.filter(bool)
IDS = st.uuids().map(str)
QUERIES = st.builds(
    ExploreQuery,
    level=st.integers(0, 4),
    page=st.integers(0, 2**31 - 1),
    duplicates=LIMITS,
    uniqueness=LIMITS,
    linkage=st.sampled_from(Linkage),
    texts=st.lists(st.builds(TextFilter, st.sampled_from(TextOp), FULL_TEXTS, LIMITS), max_size=3).map(tuple),
    labels=st.lists(
        st.builds(LabelFilter, st.sampled_from(LabelOp), st.lists(FULL_TEXTS, min_size=1).map(tuple)),
        max_size=3,
    ).map(tuple),
    tags=st.lists(
        st.builds(TagFilter, st.lists(IDS, min_size=1, max_size=3).map(tuple)) | st.just(TagFilter((), True)),
        max_size=3,
    ).map(tuple),
    issues=st.lists(
        st.builds(IssueFilter, st.sampled_from(ISSUES), st.sampled_from(IssueMode), FRACTIONS, FRACTIONS),
        max_size=3,
    ).map(tuple),
    anchor=st.none() | st.builds(Anchor, IDS, st.sampled_from(AnchorType), LIMITS),
)


def test_the_canonical_text_is_short_and_says_what_was_asked() -> None:
    assert ExploreQuery().canonical() == "{}"
    query = asked(duplicate_threshold="1", page_number="7", labels="dog", linkage="star")
    assert query.canonical() == (
        '{"duplicates":1.0,"labels":[{"op":"one_of","values":["dog"]}],"linkage":"star"}'
    )


def test_one_question_has_one_canonical_text() -> None:
    filters = vql({"duplicates": {"op": "duplicates", "value": 1}})
    forms = [
        "duplicate_threshold=1",
        "duplicate_threshold=1.0&threshold=0.0&page_number=9&linkage=complete&x=y",
    ]
    texts = {parsed(form).canonical() for form in forms} | {parse_query([filters]).canonical()}
    assert len(texts) == 1
    assert asked(duplicate_threshold="-0.0").canonical() == asked(duplicate_threshold="0").canonical()


@given(QUERIES)
def test_a_question_comes_back_from_its_canonical_text_at_page_0(query: ExploreQuery) -> None:
    text = query.canonical()
    back = ExploreQuery.from_canonical(text)
    assert text.isascii() and "\n" not in text
    assert back.canonical() == text and back.page == 0
    assert all(
        getattr(back, name) == getattr(query, name) for name in ExploreQuery.__slots__ if name != "page"
    )
    assert [type(text.op) for text in back.texts] == [TextOp] * len(query.texts)
    assert hash(back) == hash(ExploreQuery.from_canonical(text))


@given(QUERIES, QUERIES)
def test_different_questions_have_different_texts(one: ExploreQuery, other: ExploreQuery) -> None:
    same = ExploreQuery.from_canonical(one.canonical()) == ExploreQuery.from_canonical(other.canonical())
    assert (one.canonical() == other.canonical()) is same


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "5", '{"x": 1}', '{"texts": [{}]}', '{"texts": 5}', '{"anchor": null}'),
        *('{"anchor": {"kind": "X"}}', '{"linkage": "ward"}', '{"level": "x"}', '{"level": 1e400}'),
        *('{"page": 1}', "[" * 10**5),
    ],
)
def test_other_texts_are_not_taken_for_stored_questions(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a stored question"):
        ExploreQuery.from_canonical(text)


# -- arbitrary input ------------------------------------------------------------------------------

NAMES = [
    "vql",
    "duplicate_threshold",
    "entity_type",
    "threshold",
    "page_number",
    "caption",
    "image_caption",
    *("labels", "tags", "linkage", "textual_similarity_threshold", "anchor_media_id", "anchor_type", "x"),
]
TEXT_VALUES = (
    st.text() | st.text(alphabet='[]{}",:0-1e.x \\') | st.floats().map(repr) | st.integers().map(str)
)
WORDS = st.sampled_from(
    ["IMAGES", "UPLOAD", "MEDIA", "star", "untagged", A, f"[{A}]", "[]", '["a"]', "0.5", "1"]
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), TEXT_VALUES | WORDS), max_size=6))
def test_any_parameters_are_a_question_or_refused(params: list[tuple[str, str]]) -> None:
    try:
        query = parse_query(params)
    except InvalidValue as error:
        said = str(error)
        assert said.startswith(tuple(NAMES)) and len(said) < 400
        assert said.encode() and len(said.splitlines()) == 1
    else:
        back = ExploreQuery.from_canonical(query.canonical())
        assert parse_query(params) == query and back.canonical() == query.canonical()


@given(FRACTIONS, st.integers(0, 4), st.integers(0, 2**31 - 1))
def test_every_number_that_is_served_can_be_sent(value: float, level: int, page: int) -> None:
    query = asked(duplicate_threshold=repr(value), threshold=str(level), page_number=str(page))
    assert query == ExploreQuery(level=level, page=page, duplicates=value)
