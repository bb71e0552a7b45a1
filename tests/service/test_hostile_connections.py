"""Hostile connections: no HTTP, half of it, far too much or far too slow, forged headers and paths.

Each is answered by the contract where an answer can reach the client, and disturbs nobody else.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import pytest

from tests.attacks import Client, assert_refused, head, logged, request, unharmed
from tests.matching import as_base64, record
from tests.pictures import encode, picture
from tests.servers import MATCHING, RunningServer
from twinlens.service.keys import KeyStore

PATIENCE = 1
"""Seconds that the server waits for a head, and for its answer to be taken."""

NO_RECORDS = b'{"records": []}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with unharmed(home, idle_seconds=PATIENCE, request_seconds=2) as running:
        yield running


def assert_answers(server: RunningServer) -> None:
    assert server.post("remove_duplicates", {"records": []}).status_code == 200


# -- no HTTP ---------------------------------------------------------------------------------------

POST = head("remove_duplicates").removesuffix(b"\r\n")
GARBAGE = {
    "zeros": bytes(1000) + b"\r\n\r\n",
    "every byte": bytes(range(256)) + b"\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/9\r\n\r\n",
    "a verb with a NUL": b"PO\0ST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path that is not ASCII": "POST /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a path with a NUL": b"POST /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a header without a colon": POST + b"Authorization\r\n\r\n",
    "a header with a NUL": POST + b"X-Request-Id: a\0b\r\n\r\n",
    "a header split by CR": POST + b"X-Request-Id: a\rSet-Cookie: b\r\n\r\n",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "a signed length": POST + b"Content-Length: +5\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\n",
    "a length of 30 digits": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "an unknown transfer coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a compressed transfer": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a chunk of no size": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
    "a chunk of negative size": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
    "a chunk that does not end": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n",
    "a verb of 70,000 letters": b"A" * 70_000,
    "a path of 70,000 letters": b"GET /" + b"a" * 70_000,
    "a header of 70,000 letters": POST + b"X: " + b"y" * 70_000,
    "70,000 letters beside a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 70_000,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_http(server: RunningServer, data: bytes) -> None:
    with Client(server) as client:
        answer = client.exchange(data)
        assert_refused(answer, 400, "no HTTP/1.1 request that can be read")
        assert client.hung_up()


def test_a_flood_of_headers_is_cut_off(server: RunningServer) -> None:
    before = server.memory()
    flood = POST + b"".join(b"X-%d: y\r\n" % number for number in range(1_000_000))
    with Client(server) as client:
        client.send(flood)
        answer = client.receive()
    assert answer is None or answer.code == 400
    assert server.memory() < before + 2**20


def test_a_flood_of_trailers_is_cut_off(server: RunningServer) -> None:
    start = POST + b"Transfer-Encoding: chunked\r\n\r\nf\r\n" + NO_RECORDS + b"\r\n0\r\n"
    with Client(server) as client:
        client.send(start + b"X: y\r\n" * 1_000_000)
        answer = client.receive()
    assert answer is None or answer.code == 400


def test_garbage_after_a_request_does_not_spoil_its_answer(server: RunningServer) -> None:
    with Client(server) as client:
        answer = client.exchange(request("ping", b"") + b"\0\1\2 garbage\r\n\r\n")
        assert (answer.code, answer.json["status"]["code"]) == (200, 200)
        after = client.receive()
    assert after is None or after.code == 400


def test_garbage_in_the_body_of_an_answered_request(server: RunningServer) -> None:
    with Client(server) as client:
        answer = client.exchange(head("nothing", "Transfer-Encoding: chunked") + b"5\r\nabcde\r\n")
        assert_refused(answer, 404, "there is no")
        client.send(b"garbage\r\n")
        assert client.hung_up()


def test_a_hundred_requests_in_one_piece_are_answered_in_order(server: RunningServer) -> None:
    with Client(server) as client:
        client.send(request("ping", b"") * 99 + request("nothing", b""))
        codes = [answer.code for _ in range(100) if (answer := client.receive())]
    assert codes == [200] * 99 + [404]


def test_a_body_smuggled_behind_another_is_a_request_of_its_own(server: RunningServer) -> None:
    with Client(server) as client:
        first = client.exchange(request("remove_duplicates", NO_RECORDS) + request("secret", b""))
        second = client.receive()
    assert first.code == 200 and second is not None
    assert_refused(second, 404, "there is no /image_matching/v2/secret")


def test_of_a_length_and_chunks_the_chunks_count(server: RunningServer) -> None:
    both = ("Content-Length: 3", "Transfer-Encoding: chunked")
    with Client(server) as client:
        answer = client.exchange(head("remove_duplicates", *both) + b"f\r\n" + NO_RECORDS + b"\r\n0\r\n\r\n")
    assert answer.code == 200


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_an_offer_of_another_protocol_is_passed_over(server: RunningServer, upgrade: str) -> None:
    headers = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABk")
    with Client(server) as client:
        assert client.exchange(request("remove_duplicates", NO_RECORDS, *headers)).code == 200


# -- slow, silent, gone ----------------------------------------------------------------------------


def test_a_client_that_says_nothing_is_left(server: RunningServer) -> None:
    with Client(server) as client:
        assert client.hung_up()


def test_a_head_that_trickles_is_left(server: RunningServer) -> None:
    started = time.monotonic()
    with Client(server) as client:
        for byte in head("ping"):
            client.send(bytes([byte]))
            time.sleep(0.05)
            if time.monotonic() > started + 2 * PATIENCE:
                break
        assert client.hung_up()


def test_the_second_head_of_a_connection_may_not_trickle_either(server: RunningServer) -> None:
    with Client(server) as client:
        assert client.exchange(request("ping", b"")).code == 200
        started = time.monotonic()
        while time.monotonic() < started + 2 * PATIENCE:
            client.send(b"P")
            time.sleep(0.1)
        assert client.hung_up()


def test_bodies_that_trickle_are_given_up_and_hold_nobody_up(server: RunningServer) -> None:
    slow = [Client(server) for _ in range(50)]
    for client in slow:
        client.send(head("remove_duplicates", "Content-Length: 100000"))
    for _ in range(20):
        for client in slow:
            client.send(b" ")
        assert_answers(server)
        time.sleep(0.05)
    for client in slow:
        answer = client.receive()
        assert answer is not None
        assert_refused(answer, 400, "the body did not arrive within 2 s")
        client.close()


def test_chunks_of_single_bytes(server: RunningServer) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"records": [], "x": "' + b"a" * 20_000 + b'"}')
    with Client(server) as client:
        answer = client.exchange(
            head("remove_duplicates", "Transfer-Encoding: chunked") + body + b"0\r\n\r\n"
        )
    assert answer.code == 200


def test_a_client_that_asks_before_it_sends_too_much_is_told_at_once(server: RunningServer) -> None:
    huge = head("visual_hash", "Content-Length: 999999999999999999", "Expect: 100-continue")
    with Client(server) as client:
        assert_refused(client.exchange(huge), 400, "more than 67,108,864 bytes")


def test_a_client_that_announces_far_too_much_and_sends_nothing(server: RunningServer) -> None:
    with Client(server) as client:
        answer = client.exchange(head("visual_hash", "Content-Length: 999999999999999999"))
    assert_refused(answer, 400, "did not arrive within 2 s")


def test_a_client_that_says_no_more_still_gets_its_answer(server: RunningServer) -> None:
    flat = np.zeros((2500, 2500, 3), np.uint8)
    body = json.dumps({"records": [record(flat)]}).encode()
    assert len(body) < 2**16, "the end would not be read before the answer is sent"
    with Client(server) as client:
        client.send(request("visual_hash", body))
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.receive()
        assert answer is not None and answer.json["status"]["code"] == 200
        assert client.hung_up()


def test_a_client_that_says_no_more_in_the_middle_gets_none(server: RunningServer) -> None:
    with Client(server) as client:
        client.send(head("visual_hash", "Content-Length: 100") + b"{")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.hung_up()


def test_clients_that_vanish_while_they_send(server: RunningServer) -> None:
    for sent in range(0, 60_000, 3_000):
        client = Client(server)
        client.send(head("visual_hash", "Content-Length: 60000") + b"A" * sent)
        vanish(client)
    assert_answers(server)


def test_clients_that_vanish_before_their_answer(server: RunningServer) -> None:
    body = json.dumps({"records": [record(picture(500, 500, seed=1))] * 10}).encode()
    for _ in range(20):
        client = Client(server)
        client.send(request("visual_hash", body))
        vanish(client)
    assert_answers(server)


def vanish(client: Client) -> None:
    """Hang up without a farewell: the connection is reset."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_answers_that_nobody_takes_are_not_kept(server: RunningServer) -> None:
    large = b'{"records": [{"x": "' + b"a" * 20_000_000 + b'"}]}'
    idle = server.memory()
    clients = [Client(server) for _ in range(5)]
    for client in clients:
        client.send(request("visual_hash", large))
    until = time.monotonic() + 20 * PATIENCE
    while connections(server) > 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert connections(server) == 0
    for client in clients:
        client.close()
    assert server.memory() < idle + 40_000_000


def connections(server: RunningServer) -> int:
    """How many connections a server holds: its sockets but those it listens on."""
    port = int(server.url.rpartition(":")[2])
    established = "01"
    rows = [row.split() for name in ("tcp", "tcp6") for row in proc_net(name)]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == established for row in rows)


def proc_net(name: str) -> list[str]:
    table = Path(f"/proc/net/{name}")
    return table.read_text().splitlines()[1:] if table.exists() else []


def test_three_hundred_silent_connections_hold_nobody_up(server: RunningServer) -> None:
    silent = [Client(server) for _ in range(300)]
    assert_answers(server)
    for client in silent:
        client.close()


# -- paths and verbs -------------------------------------------------------------------------------

PATHS = {
    "unknown": f"{MATCHING}/nothing",
    "another case": f"{MATCHING}/PING",
    "the root": MATCHING,
    "the root with a slash": f"{MATCHING}/",
    "two dots": f"{MATCHING}/../../healthz",
    "two encoded dots": f"{MATCHING}/%2e%2e/%2e%2e/etc/passwd",
    "two slashes": f"{MATCHING}//ping",
    "an encoded NUL": f"{MATCHING}/ping%00",
    "an encoded line": f"{MATCHING}/ping%0d%0aSet-Cookie:%20a=b",
    "a broken encoding": f"{MATCHING}/%zz%f",
    "no UTF-8": f"{MATCHING}/%ff%fe",
    "deeper": f"{MATCHING}/ping/ping",
    "60,000 letters": f"{MATCHING}/" + "a" * 60_000,
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_that_is_none(server: RunningServer, path: str) -> None:
    with Client(server) as client:
        answer = client.exchange(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode("ascii")
        )
    assert_refused(answer, 404, "there is no /image_matching/v2")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_verb_that_is_not_served(server: RunningServer, verb: str) -> None:
    answer = httpx.request(verb, f"{server.matching}/visual_hash")
    assert answer.headers["allow"] == "POST"
    if verb != "HEAD":
        assert_refused(answer, 405, f"{verb} is not served here: use POST")
    pong = httpx.request(verb, f"{server.matching}/ping")
    assert pong.status_code == (200 if verb == "GET" else 405)


@pytest.mark.parametrize("target", ["//image_matching/v2/ping", "/etc/passwd", "/docs/../../x", "*"])
def test_other_paths_are_not_found_in_json(server: RunningServer, target: str) -> None:
    with Client(server) as client:
        answer = client.exchange(f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (answer.code, answer.json) == (404, {"detail": "Not Found"})


# -- headers ---------------------------------------------------------------------------------------

FORGED_IDS = [
    b'","level":"error","x":"',
    b"a" * 60_000,
    b"\xff\xfe\xc3\xa9",
    b"\x1b[31mred\x1b[0m"[1:],
    b"${jndi:ldap://127.0.0.1/a}",
    b"00000000-0000-0000-0000-00000000000g",
    b"",
]


@pytest.mark.parametrize("forged", FORGED_IDS, ids=range(len(FORGED_IDS)))
def test_a_forged_request_id_is_replaced_and_stays_out_of_the_log(
    server: RunningServer, forged: bytes
) -> None:
    with Client(server) as client:
        answer = client.exchange(POST + b"X-Request-Id: " + forged + b"\r\nContent-Length: 0\r\n\r\n")
    assert_refused(answer, 400, "not JSON")
    given = answer.headers["x-request-id"]
    assert str(UUID(given)) == given
    line = logged(server, given)
    assert line["status"] == 400
    assert not forged or forged.decode("latin-1") not in json.dumps(line, ensure_ascii=False)


def test_forged_lines_in_a_path_are_one_line_of_the_log(server: RunningServer) -> None:
    path = f'{MATCHING}/x%0a{{"level":"error","message":"forged"}}%0d%0a%e2%80%a8%ff%00%1b'
    with Client(server) as client:
        answer = client.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    line = logged(server, answer.headers["x-request-id"])
    assert line["path"].startswith(f'{MATCHING}/x\n{{"level":"error"')
    assert line["level"] == "info"
    assert not [other for other in server.lines() if other["message"] == "forged"]


def test_tricks_with_authorization(tmp_path: Path) -> None:
    with unharmed(tmp_path) as server:
        keys = KeyStore(server.home)
        good, revoked = keys.create("good").token, keys.create("revoked").token
        keys.revoke("revoked")
        keys.close()
        tricks = [
            [],
            [""],
            ["Token"],
            ["Token "],
            ["Token wrong"],
            [f"Token {revoked}"],
            [f"Bearer {good}"],
            ["Basic Og=="],
            [good],
            [f"Token {good} x"],
            [f"Token {good[:-1]}"],
            [f"Token {good.upper()}"],
            [f"Token {good},Token {good}"],
            ["Token " + "a" * 60_000],
            ["Token \xff\xfe\xc3\xa9"],
            ["Token ' OR 1=1 --"],
            ["Token *"],
            [f"Token {good}", "Token wrong"],
            ["Token wrong", f"Token {good}"],
        ]
        for values in tricks:
            headers = [f"Authorization: {value}" for value in values]
            for method in ("ping", "visual_hash", "allRecords"):
                with Client(server) as client:
                    answer = client.exchange(request(method, NO_RECORDS, *headers))
                assert_refused(answer, 401, "")
                assert answer.json["detail"] == answer.json["status"]["text"]
                assert answer.headers["www-authenticate"] == "Token"
        for word in ("Token", "JWT", "token"):
            assert server.post("ping", headers={"Authorization": f"{word} {good}"}).status_code == 200
        stranger = server.post("visual_hash", content=b"A" * 100_000_000)
        assert_refused(stranger, 401, "not provided")
        log = server.log.read_text()
        assert good not in log and revoked not in log


def test_more_than_the_server_holds_is_told_to_come_again(tmp_path: Path) -> None:
    with unharmed(tmp_path, max_body_bytes=1_000_000, max_inflight_bytes=1_000_000) as server:
        half = b"A" * 600_000
        with Client(server) as first, Client(server) as second:
            first.send(head("visual_hash", "Content-Length: 900000") + half)
            time.sleep(0.2)
            answer = second.exchange(head("visual_hash", "Content-Length: 900000") + half)
            assert_refused(answer, 429, "try again in a second")
            assert answer.headers["retry-after"] == "1"


def test_images_of_any_size_come_in_any_pieces(server: RunningServer) -> None:
    """A server that refused everything would pass the rest."""
    body = json.dumps({"records": [{"_base64": as_base64(encode(picture(seed=1), "JPEG"))}]}).encode()
    with Client(server) as client:
        client.send(head("visual_hash", f"Content-Length: {len(body)}"))
        for start in range(0, len(body), 999):
            client.send(body[start : start + 999])
        answer = client.receive()
    assert answer is not None and answer.json["status"]["code"] == 200
