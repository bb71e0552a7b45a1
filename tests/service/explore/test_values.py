"""Values of a request: what counts as a number, a text, a UUID or JSON, and what a refusal says."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.values import (
    MAX_JSON_BYTES,
    canonical_uuid,
    fraction,
    fraction_in_text,
    name_in_text,
    number_in_text,
    plain_text,
    several,
    shown,
    strict_json,
    truth_in_text,
)

ID = "300dad2c-1234-11f1-8483-5a879df30de4"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("0.95", 0.95),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("9.5E-1", 0.95),
        ("0010", 10.0),
        ("-2", -2.0),
        ("-0.0", 0.0),
        ("1e400", math.inf),
    ],
)
def test_numbers_in_text(text: str, value: float) -> None:
    assert number_in_text(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " 1",
            "1 ",
            "1\n",
            "+1",
            "-0",
            "1_0",
            "nan",
            "inf",
            "Infinity",
            "-",
            ".",
            "e1",
            "1e",
            "0x1",
            "1,5",
        ),
        *("\N{ARABIC-INDIC DIGIT ONE}", "\N{FULLWIDTH DIGIT ONE}", "\N{SUPERSCRIPT TWO}", "1\x00", "\udcff"),
    ],
)
def test_what_python_or_others_take_for_a_number(text: str) -> None:
    assert number_in_text(text) is None


def test_long_numbers_are_read_in_time_that_grows_with_them() -> None:
    assert number_in_text("9" * 10**6) == math.inf
    assert number_in_text("9" * 10**6 + "x") is None


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5, 1e-320])
def test_fractions(value: float) -> None:
    read = fraction("x", value)
    assert read == value and type(read) is float
    assert fraction_in_text("x", repr(value)) == value


def test_zero_has_no_sign() -> None:
    for zero in (fraction("x", -0.0), fraction_in_text("x", "-0.0")):
        assert math.copysign(1, zero) == 1


@pytest.mark.parametrize(
    "value", [-0.001, 1.001, 2, 10**17, math.inf, -math.inf, math.nan, True, False, None, "0.5", [0.5], {}]
)
def test_what_is_no_fraction(value: object) -> None:
    with pytest.raises(InvalidValue, match=r"^x takes a number from 0 to 1, not "):
        fraction("x", value)


@pytest.mark.parametrize("text", ["1.001", "-0.1", "1e400", "nan", "1_0", "high"])
def test_what_is_no_fraction_in_a_url(text: str) -> None:
    with pytest.raises(InvalidValue, match=f"^x takes a number from 0 to 1, not '{text}'$"):
        fraction_in_text("x", text)


@given(st.floats(0, 1))
def test_every_fraction_can_be_sent(value: float) -> None:
    assert fraction_in_text("x", repr(value)) == fraction("x", json.loads(repr(value))) == value


def test_texts_lose_the_blanks_around_them() -> None:
    assert plain_text("x", " \u3000a b\t") == "a b"
    assert plain_text("x", "x" * 10_000 + " ") == "x" * 10_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "x takes a text that is not empty, not ''"),
        (" \t", "x takes a text that is not empty, not ' \\t'"),
        ("x" * 10_001, "x takes at most 10,000 characters, not 10,001"),
        ("a\x00b", "x takes a text without NUL and halves of surrogate pairs, not 'a\\x00b'"),
        ("a\ud800", "x takes a text without NUL and halves of surrogate pairs, not 'a\\ud800'"),
        (5, "x takes a text, not 5"),
        (None, "x takes a text, not null"),
        (["a"], 'x takes a text, not ["a"]'),
    ],
)
def test_what_is_no_text(value: object, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        plain_text("x", value)
    assert str(caught.value) == said


@pytest.mark.parametrize("form", [ID, ID.upper(), ID.replace("-", "")])
def test_a_uuid_has_one_form(form: str) -> None:
    assert canonical_uuid("x", form) == ID


@pytest.mark.parametrize(
    "value",
    [
        *("", ID + " ", ID + "\n", f"{{{ID}}}", f"urn:uuid:{ID}", ID[:-1], ID + "0", ID.replace("-", "_")),
        ID.replace("3", "\N{ARABIC-INDIC DIGIT THREE}"),
        ID.replace("-", "", 1),
        "0x" + "1" * 30,
        "1_" * 16,
        None,
        5,
        [ID],
    ],
)
def test_what_is_no_uuid(value: object) -> None:
    with pytest.raises(InvalidValue, match=r"^x takes a UUID, not "):
        canonical_uuid("x", value)


@given(st.uuids())
def test_every_uuid_is_read(value: uuid.UUID) -> None:
    assert canonical_uuid("x", value.hex.upper()) == str(value)


def test_lists_hold_each_value_once_in_their_order() -> None:
    assert several("x", ["b", " a ", "b", "a"], plain_text) == ("b", "a")
    assert len(several("x", [str(number) for number in range(1000)], plain_text)) == 1000


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "x takes an array of one or more strings, not []"),
        ("a", "x takes an array of one or more strings, not 'a'"),
        ({"a": 1}, 'x takes an array of one or more strings, not {"a": 1}'),
        (["a", 5], "x[1] takes a text, not 5"),
        (["a"] * 1001, "x takes at most 1,000 values, not 1,001"),
    ],
)
def test_lists_that_are_refused(values: object, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        several("x", values, plain_text)
    assert str(caught.value) == said


# -- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [[], {}, 0, -1.5, "\N{GRINNING FACE}", None, True, {"a": [1, {"b": 2}]}, [[[[[[[[]]]]]]]], 10**17],
)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert strict_json("x", json.dumps(value)) == value
    assert strict_json("x", f" \n{json.dumps(value, ensure_ascii=False)}\t") == value


def test_numbers_without_end_become_infinite() -> None:
    assert strict_json("x", "[1e400, -1e400]") == [math.inf, -math.inf]
    assert strict_json("x", "9" * 5000) == math.inf


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x takes JSON, not '': Expecting value at character 1"),
        ("[1,]", "x takes JSON, not '[1,]': Expecting value at character 4"),
        ("[1] 2", "x takes JSON, not '[1] 2': Extra data at character 5"),
        ("{'a': 1}", "character 2"),
        ("\ufeff[]", "x takes JSON, not '\\ufeff[]'"),
        ('["\x00"]', "x takes JSON, not "),
        ('["a\nb"]', "x takes JSON, not "),
        ("NaN", "x takes JSON, where NaN is not a number"),
        ("[-Infinity]", "x takes JSON, where -Infinity is not a number"),
        ("[-0]", "x takes 0, not -0, for zero"),
        ("[01]", "x takes JSON, not "),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "x takes each key of an object once, not 'b' twice"),
        ('{"a": 1, "\\u0061": 2}', "x takes each key of an object once, not 'a' twice"),
        ("[" * 9 + "]" * 9, "x takes at most 8 levels of objects and arrays"),
        ("[" * 30_000 + "]" * 30_000, "x takes at most 8 levels of objects and arrays"),
        ('{"a":' * 10_000, "x takes at most 8 levels of objects and arrays"),
        (" " * (MAX_JSON_BYTES + 1), "x takes at most 65,536 bytes of JSON, not 65,537"),
        ("\u20ac" * 30_000, "x takes at most 65,536 bytes of JSON, not 90,000"),
    ],
)
def test_json_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        strict_json("x", text)
    assert said in str(caught.value)


def test_the_longest_json_is_read() -> None:
    assert strict_json("x", f'"{"x" * (MAX_JSON_BYTES - 2)}"') == "x" * (MAX_JSON_BYTES - 2)


@given(st.text())
def test_any_text_is_json_or_refused(text: str) -> None:
    try:
        value = strict_json("x", text)
    except InvalidValue:
        return
    assert value == json.loads(
        text, parse_int=lambda digits: int(digits) if len(digits) <= 18 else float(digits)
    )


# -- names and truths -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "猫 と 犬", "👨\u200d👩\u200d👧", "x" * 20, "no\xa0break"])
def test_names_are_taken_in_any_script(name: str) -> None:
    assert name_in_text("name", name, 20) == name
    assert name_in_text("name", f" {name}"[:20], 20) == f" {name}"[:20].strip()


@pytest.mark.parametrize("name", ["", " ", "x" * 21, "a\nb", "a\x00", "a\x7f", "a\x85b", "\ud800"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="name takes a name of 1 to 20 characters without control"):
        name_in_text("name", name, 20)


def test_truths_are_words_or_digits() -> None:
    assert [truth_in_text("x", text) for text in ("true", "True", "1", "FALSE", "0")] == [True] * 3 + [
        False
    ] * 2
    for text in ("", "yes", "2", "null", " true"):
        with pytest.raises(InvalidValue, match="x takes true or false, not"):
            truth_in_text("x", text)


# -- messages -------------------------------------------------------------------------------------


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_came_is_shown_on_one_line_that_can_be_sent(value: object) -> None:
    text = shown(value)
    assert len(text) <= 100
    assert text.encode() and len(text.splitlines()) == 1


def test_what_came_is_cut() -> None:
    assert shown("x" * 10**5) == "'" + "x" * 96 + "..."
    assert shown("x" * 98) == "'" + "x" * 98 + "'"
