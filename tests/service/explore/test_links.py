"""Links: absolute, signed, and by the name under which the client reached the server."""

from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request

from twinlens.service.explore.links import Links, links_for
from twinlens.service.explore.signing import UrlSigner

SIGNER = UrlSigner(b"s" * 32, seconds=60)


def request(host: str | None) -> Request:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    return Request({"type": "http", "scheme": "http", "server": ("10.0.0.5", 8000), "headers": headers})


@pytest.mark.parametrize(
    ("host", "public", "base"),
    [
        ("localhost:8000", None, "http://localhost:8000"),
        ("twins.example.com", None, "http://twins.example.com"),
        ("[::1]:8000", None, "http://[::1]:8000"),
        ("whatever", "https://twins.example.com/", "https://twins.example.com"),
        (None, None, "http://10.0.0.5:8000"),
        ('evil"><script>', None, "http://10.0.0.5:8000"),
        ("a b", None, "http://10.0.0.5:8000"),
        ("user@host", None, "http://10.0.0.5:8000"),
    ],
)
def test_the_base_is_what_the_client_used_unless_the_operator_says_it(
    host: str | None, public: str | None, base: str
) -> None:
    assert links_for(request(host), SIGNER, public).base == base


def test_links_are_signed_for_their_path_and_stay_equal_for_a_while() -> None:
    links = Links("http://a", SIGNER, now=1000.0)
    made = httpx.URL(links.image("d", "m"))
    SIGNER.check(made.path, made.params["expires"], made.params["signature"], 1000.0)
    assert links.image("d", "m") == Links("http://a", SIGNER, now=1010.0).image("d", "m")
    assert links.period == Links("http://a", SIGNER, now=1010.0).period
    assert links.period != Links("http://a", SIGNER, now=1100.0).period
    assert links.image("d", "m") != links.thumbnail("d", "m")
