"""Request ids and the access log: every request can be found again, and nothing secret is in it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from tests.attacks import Client, logged, request
from tests.matching import record
from tests.pictures import picture
from tests.servers import MATCHING, RunningServer, running_server
from twinlens.service.app import create_app
from twinlens.service.keys import KeyStore, NewKey
from twinlens.service.matching.examples import REQUESTS
from twinlens.service.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def key(home: Path) -> NewKey:
    keys = KeyStore(home)
    made = keys.create("lab")
    keys.close()
    return made


@pytest.fixture(scope="module")
def server(home: Path, key: NewKey) -> Iterator[RunningServer]:
    with running_server(home, max_body_bytes=100_000) as running:
        yield running


def call(server: RunningServer, key: NewKey, method: str, body: object, **headers: str) -> httpx.Response:
    return server.post(method, body, headers={"Authorization": f"Token {key.token}", **headers})


def test_one_id_is_in_the_header_the_answer_its_records_and_the_log(
    server: RunningServer, key: NewKey
) -> None:
    good = {"records": [record(picture(seed=1)), {"_base64": "AAAA"}]}
    for method, body in (("remove_duplicates", good), ("remove_duplicates", {}), ("nothing", {})):
        answer = call(server, key, method, body)
        given, content = answer.headers["x-request-id"], answer.json()
        assert UUID(given).version == 4
        assert content["status"]["request_id"] == given != content["status"]["proc_id"]
        for each in [*content.get("records", []), *content.get("skipped_records", [])]:
            assert each["_status"]["request_id"] == given
        line = logged(server, given)
        assert (line["status"], line["bytes"]) == (answer.status_code, len(answer.content))


def test_no_two_requests_have_one_id(server: RunningServer, key: NewKey) -> None:
    ids = [call(server, key, "ping", None).headers["x-request-id"] for _ in range(50)]
    assert len(set(ids)) == 50


def test_a_client_may_bring_its_own_id_if_it_is_a_uuid(server: RunningServer, key: NewKey) -> None:
    own = str(uuid4())
    answer = call(server, key, "get", {}, **{"X-Request-Id": own.upper()})
    assert answer.headers["x-request-id"] == own == answer.json()["status"]["request_id"]
    assert answer.headers.get_list("x-request-id") == [own]
    foreign = call(server, key, "get", {}, **{"X-Request-Id": "trace-1"})
    assert UUID(foreign.headers["x-request-id"]).version == 4


def test_a_line_says_who_asked_for_what_and_how_it_went(server: RunningServer, key: NewKey) -> None:
    answer = call(server, key, "visual_hash", {"records": [record(picture(seed=1))]})
    line = logged(server, answer.headers["x-request-id"])
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert 0 < line.pop("ms") < 60_000
    assert line == {
        "level": "info",
        "logger": "twinlens.access",
        "message": "request",
        "request_id": answer.headers["x-request-id"],
        "client": "127.0.0.1",
        "key": key.api_key,
        "method": "POST",
        "path": f"{MATCHING}/visual_hash",
        "status": 200,
        "bytes": len(answer.content),
    }
    for url in ("/healthz", "/nowhere", "/openapi.json"):
        answer = httpx.get(server.url + url)
        line = logged(server, answer.headers["x-request-id"])
        assert (line["path"], line["status"], line["key"]) == (url, answer.status_code, "")


def test_clients_that_leave_are_told_apart_from_failures(server: RunningServer, key: NewKey) -> None:
    own = str(uuid4())
    with Client(server) as client:
        whole = request(
            "visual_hash", b"{" * 1000, f"Authorization: Token {key.token}", f"X-Request-Id: {own}"
        )
        client.send(whole[:-1])
    assert logged(server, own)["status"] == 499


def test_nothing_secret_is_in_the_log(server: RunningServer, key: NewKey) -> None:
    secrets = [key.token, key.api_secret, "guessed-token", "hunter2", "private-field", "private-query"]
    url = f"http://user:hunter2@192.0.2.1/?token={key.api_secret}"
    records = [{"_url": url, "private-field": "private-field", "_base64": None}]
    call(server, key, "visual_hash", {"records": records})
    server.post("ping", headers={"Authorization": "Token guessed-token"})
    last = httpx.get(f"{server.url}/healthz?private-query={key.token}", headers={"Cookie": "hunter2"})
    logged(server, last.headers["x-request-id"])
    log = server.log.read_text()
    assert not [secret for secret in secrets if secret in log]


def test_the_whole_log_is_json_line_by_line(server: RunningServer, key: NewKey) -> None:
    last = httpx.post(f"{server.matching}/%0a%00%ff%e2%80%a8%22%7d?x=%0a")
    logged(server, last.headers["x-request-id"])
    lines = server.log.read_text().split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert isinstance(json.loads(line), dict) and line.isascii()


# -- failures that nobody expected ------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> FastAPI:
    """An app with two routes that fail, one in each world."""

    async def fail() -> None:
        raise ZeroDivisionError("secret detail")

    app = create_app(Settings(home=tmp_path))
    app.add_api_route(f"{MATCHING}/broken", fail, methods=["POST"])
    app.add_api_route("/broken", fail, methods=["POST"])
    return app


def answers(app: FastAPI, *paths: str) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return [await client.post(path) for path in paths]

    return asyncio.run(ask())


def test_an_unexpected_failure_is_answered_by_contract_and_logged_under_its_id(
    broken: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "twinlens")
    dialect, other = answers(broken, f"{MATCHING}/broken", "/broken")
    assert dialect.status_code == other.status_code == 500
    assert dialect.json()["status"]["code"] == 500
    assert set(dialect.json()["status"]) == {"code", "text", "request_id", "proc_id"}
    where = "its log says more under the request id in the header x-request-id"
    assert other.json() == {"detail": f"the server failed at this request: {where}"}
    assert "secret detail" not in dialect.text + other.text
    given = dialect.headers["x-request-id"]
    assert dialect.json()["status"]["request_id"] == given
    fields = [(entry.levelname, entry.fields["request_id"]) for entry in caplog.records]  # type: ignore[attr-defined]
    assert fields[:2] == [("ERROR", given), ("INFO", given)]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[1].fields["status"] == 500  # type: ignore[attr-defined]
    assert caplog.records[1].fields["bytes"] == len(dialect.content)  # type: ignore[attr-defined]


def test_a_damaged_data_folder_is_answered_and_logged(tmp_path: Path) -> None:
    """The client learns that it is the server's fault, the operator in the log which file it is."""
    with running_server(tmp_path) as server:
        server.post("insert", REQUESTS["insert"])
    file = tmp_path / "collections.sqlite"
    held = file.read_bytes()
    with running_server(tmp_path) as server:
        file.write_bytes(held[:4096] + bytes([255]) * (len(held) - 4096))
        answer = server.post("get", REQUESTS["get"])
        status = answer.json()["status"]
        assert (answer.status_code, status["code"]) == (503, 503)
        assert str(tmp_path) not in status["text"]
        (line,) = [line for line in server.lines() if line["level"] == "error"]
    assert line["request_id"] == status["request_id"]
    assert str(file) in line["traceback"]
