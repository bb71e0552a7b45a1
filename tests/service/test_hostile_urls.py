"""Hostile URLs: the server asks nobody inside its own network, in whatever disguise, and says so by contract.

A web server on every address of this machine counts who asks it: nobody must.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import assert_failed, unharmed
from tests.matching import JsonObject, ask
from tests.pictures import encode, picture
from tests.servers import RunningServer
from tests.web_server import WebServer, answer, serve

DRIVER = Path(__file__).parents[1] / "drivers" / "strangers.py"
ALONE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]


@pytest.fixture(scope="module")
def inside() -> Iterator[WebServer]:
    image = answer(encode(picture(seed=1), "PNG"))
    with serve({"/": image, "/a.png": image}, host="0.0.0.0") as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with unharmed(tmp_path_factory.mktemp("home"), url_seconds=3) as running:
        yield running


LOOPBACK = {
    "plain": "http://127.0.0.1:{}/a.png",
    "another loopback address": "http://127.127.127.127:{}/a.png",
    "unspecified": "http://0.0.0.0:{}/a.png",
    "a dot behind": "http://127.0.0.1.:{}/a.png",
    "ideographic dots": "http://127\u30020\u30020\u30021:{}/a.png",
    "IPv6": "http://[::1]:{}/a.png",
    "IPv6 at length": "http://[0:0:0:0:0:0:0:1]:{}/a.png",
    "IPv6 unspecified": "http://[::]:{}/a.png",
    "IPv6 with a zone": "http://[fe80::1%25lo]:{}/a.png",
    "IPv4 in IPv6": "http://[::ffff:127.0.0.1]:{}/a.png",
    "IPv4 in IPv6, hexadecimal": "http://[::ffff:7f00:1]:{}/a.png",
    "IPv4 compatible": "http://[::127.0.0.1]:{}/a.png",
    "IPv4 translated": "http://[::ffff:0:127.0.0.1]:{}/a.png",
    "NAT64": "http://[64:ff9b::127.0.0.1]:{}/a.png",
    "6to4": "http://[2002:7f00:1::]:{}/a.png",
    "localhost": "http://localhost:{}/a.png",
    "localhost in capitals": "http://LOCALHOST:{}/a.png",
    "credentials in front": "http://example.com@127.0.0.1:{}/a.png",
    "a port as credentials": "http://example.com:80@127.0.0.1:{}/a.png",
    "two at signs": "http://a@example.com@127.0.0.1:{}/a.png",
    "a fragment": "http://127.0.0.1:{}#@example.com/a.png",
    "a question": "http://127.0.0.1:{}?@example.com/a.png",
    "capitals": "HTTP://127.0.0.1:{}/a.png",
    "https": "https://127.0.0.1:{}/a.png",
}
DISGUISED = {
    "zero": "http://0:{}/a.png",
    "decimal": "http://2130706433:{}/a.png",
    "hexadecimal": "http://0x7f000001:{}/a.png",
    "hexadecimal parts": "http://0x7f.0x0.0x0.0x1:{}/a.png",
    "octal": "http://0177.0.0.1:{}/a.png",
    "octal as one": "http://017700000001:{}/a.png",
    "two parts": "http://127.1:{}/a.png",
    "three parts": "http://127.0.1:{}/a.png",
    "zeros in front": "http://127.000.000.001:{}/a.png",
    "more than 32 bits": "http://4425673729:{}/a.png",
    "full-width digits": "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{}/a.png",
    "circled digits": "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{}/a.png",
    "percent-encoded": "http://%31%32%37.0.0.1:{}/a.png",
    "a soft hyphen inside": "http://127.0.0\u00ad.1:{}/a.png",
    "a zero-width space inside": "http://127.0.0.\u200b1:{}/a.png",
    "localhost with a dot": "http://localhost.:{}/a.png",
    "localhost in full width": "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:{}/a.png",
    "localhost below a domain": "http://localhost.localdomain:{}/a.png",
    "the name of this machine": "http://" + socket.gethostname() + ":{}/a.png",
    "a backslash": "http://127.0.0.1:{}\\@example.com/a.png",
    "three slashes": "http:///127.0.0.1:{}/a.png",
    "no slashes": "http:127.0.0.1:{}/a.png",
}
"""Loopback to some readers, unusable or unknown to others: the resolver of the system has its say."""

ELSEWHERE = {
    "metadata": "http://169.254.169.254/latest/meta-data/iam/",
    "metadata, decimal": "http://2852039166/latest/meta-data/",
    "metadata in IPv6": "http://[::ffff:a9fe:a9fe]/",
    "metadata of the cloud, IPv6": "http://[fd00:ec2::254]/",
    "the host of a cloud": "http://168.63.129.16/",
    "private, 10": "http://10.0.0.1/",
    "private, 172": "http://172.16.0.1/",
    "private, 192": "http://192.168.0.1/",
    "private behind a provider": "http://100.64.0.1/",
    "multicast": "http://224.0.0.1/",
    "broadcast": "http://255.255.255.255/",
    "unique local": "http://[fc00::1]/",
}
SCHEMES = {
    "a file": "file:///etc/passwd",
    "a file of a host": "file://localhost/etc/passwd",
    "gopher": "gopher://127.0.0.1:{}/_GET%20/",
    "ftp": "ftp://127.0.0.1:{}/a.png",
    "data": "data:image/png;base64,iVBORw0KGgo=",
    "a Unix socket": "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "unix": "unix:///var/run/docker.sock",
    "a web socket": "ws://127.0.0.1:{}/",
    "javascript": "javascript:alert(1)",
    "a Java archive": "jar:http://127.0.0.1:{}!/a.png",
}
UNUSABLE = {
    "a path": "/etc/passwd",
    "no host": "http://",
    "a port too high": "http://example.com:99999/",
    "a port that is none": "http://example.com:80a/",
    "a blank": "http://127.0.0.1:{}/a b.png",
    "a new header": "http://127.0.0.1:{}/ HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
    "a new header in the host": "http://127.0.0.1\r\nHost: example.com:{}/",
    "a line feed in front": "\nhttp://127.0.0.1:{}/a.png",
    "a tab in the host": "http://127.0.\t0.1:{}/a.png",
    "a NUL": "http://127.0.0.1:{}/\0.png",
    "Unicode line separators": "http://127.0.0.1:{}/\u2028X-Header:\u2029\u0085x",
    "half a surrogate pair": "http://127.0.0.1:{}/\ud800.png",
    "half a surrogate pair as host": "http://\udfff/a.png",
    "a label too long": "http://" + "a" * 64 + ".com/",
    "a name too long": "http://" + "a." * 200 + "com/",
    "a broken bracket": "http://[::1/a.png",
    "ten thousand letters": "http://example.com/" + "a" * 10_000,
    "ten million letters": "http://example.com/" + "a" * 10_000_000,
}


@pytest.mark.parametrize("url", [*LOOPBACK.values(), *SCHEMES.values()], ids=[*LOOPBACK, *SCHEMES])
def test_no_url_leads_to_this_machine(server: RunningServer, inside: WebServer, url: str) -> None:
    assert "is not fetched: " in assert_not_fetched(server, inside, url.format(inside.server_port))


@pytest.mark.parametrize("url", ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_url_leads_into_its_network(server: RunningServer, inside: WebServer, url: str) -> None:
    assert "is not fetched: " in assert_not_fetched(server, inside, url)


@pytest.mark.parametrize("url", [*DISGUISED.values(), *UNUSABLE.values()], ids=[*DISGUISED, *UNUSABLE])
def test_a_url_that_is_none(server: RunningServer, inside: WebServer, url: str) -> None:
    assert_not_fetched(server, inside, url.format(inside.server_port))


@pytest.mark.parametrize("encoded", ["%0d%0aX-Header:%20a", "%0a", "%00", "%E2%80%A8", "%zz"])
def test_encoded_lines_in_a_url_stay_encoded(server: RunningServer, inside: WebServer, encoded: str) -> None:
    assert_not_fetched(server, inside, f"http://127.0.0.1:{inside.server_port}/{encoded}")


def assert_not_fetched(server: RunningServer, inside: WebServer, url: str) -> str:
    """See that a record fails by its URL; returns why.

    The documented text is for what cannot be downloaded, that of ours for what must not be.
    """
    (found,) = ask(server, "visual_hash", {"records": [{"_url": url}]})["records"]
    assert_failed(found, "")
    assert found["_url"] == url
    text: str = found["_status"]["text"]
    shown = url if len(url) <= 8192 else url[:200]
    assert f"'{shown}" in text and len(text) < 9000
    refused = "is not fetched: " in text
    assert refused or text.startswith("Error Loading Image: Unable to download image from ")
    assert refused or text.endswith(", Attempts: 3")
    assert (inside.connections, inside.hits) == (0, [])
    return text


def test_every_method_that_takes_images_refuses_the_same_urls(
    server: RunningServer, inside: WebServer
) -> None:
    url = f"http://127.0.0.1:{inside.server_port}/a.png"
    record = {"_url": url}
    for method in ("remove_duplicates", "insert"):
        assert_failed(ask(server, method, {"records": [record]})["skipped_records"][0], "loopback")
    for method in ("rank_images", "visualKNN", "nearDuplicates", "visualRankRecords"):
        refused = ask(server, method, {"query_record": record, "records": []}, http=400)
        assert "loopback" in refused["status"]["text"]
    assert inside.connections == 0


def test_an_operator_may_allow_all_of_it(tmp_path: Path, inside: WebServer) -> None:
    """Otherwise the web server that nobody asks could be one that nobody can ask."""
    image = answer(encode(picture(seed=1), "PNG"))
    with serve({"/a.png": image}) as open_house, unharmed(tmp_path, allow_private_urls=True) as server:
        for url in (LOOPBACK["plain"], LOOPBACK["localhost"], LOOPBACK["credentials in front"]):
            records = [{"_url": url.format(open_house.server_port)}]
            assert ask(server, "visual_hash", {"records": records})["status"]["code"] == 200
        assert open_house.hits == ["/a.png"] * 3


def test_a_redirect_and_a_name_lead_nowhere_that_a_url_may_not(tmp_path: Path) -> None:
    """In a network of its own, where an address that is public elsewhere is this machine's too."""
    if not shutil.which(ALONE[0]) or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    image = tmp_path / "image.png"
    image.write_bytes(encode(picture(seed=1), "PNG"))
    command = [*ALONE, sys.executable, str(DRIVER), str(tmp_path / "home"), str(image)]
    environment = os.environ | {"PYTHONPATH": str(DRIVER.parents[2])}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert run.returncode == 0, run.stderr
    found: JsonObject = json.loads(run.stdout)
    (kept,) = found["answer"]["records"]
    good = [kept, *kept["removed_records"]]
    assert {each["what"] for each in good} == {"good", "good name", "good redirect"}
    skipped = {each["what"]: each for each in found["answer"]["skipped_records"]}
    assert len(skipped) == 16
    for what, each in skipped.items():
        assert_failed(each, "")
        assert "is not fetched" in each["_status"]["text"] or "a decimal" in what or "short" in what, each
    assert found["asked"] == 0 and found["followed"] >= len(skipped)
