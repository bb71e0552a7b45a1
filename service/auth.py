"""Who asks, and whether a server without keys may be reached: the rules for every front door."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from twinlens.engine.errors import AuthRequired, ServiceError, UnsafeAddress
from twinlens.service.keys import KeyStore

ANONYMOUS = ""
"""Owner of what was made before there were keys."""

_HEADER = re.compile(r"[ \t]*(?:token|jwt)[ \t]+(\S+)[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        owner: the id of the key (`api_key`); `ANONYMOUS` where no key is needed.
        name: of the key.
    """

    owner: str
    name: str


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
        return Caller(ANONYMOUS, "")
    found = _HEADER.fullmatch(header or "")
    if found is None:
        raise AuthRequired("Authentication credentials were not provided.")
    key = keys.by_token(found[1])
    if key is None:
        raise AuthRequired("Invalid token.")
    return Caller(key.api_key, key.name)


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
