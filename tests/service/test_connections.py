"""Connections: to which addresses they go, who may use them again, and that none is lost.

127.0.0.2 plays the public internet here; every other address keeps its meaning.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.downloads import (
    BODY,
    FAILED,
    GUARDED,
    OPEN,
    PUBLIC,
    REFUSED,
    Names,
    failure,
    fetch,
    public_is_127_0_0_2,
)
from tests.web_server import (
    Page,
    answer,
    raw,
    redirect,
    serve,
    silence,
    slow,
)
from twinlens.engine.errors import FetchError
from twinlens.service.fetch import Fetcher, FetchLimits

# Addresses


def test_a_name_of_a_public_address_is_fetched_from() -> None:
    names = Names(public_test=[[PUBLIC]])
    with serve({"/a": answer(BODY)}, host=PUBLIC) as server:
        url = f"http://public.test:{server.server_port}/a"
        assert fetch(url, limits=GUARDED, resolve=names, is_refused=public_is_127_0_0_2) == [BODY]
        assert server.headers[0]["Host"] == f"public.test:{server.server_port}"


@pytest.mark.parametrize("status", [200, 500])
def test_a_name_that_changes_its_address_never_leads_inside(status: int) -> None:
    names = Names(rebinding_test=[[PUBLIC], ["127.0.0.1"]])
    with (
        serve({"/a": answer(BODY, status, {"Connection": "close"})}, host=PUBLIC) as public,
        serve({"/a": answer(b"secret")}, port=public.server_port) as inside,
    ):
        url = f"http://rebinding.test:{public.server_port}/a"
        with pytest.raises(FetchError, match="a loopback address"):
            fetch(url, url, limits=GUARDED, resolve=names, is_refused=public_is_127_0_0_2)
        assert (len(public.hits), inside.connections) == (1, 0)
        assert names.asked == ["rebinding.test"] * 2


def test_one_address_that_is_not_public_refuses_the_host() -> None:
    names = Names(mixed_test=[[PUBLIC, "169.254.169.254"]])
    with serve({"/a": answer(BODY)}, host=PUBLIC) as public:
        url = f"http://mixed.test:{public.server_port}/a"
        refused, reason = failure(url, GUARDED, names, public_is_127_0_0_2)
        assert refused is REFUSED and "a link-local address" in reason
        assert (public.connections, names.asked) == (0, ["mixed.test"])


def test_addresses_of_a_host_are_tried_in_turn() -> None:
    names = Names(many_test=[["127.0.0.3", "127.0.0.4", PUBLIC]])
    with serve({"/a": answer(BODY)}, host=PUBLIC) as server:
        assert fetch(f"http://many.test:{server.server_port}/a", resolve=names) == [BODY]


def test_an_address_that_does_not_answer_leaves_time_for_the_next() -> None:
    names = Names(many_test=[["127.0.0.3", PUBLIC]])
    limits = FetchLimits(max_bytes=len(BODY), attempts=1, seconds=2, allow_private=True)
    with serve({"/a": answer(BODY)}, host=PUBLIC) as server, not_answering("127.0.0.3", server.server_port):
        assert fetch(f"http://many.test:{server.server_port}/a", limits=limits, resolve=names) == [BODY]


def test_eight_addresses_of_a_host_are_tried_and_no_more() -> None:
    elsewhere = [f"127.0.1.{n}" for n in range(8)]
    names = Names(many_test=[[*elsewhere[:7], PUBLIC]], more_test=[[*elsewhere, PUBLIC]])
    with serve({"/a": answer(BODY)}, host=PUBLIC) as server:
        assert fetch(f"http://many.test:{server.server_port}/a", resolve=names) == [BODY]
        assert failure(f"http://more.test:{server.server_port}/a", resolve=names)[0] is FAILED


@contextmanager
def not_answering(host: str, port: int) -> Iterator[None]:
    """An address whose connections stay half open, because the queue of those not yet taken is full."""
    with socket.socket() as listening, ExitStack() as queue:
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


def test_a_name_server_that_gives_a_name_for_an_address_is_refused() -> None:
    with serve({"/a": answer(BODY)}) as server:
        url = f"http://tricky.test:{server.server_port}/a"
        assert failure(url, GUARDED, Names(tricky_test=[["localhost"]]))[0] is REFUSED
        assert server.connections == 0


# Every line is its own kind of spelling.
LOOPBACK = [
    *("127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "0.0.0.0"),
    *("127.1", "127.0.1", "0", "2130706433", "0x7f000001", "0x7f.1", "0177.1", "017700000001", "127.0.0.0x1"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("127。0。0。1", "127．0．0．1"),
    *("user@127.0.0.1", "public.test@127.0.0.1", "public.test\\@127.0.0.1", "public.test:80@127.0.0.1"),
]
METADATA = [
    *("169.254.169.254", "169.254.43518", "2852039166", "0xa9fea9fe", "0xa9.254.0251.0376"),
    *("[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fe80::1%25eth0]"),
    *("[fd00:ec2::254]", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
]
NOT_A_HOST = [
    "0177.0.0.1",
    "127.0.0.01",
    "①②⑦.⓪.⓪.①",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.test",
    "[::1]]",
    "256.1.1.1",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with serve({"/": answer(BODY)}) as server:
        assert failure(f"http://{host}:{server.server_port}/", GUARDED)[0] is REFUSED
        assert server.connections == 0


@pytest.mark.parametrize("host", NOT_A_HOST)
def test_spellings_that_are_no_host_are_not_looked_up(host: str) -> None:
    with serve({"/": answer(BODY)}) as server:
        assert failure(f"http://{host}:{server.server_port}/", OPEN, Names())[0] is FAILED
        assert server.connections == 0


@pytest.mark.parametrize("host", METADATA)
def test_every_spelling_of_a_metadata_service_is_refused(host: str) -> None:
    assert failure(f"http://{host}/latest/meta-data/", GUARDED)[0] is REFUSED


def test_a_redirect_to_an_address_that_is_not_public_is_refused() -> None:
    names = Names(public_test=[[PUBLIC]], inside_test=[["127.0.0.1"]])
    pages: dict[str, Page] = {}
    with serve({"/secret": answer(BODY)}) as inside, serve(pages, host=PUBLIC) as public:
        for number, host in enumerate(["127.0.0.1", "inside.test", "localhost", "2130706433", "[::1]"]):
            pages[f"/{number}"] = redirect(f"http://{host}:{inside.server_port}/secret")
            if host in ("localhost", "2130706433"):
                names.answers[host] = [["127.0.0.1"]]
            url = f"http://public.test:{public.server_port}/{number}"
            refused, reason = failure(url, GUARDED, names, public_is_127_0_0_2)
            assert refused is REFUSED and "a loopback address" in reason
            assert public.hits == [f"/{n}" for n in range(number + 1)]
        assert inside.connections == 0


# Names


def test_a_name_that_cannot_be_looked_up_now_is_looked_up_again() -> None:
    again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    names = Names(busy_test=[again, ["127.0.0.1"]], dead_test=[again])
    with serve({"/a": answer(BODY)}) as server:
        assert fetch(f"http://busy.test:{server.server_port}/a", resolve=names) == [BODY]
        assert failure(f"http://dead.test:{server.server_port}/a", resolve=names)[0] is FAILED
        assert names.asked == ["busy.test"] * 2 + ["dead.test"] * 3


@pytest.mark.parametrize(
    "nothing", [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), OSError("broken"), []]
)
def test_an_unknown_host_is_looked_up_once(nothing: OSError | list[str]) -> None:
    names = Names(nobody_test=[nothing])
    refused, reason = failure("http://nobody.test/a", resolve=names)
    assert (refused, names.asked) == (FAILED, ["nobody.test"])
    assert "unknown host" in reason


def test_a_look_up_that_hangs_ends_at_the_deadline_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, look_up = Event(), socket.getaddrinfo

    def hanging(host: str, *args: int, **named: int) -> object:
        if host == "hanging.test":
            ended.wait()
        return look_up(host, *args, **named)

    async def run(port: int) -> bytes:
        fetcher = Fetcher(FetchLimits(max_bytes=len(BODY), seconds=1, allow_private=True))
        hung = [asyncio.create_task(fetcher.fetch("http://hanging.test/")) for _ in range(3)]
        await asyncio.sleep(0.1)
        try:
            return await fetcher.fetch(f"http://localhost:{port}/a")
        finally:
            failures = await asyncio.gather(*hung, return_exceptions=True)
            assert all(isinstance(failure, FetchError) for failure in failures)
            await fetcher.aclose()

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    try:
        with serve({"/a": answer(BODY)}) as server:
            assert asyncio.run(run(server.server_port)) == BODY
    finally:
        ended.set()


# Reuse


def test_connections_are_used_again_for_the_same_host_only() -> None:
    names = Names(one_test=[["127.0.0.1"]], two_test=[["127.0.0.1"]])
    with serve({"/a": answer(BODY)}) as server:
        one, two = (f"http://{name}.test:{server.server_port}/a" for name in ("one", "two"))
        assert fetch(one, one, two, one, resolve=names) == [BODY] * 4
        assert names.asked == ["one.test", "two.test"]
        assert server.connections == 2


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    limits = FetchLimits(max_bytes=len(BODY), attempts=1, allow_private=True)

    async def run(url: str) -> list[bytes]:
        fetcher = Fetcher(limits)
        first = await fetcher.fetch(url)
        await asyncio.sleep(0.2)
        second = await fetcher.fetch(url)
        await fetcher.aclose()
        return [first, second]

    closing_unasked = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    with serve({"/a": closing_unasked}) as server:
        assert asyncio.run(run(server.url + "/a")) == [b"body"] * 2
        assert server.connections == 2


# Cancelling


def test_cancelled_downloads_leave_nothing_behind() -> None:
    limits = FetchLimits(max_bytes=len(BODY), concurrency=4, allow_private=True)
    chosen = random.Random(0)

    async def run(url: str) -> bytes:
        fetcher = Fetcher(limits)
        for _ in range(100):
            tasks = [asyncio.create_task(fetcher.fetch(url + chosen.choice("abcd"))) for _ in range(6)]
            await asyncio.sleep(0.03 * chosen.random())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        last = await asyncio.wait_for(fetcher.fetch(url + "a"), 5)
        await fetcher.aclose()
        return last

    pages = {"/a": answer(BODY), "/b": slow(answer(BODY), 0.01), "/c": redirect("/a"), "/d": silence}
    with serve(pages) as server, warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        assert asyncio.run(run(server.url + "/")) == BODY
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for public.test, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    file = tmp_path_factory.mktemp("tls") / "public.test.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    name = ["-subj", "/CN=public.test", "-addext", "subjectAltName=DNS:public.test", "-days", "2"]
    files = ["-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    subprocess.run([*new, *name, *files], check=True, capture_output=True)
    return file


@pytest.fixture
def secured(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def test_a_certificate_that_nobody_signed_fails_at_once(secured: ssl.SSLContext) -> None:
    with serve({"/a": answer(BODY)}, tls=secured) as server:
        url = f"https://public.test:{server.server_port}/a"
        refused, reason = failure(url, resolve=Names(public_test=[["127.0.0.1"]]))
        assert (refused, server.connections, server.hits) == (FAILED, 1, [])
        assert "certificate" in reason


def test_the_certificate_is_checked_for_the_name_in_the_url(
    secured: ssl.SSLContext, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    names = Names(public_test=[[PUBLIC]], other_test=[[PUBLIC]])
    pages: dict[str, Page] = {"/a": answer(BODY), "/to-http": answer()}
    plain: dict[str, Page] = {"/a": answer(BODY)}
    with serve(pages, host=PUBLIC, tls=secured) as server, serve(plain, host=PUBLIC) as unsecured:
        there = f"https://public.test:{server.server_port}"
        pages["/to-http"] = redirect(f"http://public.test:{unsecured.server_port}/a")
        plain["/to-https"] = redirect(f"{there}/a")
        urls = [f"{there}/a", f"https://public.test.:{server.server_port}/a", f"{there}/to-http",
                f"http://public.test:{unsecured.server_port}/to-https"]  # fmt: skip
        found = fetch(*urls, limits=GUARDED, resolve=names, is_refused=public_is_127_0_0_2, tls=trusting)
        assert found == [BODY] * 4
        before = server.connections
        for host in ("other.test", PUBLIC):
            wrong = f"https://{host}:{server.server_port}/a"
            refused, reason = failure(wrong, GUARDED, names, public_is_127_0_0_2, trusting)
            assert refused is FAILED and "certificate" in reason
        assert server.connections == before + 2


def test_a_server_without_tls_fails_at_once() -> None:
    with serve({"/a": answer(BODY)}) as server:
        assert failure(f"https://127.0.0.1:{server.server_port}/a")[0] is FAILED
        assert (server.connections, server.hits) == (1, [])
