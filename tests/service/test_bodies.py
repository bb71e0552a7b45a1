"""Request bodies: strict JSON, within limits, whatever the client claims about them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import RunningServer, running_server
from twinlens.engine.errors import InvalidValue
from twinlens.service.bodies import parse_object

LIMIT = 100_000
MANY = 10_000_000
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    settings = {"max_body_bytes": LIMIT, "max_inflight_bytes": 3 * LIMIT, "request_seconds": 2}
    with running_server(home, **settings) as running:
        yield running


@given(st.dictionaries(st.text(), JSON_VALUES))
def test_every_json_object_is_read_as_it_is(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode(), MANY) == value


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: .* line 1, column 2"),
        (b"[]", "must be a JSON object, not an array"),
        (b"null", "must be a JSON object, not null"),
        (b'"x"', "not a string"),
        (b"5", "not a number"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e400}', "1e400"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": "\xff"}', "text from byte 7"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
    ],
    ids=range(13),
)
def test_what_is_no_json_object_is_refused_with_the_reason(body: bytes, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        parse_object(body, MANY)


def test_nesting_is_bounded_at_a_depth_that_can_be_answered() -> None:
    def body(levels: int) -> bytes:
        return b'{"a":' * levels + b"0" + b"}" * levels

    assert parse_object(body(100), MANY)
    with pytest.raises(InvalidValue, match="nested too deeply: 100 levels"):
        parse_object(body(101), MANY)


@pytest.mark.parametrize("element", [b"{}", b"[]", b'{"":0}', b"0", b'"x"'])
def test_values_are_bounded_before_they_are_parsed(element: bytes) -> None:
    body = b'{"records":[' + b",".join([element] * 1000) + b"]}"
    assert len(parse_object(body, 3000)["records"]) == 1000
    with pytest.raises(InvalidValue, match=r"more than 999 values.*TWINLENS_MAX_BODY_VALUES"):
        parse_object(body, 999)


def status_of(answer: httpx.Response) -> tuple[int, int, str]:
    status = answer.json()["status"]
    return answer.status_code, status["code"], status["text"]


def connected(server: RunningServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


def whole_answer(connection: socket.socket) -> bytes:
    """Head and body of an answer whose connection stays open."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(4096)
    return head + b"\r\n\r\n" + body


def test_the_content_type_does_not_matter(server: RunningServer) -> None:
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"):
        answer = httpx.post(
            f"{server.matching}/remove_duplicates", content=b'{"records": []}', headers={"content-type": kind}
        )
        assert status_of(answer)[0] == 200


def test_a_body_at_the_limit_is_read_and_one_beyond_it_refused(server: RunningServer) -> None:
    def body(size: int) -> bytes:
        frame = b'{"records": [], "x": ""}'
        return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]

    url = f"{server.matching}/remove_duplicates"
    assert httpx.post(url, content=body(LIMIT)).status_code == 200
    code, status, text = status_of(httpx.post(url, content=body(LIMIT + 1)))
    assert (code, status) == (400, 400)
    assert "100,000 bytes" in text and "TWINLENS_MAX_BODY_BYTES" in text


def test_a_body_without_a_declared_length_is_measured_as_it_comes(server: RunningServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 10_000

    answer = httpx.post(f"{server.matching}/remove_duplicates", content=chunks())
    assert status_of(answer)[:2] == (400, 400)


def test_a_client_that_sends_far_too_much_still_reads_the_reason(server: RunningServer) -> None:
    answer = httpx.post(f"{server.matching}/remove_duplicates", content=b"x" * 100_000_000, timeout=60)
    assert status_of(answer)[:2] == (400, 400)


def test_a_client_that_waits_to_be_told_is_told_before_it_sends(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(
            b"POST /image_matching/v2/remove_duplicates HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_body_that_never_comes_is_given_up(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(
            b"POST /image_matching/v2/remove_duplicates HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        answer = whole_answer(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"did not arrive within 2 s" in answer


def test_bodies_together_are_bounded_and_the_one_too_many_may_come_again(server: RunningServer) -> None:
    head = (
        b"POST /image_matching/v2/remove_duplicates HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 95000\r\n\r\n"
    )
    connections = [connected(server) for _ in range(4)]
    try:
        for connection in connections:
            connection.sendall(head + b" " * 90_000)
        answers = [whole_answer(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    busy = [answer for answer in answers if answer.startswith(b"HTTP/1.1 429")]
    assert len(busy) == 1
    assert b"retry-after: 1" in busy[0]
    assert httpx.post(f"{server.matching}/remove_duplicates", json={"records": []}).status_code == 200
