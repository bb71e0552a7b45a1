"""Downloads over real sockets: what is tried again, what is limited, where redirects may lead."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.downloads import (
    BODY,
    FAILED,
    GUARDED,
    REFUSED,
    Names,
    failure,
    fetch,
)
from tests.web_server import (
    Page,
    answer,
    cut,
    endless,
    in_turn,
    nobody_listening,
    raw,
    redirect,
    serve,
    silence,
    slow,
)
from twinlens import __version__
from twinlens.engine.errors import FetchError
from twinlens.service.fetch import Fetcher, FetchLimits, parse_url

# What arrives


def test_a_file_arrives_as_it_was_sent() -> None:
    with serve({"/a.jpg?size=1": answer(BODY)}) as server:
        assert fetch(server.url + "/a.jpg?size=1#part") == [BODY]
        (headers,) = server.headers
        assert headers == {
            "Host": f"127.0.0.1:{server.server_port}",
            "User-Agent": f"TwinLens/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }


def test_a_file_without_a_length_and_one_in_chunks_arrive_too() -> None:
    until_the_end = raw(b"HTTP/1.0 200 OK\r\n\r\n", BODY)
    chunks = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n" * 4,
        b"0\r\n\r\n",
        pause=0.01,
    )
    with serve({"/end": until_the_end, "/chunks": chunks}) as server:
        assert fetch(server.url + "/end", server.url + "/chunks") == [BODY, b"abc" * 4]


def test_cookies_are_not_kept() -> None:
    with serve({"/a": answer(BODY, headers={"Set-Cookie": "a=b"})}) as server:
        fetch(server.url + "/a", server.url + "/a")
        assert "Cookie" not in server.headers[1]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_listening() as port, serve({"/a": answer(BODY)}) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert fetch(server.url + "/a") == [BODY]


def test_host_names_are_asked_for_in_their_plain_form() -> None:
    names = Names(**{"xn--bcher-kva_test": [["127.0.0.1"]]})
    with serve({"/": answer(BODY)}) as server:
        assert fetch(f"HTTP://BÜCHER.test.:{server.server_port}", resolve=names) == [BODY]
        assert server.headers[0]["Host"] == f"xn--bcher-kva.test:{server.server_port}"


# What is tried again


def test_a_failure_that_passes_is_tried_again() -> None:
    with serve({"/a": in_turn(answer(status=500), answer(status=500), answer(BODY))}) as server:
        begun = time.monotonic()
        assert fetch(server.url + "/a") == [BODY]
        assert server.hits == ["/a"] * 3
        assert time.monotonic() - begun > 0.15


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_failure_that_does_not_pass_is_tried_three_times(status: int) -> None:
    with serve({"/a": answer(b"secret", status)}) as server:
        refused, reason = failure(server.url + "/a")
        assert (refused, len(server.hits)) == (FAILED, 3)
        assert str(status) in reason and "secret" not in reason


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 451, 501, 505, 599])
def test_other_answers_are_final(status: int) -> None:
    with serve({"/a": answer(b"", status)}) as server:
        refused, reason = failure(server.url + "/a")
        assert (refused, len(server.hits)) == (FAILED, 1)
        assert str(status) in reason


@pytest.mark.parametrize(
    "broken",
    [
        cut(b"half", promised=8),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf"),
        raw(b""),
        raw(b"HTTP/1.1 200"),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    ],
    ids=["cut", "cut chunk", "hung up", "half a header", "not HTTP"],
)
def test_an_answer_that_breaks_off_is_tried_again(broken: Page) -> None:
    with serve({"/a": in_turn(broken, answer(BODY)), "/b": broken}) as server:
        assert fetch(server.url + "/a") == [BODY]
        assert failure(server.url + "/b")[0] is FAILED
        assert server.hits == ["/a"] * 2 + ["/b"] * 3


def test_a_refused_connection_is_tried_three_times() -> None:
    names = Names(closed_test=[["127.0.0.1"]])
    with nobody_listening() as port:
        assert failure(f"http://closed.test:{port}/a", resolve=names)[0] is FAILED
        assert names.asked == ["closed.test"] * 3


def test_a_silent_server_is_asked_again() -> None:
    limits = FetchLimits(max_bytes=len(BODY), attempts=2, seconds=2, allow_private=True)
    with serve({"/a": in_turn(silence, answer(BODY))}) as server:
        assert fetch(server.url + "/a", limits=limits) == [BODY]
        assert len(server.hits) == 2


def test_the_wait_that_a_server_asks_for_is_kept() -> None:
    busy = answer(status=503, headers={"Retry-After": "1"})
    with serve({"/a": in_turn(busy, answer(BODY))}) as server:
        begun = time.monotonic()
        assert fetch(server.url + "/a") == [BODY]
        assert time.monotonic() - begun >= 1


IN_AN_HOUR = formatdate(time.time() + 3600, usegmt=True)


@pytest.mark.parametrize("wait", ["60", "9" * 400, IN_AN_HOUR], ids=["seconds", "endless", "date"])
def test_a_wait_beyond_the_deadline_ends_the_download(wait: str) -> None:
    with serve({"/a": answer(status=503, headers={"Retry-After": wait})}) as server:
        begun = time.monotonic()
        assert "503" in failure(server.url + "/a")[1]
        assert len(server.hits) == 1 and time.monotonic() - begun < 5


@pytest.mark.parametrize("wait", ["soon", "-5", "1.5", formatdate(0, usegmt=True), "Mon, 99 Foo 0000"])
def test_a_wait_that_makes_no_sense_is_none(wait: str) -> None:
    with serve({"/a": in_turn(answer(status=429, headers={"Retry-After": wait}), answer(BODY))}) as server:
        assert fetch(server.url + "/a") == [BODY]


# Limits


def test_a_server_that_drips_is_left_at_the_deadline() -> None:
    limits = FetchLimits(max_bytes=len(BODY), seconds=0.5, allow_private=True)
    with serve({"/a": endless(b".", pause=0.02)}) as server:
        begun = time.monotonic()
        refused, reason = failure(server.url + "/a", limits=limits)
        assert 0.5 <= time.monotonic() - begun < 4
        assert (refused, len(server.hits)) == (FAILED, 1)
        assert "0.5 s" in reason


def test_a_body_without_an_end_is_left_at_the_limit() -> None:
    with serve({"/a": endless(BODY[:1000])}) as server:
        refused, reason = failure(server.url + "/a")
        assert (refused, len(server.hits)) == (REFUSED, 1)
        assert "128,000 bytes" in reason


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    with serve({"/a": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 128001\r\n\r\n", pause=5)}) as server:
        begun = time.monotonic()
        assert failure(server.url + "/a")[0] is REFUSED
        assert len(server.hits) == 1 and time.monotonic() - begun < 4


@pytest.mark.parametrize("framing", [b"Content-Length: 128001", b"Connection: close"])
def test_the_limit_is_exact(framing: bytes) -> None:
    with serve({"/a": raw(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + BODY + b"x")}) as server:
        larger = FetchLimits(max_bytes=len(BODY) + 1, allow_private=True)
        assert fetch(server.url + "/a", limits=larger) == [BODY + b"x"]
        assert failure(server.url + "/a")[0] is REFUSED


def test_what_follows_a_body_is_not_read_and_does_no_harm() -> None:
    longer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more", pause=0.3)
    with serve({"/longer": longer, "/a": answer(BODY)}) as server:
        assert fetch(server.url + "/longer", server.url + "/a") == [b"body", BODY]


def test_a_flood_of_tiny_pieces_leaves_time_for_others() -> None:
    limits = FetchLimits(max_bytes=10**9, seconds=1, allow_private=True)

    async def run(url: str) -> int:
        fetcher, turns = Fetcher(limits), 0
        flooded = asyncio.create_task(fetcher.fetch(url))
        while not flooded.done():
            await asyncio.sleep(0)
            turns += 1
        assert isinstance(flooded.exception(), FetchError)
        await fetcher.aclose()
        return turns

    pieces = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 20_000] * 100)
    with serve({"/a": pieces}) as server:
        assert asyncio.run(run(server.url + "/a")) > 1000


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "zstd", "x-unheard-of"])
def test_compressed_bodies_are_refused_unread(coding: str) -> None:
    bomb = gzip.compress(bytes(5_000_000))
    assert len(bomb) < len(BODY)
    with serve({"/a": answer(bomb, headers={"Content-Encoding": coding})}) as server:
        assert failure(server.url + "/a")[0] is REFUSED
        assert len(server.hits) == 1


def test_identity_is_no_compression() -> None:
    with serve({"/a": answer(BODY, headers={"Content-Encoding": "Identity"})}) as server:
        assert fetch(server.url + "/a") == [BODY]


def test_downloads_at_a_time_are_limited() -> None:
    limits = FetchLimits(max_bytes=len(BODY), concurrency=5, allow_private=True)

    async def run(url: str) -> list[bytes]:
        fetcher = Fetcher(limits)
        try:
            return await asyncio.gather(*(fetcher.fetch(url) for _ in range(50)))
        finally:
            await fetcher.aclose()

    with serve({"/a": slow(answer(BODY), 0.02)}) as server:
        assert asyncio.run(run(server.url + "/a")) == [BODY] * 50
        assert server.most_at_once == 5
        assert server.connections == 5


def test_waiting_for_a_turn_does_not_count_towards_the_deadline() -> None:
    limits = FetchLimits(max_bytes=len(BODY), attempts=1, concurrency=1, seconds=1, allow_private=True)

    async def run(url: str) -> list[bytes]:
        fetcher = Fetcher(limits)
        try:
            return await asyncio.gather(*(fetcher.fetch(url) for _ in range(4)))
        finally:
            await fetcher.aclose()

    with serve({"/a": slow(answer(BODY), 0.35)}) as server:
        assert asyncio.run(run(server.url + "/a")) == [BODY] * 4


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    pages: dict[str, Page] = {"/end?x=1": answer(BODY)}
    with serve(pages) as server:
        pages["/x/a"] = redirect("../b", status)
        pages["/b"] = redirect("?c=d", status)
        pages["/b?c=d"] = redirect(f"//127.0.0.1:{server.server_port}/e", status)
        pages["/e"] = redirect(f"{server.url}/end?x=1#part", status)
        assert fetch(server.url + "/x/a") == [BODY]
        assert server.hits == ["/x/a", "/b", "/b?c=d", "/e", "/end?x=1"]


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 404])
def test_only_redirects_are_redirects(status: int) -> None:
    with serve({"/a": answer(b"here", status, {"Location": "/b"}), "/b": answer(BODY)}) as server:
        if status == 200:
            assert fetch(server.url + "/a") == [b"here"]
        else:
            assert failure(server.url + "/a")[0] is FAILED
        assert server.hits == ["/a"]


def test_five_redirects_are_followed_and_six_are_refused() -> None:
    chain: dict[str, Page] = {f"/{n}": redirect(f"/{n - 1}") for n in range(1, 7)}
    with serve({"/0": answer(BODY), **chain}) as server:
        assert fetch(server.url + "/5") == [BODY]
        refused, reason = failure(server.url + "/6")
        assert refused is REFUSED and "more than 5 redirects" in reason
        assert len(server.hits) == 6 + 6


def test_redirects_in_a_circle_are_refused() -> None:
    with serve({"/a": redirect("/b"), "/b": redirect("/a"), "/self": redirect("")}) as server:
        assert failure(server.url + "/a")[0] is REFUSED
        assert failure(server.url + "/self")[0] is REFUSED
        assert len(server.hits) == 6 + 6


@pytest.mark.parametrize(
    ("location", "refused"),
    [
        ("file:///etc/passwd", REFUSED),
        ("ftp://127.0.0.1/a", REFUSED),
        ("javascript:alert(1)", REFUSED),
        ("data:image/png;base64,AAAA", REFUSED),
        ("https://", FAILED),
        ("http://[::1", FAILED),
        ("http://a:b:c/", FAILED),
        ("http://exam\tple.com/", FAILED),
        ("http://127.0.0.1:0/", FAILED),
    ],
)
def test_redirects_out_of_the_web_are_not_followed(location: str, refused: bool) -> None:
    with serve({"/a": redirect(location)}) as server:
        assert failure(server.url + "/a")[0] is refused
        assert len(server.hits) == 1


def test_credentials_stay_with_the_origin_they_were_given_for() -> None:
    pages: dict[str, Page] = {"/here": answer(BODY)}
    with serve({"/there": answer(BODY)}) as other, serve(pages) as server:
        pages["/a"] = redirect("/b")
        pages["/b"] = redirect(f"{server.url}/c")
        pages["/c"] = redirect(other.url.replace("//", "//evil:evil@") + "/there")
        fetch(server.url.replace("//", "//user:p%40ss@") + "/a")
        assert [headers["Authorization"] for headers in server.headers] == ["Basic dXNlcjpwQHNz"] * 3
        assert "Authorization" not in other.headers[0]


# URLs


UNUSABLE = [
    *("", " ", "__URL_PATH_4_NOT_WORKING__", "image.jpg", "/etc/passwd", "//host.test/a", "http:host.test/a"),
    *("http:", "http://", "http:///a", "http://?a", "http://:80/", "http://@/", "http://user@/"),
    *("http://host.test:0/", "http://host.test:65536/", "http://host.test:-1/", "http://host.test:a/"),
    *("http://.host.test/", "http://host..test/", "http://*.test/", "http://host,test/", "http://host%2e/"),
    *("http://[::1/", "http://[::g]/", "http://::1/", f"http://{'a' * 64}/", f"http://{'a.' * 127}test/"),
    *(" http://host.test/", "http://host.test/ ", "http://ho st.test/", "http://us er@host.test/"),
    *("http://host.test/\r\nX-Evil: 1", "http://host.test\r\n.evil.test/", "http://host.test/\nGET /"),
    *("http://host.test/a b", "http://host.test/\ta", "http://host.test/\x00", "http://host.test/\x7f"),
    *("http://host.test/\x85", "http://host.test/\u2028", "http://host.test/\xa0", "http://host.test/\ud800"),
    "http://host.test/" + "a" * 8176,
]
OTHER_SCHEMES = [
    *("ftp://host.test/a", "file:///etc/passwd", "gopher://host.test/", "ws://host.test/", "s3://bucket/a"),
    *("data:image/png;base64,AAAA", "javascript:alert(1)", "C:\\a.jpg", "httpx://host.test/"),
    *("unix:/run/docker.sock", "http+unix://%2Frun%2Fdocker.sock/"),
]


@pytest.mark.parametrize("url", UNUSABLE)
def test_text_that_is_no_url_fails_before_any_traffic(url: str) -> None:
    nobody = Names()
    refused, reason = failure(url, resolve=nobody)
    assert nobody.asked == []
    assert refused is FAILED and "not a usable URL" in reason


@pytest.mark.parametrize("url", OTHER_SCHEMES)
def test_other_schemes_are_refused(url: str) -> None:
    refused, reason = failure(url, resolve=Names())
    assert refused is REFUSED and "only http and https" in reason


def test_the_longest_url_is_usable() -> None:
    assert len(str(parse_url("http://host.test/" + "a" * 8175))) == 8192


HOSTS = st.one_of(st.text(max_size=20), st.ip_addresses().map(str), st.ip_addresses(v=6).map("[{}]".format))
URLS = st.builds(
    "{}://{}{}{}".format, st.sampled_from(["http", "https", "HTTP"]), HOSTS, st.text(max_size=8), st.text()
)


@given(st.one_of(st.text(), URLS))
@settings(deadline=None, max_examples=400)
def test_any_text_raises_only_fetch_errors(one_fetcher: Callable[[str], bytes], text: str) -> None:
    with pytest.raises(FetchError) as caught:
        one_fetcher(text)
    assert caught.value.reason


@pytest.fixture(scope="module")
def one_fetcher() -> Iterator[Callable[[str], bytes]]:
    """Downloads by a fetcher that finds no host and may connect to no address."""

    async def unknown(host: str, port: int) -> Sequence[str]:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with asyncio.Runner() as runner:
        fetcher = Fetcher(GUARDED, resolve=unknown, is_refused=lambda address: "not for tests")
        yield lambda url: runner.run(fetcher.fetch(url))
        runner.run(fetcher.aclose())
