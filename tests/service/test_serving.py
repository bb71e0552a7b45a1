"""`twinlens serve` as an operator sees it: started, refused, stopped, watched."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.attacks import Client, head, request
from tests.matching import record
from tests.pictures import picture
from tests.servers import MATCHING, RunningServer, running_server
from twinlens import __version__
from twinlens.service.keys import KeyStore
from twinlens.service.matching.examples import REQUESTS
from twinlens.service.settings import Settings

TWINLENS = Path(sys.executable).with_name("twinlens")
MEMORY = 150 * 2**20
"""Bytes that a server which only matches may take."""


def environment(**settings: object) -> dict[str, str]:
    """This process's, with these settings of TwinLens and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
    return kept | {name: str(value) for name, value in settings.items()}


def refused(*arguments: str | Path, code: int, **settings: object) -> str:
    """The line that a server prints which does not start."""
    run = subprocess.run(
        [TWINLENS, "serve", *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    (line,) = run.stderr.splitlines()
    return line


# -- starting --------------------------------------------------------------------------------------


@contextmanager
def serving(*arguments: str, **settings: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server, and the address in the line that it prints."""
    process = subprocess.Popen(
        [TWINLENS, "serve", *arguments],
        env=environment(**settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"TwinLens listens on (http://\S+), its documentation is at (\S+)\n", line)
        assert found is not None, line
        assert found[2] == f"{found[1]}/docs"
        yield process, found[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_one_command_serves_this_machine_and_remembers_in_the_data_folder(tmp_path: Path) -> None:
    with serving("--port", "0", XDG_DATA_HOME=tmp_path) as (_, url):
        port = urlsplit(url).port
        assert url == f"http://localhost:{port}"
        hosts = ["127.0.0.1"] + ["[::1]"] * has_ipv6()
        for host in hosts:
            assert httpx.post(f"http://{host}:{port}{MATCHING}/ping").json()["status"]["code"] == 200
        httpx.post(f"{url}{MATCHING}/insert", json=REQUESTS["insert"]).raise_for_status()
    folder = tmp_path / "twinlens"
    assert (folder / "collections.sqlite").is_file()
    assert folder.stat().st_mode & 0o077 == 0
    with serving("--port", "0", TWINLENS_HOME=folder) as (_, url):
        found = httpx.post(f"{url}{MATCHING}/get", json=REQUESTS["get"]).json()
        assert found["answer_records"] == [{"_id": "1", "product": "B-17"}]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_it_listens_on_8000_of_localhost_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("TWINLENS_", "XDG_"))]:
        monkeypatch.delenv(name)
    settings = Settings()
    assert (settings.host, settings.port) == ("localhost", 8000)
    assert settings.home == Path.home() / ".local" / "share" / "twinlens"


def test_only_this_machine_can_reach_it(tmp_path: Path) -> None:
    with serving("--port", "0", TWINLENS_HOME=tmp_path) as (_, url):
        bound = listening(urlsplit(url).port or 0)
    assert bound <= {"0100007F", "00000000000000000000000001000000"} and bound


def listening(port: int) -> set[str]:
    """Addresses with a listener on a port, as /proc/net prints them."""
    rows = [
        row.split()
        for name in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = refused("--port", port, code=6, TWINLENS_HOME=tmp_path)
    assert f"port {port} of 127.0.0.1 is taken" in line and "--port" in line


def test_the_world_needs_a_key_or_a_word(tmp_path: Path) -> None:
    public = ("--host", "0.0.0.0", "--port", "0")
    line = refused(*public, code=6, TWINLENS_HOME=tmp_path)
    assert "twinlens keys create" in line and "TWINLENS_ALLOW_ANONYMOUS=1" in line
    for arguments, settings in ((["--allow-anonymous"], {}), ([], {"TWINLENS_ALLOW_ANONYMOUS": 1})):
        with serving(*public, *arguments, TWINLENS_HOME=tmp_path, **settings) as (_, url):
            assert httpx.post(f"{local(url)}{MATCHING}/ping").status_code == 200
    keys = KeyStore(tmp_path)
    token = keys.create("world").token
    keys.close()
    with serving(*public, TWINLENS_HOME=tmp_path) as (_, url):
        ping = f"{local(url)}{MATCHING}/ping"
        assert httpx.post(ping).status_code == 401
        assert httpx.post(ping, headers={"Authorization": f"Token {token}"}).status_code == 200


def local(url: str) -> str:
    return f"http://127.0.0.1:{urlsplit(url).port}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("MAX_RECORDS", "-1"),
        ("DISTANCE_UNIT", "miles"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    variable = f"TWINLENS_{name}"
    line = refused(code=2, TWINLENS_HOME=tmp_path, **{variable: value})
    assert line.startswith(f"error: {variable} is {value!r}: ")


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = subprocess.run(
            [TWINLENS, "serve", "--port", str(taken.getsockname()[1]), "--home", tmp_path],
            env=environment(TWINLENS_MAX_RECORD=5, TWINLENS_MAX_RECORDS=5),
            capture_output=True,
            text=True,
            timeout=60,
        )
    notice, error = run.stderr.splitlines()
    assert "TWINLENS_MAX_RECORD is no setting" in notice
    assert "is taken" in error


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused("--home", tmp_path / "file", code=6)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "collections.sqlite").write_text("no database")
    assert "collections.sqlite is damaged" in refused("--home", tmp_path / "home", code=6)
    assert "cannot be listened on" in refused("--host", "192.0.2.1", "--allow-anonymous", code=6)


# -- what it is made of ----------------------------------------------------------------------------


def test_a_server_that_only_matches_is_small_and_loads_no_model(tmp_path: Path) -> None:
    started = time.monotonic()
    with running_server(tmp_path, workers=2) as server:
        print(f"listens after {time.monotonic() - started:.2f} s, {server.memory() / 2**20:.0f} MiB")
        for method, body in REQUESTS.items():
            assert server.post(method, body).status_code == 200
        libraries = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "numpy" in libraries
        for heavy in ("torch", "faiss", "/scipy/", "pyarrow", "open_clip"):
            assert heavy not in libraries
        assert server.memory() < MEMORY


# -- stopping --------------------------------------------------------------------------------------

HASHES = json.dumps({"records": [record(picture(seed=1))]}).encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """The rest of it is read and what it asks for is done, when nobody else is let in any more."""
    whole = request("visual_hash", HASHES)
    with running_server(tmp_path, workers=1) as server, Client(server) as idle, Client(server) as busy:
        assert idle.exchange(request("ping", b"")).code == 200
        busy.send(whole[:-100])
        wait_until_busy(server)
        server.process.send_signal(number)
        assert idle.hung_up()
        with pytest.raises(httpx.ConnectError):
            server.post("ping")
        answer = busy.exchange(whole[-100:])
        assert (answer.code, answer.json["status"]["code"]) == (200, 200)
        assert server.process.wait(timeout=20) == 0
    assert server.lines()[-1]["message"].startswith("Finished server process")


def wait_until_busy(server: RunningServer) -> None:
    """Until a request is under way besides the one that asks."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if samples(server)["twinlens_requests_inflight", ()] >= 2:
            return
        time.sleep(0.02)
    raise AssertionError("no request is under way")


def test_a_client_that_does_not_finish_cannot_keep_it_from_stopping(tmp_path: Path) -> None:
    with running_server(tmp_path, shutdown_seconds=1) as server, Client(server) as stuck:
        stuck.send(head("visual_hash", "Content-Length: 1000") + b"{")
        wait_until_busy(server)
        server.process.terminate()
        assert server.process.wait(timeout=10) == 0


# -- watching --------------------------------------------------------------------------------------

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(server: RunningServer) -> Samples:
    """What `/metrics` says, by name and labels."""
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_healthz_tells_the_version(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": __version__})


def test_metrics_count_requests_and_images(server: RunningServer) -> None:
    def grown(*calls: tuple[str, object]) -> Samples:
        before = samples(server)
        for method, body in calls:
            server.post(method, body)
        return {key: value - before.get(key, 0) for key, value in samples(server).items()}

    route = ("route", f"{MATCHING}/visual_hash")
    good = {"records": [record(picture(seed=1)), {"_base64": "AAAA"}]}
    growth = grown(("visual_hash", good), ("visual_hash", good), ("visual_hash/", {}), ("nothing", {}))
    assert growth["twinlens_requests_total", (route, ("status", "200"))] == 2
    assert growth["twinlens_requests_total", (route, ("status", "400"))] == 1
    assert growth["twinlens_requests_total", (("route", "unknown"), ("status", "404"))] == 1
    assert growth["twinlens_request_seconds_count", (route,)] == 3
    assert 0 < growth["twinlens_request_seconds_sum", (route,)] < 60
    assert growth["twinlens_images_total", (("outcome", "hashed"),)] == 2
    assert growth["twinlens_images_total", (("outcome", "failed"),)] == 2
    assert samples(server)["twinlens_requests_inflight", ()] == 1
    assert samples(server)["process_resident_memory_bytes", ()] > 2**20


def test_labels_never_hold_what_a_client_wrote(server: RunningServer) -> None:
    for path in ("/client/wrote", f"{MATCHING}/client-wrote", f"{MATCHING}/ping/%22%7D%0aclient_wrote"):
        httpx.post(server.url + path)
    headers = {"collection-id": "client wrote", "User-Agent": "client wrote", "X-Request-Id": "client wrote"}
    server.post("allRecords", {"client": "wrote"}, headers=headers, params={"client": "wrote"})
    httpx.request("CLIENTWROTE", server.matching + "/ping")
    found = samples(server)
    assert "wrote" not in str(found).lower()
    routes = {value for _, labels in found for name, value in labels if name == "route"}
    known = {"unknown", "/healthz", "/metrics", "/openapi.json", f"{MATCHING}/ping"}
    assert routes <= known | {f"{MATCHING}/{method}" for method in REQUESTS}
