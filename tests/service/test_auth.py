"""Who may use a server, and who may reach one that asks for nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import AuthRequired, ServiceError, UnsafeAddress
from twinlens.service.auth import ANONYMOUS, Caller, authenticate_token, check_exposure, only_loopback
from twinlens.service.keys import KeyStore

MISSING = "Authentication credentials were not provided."
WRONG = "Invalid token."


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    with closing(KeyStore(tmp_path / "home")) as store:
        yield store


def refusal(header: str | None, keys: KeyStore) -> str:
    with pytest.raises(AuthRequired) as caught:
        authenticate_token(header, keys)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    "header", [None, "", "Token ", "Token tl_x", "JWT a.b.c", "Basic \udcff", "x" * 10**6]
)
def test_without_keys_everybody_is_anonymous(keys: KeyStore, header: str | None) -> None:
    assert authenticate_token(header, keys) == Caller(ANONYMOUS, "")


@pytest.mark.parametrize(
    "form", ["Token {}", "JWT {}", "token {}", "jwt {}", "TOKEN   {}", "Token\t{}", " Token {} "]
)
def test_both_words_of_the_contract(keys: KeyStore, form: str) -> None:
    new = keys.create("lab")
    assert authenticate_token(form.format(new.token), keys) == Caller(new.api_key, "lab")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        "Token",
        "Token ",
        "JWT \t ",
        "{}",
        "Bearer {}",
        "Token{}",
        "Token {} x",
        "To\u212aen {}",
    ],
)
def test_headers_without_a_token(keys: KeyStore, header: str | None) -> None:
    token = keys.create("lab").token
    assert refusal(header and header.format(token), keys) == MISSING


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "tl_",
        "{}x",
        "x{}",
        "null",
        "\xe9",
        "\udcff",
        "\N{GRINNING FACE}",
        "\x00",
        "'OR'1'='1",
        "x" * 10**6,
    ],
)
def test_tokens_of_nobody(keys: KeyStore, wrong: str) -> None:
    token = keys.create("lab").token
    assert refusal(f"Token {wrong.format(token)}", keys) == WRONG


def test_a_revoked_key_is_like_one_that_never_was_and_opens_nothing(keys: KeyStore, tmp_path: Path) -> None:
    new = keys.create("lab")
    keys.revoke("lab")
    assert refusal(f"Token {new.token}", keys) == WRONG
    assert refusal(None, keys) == MISSING
    (tmp_path / "home" / "keys.sqlite").unlink()
    assert refusal(None, keys) == MISSING


def test_callers_are_told_apart(keys: KeyStore) -> None:
    made = [keys.create(name) for name in ("lab", "shop")]
    assert [authenticate_token(f"Token {new.token}", keys) for new in made] == [
        Caller(new.api_key, new.name) for new in made
    ]
    assert len({new.api_key for new in made} | {ANONYMOUS}) == 3


def test_an_api_key_or_a_secret_is_no_token(keys: KeyStore) -> None:
    new = keys.create("lab")
    assert {refusal(f"Token {part}", keys) for part in (new.api_key, new.api_secret, "lab")} == {WRONG}


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_no_other_text_lets_anybody_in(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    with closing(KeyStore(tmp_path_factory.mktemp("keys"))) as keys:
        keys.create("lab")
        for header in (text, f"Token {text}", f"JWT {text}"):
            assert refusal(header, keys) in (MISSING, WRONG)


def test_long_headers_cost_no_more_than_reading_them(keys: KeyStore) -> None:
    keys.create("lab")
    started = time.process_time()
    for header in ("Token " + " " * 10**6, " " * 10**6, "Token " + "x " * 500_000, "Token " + "x" * 10**6):
        refusal(header, keys)
    assert time.process_time() - started < 2


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "127.1", "::1", "[::1]", "::ffff:127.0.0.1"],
)
def test_only_this_machine_reaches_loopback(keys: KeyStore, host: str) -> None:
    check_exposure(host, keys, allow_anonymous=False)


PUBLIC = ["0.0.0.0", "::", "", "0", "192.168.1.5", "10.0.0.1", "8.8.8.8", "2001:db8::1", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("host", PUBLIC)
def test_other_machines_reach_any_other_address(keys: KeyStore, host: str) -> None:
    with pytest.raises(UnsafeAddress) as caught:
        check_exposure(host, keys, allow_anonymous=False)
    for way_out in ("`twinlens keys create --name NAME`", "TWINLENS_ALLOW_ANONYMOUS=1"):
        assert way_out in str(caught.value)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_key_or_the_operator_opens_a_public_address(keys: KeyStore, host: str) -> None:
    check_exposure(host, keys, allow_anonymous=True)
    keys.create("lab")
    check_exposure(host, keys, allow_anonymous=False)
    keys.revoke("lab")
    check_exposure(host, keys, allow_anonymous=False)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300, "nul\x00", "\udcff"])
def test_names_without_an_address(keys: KeyStore, host: str) -> None:
    with pytest.raises(ServiceError, match="neither an address nor a name"):
        check_exposure(host, keys, allow_anonymous=False)


def test_a_name_is_as_safe_as_the_least_safe_of_its_addresses() -> None:
    assert only_loopback(["127.0.0.1", "::1", "127.0.1.1"])
    assert not only_loopback(["127.0.0.1", "10.0.0.1"])
    assert not only_loopback(["2001:db8::1", "::1"])
