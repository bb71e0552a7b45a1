"""What all methods share: paths and verbs, status objects and request ids, keys, and failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.matching import JsonObject, ask, ids, parts, photograph, record, unreadable
from tests.servers import RunningServer, running_server
from twinlens.service.keys import KeyStore
from twinlens.service.matching.examples import REQUESTS
from twinlens.service.matching.methods import PONG

PNG = photograph("coins.png")
WITH_STATUS_IN_RECORDS = {
    "visual_hash": {"records": [unreadable(), record(PNG)]},
    "remove_duplicates": {"records": [unreadable(), record(PNG), record(PNG)]},
    "rank_images": {"query_record": record(PNG), "records": [unreadable(), record(PNG)]},
    "insert": {"records": [unreadable(), record(PNG, _id=1), record(PNG, _id=1)]},
    "get": {"records": [{"_id": "nobody"}]},
    "update": {"records": [{"_id": "nobody"}]},
    "delete": {"records": [{"_id": "nobody"}]},
    "visualRankRecords": {"query_record": record(PNG), "records": [{"_id": "nobody"}, unreadable()]},
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    """A server with a key, and its token."""
    home = tmp_path_factory.mktemp("guarded")
    with closing(KeyStore(home)) as keys:
        token = keys.create("shop").token
    with running_server(home) as running:
        yield running, token


def assert_is_status(status: JsonObject, code: int) -> None:
    assert set(status) == {"code", "text", "request_id", "proc_id"}
    assert status["code"] == code and status["text"]
    assert UUID(status["request_id"]) != UUID(status["proc_id"])


# -- paths and verbs -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("path", ["ping", "ping/"])
def test_ping(server: RunningServer, verb: str, path: str) -> None:
    answer = httpx.request(verb, f"{server.matching}/{path}", verify=False)
    assert (answer.status_code, answer.json()) == (200, PONG)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"a": 1}', b"[]", b"no JSON", b"\xff"])
def test_ping_ignores_its_body(server: RunningServer, body: bytes) -> None:
    assert server.post("ping", content=body).json() == PONG


def test_a_slash_at_the_end_changes_nothing(server: RunningServer) -> None:
    for method, body in REQUESTS.items():
        plain, slashed = server.post(method, body), server.post(f"{method}/", body)
        assert slashed.status_code == plain.status_code == 200
        assert set(slashed.json()) >= {"status", "statistics"}


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_methods_are_posted(server: RunningServer, verb: str) -> None:
    for method in REQUESTS:
        answer = httpx.request(verb, f"{server.matching}/{method}", verify=False)
        assert answer.status_code == 405 and answer.headers["allow"] == "POST"
        if verb != "HEAD":
            assert_is_status(answer.json()["status"], 405)
            assert verb in answer.json()["status"]["text"]
    answer = httpx.request("PUT", f"{server.matching}/ping", verify=False)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, GET")


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/ping/x", "/visual_hash/x", "/Ping", "/visualhash"])
def test_what_is_not_there_is_404_in_the_form_of_the_dialect(server: RunningServer, path: str) -> None:
    answer = httpx.post(server.matching + path, json={}, verify=False)
    assert answer.status_code == 404 and set(answer.json()) == {"status"}
    assert_is_status(answer.json()["status"], 404)
    assert all(name in answer.json()["status"]["text"] for name in ("ping", "rank_images", "allRecords"))


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{", b"\xff{}", b'{"records": NaN}'])
def test_what_is_no_json_object_is_400(server: RunningServer, body: bytes) -> None:
    for method in REQUESTS:
        answer = server.post(method, content=body)
        assert answer.status_code == 400 and set(answer.json()) == {"status"}
        assert_is_status(answer.json()["status"], 400)
        assert answer.json()["status"]["text"].startswith("the body ")
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"]
)
def test_the_body_counts_whatever_its_type_is_called(server: RunningServer, kind: str) -> None:
    body = b'{"records": [], "query_record": {}}'
    assert server.post("visual_hash", content=body, headers={"Content-Type": kind}).status_code == 200


# -- status objects --------------------------------------------------------------------------------


def test_every_answer_has_a_status_and_says_how_long_it_took(server: RunningServer) -> None:
    seen = set()
    for method, body in REQUESTS.items():
        answer = ask(server, method, body)
        assert_is_status(answer["status"], answer["status"]["code"])
        (seconds,) = [answer["statistics"].pop("processing time")]
        assert isinstance(seconds, float) and 0 < seconds < 10 and not answer["statistics"]
        seen |= {answer["status"]["request_id"], answer["status"]["proc_id"]}
    assert len(seen) == 2 * len(REQUESTS)


@pytest.mark.parametrize("method", WITH_STATUS_IN_RECORDS)
def test_records_repeat_the_id_of_the_request(server: RunningServer, method: str) -> None:
    response = server.post(method, WITH_STATUS_IN_RECORDS[method], headers={"collection-id": "ids"})
    answer = response.json()
    assert_is_status(answer["status"], answer["status"]["code"])
    statuses = [each["_status"] for each in parts(answer) if "_status" in each]
    assert statuses and all(set(status) == {"code", "text", "request_id"} for status in statuses)
    wanted = {answer["status"]["request_id"]}
    assert {status["request_id"] for status in statuses} == {response.headers["x-request-id"]} == wanted


def test_a_client_may_name_its_request(server: RunningServer) -> None:
    mine = str(uuid4())
    answer = server.post("visual_hash", {"records": []}, headers={"X-Request-Id": mine})
    assert answer.json()["status"]["request_id"] == answer.headers["x-request-id"] == mine
    other = server.post("visual_hash", {"records": []}, headers={"X-Request-Id": 'x" onload=1'})
    assert UUID(other.headers["x-request-id"]) != UUID(mine)
    failed = server.post("visual_hash", {}, headers={"X-Request-Id": mine})
    assert failed.json()["status"]["request_id"] == failed.headers["x-request-id"] == mine


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ({}, "Authentication credentials were not provided."),
        ({"Authorization": ""}, "Authentication credentials were not provided."),
        ({"Authorization": "Token"}, "Authentication credentials were not provided."),
        ({"Authorization": "Bearer {token}"}, "Authentication credentials were not provided."),
        ({"Authorization": "{token}"}, "Authentication credentials were not provided."),
        ({"Authorization": "Token x"}, "Invalid token."),
        ({"Authorization": "JWT x"}, "Invalid token."),
        ({"Authorization": "Token {token}x"}, "Invalid token."),
        ({"Authorization": "Token " + "x" * 5000}, "Invalid token."),
    ],
    ids=range(9),
)
def test_strangers_get_401(guarded: tuple[RunningServer, str], header: dict[str, str], detail: str) -> None:
    server, token = guarded
    headers = {name: value.replace("{token}", token) for name, value in header.items()}
    for method in ("ping", *REQUESTS):
        answer = server.post(method, REQUESTS.get(method), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Token"
        body = answer.json()
        assert set(body) == {"detail", "status"}
        assert_is_status(body["status"], 401)
        assert body["detail"] == body["status"]["text"] == detail


@pytest.mark.parametrize("word", ["Token", "JWT", "token", "TOKEN", "jwt"])
def test_both_words_are_taken_in_any_case(guarded: tuple[RunningServer, str], word: str) -> None:
    server, token = guarded
    assert server.post("ping", headers={"authorization": f"{word} {token}"}).json() == PONG


def test_a_stranger_is_told_nothing_but_that(guarded: tuple[RunningServer, str]) -> None:
    """Bodies and parameters are looked at after the key."""
    server, _ = guarded
    assert server.post("visual_hash", content=b"no JSON").status_code == 401
    assert server.post("insert", {}, headers={"collection-id": "x" * 999}).status_code == 401


@pytest.mark.parametrize("header", [{}, {"Authorization": "Token"}, {"Authorization": "Token x"}])
def test_without_keys_everybody_is_served(server: RunningServer, header: dict[str, str]) -> None:
    assert server.post("ping", headers=header).json() == PONG
    assert ask(server, "visual_hash", {"records": [record(PNG)]}, headers=header)["status"]["code"] == 200


def test_each_key_has_collections_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("owners")
    with running_server(home) as server, closing(KeyStore(home)) as keys:
        body = {"records": [record(PNG, _id=1, of="nobody")]}
        assert ask(server, "insert", body)["status"]["code"] == 210
        owners = {name: keys.create(name) for name in ("north", "south")}

        def of(name: str, method: str, **body: Any) -> JsonObject:
            headers = {"Authorization": f"Token {owners[name].token}"}
            return ask(server, method, body, headers=headers)

        assert of("north", "insert", records=[record(PNG, _id=1, of="north")])["status"]["code"] == 210
        assert of("south", "get", records=[{"_id": 1}])["status"]["code"] == 404
        assert of("south", "delete", records=[{"_id": 1}])["status"]["code"] == 404
        assert of("south", "visualKNN", query_record=record(PNG))["answer_records"] == []
        assert of("south", "insert", records=[record(PNG, _id=1, of="south")])["status"]["code"] == 210
        for name in owners:
            for answer in (
                of(name, "allRecords", fields_to_return=["of"]),
                of(name, "random", fields_to_return=["of"]),
                of(name, "visualKNN", query_record={"_id": 1}, fields_to_return=["of"]),
            ):
                assert answer["answer_records"] == [{"of": name}]
        keys.revoke("north")
        assert (
            server.post(
                "allRecords", {}, headers={"Authorization": f"Token {owners['north'].token}"}
            ).status_code
            == 401
        )
        assert ids(of("south", "allRecords")["answer_records"]) == ["1"]
