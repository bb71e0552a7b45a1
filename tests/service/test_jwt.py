"""JWTs that clients sign with the secret of their key, as the documented clients do, and all others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import AuthRequired
from twinlens.service.auth import (
    ANONYMOUS,
    LEEWAY_SECONDS,
    LONGEST_JWT_HEADER,
    Caller,
    authenticate_jwt,
    authenticate_token,
)
from twinlens.service.keys import KeyStore, NewKey

NO_BEARER = "Authorization takes `Bearer <jwt>`"
NOT_SIGNED = "the JWT was not signed by a live API key"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    with closing(KeyStore(tmp_path / "home")) as store:
        yield store


@pytest.fixture
def lab(keys: KeyStore) -> NewKey:
    return keys.create("lab")


def claims_of(key: NewKey, **changes: Any) -> dict[str, Any]:
    """The documented claims, ten minutes long; a change to None leaves one out."""
    now = int(time.time())
    held = {"sub": key.api_key, "iat": now, "exp": now + 600, "iss": "sdk"} | changes
    return {name: value for name, value in held.items() if value is not None}


def signed(key: NewKey, **changes: Any) -> str:
    """A JWT as the documented client makes it."""
    headers = {"kid": key.api_key}
    return jwt.encode(claims_of(key, **changes), key.api_secret, algorithm="HS256", headers=headers)


def encoded(data: bytes | str) -> str:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(secret: str, header: Any, payload: Any, digest: Any = hashlib.sha256) -> str:
    """A JWT of any header and payload, texts as they are, signed by HMAC."""
    texts = [part if isinstance(part, bytes | str) else json.dumps(part) for part in (header, payload)]
    body = ".".join(encoded(text) for text in texts)
    return f"{body}.{encoded(hmac.new(secret.encode(), body.encode(), digest).digest())}"


def header_of(key: NewKey, **changes: Any) -> dict[str, Any]:
    return {"alg": "HS256", "typ": "JWT", "kid": key.api_key} | changes


def refusal(token: str | None, keys: KeyStore, **options: int) -> str:
    return refused_header(token and f"Bearer {token}", keys, **options)


def refused_header(header: str | None, keys: KeyStore, **options: int) -> str:
    with pytest.raises(AuthRequired) as caught:
        authenticate_jwt(header, keys, **options)
    assert len(caught.value.reason) < 200 and str(caught.value) == caught.value.reason
    return caught.value.reason


# -- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Bearer ", "Bearer a.b.c", "Basic \udcff", "x" * 10**6])
def test_without_keys_everybody_is_anonymous(keys: KeyStore, header: str | None) -> None:
    assert authenticate_jwt(header, keys) == Caller(ANONYMOUS, "")


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER \t {}", " Bearer {} "])
def test_the_documented_client(keys: KeyStore, lab: NewKey, form: str) -> None:
    assert authenticate_jwt(form.format(signed(lab)), keys) == Caller(lab.api_key, "lab")


def test_a_token_made_by_hand_is_as_good(keys: KeyStore, lab: NewKey) -> None:
    payload = {
        "sub": lab.api_key,
        "exp": int(time.time()) + 60,
        "aud": "anybody",
        "iss": 5,
        "jti": [],
        "more": {"x": None},
    }
    for header in (header_of(lab), {"kid": lab.api_key, "alg": "HS256"}, header_of(lab, typ="x", b64=True)):
        token = by_hand(lab.api_secret, header, payload)
        assert authenticate_jwt(f"Bearer {token}", keys) == Caller(lab.api_key, "lab")


def test_callers_are_told_apart(keys: KeyStore) -> None:
    made = [keys.create(name) for name in ("lab", "shop")]
    assert [authenticate_jwt(f"Bearer {signed(new)}", keys) for new in made] == [
        Caller(new.api_key, new.name) for new in made
    ]


@pytest.mark.parametrize(
    "header",
    ["", " ", "Bearer", "Bearer ", "Bearer{}", "Token {}", "JWT {}", "{}", "Bearer {} x", "Bearer \xe9{}"],
)
def test_headers_without_a_jwt(keys: KeyStore, lab: NewKey, header: str) -> None:
    assert refused_header(header.format(signed(lab)), keys).startswith(NO_BEARER)
    assert refused_header(None, keys).startswith(NO_BEARER)


def test_a_header_has_a_longest_length(keys: KeyStore, lab: NewKey) -> None:
    room = LONGEST_JWT_HEADER - len(f"Bearer {signed(lab)}")
    assert authenticate_jwt(f"Bearer {signed(lab)}{' ' * room}", keys).name == "lab"
    for padding in (room + 1, 10**6):
        assert refused_header(f"Bearer {signed(lab)}{' ' * padding}", keys) == (
            "Authorization takes at most 8,192 characters"
        )


def test_each_dialect_takes_its_own(keys: KeyStore, lab: NewKey) -> None:
    assert refusal(lab.token, keys).startswith(NOT_SIGNED)
    for word in ("Token", "JWT"):
        with pytest.raises(AuthRequired, match="Invalid token"):
            authenticate_token(f"{word} {signed(lab)}", keys)


# -- signatures -----------------------------------------------------------------------------------


def test_nothing_tells_an_unknown_key_from_a_wrong_signature(keys: KeyStore, tmp_path: Path) -> None:
    lab, shop, gone = (keys.create(name) for name in ("lab", "shop", "gone"))
    kept = signed(gone)
    assert authenticate_jwt(f"Bearer {kept}", keys).name == "gone"
    keys.revoke("gone")
    with closing(KeyStore(tmp_path / "other")) as elsewhere:
        unknown = elsewhere.create("lab")
    tokens = {
        "unknown": signed(unknown),
        "revoked": kept,
        "another key's secret": by_hand(shop.api_secret, header_of(lab), claims_of(lab)),
        "the id as secret": by_hand(lab.api_key, header_of(lab), claims_of(lab)),
        "the token as secret": by_hand(lab.token, header_of(lab), claims_of(lab)),
        "no secret": by_hand("", header_of(lab), claims_of(lab)),
        "None": by_hand("None", header_of(gone), claims_of(gone)),
        "unknown and expired": signed(unknown, exp=1),
        "wrong and expired": by_hand(shop.api_secret, header_of(lab), claims_of(lab, exp=1)),
        "wrong and without claims": by_hand(shop.api_secret, header_of(lab), []),
    }
    assert len({refusal(token, keys) for token in tokens.values()}) == 1
    assert refusal(tokens["unknown"], keys).startswith(NOT_SIGNED)


def test_a_changed_token_is_not_signed(keys: KeyStore, lab: NewKey) -> None:
    head, payload, signature = signed(lab).split(".")
    more = encoded(json.dumps(claims_of(lab, exp=int(time.time()) + 10**6)))
    for token in (
        f"{head}.{more}.{signature}",
        f"{head}.{payload}.{signature[:-2]}",
        f"{head}.{payload}.{signature[1:]}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}..{signature}",
        f".{payload}.{signature}",
        f"{head}.{payload}.{signature}.{signature}",
        f"{head}.{payload}.!{signature}",
        "..",
        ".",
        "x",
    ):
        assert refusal(token, keys).startswith(NOT_SIGNED)


OTHER_ALGORITHMS: list[object] = [
    *("none", "None", "", "RS256", "ES256", "hs256", "HS256 "),
    *(None, ["HS256"], {}, 5, True),
]


def test_other_algorithms_are_not_taken(keys: KeyStore, lab: NewKey) -> None:
    claims = claims_of(lab)
    for name, digest in (("HS512", hashlib.sha512), ("HS384", hashlib.sha384)):
        assert refusal(by_hand(lab.api_secret, header_of(lab, alg=name), claims, digest), keys).startswith(
            NOT_SIGNED
        )
    for algorithm in OTHER_ALGORITHMS:
        token = by_hand(lab.api_secret, header_of(lab, alg=algorithm), claims)
        assert refusal(token, keys).startswith(NOT_SIGNED)
        assert refusal(token[: token.rindex(".") + 1], keys).startswith(NOT_SIGNED)
    without = by_hand(lab.api_secret, {"kid": lab.api_key}, claims)
    assert refusal(without, keys).startswith(NOT_SIGNED)
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": lab.api_key})
    assert refusal(unsigned, keys).startswith(NOT_SIGNED)


@pytest.mark.parametrize(
    "kid", [None, 5, 1e400, True, "", "lab", "\x00", "\udcff", "' OR 1=1 --", ["x"], {"x": 1}]
)
def test_a_kid_that_names_no_key(keys: KeyStore, lab: NewKey, kid: object) -> None:
    assert refusal(by_hand(lab.api_secret, header_of(lab, kid=kid), claims_of(lab)), keys).startswith(
        NOT_SIGNED
    )


def test_a_kid_has_one_form(keys: KeyStore, lab: NewKey) -> None:
    same = (
        lab.api_key.upper(),
        f" {lab.api_key}",
        f"{lab.api_key}\x00",
        [lab.api_key],
        lab.token,
        lab.api_secret,
    )
    for kid in same:
        token = by_hand(lab.api_secret, header_of(lab, kid=kid), claims_of(lab))
        assert refusal(token, keys).startswith(NOT_SIGNED)
    without = by_hand(lab.api_secret, {"alg": "HS256", "typ": "JWT"}, claims_of(lab))
    assert refusal(without, keys).startswith(NOT_SIGNED)


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "x", None, 5])
def test_extensions_are_not_understood(keys: KeyStore, lab: NewKey, crit: object) -> None:
    for extra in ({"crit": crit}, {"crit": crit, "b64": True}, {"crit": crit, "b64": False}):
        token = by_hand(lab.api_secret, header_of(lab, **extra), claims_of(lab))
        assert refusal(token, keys).startswith(NOT_SIGNED)


@pytest.mark.parametrize(
    "header",
    [
        *("", "x", "[]", "null", "5", '"HS256"', "{", "\x00", "\ud800", b"\xff\xfe", "NaN"),
        *("[" * 5000, '{"alg":' * 700, "1" * 5000),
    ],
)
def test_headers_that_are_no_json_object(keys: KeyStore, lab: NewKey, header: bytes | str) -> None:
    assert refusal(by_hand(lab.api_secret, header, claims_of(lab)), keys).startswith(NOT_SIGNED)


# -- claims, of which only who has the secret hears ------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        *("", "x", "[]", "null", "5", "{", "\x00", b"\xff\xfe"),
        *("[" * 5000, '{"a":' * 900, '{"exp": ' + "1" * 4999 + "}"),
    ],
)
def test_payloads_that_are_no_json_object(keys: KeyStore, lab: NewKey, payload: bytes | str) -> None:
    assert refusal(by_hand(lab.api_secret, header_of(lab), payload), keys) == (
        "the payload of the JWT is not a JSON object"
    )


def test_sub_names_the_key_that_signed(keys: KeyStore, lab: NewKey) -> None:
    shop = keys.create("shop")
    for sub in (
        shop.api_key,
        lab.api_key.upper(),
        "lab",
        "",
        None,
        5,
        True,
        [lab.api_key],
        {"x": lab.api_key},
    ):
        token = by_hand(lab.api_secret, header_of(lab), claims_of(lab) | {"sub": sub})
        assert refusal(token, keys) == "the JWT names another key as `sub` than as `kid`"
    assert "`sub`" in refusal(by_hand(lab.api_secret, header_of(lab), {"exp": int(time.time()) + 9}), keys)


def test_a_jwt_expires_a_minute_late(keys: KeyStore, lab: NewKey) -> None:
    now = int(time.time())
    old = signed(lab, exp=now - LEEWAY_SECONDS + 20, iat=None)
    assert authenticate_jwt(f"Bearer {old}", keys).name == "lab"
    for expires in (now - LEEWAY_SECONDS, now - 10**6, 1, 0):
        assert refusal(signed(lab, exp=expires), keys) == "the JWT has expired: sign a new one"
    assert refusal(signed(lab, exp=None), keys).startswith("the JWT has no `exp`")


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_jwt_of_the_future_waits_for_all_but_a_minute(keys: KeyStore, lab: NewKey, name: str) -> None:
    now = int(time.time())
    for moment in (0, now - 10**6, now + LEEWAY_SECONDS - 20, float(now) + 0.5):
        assert authenticate_jwt(f"Bearer {signed(lab, **{name: moment})}", keys).name == "lab"
    late = signed(lab, **{name: now + LEEWAY_SECONDS + 20, "exp": now + 900})
    assert refusal(late, keys).startswith("the JWT has an `iat` or `nbf` in the future")


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "Infinity", "-Infinity", "1e400", "1e300", "-1", "1" * 4000, "1760000000000"),
        *("true", "null", "[]", "{}", '"9999999999"', '""'),
    ],
)
def test_times_that_are_none(keys: KeyStore, lab: NewKey, name: str, value: str) -> None:
    claims = json.dumps(claims_of(lab, **{name: "here"})).replace('"here"', value)
    assert refusal(by_hand(lab.api_secret, header_of(lab), claims), keys) == (
        f"`{name}` of the JWT is not a Unix time in seconds"
    )


def test_a_time_may_have_a_fraction_and_be_far_away(keys: KeyStore, lab: NewKey) -> None:
    for expires in (time.time() + 5.25, 253_402_300_799):
        assert authenticate_jwt(f"Bearer {signed(lab, exp=expires)}", keys).name == "lab"


def test_the_operator_may_limit_how_long_a_jwt_lasts(keys: KeyStore, lab: NewKey) -> None:
    now = int(time.time())
    said = "the JWT may last at most 600 s, from its `iat` to its `exp`"
    assert authenticate_jwt(f"Bearer {signed(lab)}", keys, longest_seconds=600).name == "lab"
    old = signed(lab, iat=now - 580, exp=now + 20)
    assert authenticate_jwt(f"Bearer {old}", keys, longest_seconds=600).name == "lab"
    assert refusal(signed(lab, iat=now, exp=now + 601), keys, longest_seconds=600) == said
    assert refusal(signed(lab, iat=now - 590, exp=now + 20), keys, longest_seconds=600) == said
    assert refusal(signed(lab, iat=None), keys, longest_seconds=600) == said


# -- arbitrary input ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "zip"]), JSON)
CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "sub", "iss", "aud", "jti"]), JSON)


@settings(max_examples=200, deadline=None)
@given(header=HEADERS | JSON, claims=CLAIMS | JSON, text=st.text(), right=st.booleans())
def test_nothing_else_is_ever_raised(
    tmp_path_factory: pytest.TempPathFactory, header: Any, claims: Any, text: str, right: bool
) -> None:
    with closing(KeyStore(tmp_path_factory.mktemp("keys"))) as keys:
        lab = keys.create("lab")
        if right and isinstance(header, dict):
            header = header_of(lab) | {name: header[name] for name in ("typ", "jwk", "zip") if name in header}
        for token in (by_hand(lab.api_secret, header, claims), text, f"{text}.{text}.{text}", encoded(text)):
            refused_header(token, keys)
            refused_header(f"Bearer {token}", keys)
