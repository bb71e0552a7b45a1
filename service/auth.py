"""Who asks, and whether a server without keys may be reached: the rules for every front door."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twinlens.engine.errors import AuthRequired, ServiceError, UnsafeAddress
from twinlens.service.keys import Key, KeyStore

ANONYMOUS = ""
"""Owner of what was made before there were keys."""

LONGEST_JWT_HEADER = 8192
"""Characters of an `Authorization` header with a JWT; one of the documented form has 300."""

LEEWAY_SECONDS = 60
"""How far the clock of a client that signs its own JWTs may be off."""

_TOKEN = re.compile(r"[ \t]*(?:token|jwt)[ \t]+(\S+)[ \t]*", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"[ \t]*bearer[ \t]+([!-~]+)[ \t]*", re.IGNORECASE | re.ASCII)

_NO_BEARER = "Authorization takes `Bearer <jwt>`, with a JWT that the secret of an API key signed (HS256)"
_NOT_SIGNED = (
    "the JWT was not signed by a live API key: `kid` takes the id of a key whose secret signs it (HS256)"
)
_LAST_SECOND = 253_402_300_799  # of the year 9999: what is later was meant as milliseconds


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        owner: the id of the key (`api_key`); `ANONYMOUS` where no key is needed.
        name: of the key.
    """

    owner: str
    name: str


_ANYBODY = Caller(ANONYMOUS, "")


def authenticate_token(header: str | None, keys: KeyStore) -> Caller:
    """The caller of the image-matching dialect.

    Args:
        header: value of `Authorization`: `Token <token>` or `JWT <token>`, the word in any case. Real
            clients write the second before long tokens, so that it says nothing about what follows.
        keys: where no key was ever made, everybody is anonymous, whatever the header says.

    Raises:
        AuthRequired: no such header, or the token is not one of a live key.
    """
    if not keys.any():
        return _ANYBODY
    key = keys.by_token(_credentials(header, _TOKEN, "Authentication credentials were not provided."))
    if key is None:
        raise AuthRequired("Invalid token.")
    return Caller(key.api_key, key.name)


def authenticate_jwt(header: str | None, keys: KeyStore, *, longest_seconds: int | None = None) -> Caller:
    """The caller of the dialect whose clients sign their own JWTs (RFC 7519, HS256).

    The header of a JWT names a key as `kid`, and `sub` must name it again. `exp` is required, `iat` and `nbf`
    count where they are given; a clock may be 60 s off. `iss` and `aud` are not looked at.

    Args:
        header: value of `Authorization`: `Bearer <jwt>`, the word in any case.
        keys: where no key was ever made, everybody is anonymous, whatever the header says.
        longest_seconds: from `iat`, then required, to `exp`; None sets no limit.

    Raises:
        AuthRequired: no such header, or not a JWT that counts. Only who has the secret of a live key is told
            more than that.
    """
    if not keys.any():
        return _ANYBODY
    if len(header or "") > LONGEST_JWT_HEADER:
        raise AuthRequired(f"Authorization takes at most {LONGEST_JWT_HEADER:,} characters")
    key, payload = _verified(_credentials(header, _BEARER, _NO_BEARER), keys)
    _check_claims(_claims(payload), key, longest_seconds)
    return Caller(key.api_key, key.name)


def _credentials(header: str | None, form: re.Pattern[str], missing: str) -> str:
    """What follows the word in an `Authorization` header."""
    found = form.fullmatch(header or "")
    if found is None:
        raise AuthRequired(missing)
    return found[1]


def _verified(token: str, keys: KeyStore) -> tuple[Key, bytes]:
    """The live key that signed a JWT, and its payload."""
    import jwt  # not at the top: the command line loads this module and has no use for it

    signatures = jwt.PyJWS()
    try:
        header = signatures.get_unverified_header(token)
        found = keys.with_secret(header["kid"]) if isinstance(header.get("kid"), str) else None
        # Extensions that `crit` names must be understood, and none is.
        if found is None or "crit" in header:
            raise AuthRequired(_NOT_SIGNED)
        key, secret = found
        return key, signatures.decode_complete(token, secret, algorithms=["HS256"])["payload"]
    except (jwt.PyJWTError, RecursionError, ValueError):
        raise AuthRequired(_NOT_SIGNED) from None


def _claims(payload: bytes) -> dict[str, object]:
    try:
        claims = json.loads(payload)
    except (RecursionError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        raise AuthRequired("the payload of the JWT is not a JSON object")
    return claims


def _check_claims(claims: Mapping[str, object], key: Key, longest_seconds: int | None) -> None:
    """See that a JWT, whose signature is verified, is for this key and this moment."""
    if claims.get("sub") != key.api_key:
        raise AuthRequired("the JWT names another key as `sub` than as `kid`")
    now = time.time()
    expires, issued, begins = (_moment(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None:
        raise AuthRequired("the JWT has no `exp`, the Unix time in seconds at which it expires")
    if expires <= now - LEEWAY_SECONDS:
        raise AuthRequired("the JWT has expired: sign a new one")
    if max(issued or 0, begins or 0) > now + LEEWAY_SECONDS:
        raise AuthRequired("the JWT has an `iat` or `nbf` in the future: set the clock of the client")
    if longest_seconds is not None and (issued is None or expires - issued > longest_seconds):
        raise AuthRequired(f"the JWT may last at most {longest_seconds:,} s, from its `iat` to its `exp`")


def _moment(claims: Mapping[str, object], name: str) -> float | None:
    """A Unix time among the claims, whole or not (RFC 7519, NumericDate); None where there is none."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise AuthRequired(f"`{name}` of the JWT is not a Unix time in seconds")
    return float(value)


def check_exposure(host: str, keys: KeyStore, *, allow_anonymous: bool) -> None:
    """See that nobody serves the whole network without a key by accident.

    Args:
        host: address or name to listen on; empty means every address.
        keys: one that was ever made closes the server to strangers.
        allow_anonymous: the operator wants it open.

    Raises:
        UnsafeAddress: other machines could reach the server and nothing would ask them for a key.
        ServiceError: the name has no address.
    """
    if allow_anonymous or keys.any() or _is_loopback(host):
        return
    where = repr(host) if host else "every address"
    raise UnsafeAddress(
        f"a server on {where} can be reached from other machines, and it has no keys: "
        "make a key with `twinlens keys create --name NAME`, or set TWINLENS_ALLOW_ANONYMOUS=1"
    )


def _is_loopback(host: str) -> bool:
    """True if only this machine can reach a server that listens there."""
    if host.lower() == "localhost":
        return True
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ServiceError(f"{host!r} is neither an address nor a name that has one") from error
    return only_loopback(str(address[0]) for *_, address in found)


def only_loopback(addresses: Iterable[str]) -> bool:
    """True if all these IP addresses, of which a name may have several, are this machine's own."""
    parsed = [ipaddress.ip_address(address) for address in addresses]
    plain = [(a.ipv4_mapped or a) if isinstance(a, ipaddress.IPv6Address) else a for a in parsed]
    return all(address.is_loopback for address in plain)
