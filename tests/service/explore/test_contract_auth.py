"""JWTs over HTTP: those that the documented client signs, and all the others."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.explore import Client, JsonObject, Lab, done, jwt_of, laboratory, refusal
from tests.servers import running_server
from twinlens.service.keys import KeyStore, NewKey

Header = str | None


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(header: JsonObject, claims: JsonObject, secret: str, digest: str = "sha256") -> str:
    """A JWT of any header and claims, signed by HMAC whatever the header says."""
    body = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{body}.{encoded(hmac.new(secret.encode(), body.encode(), digest).digest())}"


def claims_of(key: NewKey, **changes: Any) -> JsonObject:
    now = int(time.time())
    claims = {"sub": key.api_key, "iat": now, "exp": now + 600, "iss": "sdk", **changes}
    return {name: value for name, value in claims.items() if value is not None}


@pytest.fixture(scope="module")
def ann(lab: Lab) -> NewKey:
    assert lab.ann.key is not None
    return lab.ann.key


@pytest.fixture(scope="module")
def bob(lab: Lab) -> NewKey:
    assert lab.bob.key is not None
    return lab.bob.key


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Iterator[Client]:
    """Sends the headers that a test gives it, and no others."""
    with Client(lab.server.url) as client:
        yield client


def ask(lab: Lab, stranger: Client, authorization: Header) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return stranger.request("GET", f"/dataset/{lab.dataset}", headers=headers)


# -- let in ----------------------------------------------------------------------------------------


def test_the_documented_client_is_let_in(lab: Lab, ann: NewKey, stranger: Client) -> None:
    """As the documentation signs, with PyJWT."""
    now = int(time.time())
    token = jwt.encode(
        {"sub": ann.api_key, "iat": now, "exp": now + 600, "iss": "sdk"},
        ann.api_secret,
        algorithm="HS256",
        headers={"alg": "HS256", "typ": "JWT", "kid": ann.api_key},
    )
    assert done(ask(lab, stranger, f"Bearer {token}")).json()["id"] == lab.dataset


ALLOWED: dict[str, Callable[[int], JsonObject]] = {
    "no iss": lambda now: {"iss": None},
    "no iat": lambda now: {"iat": None},
    "ten years": lambda now: {"exp": now + 10 * 365 * 86_400},
    "a fraction of a second": lambda now: {"exp": now + 60.5},
    "a clock that is slow": lambda now: {"exp": now - 30},
    "a clock that is fast": lambda now: {"iat": now + 30},
    "other claims": lambda now: {"aud": "anybody", "jti": "1", "scope": ["read"]},
}


@pytest.mark.parametrize("changes", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_a_token_may_be_like(
    lab: Lab, ann: NewKey, stranger: Client, changes: Callable[[int], JsonObject]
) -> None:
    done(ask(lab, stranger, f"Bearer {jwt_of(ann, **changes(int(time.time())))}"))


def test_a_token_made_by_hand_is_as_good(lab: Lab, ann: NewKey, stranger: Client) -> None:
    """So that those below fail for the reason that they name."""
    done(ask(lab, stranger, f"Bearer {by_hand(header(ann), claims_of(ann), ann.api_secret)}"))


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_the_word_is_read_in_any_case(lab: Lab, ann: NewKey, stranger: Client, word: str) -> None:
    done(ask(lab, stranger, f"{word} {jwt_of(ann)}"))


# -- kept out --------------------------------------------------------------------------------------

TOKENS: dict[str, Callable[[NewKey, NewKey], Header]] = {
    "no header": lambda ann, bob: None,
    "an empty header": lambda ann, bob: "",
    "no token": lambda ann, bob: "Bearer",
    "no word": lambda ann, bob: jwt_of(ann),
    "another word": lambda ann, bob: f"JWT {jwt_of(ann)}",
    "two tokens": lambda ann, bob: f"Bearer {jwt_of(ann)} {jwt_of(ann)}",
    "the token of the other dialect": lambda ann, bob: f"Bearer {ann.token}",
    "the secret itself": lambda ann, bob: f"Bearer {ann.api_secret}",
    "no JWT": lambda ann, bob: "Bearer a.b.c",
    "a long one": lambda ann, bob: f"Bearer {'a' * 9000}",
    "expired": lambda ann, bob: f"Bearer {jwt_of(ann, exp=int(time.time()) - 61)}",
    "expired long ago": lambda ann, bob: f"Bearer {jwt_of(ann, exp=1)}",
    "no exp": lambda ann, bob: f"Bearer {jwt_of(ann, exp=None)}",
    "exp as text": lambda ann, bob: (
        f"Bearer {by_hand(header(ann), claims_of(ann, exp='later'), ann.api_secret)}"
    ),
    "exp in milliseconds": lambda ann, bob: f"Bearer {jwt_of(ann, exp=int(time.time() * 1000) + 600_000)}",
    "exp that is no number": lambda ann, bob: (
        f"Bearer {by_hand(header(ann), claims_of(ann, exp=float('nan')), ann.api_secret)}"
    ),
    "iat in the future": lambda ann, bob: f"Bearer {jwt_of(ann, iat=int(time.time()) + 300)}",
    "nbf in the future": lambda ann, bob: f"Bearer {jwt_of(ann, nbf=int(time.time()) + 300)}",
    "alg none": lambda ann, bob: f"Bearer {jwt.encode(claims_of(ann), None, 'none', {'kid': ann.api_key})}",
    "alg none, signed": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, alg='none'), claims_of(ann), ann.api_secret)}"
    ),
    "alg None": lambda ann, bob: f"Bearer {by_hand(header(ann, alg='None'), claims_of(ann), ann.api_secret)}",
    "RS256 with the secret as its key": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, alg='RS256'), claims_of(ann), ann.api_secret)}"
    ),
    "HS512": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, alg='HS512'), claims_of(ann), ann.api_secret, 'sha512')}"
    ),
    "no alg": lambda ann, bob: f"Bearer {by_hand({'kid': ann.api_key}, claims_of(ann), ann.api_secret)}",
    "an empty secret": lambda ann, bob: f"Bearer {by_hand(header(ann), claims_of(ann), '')}",
    "the id as the secret": lambda ann, bob: f"Bearer {by_hand(header(ann), claims_of(ann), ann.api_key)}",
    "the secret of another key": lambda ann, bob: (
        f"Bearer {by_hand(header(ann), claims_of(ann), bob.api_secret)}"
    ),
    "the kid of another key": lambda ann, bob: (
        f"Bearer {by_hand(header(bob), claims_of(ann), ann.api_secret)}"
    ),
    "the sub of another key": lambda ann, bob: f"Bearer {jwt_of(ann, sub=bob.api_key)}",
    "no sub": lambda ann, bob: f"Bearer {jwt_of(ann, sub=None)}",
    "the name as sub": lambda ann, bob: f"Bearer {jwt_of(ann, sub='ann')}",
    "no kid": lambda ann, bob: f"Bearer {by_hand(header(ann, kid=None), claims_of(ann), ann.api_secret)}",
    "a kid that is unknown": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, kid='me'), claims_of(ann), ann.api_secret)}"
    ),
    "a kid that is no text": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, kid=[1]), claims_of(ann), ann.api_secret)}"
    ),
    "a kid that is a path": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, kid='../../dev/null'), claims_of(ann), '')}"
    ),
    "a kid that is SQL": lambda ann, bob: (
        f"Bearer {by_hand(header(ann, kid=chr(39) + ' OR 1=1 --'), claims_of(ann), '')}"
    ),
    "a changed payload": lambda ann, bob: f"Bearer {changed(jwt_of(ann))}",
    "a cut signature": lambda ann, bob: f"Bearer {jwt_of(ann)[:-4]}",
}


def header(key: NewKey, **changes: Any) -> JsonObject:
    held = {"alg": "HS256", "typ": "JWT", "kid": key.api_key, **changes}
    return {name: value for name, value in held.items() if value is not None}


def changed(token: str) -> str:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{head}.{encoded(json.dumps({**claims, 'exp': claims['exp'] + 1}).encode())}.{signature}"


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS.keys())
def test_what_is_answered_with_401(
    lab: Lab, ann: NewKey, bob: NewKey, stranger: Client, make: Callable[[NewKey, NewKey], Header]
) -> None:
    answer = ask(lab, stranger, make(ann, bob))
    detail = refusal(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    for secret in (ann.api_secret, bob.api_secret, lab.dataset):
        assert secret not in detail


def test_two_headers_are_none(lab: Lab, ann: NewKey, bob: NewKey, stranger: Client) -> None:
    headers = [("Authorization", f"Bearer {jwt_of(key)}") for key in (ann, bob)]
    with httpx.Client(verify=False) as client:
        refusal(client.get(f"{lab.server.url}/api/v1/datasets", headers=headers), 401)


def test_a_token_in_the_url_is_none(lab: Lab, ann: NewKey, stranger: Client) -> None:
    refusal(stranger.get(f"/dataset/{lab.dataset}", token=jwt_of(ann), access_token=jwt_of(ann)), 401)


def test_whose_a_dataset_is_is_told_to_nobody(lab: Lab, bob: NewKey, stranger: Client) -> None:
    there = refusal(ask(lab, stranger, f"Bearer {jwt_of(bob)}"), 404)
    assert there == refusal(
        stranger.request("GET", "/dataset/nothing", headers={"Authorization": f"Bearer {jwt_of(bob)}"}), 404
    )


# -- keys that come and go -------------------------------------------------------------------------


def test_a_key_counts_from_the_moment_it_is_made_until_it_is_revoked(lab: Lab, stranger: Client) -> None:
    with closing(KeyStore(lab.server.home)) as keys:
        key = keys.create("carol")
        bearer = {"Authorization": f"Bearer {jwt_of(key)}"}
        assert done(stranger.request("GET", "/datasets", headers=bearer)).json() == []
        keys.revoke("carol")
    refusal(stranger.request("GET", "/datasets", headers=bearer), 401)


def test_a_server_without_keys_asks_for_none(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as server, Client(server.url) as client:
        dataset = client.new_dataset()
        assert client.status(dataset)["owned_by"] == "anonymous"
        with closing(KeyStore(server.home)) as keys:
            key = keys.create("first")
        refusal(client.get("/datasets"), 401)
        with Client(server.url, key) as first:
            assert first.json("/datasets") == []


def test_an_operator_can_limit_how_long_a_token_lasts(tmp_path: Path) -> None:
    with (
        laboratory(tmp_path / "home", jwt_max_seconds=600) as (server, ann, _),
        Client(server.url) as stranger,
    ):
        assert ann.key is not None
        assert ann.json("/datasets") == []
        for changes in ({"exp": int(time.time()) + 700}, {"iat": None}):
            bearer = {"Authorization": f"Bearer {jwt_of(ann.key, **changes)}"}
            assert "600" in refusal(stranger.request("GET", "/datasets", headers=bearer), 401)
