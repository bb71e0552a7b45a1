"""Signed URLs: good for their path and their time, whatever else is sent."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.explore.failures import Forbidden
from twinlens.service.explore.signing import UrlSigner

SECRET = bytes(range(32))
PATH = "/api/v1/image/300dad2c-1234-11f1-8483-5a879df30de4/thumbnail"
NOW = 1_760_000_000.5
HOUR = 3600
SIGNER = UrlSigner(SECRET, seconds=HOUR)


def parts(query: str) -> tuple[str, str]:
    """Expiry and signature of a query string."""
    (first, expires), (second, signature) = parse_qsl(query, strict_parsing=True)
    assert (first, second) == ("expires", "signature")
    return expires, signature


def refusal(expires: str | None, signature: str | None, path: str = PATH, now: float = NOW) -> str:
    with pytest.raises(Forbidden) as caught:
        SIGNER.check(path, expires, signature, now)
    return str(caught.value)


def test_a_signed_path_can_be_loaded_until_it_expires() -> None:
    expires, signature = parts(SIGNER.sign(PATH, NOW))
    for now in (0, NOW, NOW + HOUR, int(expires) - 0.001):
        SIGNER.check(PATH, expires, signature, now)
    assert refusal(expires, signature, now=int(expires)) == (
        "the signature of this URL has expired: ask for what shows it again"
    )


def test_the_query_string_needs_no_escapes() -> None:
    query = SIGNER.sign("/a b/\N{GRINNING FACE}?&=", NOW)
    expires, signature = parts(query)
    assert query == f"expires={expires}&signature={signature}"
    assert parse_qs(query) == {"expires": [expires], "signature": [signature]}
    assert len(signature) == 43 and signature.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("now", "expires"), [(0, 10), (0.1, 20), (9.9, 20), (10, 20), (10.1, 30), (1_760_000_001, 1_760_000_020)]
)
def test_expiry_is_the_end_of_the_next_period(now: float, expires: int) -> None:
    assert parts(UrlSigner(SECRET, seconds=10).sign(PATH, now))[0] == str(expires)


@given(st.floats(0, 1e11), st.integers(1, 10**7))
def test_urls_live_at_least_as_long_as_was_asked_and_at_most_twice(now: float, seconds: int) -> None:
    signer = UrlSigner(SECRET, seconds=seconds)
    expires, signature = parts(signer.sign(PATH, now))
    assert seconds <= int(expires) - now <= 2 * seconds
    signer.check(PATH, expires, signature, now)


def test_urls_stay_the_same_for_a_period() -> None:
    begin = 1_760_000_400  # a multiple of 3,600 and a bit later
    assert len({SIGNER.sign(PATH, begin + minute * 60) for minute in range(1, 50)}) == 1
    assert SIGNER.sign(PATH, begin) != SIGNER.sign(PATH, begin + HOUR)


def test_the_signature_is_the_hmac_of_version_expiry_and_path() -> None:
    expires, signature = parts(SIGNER.sign(PATH, NOW))
    digest = hmac.new(SECRET, f"twinlens url 1\n{expires}\n{PATH}".encode(), hashlib.sha256).digest()
    assert urlsafe_b64encode(digest).decode() == signature + "="


@pytest.mark.parametrize(
    "path", [PATH + "/", PATH.upper(), PATH[:-1], "", "\n" + PATH, PATH + "\x00", "\udcff"]
)
def test_a_signature_is_for_one_path(path: str) -> None:
    assert refusal(*parts(SIGNER.sign(PATH, NOW)), path=path).startswith("the signature of this URL is wrong")
    SIGNER.check(path, *parts(SIGNER.sign(path, NOW)), NOW)


def test_parts_of_expiry_and_path_cannot_change_sides() -> None:
    expires, signature = parts(SIGNER.sign("5\n/x", NOW))
    assert "wrong" in refusal(f"{expires}\n5", signature, path="/x")


def test_another_secret_signs_otherwise() -> None:
    other = UrlSigner(b"x" * 32, seconds=HOUR)
    assert "wrong" in refusal(*parts(other.sign(PATH, NOW)))


def test_a_later_expiry_needs_another_signature() -> None:
    expires, signature = parts(SIGNER.sign(PATH, NOW))
    assert "wrong" in refusal(str(int(expires) + HOUR), signature)
    # Nor does a wrong signature learn that it is late.
    assert "wrong" in refusal("1", signature)


@pytest.mark.parametrize(
    ("expires", "signature"), [(None, None), (None, "x"), ("1", None), ("", "x"), ("1", ""), ("", "")]
)
def test_both_parts_are_needed(expires: str | None, signature: str | None) -> None:
    assert refusal(expires, signature) == "the signature of this URL is missing: ask for what shows it again"


@pytest.mark.parametrize(
    "form",
    ["0{}", " {}", "{} ", "+{}", "{}.0", "{}\n", "-{}", "1_{}", "{}\x00", "\N{ARABIC-INDIC DIGIT ONE}{}"],
)
def test_an_expiry_has_one_form(form: str) -> None:
    expires, signature = parts(SIGNER.sign(PATH, NOW))
    assert "wrong" in refusal(form.format(expires), signature)


@pytest.mark.parametrize("expires", ["9" * 5000, "9" * 17, "1e99", "nan", "١٢٣", "²", "\udcff", "\x00"])
def test_an_expiry_that_is_no_number(expires: str) -> None:
    assert "wrong" in refusal(expires, parts(SIGNER.sign(PATH, NOW))[1])


@pytest.mark.parametrize(
    "form", ["{}=", "{} ", "{}x", "\N{LATIN SMALL LETTER E WITH ACUTE}{}", "\udcff", "x"]
)
def test_a_signature_has_one_form(form: str) -> None:
    expires, signature = parts(SIGNER.sign(PATH, NOW))
    assert "wrong" in refusal(expires, form.format(signature))


@given(st.text(), st.none() | st.text() | st.integers().map(str), st.none() | st.text())
def test_nothing_else_is_ever_raised(path: str, expires: str | None, signature: str | None) -> None:
    refusal(expires, signature, path=path)
