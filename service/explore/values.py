"""Values of a request, checked: what `vql` and the other parameters share.

Each refusal is one sentence: the parameter or the place in it, what it takes, and what came.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twinlens.engine.errors import InvalidValue
from twinlens.service.nesting import nests_deeper

MAX_JSON_BYTES = 64 * 1024
"""UTF-8 bytes of JSON in one parameter."""

MAX_DEPTH = 8
"""Levels of objects and arrays in a parameter; a filter that means something has four."""

MAX_CHARACTERS = 10_000
"""Of one text or label."""

MAX_VALUES = 1000
"""In one list."""

_SHOWN_CHARACTERS = 100
_LARGEST_PLAIN_INTEGER = 18
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}|{_HEX}{{32}}")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_FRACTION = "a number from 0 to 1"
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_UNFIT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def unfit(name: str, takes: str, value: object) -> InvalidValue:
    """The refusal of a value: its place, what is taken there, and what came."""
    return InvalidValue(f"{name} takes {takes}, not {shown(value)}")


def shown(value: object) -> str:
    """A value for a message: text quoted and escaped, anything else as JSON, at most 100 characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def strict_json(name: str, text: str) -> Any:
    """Parse JSON by RFC 8259, at most 64 KiB of it and 8 levels deep, without a key twice in one object.

    Whole numbers of more than 18 characters become the nearest float64, numbers that none holds infinite.

    Raises:
        InvalidValue: anything else; the message says where.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_JSON_BYTES:
        raise InvalidValue(f"{name} takes at most {MAX_JSON_BYTES:,} bytes of JSON, not {size:,}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for key, value in pairs:
            if key in held:
                raise InvalidValue(f"{name} takes each key of an object once, not {shown(key)} twice")
            held[key] = value
        return held

    def refuse_constant(constant: str) -> NoReturn:
        raise InvalidValue(f"{name} takes JSON, where {constant} is not a number")

    def integer(digits: str) -> float:
        if digits == "-0":
            raise InvalidValue(f"{name} takes 0, not -0, for zero")
        return int(digits) if len(digits) <= _LARGEST_PLAIN_INTEGER else float(digits)

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse_constant, parse_int=integer)
    except json.JSONDecodeError as error:
        raise InvalidValue(
            f"{name} takes JSON, not {shown(text)}: {error.msg} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise _too_deep(name) from None
    if nests_deeper(value, MAX_DEPTH):
        raise _too_deep(name)
    return value


def _too_deep(name: str) -> InvalidValue:
    return InvalidValue(f"{name} takes at most {MAX_DEPTH} levels of objects and arrays")


def fraction(name: str, value: object) -> float:
    """A number of JSON in [0, 1].

    Raises:
        InvalidValue: anything else; a boolean or a text is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise unfit(name, _FRACTION, value)
    return abs(float(value))


def number_in_text(text: str) -> float | None:
    """The number that a decimal in plain ASCII stands for: `0.95`, `1`, `.5`, `1e-3`; else None."""
    return float(text) if text != "-0" and _NUMBER.fullmatch(text) else None


def fraction_in_text(name: str, text: str) -> float:
    """A number of a URL in [0, 1].

    Raises:
        InvalidValue: anything else.
    """
    value = number_in_text(text)
    if value is None or not 0 <= value <= 1:
        raise unfit(name, _FRACTION, text)
    return abs(value)


def plain_text(name: str, value: object) -> str:
    """A text of 1 to 10,000 characters, blanks around it removed.

    Raises:
        InvalidValue: anything else, or one with a NUL or half a surrogate pair, which no UTF-8 holds.
    """
    if not isinstance(value, str):
        raise unfit(name, "a text", value)
    text = value.strip()
    if not text:
        raise unfit(name, "a text that is not empty", value)
    if len(text) > MAX_CHARACTERS:
        raise InvalidValue(f"{name} takes at most {MAX_CHARACTERS:,} characters, not {len(text):,}")
    if _UNFIT.search(text):
        raise unfit(name, "a text without NUL and halves of surrogate pairs", value)
    return text


def truth_in_text(name: str, text: str) -> bool:
    """What `true`, `false`, `1` or `0` of a URL or a form stands for, in any case of letters.

    Raises:
        InvalidValue: anything else.
    """
    if (value := _TRUTHS.get(text.lower())) is None:
        raise unfit(name, "true or false", text)
    return value


def name_in_text(name: str, text: str, longest: int) -> str:
    """A name for people in any script, of 1 to `longest` characters, blanks around it removed.

    Raises:
        InvalidValue: anything else, or one with a control character.
    """
    if not text.strip() or len(text) > longest or _UNFIT_IN_NAMES.search(text):
        raise unfit(name, f"a name of 1 to {longest} characters without control characters", text)
    return text.strip()


def media_id_in(path: str) -> str:
    """The id of an image as a part of a URL has it; vectors of one's own have ids of any form."""
    try:
        return canonical_uuid("id", path)
    except InvalidValue:
        return path


def canonical_uuid(name: str, value: object) -> str:
    """A UUID in lower case with hyphens; it may come in upper case or without hyphens.

    Raises:
        InvalidValue: anything else.
    """
    # uuid.UUID alone also takes blanks, underscores, signs and braces.
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise unfit(name, "a UUID", value)
    return str(uuid.UUID(value))


def several(name: str, values: object, check: Callable[[str, object], str]) -> tuple[str, ...]:
    """A list of 1 to 1,000 values, each checked, repeated ones once.

    Raises:
        InvalidValue: anything else.
    """
    if not isinstance(values, list) or not values:
        raise unfit(name, "an array of one or more strings", values)
    if len(values) > MAX_VALUES:
        raise InvalidValue(f"{name} takes at most {MAX_VALUES:,} values, not {len(values):,}")
    return tuple(dict.fromkeys(check(f"{name}[{place}]", value) for place, value in enumerate(values)))


def choice(name: str, value: object, choices: Sequence[str]) -> str:
    """One of some words, written exactly so.

    Raises:
        InvalidValue: anything else.
    """
    if not isinstance(value, str) or value not in choices:
        raise unfit(name, " or ".join(choices), value)
    return value
